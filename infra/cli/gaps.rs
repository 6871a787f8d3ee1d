//! `bowerbird gaps`

use bowerbird_ingest::gaps::{Asked, Heard, Hole, Holes, holes};
use bowerbird_stream::dead_letter::{DeadLetters, Filter};
use bowerbird_stream::{EventLog, LogError};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::args::Format;
use crate::failure::{Outcome, WrongUse};
use crate::instant::instant;
use crate::output;
use crate::parts;
use crate::settings::Settings;

/// How much of a reason stands in a line for people.
const SHORT: usize = 120;

/// What `gaps` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Gaps that end after this time: 2024-05-01T12:00:00Z, 2024-05-01 or "2h ago" [default: all]
    #[arg(long, value_name = "TIME", value_parser = instant)]
    from: Option<Timestamp>,
    /// Gaps that begin before this time, written likewise [default: now]
    #[arg(long, value_name = "TIME", value_parser = instant)]
    to: Option<Timestamp>,
    /// List at most so many gaps of the stream, the newest
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    limit: usize,
}

/// What is not whole.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    found: Holes,
    /// What came and could not be taken, or not be made a document of: open ones.
    dead_letters: u64,
}

/// Lists the holes that the log knows of.
pub async fn run(arguments: Arguments, settings: &Settings) -> anyhow::Result<Outcome> {
    let Arguments { from, to, limit } = arguments;
    let (from, to) = (from.unwrap_or(Timestamp::MIN), to.unwrap_or(Timestamp::MAX));
    if from >= to {
        // Else it would say that there are no gaps.
        return Err(WrongUse(format!("no time lies between --from {from} and --to {to}")).into());
    }
    let asked = Asked { from, to, limit };
    let log = parts::log(settings).await?;
    let found = holes(&log, asked, Timestamp::now()).await?;
    let report = Report { found, dead_letters: open_letters(log).await? };
    if settings.output == Format::Json {
        output::json(&report)?;
        return Ok(Outcome::Done);
    }
    let found = &report.found;
    let text = settings.output == Format::Text;
    let header =
        ["source", "from", "to", "seconds", "cause", "backfill minutes", "tries", "reason"];
    if !(text && found.holes.is_empty()) {
        output::rows(settings.output, &found.holes, &header, |hole| cells(hole, text))?;
    }
    if text {
        output::text(&told(&report))?;
    }
    if found.more > 0 {
        tracing::warn!(more = found.more, "there are more gaps; --limit raises the bound");
    }
    Ok(Outcome::Done)
}

async fn open_letters<L: EventLog>(log: L) -> Result<u64, LogError> {
    let mut letters = DeadLetters::new(log).read(Filter::default()).await?;
    let mut open = 0;
    while let Some(page) = letters.next().await? {
        open += page.len() as u64;
    }
    Ok(open)
}

fn cells(hole: &Hole, text: bool) -> Vec<String> {
    let Hole { source, from, to, seconds, cause, reason, failed, last_failure, backfill_minutes } =
        hole;
    let time = |time: &Option<Timestamp>| time.map_or_else(|| "-".to_owned(), |at| at.to_string());
    let seconds = seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.3}"));
    let reason = match last_failure {
        Some(since) => format!("{reason}; since then: {since}"),
        None => reason.clone(),
    };
    let reason = if text { output::shortened(&reason, SHORT) } else { reason };
    let (backfill, tries) = (backfill_minutes.to_string(), failed.to_string());
    vec![source.clone(), time(from), time(to), seconds, cause.clone(), backfill, tries, reason]
}

/// The answer in words: what is whole, and what is not.
fn told(Report { found, dead_letters }: &Report) -> String {
    let Holes { stream, data_sets, files, holes, .. } = found;
    let mut lines = Vec::new();
    match stream {
        Some(heard) => lines.push(of_stream(heard)),
        None => lines.push("X's stream: never harvested".to_owned()),
    }
    let open = |begin: &str| holes.iter().filter(|hole| hole.source.starts_with(begin)).count();
    lines.push(format!("data sets: {data_sets} polled, {} not whole", open("aurin:")));
    lines.push(format!("files: {files} imported, {} not whole", open("archive:")));
    lines.push(format!(
        "dead letters: {dead_letters} open{}",
        if *dead_letters > 0 {
            "; `bowerbird dead-letters list` counts them by reason"
        } else {
            ""
        }
    ));
    lines.join("\n") + "\n"
}

fn of_stream(heard: &Heard) -> String {
    let Heard { begun, until, open, gaps, unheard_seconds, longest_seconds, heard_percent } = heard;
    let long = |seconds: f64| {
        let rounded = SignedDuration::from_millis((seconds * 1_000.0).round() as i64);
        format!("{rounded:#}")
    };
    let share = heard_percent.map(|percent| format!(", {percent:.3} % heard")).unwrap_or_default();
    let now = match open {
        true => format!("nobody has listened since {until}"),
        false => format!("what is in the log of it goes up to {until}"),
    };
    let longest = match gaps {
        0 => String::new(),
        _ => format!(", {} in all, the longest {}", long(*unheard_seconds), long(*longest_seconds)),
    };
    format!("X's stream since {begun}: {gaps} gaps{longest}{share}; {now}")
}
