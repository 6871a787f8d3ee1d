//! The whole pipeline against the raw limit of what it stands on, measured in the same run.
//!
//! `tests/bench/run` starts the services and runs this; `docs/PERFORMANCE.md` has a table of it.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench may panic, and prints")]

mod corpus;
mod documents;
mod embedded;
mod idle;
mod kafka;
mod latency;
mod memory;
mod place;
mod rebuild;
mod stored;
mod timed;

use std::time::Duration;

/// One line of the table.
pub struct Row {
    /// What was done.
    pub what: &'static str,
    /// Per second.
    pub ours: f64,
    /// What the raw limit did, and what that is.
    pub limit: Option<(f64, &'static str)>,
}

/// Things per second.
pub fn rate(count: u64, time: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let count = count as f64;
    count / time.as_secs_f64()
}

/// Of rounds of ours and the limit, the one with the middle ratio.
pub fn middle(mut rounds: Vec<(f64, f64)>) -> (f64, f64) {
    rounds.sort_by(|(one, by), (two, than)| (one / by).total_cmp(&(two / than)));
    rounds[rounds.len() / 2]
}

/// A number from the environment.
pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// The address of a service.
pub fn service(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run tests/bench/run"))
}

/// What can be measured. A rebuild is of the whole log, so it goes before what fills it; so do idle
/// roles, which would read what has not been read yet, but in a `CouchDB` that has databases then.
const PARTS: [&str; 8] =
    ["rebuild", "idle", "kafka", "documents", "embedded", "latency", "stored", "memory"];

fn main() {
    // `cargo test` runs benches too, to see that they start; measuring is for `cargo bench`.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    // `tests/bench/run kafka memory` measures these parts only.
    let asked: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    if let Some(unknown) = asked.iter().find(|part| !PARTS.contains(&part.as_str())) {
        panic!("there is no part {unknown}; there are: {}", PARTS.join(" "));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for part in PARTS {
        if !asked.is_empty() && !asked.iter().any(|name| name == part) {
            continue;
        }
        // What one part leaves on the disk is not for the next to carry.
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let events = setting("BENCH_EVENTS", 300_000);
        let documents = setting("BENCH_DOCUMENTS", 60_000);
        let embedded = setting("BENCH_EMBEDDED", 100_000);
        match part {
            "rebuild" => runtime.block_on(rebuild::measure(folder, embedded)),
            "kafka" => table(runtime.block_on(kafka::measure(folder, events))),
            "documents" => table(runtime.block_on(documents::measure(documents))),
            "embedded" => table(runtime.block_on(embedded::measure(folder, embedded))),
            "latency" => runtime.block_on(latency::measure(folder)),
            "stored" => runtime.block_on(stored::measure(folder)),
            "idle" => idle::measure(folder),
            _ => memory(folder),
        }
    }
}

fn memory(folder: &std::path::Path) {
    println!("\n| peak memory | waiting events | MiB |\n|---|---:|---:|");
    for backlog in [10_000, 100_000, setting("BENCH_BACKLOG", 1_000_000)] {
        for (role, mib) in memory::measure(folder, backlog) {
            println!("| {role} | {backlog} | {mib:.0} |");
        }
    }
}

fn table(rows: Vec<Row>) {
    println!("\n| what | per second | limit | ratio |\n|---|---:|---:|---:|");
    for Row { what, ours, limit } in rows {
        match limit {
            Some((limit, name)) => {
                println!("| {what} | {ours:.0} | {limit:.0} ({name}) | {:.2} |", ours / limit);
            }
            None => println!("| {what} | {ours:.0} | | |"),
        }
    }
}
