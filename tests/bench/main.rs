//! The whole pipeline against the raw limit of what it stands on, measured in the same run.
//!
//! `tests/bench/run` starts the services and runs this; `docs/PERFORMANCE.md` has a table of it.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench may panic, and prints")]

mod corpus;
mod documents;
mod embedded;
mod kafka;
mod memory;
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

/// A number from the environment.
pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// The address of a service.
pub fn service(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run tests/bench/run"))
}

fn main() {
    // `cargo test` runs benches too, to see that they start; measuring is for `cargo bench`.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    // `cargo bench --bench pipeline -- kafka memory` measures these parts only.
    let parts: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|name| name == part);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut rows = Vec::new();
    runtime.block_on(async {
        if wanted("kafka") {
            rows.extend(kafka::measure(folder.path(), setting("BENCH_EVENTS", 300_000)).await);
        }
        if wanted("documents") {
            rows.extend(documents::measure(setting("BENCH_DOCUMENTS", 30_000)).await);
        }
        if wanted("embedded") {
            rows.extend(embedded::measure(folder.path(), setting("BENCH_EMBEDDED", 100_000)).await);
        }
    });
    if !rows.is_empty() {
        table(rows);
    }
    if !wanted("memory") {
        return;
    }
    println!("\n| peak memory | waiting events | MiB |\n|---|---:|---:|");
    for backlog in [10_000, 100_000, setting("BENCH_BACKLOG", 1_000_000)] {
        for (role, mib) in memory::measure(folder.path(), backlog) {
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
