//! `bowerbird dead-letters`

mod drop;
mod list;
mod redrive;
mod selection;
mod show;

use bowerbird_infra::config::Account;
use bowerbird_sink::meta::job::Job;
use bowerbird_sink::meta::{Meta, REDRIVE};
use bowerbird_stream::AnyLog;
use bowerbird_stream::dead_letter::{DeadLetters, Deed};
use clap::Subcommand;

use crate::failure::Outcome;
use crate::generations;
use crate::parts;
use crate::settings::Settings;
use crate::shutdown::Shutdown;

/// What `dead-letters` takes.
#[derive(Debug, Subcommand)]
pub enum Arguments {
    /// How many there are of each kind, or each by itself
    List(list::Arguments),
    /// Everything about some letters: why, from where, what was done, the record itself
    Show(show::Arguments),
    /// Send letters on their way again, and say what failed again
    Redrive(redrive::Arguments),
    /// Give letters up for good: they are listed and redriven no more
    Drop(drop::Arguments),
}

impl Arguments {
    /// The accounts whose secrets it needs.
    pub fn accounts(&self) -> &'static [Account] {
        match self {
            // Which groups to wait for stands in the store, and that nobody else redrives.
            Self::Redrive(arguments) if arguments.sends() => &[Account::Log, Account::Store],
            _ => &[Account::Log],
        }
    }
}

/// Lists, shows, redrives or drops.
pub async fn run(
    arguments: Arguments,
    settings: &Settings,
    shutdown: &Shutdown,
) -> anyhow::Result<Outcome> {
    let letters = DeadLetters::new(parts::log(settings).await?);
    match arguments {
        Arguments::List(arguments) => {
            shutdown.unless(list::run(arguments, &letters, settings)).await
        }
        Arguments::Show(arguments) => {
            shutdown.unless(show::run(arguments, &letters, settings)).await
        }
        Arguments::Redrive(arguments) => {
            Box::pin(redrive::run(arguments, &letters, settings, shutdown)).await
        }
        Arguments::Drop(arguments) => {
            Box::pin(drop::run(arguments, &letters, settings, shutdown)).await
        }
    }
}

type Letters = DeadLetters<AnyLog>;

/// Redrives while nobody else does: two at the same time would send the same letters twice.
async fn alone<R>(settings: &Settings, work: impl Future<Output = R>) -> anyhow::Result<R> {
    let store = parts::store(settings)?;
    let meta = Meta::new(store, settings.config().store.create_databases);
    let worker = generations::worker();
    let (done, noted) = Job::alone(&meta, REDRIVE, &worker, work, |(), _| {}).await?;
    if let Err(error) = noted {
        tracing::debug!(%error, "the redrive's note was not let go");
    }
    Ok(done)
}

/// What has become of a letter, in a word.
fn state(done: Option<Deed>) -> &'static str {
    done.map_or("open", Deed::as_str)
}
