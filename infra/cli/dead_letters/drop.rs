//! `bowerbird dead-letters drop`

use bowerbird_stream::dead_letter::Discarded;
use clap::Args;
use tokio_util::sync::CancellationToken;

use super::Letters;
use super::selection::Selection;
use crate::failure::{Outcome, WrongUse};
use crate::output;
use crate::progress;
use crate::question;
use crate::settings::{self, Settings};
use crate::shutdown::Shutdown;

/// What `dead-letters drop` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// Only say how many would be dropped
    #[arg(long)]
    dry_run: bool,
    /// Drop them without asking
    #[arg(long)]
    yes: bool,
}

/// Drops them.
pub async fn run(
    arguments: Arguments,
    letters: &Letters,
    settings: &Settings,
    shutdown: &Shutdown,
) -> anyhow::Result<Outcome> {
    let Arguments { selection, dry_run, yes } = arguments;
    let filter = selection.filter(false);
    let (by, cancel) = (settings::user(), shutdown.token());
    let bar = progress::counter("letters dropped");
    let discard = async |dry_run: bool, cancel: &CancellationToken| {
        let mut done = Discarded::default();
        let dropped = |count| bar.set_position(count);
        let ended = letters.discard(&mut done, filter.clone(), &by, dry_run, dropped, cancel).await;
        (done, ended)
    };
    if dry_run || !yes {
        let (would, ended) = discard(true, &cancel).await;
        ended?;
        bar.reset();
        if dry_run {
            print(&would, true, settings)?;
            return Ok(if would.stopped { Outcome::FallsShort } else { Outcome::Done });
        }
        let what = format!("{} dead letters", would.letters);
        if would.letters > 0 && !question::ask(&format!("Drop {what} for good?"))? {
            let left = format!("{what} were left as they are; --yes drops them");
            return Err(WrongUse(left).into());
        }
    }
    let (done, ended) = discard(false, &cancel).await;
    bar.finish_and_clear();
    // What was done is told also when an error ended it.
    print(&done, false, settings)?;
    ended?;
    Ok(if done.stopped { Outcome::FallsShort } else { Outcome::Done })
}

fn print(done: &Discarded, dry_run: bool, settings: &Settings) -> anyhow::Result<()> {
    output::one(settings.output, "dead-letters drop", done, || {
        let would = if dry_run { "would be " } else { "" };
        let stopped = if done.stopped { "; stopped before the end" } else { "" };
        format!("{} letters {would}dropped{stopped}\n", done.letters)
    })
}
