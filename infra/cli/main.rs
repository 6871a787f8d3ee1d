//! The `bowerbird` command: arguments → configuration → telemetry → parts → run → signal → drain.

mod args;
mod aurin;
mod compliance;
mod config;
mod crew;
mod dashboard;
mod dead_letters;
mod failure;
mod folder;
mod gaps;
mod generations;
mod ingest;
mod init;
mod instant;
mod lag;
mod mapreduce;
mod output;
mod parts;
mod progress;
mod projections;
mod question;
mod replay;
mod report;
mod rules;
mod secrets;
mod service;
mod settings;
mod shutdown;
mod sim;
mod sink;
mod telemetry;
mod topics;
mod up;
mod usage;
mod verify;
mod watch;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use args::{Cli, Command};
use failure::Outcome;
use settings::Settings;
use shutdown::Shutdown;

/// How long blocking work (a query of a view, a write to a file) may hold up the exit.
const LAST_WAIT: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let cli = Cli::parse();
    failure::exit_code(start(cli))
}

fn start(cli: Cli) -> anyhow::Result<Outcome> {
    telemetry::install(&cli)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(run(cli));
    runtime.shutdown_timeout(LAST_WAIT);
    outcome
}

async fn run(cli: Cli) -> anyhow::Result<Outcome> {
    let Cli { global, command } = cli;
    // These two work where the configuration does not.
    match command {
        Command::Init(arguments) => return init::run(&arguments, &global),
        Command::Config(config::Arguments::Reference) => return config::reference(&global),
        _ => {}
    }
    let mut settings = Settings::load(global)?;
    secrets::complete(&mut settings.loaded, command.accounts(), command.is_service())?;
    let shutdown = Shutdown::on_signals()?;
    let outcome = match command {
        Command::Up(arguments) => up::run(arguments, &settings, &shutdown).await,
        Command::Init(_) | Command::Config(_) => config::check(&settings),
        Command::Topics(arguments) => shutdown.unless(topics::run(arguments, &settings)).await,
        Command::Ingest(arguments) => ingest::run(arguments, &settings, &shutdown).await,
        Command::Rules(arguments) => shutdown.unless(rules::run(arguments, &settings)).await,
        Command::Aurin(arguments) => shutdown.unless(aurin::run(arguments, &settings)).await,
        Command::Usage(arguments) => shutdown.unless(usage::run(arguments, &settings)).await,
        Command::Gaps(arguments) => shutdown.unless(gaps::run(arguments, &settings)).await,
        Command::Compliance(arguments) => compliance::run(arguments, &settings, &shutdown).await,
        Command::Sink(arguments) => sink::run(arguments, &settings, &shutdown).await,
        Command::Lag(arguments) => lag::run(arguments, &settings, &shutdown).await,
        Command::DeadLetters(arguments) => dead_letters::run(arguments, &settings, &shutdown).await,
        Command::Replay(arguments) => replay::run(arguments, &settings, &shutdown).await,
        Command::Projections(arguments) => {
            Box::pin(projections::run(arguments, &settings, &shutdown)).await
        }
        Command::Verify(arguments) => shutdown.unless(verify::run(arguments, &settings)).await,
        Command::Mapreduce(arguments) => {
            shutdown.unless(Box::pin(mapreduce::run(arguments, &settings))).await
        }
        Command::Dashboard(arguments) => dashboard::run(arguments, &settings, &shutdown).await,
        Command::Sim(arguments) => sim::run(arguments, &settings, &shutdown).await,
    };
    shutdown.finish().await;
    outcome
}
