//! How fast the logs are: `cargo bench -p bowerbird-stream -- [--records N] [sqlite] [kafka]`.
//!
//! Kafka is measured against librdkafka driven bare, with the same settings and the same bytes, in
//! turns within one run; what else the machine does then meets both. It is the broker named by
//! `BOWERBIRD_TEST_KAFKA`.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a benchmark")]

mod kafka;
mod load;
mod sqlite;

use std::time::{Duration, Instant};

/// A measured way of doing something.
pub struct Row {
    name: &'static str,
    /// Events per second, of each round.
    rates: Vec<f64>,
    /// Microseconds of this process's processor time per event, of each round.
    work: Vec<f64>,
    bytes: usize,
    records: usize,
}

impl Row {
    fn new(name: &'static str, records: usize, bytes: usize) -> Self {
        Self { name, rates: Vec::new(), work: Vec::new(), bytes, records }
    }

    fn add(&mut self, took: Took) {
        self.rates.push(self.records as f64 / took.time.as_secs_f64());
        self.work.push(took.work.as_secs_f64() * 1e6 / self.records as f64);
    }
}

fn median(figures: &[f64]) -> f64 {
    let mut figures = figures.to_vec();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// A running measurement.
pub struct Clock {
    started: Instant,
    work: Duration,
}

/// What something took.
pub struct Took {
    time: Duration,
    work: Duration,
}

impl Clock {
    fn start() -> Self {
        Self { started: Instant::now(), work: work() }
    }

    fn stop(&self) -> Took {
        Took { time: self.started.elapsed(), work: work() - self.work }
    }
}

/// The processor time of this process so far. On a busy machine it tells more than the clock.
fn work() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

fn print(rows: &[Row], baselines: &[(&str, &str)]) {
    for row in rows {
        let rate = median(&row.rates);
        let mib = rate * row.bytes as f64 / row.records as f64 / f64::from(1 << 20);
        let base = baselines.iter().find(|(name, _)| *name == row.name);
        let base = base.and_then(|(_, base)| rows.iter().find(|row| row.name == *base));
        let ratio = base.map_or(String::new(), |base| format!("{:.2}", rate / median(&base.rates)));
        let work = median(&row.work);
        println!("{:<32} {rate:>12.0} {mib:>9.0} {work:>12.2} {ratio:>8}", row.name);
    }
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<usize>().ok()
    };
    let records = value("--records").unwrap_or(300_000);
    let rounds = value("--rounds").unwrap_or(3);
    let named = |name: &str| arguments.iter().any(|argument| argument == name);
    let all = !named("sqlite") && !named("kafka");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let load = load::make(records);
    let bytes: usize = load.iter().map(bowerbird_stream::Outgoing::size).sum();
    println!("{records} events of {} bytes, {rounds} rounds, medians", bytes / records);
    println!(
        "{:<32} {:>12} {:>9} {:>12} {:>8}",
        "", "events/s", "MiB/s", "CPU µs/event", "of bare"
    );
    if all || named("sqlite") {
        print(&runtime.block_on(sqlite::run(&load, bytes, rounds)), &[]);
    }
    if all || named("kafka") {
        let rows = runtime.block_on(kafka::run(&load, bytes, rounds));
        let baselines =
            [("Kafka publish", "bare ThreadedProducer"), ("Kafka consume", "bare BaseConsumer")];
        print(&rows, &baselines);
    }
}
