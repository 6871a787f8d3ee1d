//! `bowerbird projections`

mod drop;
mod list;
mod rebuild;
mod switch;
mod totals;

use bowerbird_sink::Generations;
use bowerbird_store::{AnyStore, DocumentStore as _};
use bowerbird_stream::AnyLog;
use clap::Subcommand;

use crate::failure::Outcome;
use crate::generations;
use crate::parts;
use crate::settings::Settings;
use crate::shutdown::Shutdown;

/// What `projections` takes.
#[derive(Debug, Subcommand)]
pub enum Arguments {
    /// The generations that there are, and which are live
    List,
    /// Fill a new generation from the log beside the live one, verify it, and mark it ready
    Rebuild(rebuild::Arguments),
    /// Make a generation live that is ready
    Switch(switch::Arguments),
    /// Make the generation live again that was live before; said again, it stays there
    Rollback(switch::RollbackArguments),
    /// Remove a generation that is not live
    Drop(drop::Arguments),
}

/// Lists, rebuilds, switches, rolls back or drops.
pub async fn run(
    arguments: Arguments,
    settings: &Settings,
    shutdown: &Shutdown,
) -> anyhow::Result<Outcome> {
    let (log, store) = (parts::log(settings).await?, parts::store(settings)?);
    // A wrong password is found out once, before anything is begun.
    store.ping().await?;
    let generations = generations::of(settings, &store);
    let with = With { log, store, generations, settings };
    match arguments {
        Arguments::List => shutdown.unless(list::run(&with)).await,
        Arguments::Rebuild(arguments) => rebuild::run(arguments, &with, shutdown).await,
        Arguments::Switch(arguments) => switch::run(arguments, &with, shutdown).await,
        Arguments::Rollback(arguments) => switch::rollback(arguments, &with, shutdown).await,
        Arguments::Drop(arguments) => shutdown.unless(Box::pin(drop::run(arguments, &with))).await,
    }
}

/// What each of them works with.
struct With<'a> {
    log: AnyLog,
    store: AnyStore,
    generations: Generations<AnyStore>,
    settings: &'a Settings,
}
