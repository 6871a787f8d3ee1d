//! What the command line takes.

use std::path::PathBuf;
use std::time::Duration;

use bowerbird_infra::config::Account;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::{
    aurin, compliance, config, dashboard, dead_letters, gaps, ingest, init, lag, mapreduce,
    projections, replay, rules, sim, sink, topics, up, usage, verify,
};

/// Harvests X posts and AURIN data sets through an event log into documents, and answers by
/// MapReduce.
#[derive(Debug, Parser)]
#[command(name = "bowerbird", version, arg_required_else_help = true)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// The configuration; without it ./bowerbird.toml if there is one, else the defaults
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The folder of the embedded log and store [default: the platform's data folder]
    #[arg(long, global = true, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// How data is written to stdout
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    pub output: Format,
    /// How logs are written to stderr
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// Say more in the logs; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Say only what failed
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// How data is written to stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns, for people.
    Text,
    /// JSON.
    Json,
    /// Comma-separated values, where a command lists things.
    Csv,
}

/// How logs are written to stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in one process: sources, log, sink, views, dashboard
    Up(up::Arguments),
    /// Write a commented bowerbird.toml
    Init(init::Arguments),
    /// Check the configuration, or print its reference
    #[command(subcommand)]
    Config(config::Arguments),
    /// Create topics and bring their settings up to date, or list them
    #[command(subcommand)]
    Topics(topics::Arguments),
    /// Bring a source into the event log
    #[command(subcommand)]
    Ingest(ingest::Arguments),
    /// List the rules of X's stream, or bring them in line with the configuration
    #[command(subcommand)]
    Rules(rules::Arguments),
    /// List the data sets of AURIN's WFS, or the columns of one
    #[command(subcommand)]
    Aurin(aurin::Arguments),
    /// What X's stream has brought and cost, by UTC day and rule
    Usage(usage::Arguments),
    /// Whether what was harvested is whole: when nobody listened to X's stream, and which data sets and
    /// files are not complete
    Gaps(gaps::Arguments),
    /// What platforms ask to be removed: how far that is, carry it on, ask what else
    #[command(subcommand)]
    Compliance(compliance::Arguments),
    /// Write what the event log holds as documents
    Sink(sink::Arguments),
    /// How far each group is behind the event log
    Lag(lag::Arguments),
    /// List, show, redrive or drop what could not be processed
    #[command(subcommand)]
    DeadLetters(dead_letters::Arguments),
    /// Replay a part of a topic: into the live projection, another database or a topic
    Replay(replay::Arguments),
    /// List, rebuild, switch, roll back or drop generations of projections
    #[command(subcommand)]
    Projections(projections::Arguments),
    /// Compare the event log with the documents; exit 1 if anything differs
    Verify(verify::Arguments),
    /// Deploy design documents, or query their views
    #[command(subcommand)]
    Mapreduce(mapreduce::Arguments),
    /// Serve the lag dashboard and its API
    Dashboard(dashboard::Arguments),
    /// Run a simulator, to try things on
    #[command(subcommand)]
    Sim(sim::Arguments),
}

impl Command {
    /// The accounts whose secrets it needs.
    pub fn accounts(&self) -> &'static [Account] {
        match self {
            Self::Up(_) => &[Account::Log, Account::Store, Account::Aurin],
            Self::Sink(_)
            | Self::Verify(_)
            | Self::Replay(_)
            | Self::Projections(_)
            | Self::Lag(_)
            | Self::Compliance(_)
            | Self::Dashboard(_) => &[Account::Log, Account::Store],
            Self::Topics(_) | Self::Usage(_) | Self::Gaps(_) => &[Account::Log],
            Self::DeadLetters(arguments) => arguments.accounts(),
            Self::Rules(arguments) => arguments.accounts(),
            Self::Aurin(arguments) => arguments.accounts(),
            Self::Mapreduce(_) => &[Account::Store],
            Self::Ingest(arguments) => arguments.accounts(),
            Self::Init(_) | Self::Config(_) | Self::Sim(_) => &[],
        }
    }

    /// Whether it goes on until it is told to stop, so that its logs are its voice.
    pub fn is_service(&self) -> bool {
        match self {
            Self::Up(_) | Self::Sink(_) | Self::Dashboard(_) | Self::Sim(_) => true,
            Self::Ingest(arguments) => arguments.is_service(),
            _ => false,
        }
    }
}

/// A duration as people write it: `30s`, `5m`, `1h 30m`.
///
/// # Errors
/// When it is none, or not longer than zero.
pub fn duration(text: &str) -> Result<Duration, String> {
    let duration = text
        .parse::<jiff::SignedDuration>()
        .map_err(|_| "not a duration; write it like 30s, 5m or \"1h 30m\"".to_owned())?;
    match Duration::try_from(duration) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("a duration here is longer than zero".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_are_as_people_write_them() {
        for (text, seconds) in [("30s", 30), ("5m", 300), ("1h 30m", 5400), ("1h30m", 5400)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "30", "abc", "0s", "-5s", "1 parsec"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
