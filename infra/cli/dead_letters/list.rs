//! `bowerbird dead-letters list`

use bowerbird_stream::dead_letter::{Counts, Filter, Group, Letter, LetterId};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::selection::Selection;
use super::{Letters, state};
use crate::failure::Outcome;
use crate::output;
use crate::settings::Settings;

/// How much of an error stands in a line for people.
const SHORT: usize = 60;

/// What `dead-letters list` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// List each letter instead of counting them by what they have in common
    #[arg(long)]
    each: bool,
    /// With --each, at most so many
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    limit: usize,
    /// Also those that were redriven or dropped
    #[arg(long)]
    done: bool,
}

/// A letter in short.
#[derive(Debug, Serialize)]
struct Brief {
    letter: LetterId,
    time: Timestamp,
    state: &'static str,
    reason: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    origin: Option<String>,
    group: String,
    attempts: u32,
    key: Option<String>,
    bytes: usize,
    again: Option<LetterId>,
    error: String,
}

impl From<&Letter> for Brief {
    fn from(letter: &Letter) -> Self {
        let story = &letter.story;
        Self {
            letter: letter.id,
            time: story.time,
            state: state(letter.done),
            reason: story.why.reason.clone(),
            kind: letter.kind().map(str::to_owned),
            origin: story.origin.as_ref().map(ToString::to_string),
            group: story.why.group.clone(),
            attempts: story.why.attempts,
            key: letter.key().map(|key| key.into_owned()),
            bytes: letter.record.size(),
            again: letter.again(),
            error: story.why.error.clone(),
        }
    }
}

/// Lists them.
pub async fn run(
    arguments: Arguments,
    letters: &Letters,
    settings: &Settings,
) -> anyhow::Result<Outcome> {
    let filter = arguments.selection.filter(arguments.done);
    if arguments.each {
        each(letters, filter, arguments.limit, settings).await?;
    } else {
        counted(letters, filter, settings).await?;
    }
    Ok(Outcome::Done)
}

async fn counted(letters: &Letters, filter: Filter, settings: &Settings) -> anyhow::Result<()> {
    let (mut reading, mut counts) = (letters.read(filter).await?, Counts::default());
    while let Some(page) = reading.next().await? {
        page.iter().for_each(|letter| counts.add(letter));
    }
    strangers(reading.strangers());
    let header =
        ["reason", "type", "topic", "group", "state", "letters", "again", "bytes", "first", "last"];
    output::rows(settings.output, &counts.groups(), &header, |group: &Group| {
        let words = [&group.reason, &group.kind, &group.topic, &group.group].map(Clone::clone);
        let state = state(group.done).to_owned();
        let numbers = [group.letters, group.again, group.bytes].map(|number| number.to_string());
        let times = [group.first, group.last].map(|time| time.to_string());
        words.into_iter().chain([state]).chain(numbers).chain(times).collect()
    })
}

async fn each(
    letters: &Letters,
    filter: Filter,
    limit: usize,
    settings: &Settings,
) -> anyhow::Result<()> {
    let (mut reading, mut briefs, mut more) = (letters.read(filter).await?, Vec::new(), 0);
    while let Some(page) = reading.next().await? {
        briefs.extend(page.iter().map(Brief::from));
        // The oldest are listed, wherever in the topic they stand by now.
        briefs.sort_by_key(|brief| (brief.time, brief.letter));
        more += briefs.len().saturating_sub(limit);
        briefs.truncate(limit);
    }
    strangers(reading.strangers());
    let header =
        ["letter", "time", "state", "reason", "type", "origin", "group", "key", "again", "error"];
    let text = settings.output == crate::args::Format::Text;
    output::rows(settings.output, &briefs, &header, |brief| {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let again = brief.again.map(|again| again.to_string());
        let error = if text { output::shortened(&brief.error, SHORT) } else { brief.error.clone() };
        vec![
            brief.letter.to_string(),
            brief.time.to_string(),
            brief.state.to_owned(),
            brief.reason.clone(),
            or_none(&brief.kind),
            or_none(&brief.origin),
            brief.group.clone(),
            or_none(&brief.key),
            or_none(&again),
            error,
        ]
    })?;
    if more > 0 {
        tracing::warn!(
            listed = briefs.len(),
            more,
            "there are more letters; --limit raises the bound"
        );
    }
    Ok(())
}

fn strangers(count: u64) {
    if count > 0 {
        tracing::warn!(count, "records of the topic are no dead letters; they were passed over");
    }
}
