//! `bowerbird dead-letters redrive`

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use bowerbird_ingest::aurin::DatasetConfig;
use bowerbird_ingest::read_again;
use bowerbird_stream::Outgoing;
use bowerbird_stream::dead_letter::{Letter, Redrive, Redriven};
use clap::Args;

use super::selection::Selection;
use super::{Letters, alone};
use crate::args;
use crate::failure::Outcome;
use crate::generations;
use crate::output;
use crate::parts;
use crate::progress;
use crate::settings::{self, Settings};
use crate::shutdown::Shutdown;

/// What `dead-letters redrive` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// At most so many letters a second
    #[arg(long, value_name = "LETTERS", default_value = "100")]
    rate: NonZeroU32,
    /// Wait so long for the sinks to get to what was sent, to say what failed again
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = args::duration)]
    wait: Duration,
    /// Don't wait for the sinks
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
    /// Only say what would be sent, and what can't be
    #[arg(long)]
    dry_run: bool,
    /// Name at most so many letters that could not be sent or failed again; all are counted
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,
}

impl Arguments {
    /// Whether it sends letters on their way.
    pub fn sends(&self) -> bool {
        !self.dry_run
    }

    /// Whether it waits for groups.
    fn waits(&self) -> bool {
        !self.no_wait && self.sends()
    }
}

/// Redrives them.
pub async fn run(
    arguments: Arguments,
    letters: &Letters,
    settings: &Settings,
    shutdown: &Shutdown,
) -> anyhow::Result<Outcome> {
    let waits = arguments.waits();
    let config = Redrive {
        rate: arguments.rate.get(),
        wait: if waits { arguments.wait } else { Duration::ZERO },
        groups: if waits { groups(settings).await? } else { BTreeMap::new() },
        by: settings::user(),
        dry_run: arguments.dry_run,
        listed: arguments.limit,
        filter: arguments.selection.filter(false),
    };
    let datasets = parts::aurin(settings)?.datasets;
    let bar = progress::counter("letters looked at");
    let (mut done, cancel) = (Redriven::default(), shutdown.token());
    let reader = |letter: &Letter| again(letter, &datasets);
    let looked_at = |count| bar.set_position(count);
    let redriving = Box::pin(letters.redrive(&mut done, &config, reader, looked_at, &cancel));
    let ended = match config.dry_run {
        true => redriving.await.map_err(anyhow::Error::from),
        false => alone(settings, redriving).await.and_then(|ended| Ok(ended?)),
    };
    bar.finish_and_clear();
    // What was done is told also when an error ended it, as when another took the lease over.
    if ended.is_ok() || done != Redriven::default() {
        output::one(settings.output, "dead-letters redrive", &done, || told(&done, &config))?;
    }
    ended?;
    Ok(if done.succeeded() { Outcome::Done } else { Outcome::FallsShort })
}

/// The live groups of each topic.
async fn groups(settings: &Settings) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let store = parts::store(settings)?;
    let mut groups = BTreeMap::<String, Vec<String>>::new();
    for projection in generations::of(settings, &store).all_live().await? {
        for topic in &projection.topics {
            groups.entry((*topic).to_owned()).or_default().push(projection.group.clone());
        }
    }
    Ok(groups)
}

/// Reads again what never was in the log.
fn again(letter: &Letter, datasets: &[DatasetConfig]) -> Result<Vec<Outgoing>, String> {
    let event =
        letter.record.view().map_err(|error| format!("it is no letter of ours: {error}"))?;
    read_again(&event, letter.record.value.as_ref(), datasets)
}

fn told(done: &Redriven, config: &Redrive) -> String {
    let would = if config.dry_run { "would be " } else { "" };
    let records = done.records.iter().map(|(topic, count)| format!("{topic} {count}"));
    let records = records.collect::<Vec<_>>().join(", ");
    let into = if records.is_empty() { records } else { format!(" (records: {records})") };
    let mut text = format!("{} letters {would}redriven{into}\n", done.letters);
    let mut line = |count: u64, what: &str| {
        if count > 0 {
            text.push_str(&format!("{count} {what}\n"));
        }
    };
    line(done.refused, "can't be redriven, and stay open");
    line(done.failed_again, "have failed again, each with a new letter");
    if done.stopped {
        text.push_str("stopped before the end; the same command goes on\n");
    }
    if !done.unsettled.is_empty() {
        text.push_str(
            "not everything was looked at by the sinks when the wait ended, more may fail again; \
             is a sink running?\n",
        );
        let header = ["group", "topic", "partition", "behind"];
        let rows = done.unsettled.iter().map(|one| {
            let numbers = [i64::from(one.partition), one.behind].map(|number| number.to_string());
            [one.group.clone(), one.topic.clone()].into_iter().chain(numbers).collect()
        });
        text.push_str(&output::aligned(&header, &rows.collect::<Vec<_>>()));
    }
    if !done.troubles.is_empty() {
        let rows = done.troubles.iter().map(|trouble| {
            let again = trouble.again.map_or_else(|| "-".to_owned(), |again| again.to_string());
            vec![trouble.letter.to_string(), again, trouble.why.clone()]
        });
        text.push('\n');
        let header = ["letter", "new letter", "why"];
        text.push_str(&output::aligned(&header, &rows.collect::<Vec<_>>()));
    }
    text
}
