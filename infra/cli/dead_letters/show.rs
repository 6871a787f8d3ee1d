//! `bowerbird dead-letters show`

use std::collections::BTreeMap;

use anyhow::anyhow;
use bowerbird_stream::dead_letter::{Filter, Letter, LetterId, Mark};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::{Letters, state};
use crate::failure::Outcome;
use crate::output;
use crate::settings::Settings;

/// What `dead-letters show` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Which, as `list --each` names them: PARTITION@OFFSET
    #[arg(value_name = "LETTER", required = true)]
    letters: Vec<LetterId>,
}

/// A letter in full. Keys, headers and values that are no text are shown as far as they are.
#[derive(Debug, Serialize)]
struct Full {
    letter: LetterId,
    state: &'static str,
    time: Timestamp,
    reason: String,
    error: String,
    group: String,
    attempts: u32,
    origin: Option<String>,
    again: Option<LetterId>,
    cut: bool,
    erased: bool,
    marks: Vec<Marked>,
    key: Option<String>,
    headers: Vec<(String, String)>,
    value: Option<String>,
}

#[derive(Debug, Serialize)]
struct Marked {
    done: &'static str,
    time: Timestamp,
    by: String,
}

/// Shows them.
pub async fn run(
    arguments: Arguments,
    letters: &Letters,
    settings: &Settings,
) -> anyhow::Result<Outcome> {
    let ids = arguments.letters;
    let filter = Filter { ids: ids.clone(), done: true, ..Filter::default() };
    let (mut reading, mut found) = (letters.read(filter).await?, BTreeMap::new());
    while let Some(page) = reading.next().await? {
        found.extend(page.into_iter().map(|letter| (letter.id, letter)));
    }
    let marks = letters.history(&ids).await?;
    let mut all = Vec::new();
    for id in ids {
        let letter = found.get(&id).ok_or_else(|| {
            anyhow!("there is no dead letter {id}; `bowerbird dead-letters list --each` names them")
        })?;
        all.push(full(letter, marks.iter().filter(|mark| mark.of == id)));
    }
    output::one(settings.output, "dead-letters show", &all, || {
        all.iter().map(told).collect::<Vec<_>>().join("\n")
    })?;
    Ok(Outcome::Done)
}

fn full<'a>(letter: &Letter, marks: impl Iterator<Item = &'a Mark>) -> Full {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let why = &letter.story.why;
    let headers = letter.record.headers.iter().filter(|(name, _)| !name.starts_with("dl_"));
    let marks =
        marks.map(|mark| Marked { done: mark.deed.as_str(), time: mark.time, by: mark.by.clone() });
    Full {
        letter: letter.id,
        state: state(letter.done),
        time: letter.story.time,
        reason: why.reason.clone(),
        error: why.error.clone(),
        group: why.group.clone(),
        attempts: why.attempts,
        origin: letter.story.origin.as_ref().map(ToString::to_string),
        again: letter.again(),
        cut: letter.is_cut(),
        erased: letter.is_erased(),
        marks: marks.collect(),
        key: letter.key().map(|key| key.into_owned()),
        headers: headers.map(|(name, value)| (name.to_owned(), text(value))).collect(),
        value: letter.record.value.as_deref().map(text),
    }
}

fn told(letter: &Full) -> String {
    let mut rows = vec![
        ("letter", format!("{}, {}", letter.letter, letter.state)),
        (
            "given up",
            format!("{} by {}, tried {} times", letter.time, letter.group, letter.attempts),
        ),
        ("reason", letter.reason.clone()),
        ("error", letter.error.clone()),
        ("origin", letter.origin.clone().unwrap_or_else(|| "never was in the log".to_owned())),
    ];
    if let Some(again) = letter.again {
        rows.push(("again", format!("{again} was redriven, and has failed again")));
    }
    if letter.cut {
        rows.push((
            "cut",
            "it was too large to be kept whole; the rest is at its origin".to_owned(),
        ));
    }
    for Marked { done, time, by } in &letter.marks {
        rows.push((done, format!("{time} by {by}")));
    }
    rows.push(("key", letter.key.clone().unwrap_or_else(|| "-".to_owned())));
    for (name, value) in &letter.headers {
        rows.push(("header", format!("{name}: {value}")));
    }
    let lines = rows.into_iter().map(|(name, value)| format!("{name:<9} {value}\n"));
    let mut text: String = lines.collect();
    match &letter.value {
        Some(value) => text.push_str(&format!("value\n{value}\n")),
        None => text.push_str("no value\n"),
    }
    text
}
