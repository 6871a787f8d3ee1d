//! `bowerbird ingest`

mod archive;
mod aurin;
mod compliance;
mod nowhere;
mod x;

use bowerbird_infra::config::Account;
use clap::Subcommand;

pub use aurin::{ROLE as AURIN, spawn as spawn_aurin};
pub use x::{any_token, spawn as spawn_x};

use crate::failure::Outcome;
use crate::settings::Settings;
use crate::shutdown::Shutdown;

/// What `ingest` takes.
#[derive(Debug, Subcommand)]
pub enum Arguments {
    /// Follow X's filtered stream
    X(x::Arguments),
    /// Poll the configured data sets of a WFS
    Aurin(aurin::Arguments),
    /// Import archives of posts
    Archive(archive::Arguments),
    /// Import compliance notices: results of batch compliance jobs, delete notices of archives
    Compliance(compliance::Arguments),
}

impl Arguments {
    /// The accounts whose secrets it needs.
    pub fn accounts(&self) -> &'static [Account] {
        match self {
            Self::X(_) => &[Account::Log, Account::X],
            Self::Aurin(_) => &[Account::Log, Account::Aurin],
            // It reads its files, and asks nobody.
            Self::Archive(arguments) if arguments.dry_run => &[],
            Self::Compliance(arguments) if arguments.files.dry_run => &[],
            Self::Archive(_) | Self::Compliance(_) => &[Account::Log],
        }
    }

    /// Whether it goes on until it is told to stop.
    pub fn is_service(&self) -> bool {
        match self {
            Self::X(_) => true,
            Self::Aurin(arguments) => !arguments.once,
            Self::Archive(_) | Self::Compliance(_) => false,
        }
    }
}

/// Brings a source into the log.
pub async fn run(
    arguments: Arguments,
    settings: &Settings,
    shutdown: &Shutdown,
) -> anyhow::Result<Outcome> {
    match arguments {
        Arguments::X(arguments) => x::run(arguments, settings, shutdown).await,
        Arguments::Aurin(arguments) => aurin::run(arguments, settings, shutdown).await,
        Arguments::Archive(arguments) => archive::run(arguments, settings, shutdown).await,
        Arguments::Compliance(arguments) => compliance::run(arguments, settings, shutdown).await,
    }
}
