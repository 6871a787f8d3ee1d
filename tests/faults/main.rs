//! The fault harness: histories of faults, each decided by a seed, on a real Kafka of three
//! brokers and a real HTTP store. `tests/faults/run` starts the services and this.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a harness may panic")]
#![expect(clippy::print_stdout, reason = "what it shows is for people")]

mod clock;
mod corpus;
mod crew;
mod embedded;
mod harvest;
mod history;
mod intake;
mod members;
mod oracle;
mod plan;
mod proxy;
mod services;
mod upkeep;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use history::Report;
use plan::{Plan, SCALED};
use services::Services;

/// Breaks the pipeline in seeded ways, and tells whether anything was lost, doubled or made up.
#[derive(Debug, Parser)]
#[command(name = "tests/faults/run")]
struct Options {
    /// How many histories, each with the seed after the one before
    #[arg(long, default_value_t = 12)]
    runs: u64,
    /// The first seed; a history is repeated by its seed and --runs 1
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// On what: three brokers and an HTTP store, or the embedded pair
    #[arg(long, value_enum, default_value_t = Pair::Real)]
    on: Pair,
    /// Where the logs of failed runs are kept
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    keep: PathBuf,
}

/// What a history happens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Pair {
    Real,
    Embedded,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // Dropped with all of its tasks on a signal, so that their processes are killed.
    let failed = runtime.block_on(async {
        tokio::select! {
            failed = all(&options) => Some(failed),
            () = interrupted() => None,
        }
    });
    match failed {
        Some(0) => ExitCode::SUCCESS,
        Some(_) => ExitCode::FAILURE,
        None => ExitCode::from(130),
    }
}

async fn interrupted() {
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

/// All runs; how many have failed.
async fn all(options: &Options) -> usize {
    let services = match options.on {
        Pair::Real => Some(Services::found().await),
        Pair::Embedded => None,
    };
    for left_out in services.iter().flat_map(Services::left_out) {
        println!("{left_out}: this machine does not allow it");
    }
    std::fs::create_dir_all(&options.keep).unwrap();
    let mut reports = Vec::new();
    for seed in options.seed..options.seed + options.runs {
        let folder = tempfile::Builder::new()
            .prefix(&format!("faults-{seed}-"))
            .tempdir_in(&options.keep)
            .unwrap();
        let from = Instant::now();
        let report = match &services {
            Some(services) => {
                let plan = Plan::of(seed);
                println!("seed {seed}: {}", plan.told());
                history::run(plan, services, folder.path()).await
            }
            None => {
                println!("seed {seed}: embedded, {:?}", embedded::Kind::of(seed));
                embedded::run(seed, folder.path()).await
            }
        };
        tell(&report, from.elapsed());
        if !report.wrongs.is_empty() {
            println!("  seed {seed} FAILED; what everybody said: {}", folder.keep().display());
            let on = if services.is_some() { "" } else { " --on embedded" };
            println!("  again: tests/faults/run --runs 1 --seed {seed}{on}");
        }
        reports.push((seed, report));
    }
    sum_up(&reports)
}

fn tell(report: &Report, took: Duration) {
    let Report { found, recovery, phases, peak, samples, struck, wrongs, .. } = report;
    let (written, again) = report.written;
    println!(
        "  {} {:.1} s ({:.1} s to begin, {:.1} s of work): {} events ({} of the stream), {} documents in {} generations of \
         posts, {} rewrites, {written} writes ({again} for nothing), {} dead letters ({} repeated), level {:.1} s after the last fault, {} MiB, {samples} samples, spoilt {struck}",
        if wrongs.is_empty() { "ok" } else { "FAILED" },
        took.as_secs_f64(),
        phases[0].as_secs_f64(),
        phases[1].as_secs_f64(),
        found.events,
        found.streamed,
        found.documents,
        found.generations,
        found.rewrites,
        found.letters,
        found.repeated,
        recovery.as_secs_f64(),
        peak >> 20,
    );
    if let Some(settled) = report.settled {
        println!(
            "  scaling {SCALED:?}: {settled} records settled of {}, so {} again; {again} of {written} \
             documents written for nothing",
            found.events,
            settled.saturating_sub(found.events),
        );
    }
    wrongs.iter().for_each(|wrong| println!("  - {wrong}"));
}

/// All runs in a few lines; how many have failed.
fn sum_up(reports: &[(u64, Report)]) -> usize {
    let failed: Vec<u64> = reports
        .iter()
        .filter(|(_, report)| !report.wrongs.is_empty())
        .map(|(seed, _)| *seed)
        .collect();
    let mut recoveries: Vec<f64> =
        reports.iter().map(|(_, report)| report.recovery.as_secs_f64()).collect();
    recoveries.sort_by(f64::total_cmp);
    let at = |share: usize| {
        recoveries.get((recoveries.len() * share / 100).min(recoveries.len().saturating_sub(1)))
    };
    let events: u64 = reports.iter().map(|(_, report)| report.found.events).sum();
    let peak = reports.iter().map(|(_, report)| report.peak >> 20).max().unwrap_or(0);
    println!(
        "{} runs, {} failed {failed:?}; {events} events; level after median {:.1} s, 95 % {:.1} s, \
         longest {:.1} s; sinks had at most {peak} MiB",
        reports.len(),
        failed.len(),
        at(50).unwrap_or(&0.0),
        at(95).unwrap_or(&0.0),
        at(100).unwrap_or(&0.0),
    );
    failed.len()
}
