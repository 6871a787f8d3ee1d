//! `bowerbird mapreduce`

mod deploy;
mod query;

use clap::Subcommand;

use crate::failure::Outcome;
use crate::settings::Settings;

pub use deploy::{Deployer, spawn};

/// What `mapreduce` takes.
#[derive(Debug, Subcommand)]
pub enum Arguments {
    /// Bring the design documents into their databases, and build their indexes
    Deploy(deploy::Arguments),
    /// Ask a view
    Query(query::Arguments),
}

/// Deploys or asks.
pub async fn run(arguments: Arguments, settings: &Settings) -> anyhow::Result<Outcome> {
    match arguments {
        Arguments::Deploy(arguments) => deploy::run(arguments, settings).await,
        Arguments::Query(arguments) => query::run(arguments, settings).await,
    }
}
