//! How long it takes from a post's arrival to its document being readable, under a load that does
//! not wait for anybody: posts arrive by a fixed schedule, and a post's time counts from when it
//! was due, also where whoever should have published it was late.
//!
//! Whether a document is readable is asked right after the store has acknowledged it, by somebody
//! else, for a sample of the posts. So a figure is too great by at most that one read, and the
//! store is asked only for what is there. Asking again and again from the arrival on would be as
//! exact, and would be a load of its own.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bowerbird_sink::SinkConfig;
use bowerbird_store::{Document, DocumentStore, StoreError, WriteOutcome};
use bowerbird_stream::EventLog;
use bowerbird_stream::status::status;
use bowerbird_testbed::through::{Through, Writing};
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::timed::Watch;
use crate::{corpus, place, rate, setting};

/// Shares of the capacity, in per cent.
const SHARES: [u64; 3] = [10, 50, 90];
/// What has come in so long is published by one call, as the sources do.
const LINGER: Duration = Duration::from_millis(5);
/// Until everything runs as it will, nothing is counted.
const WARM_UP: Duration = Duration::from_secs(3);
/// About so many posts a second are read back, and of ten posts at most one.
const SAMPLES: u64 = 100;
/// How long what is left may take when no more posts come.
const REST: Duration = Duration::from_secs(60);

/// Prints the table.
pub async fn measure(folder: &Path) {
    println!(
        "\n| arrival → readable | share of capacity | posts/s | p50 ms | p99 ms | most ms | \
         reading back, p50 ms | samples |\n|---|---:|---:|---:|---:|---:|---:|---:|"
    );
    let (log, store, _) = place::embedded(folder, "latency").await;
    pair("SQLite log and store", &log, &store, setting("BENCH_EMBEDDED", 100_000)).await;
    let (log, store) = (place::kafka(), place::couch());
    pair("Kafka and CouchDB", &log, &store, setting("BENCH_DOCUMENTS", 60_000)).await;
}

async fn pair<L: EventLog, S: DocumentStore>(name: &str, log: &L, store: &S, count: u64) {
    let watch = Watch::default();
    let topic = place::topic(log, "capacity").await;
    place::fill(log, topic, 0..count).await;
    let database = place::drain(log, store, topic, &watch).await;
    store.drop_database(&database).await.unwrap();
    let capacity = watch.rate();
    println!("| {name} | a backlog is drained at | {capacity:.0} | | | | | |");
    for share in SHARES {
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let offered = capacity * share as f64 / 100.0;
        let level = Level::run(log, store, offered).await;
        println!("| {name} | {share} % | {offered:.0} | {level} |");
    }
}

/// When posts are due.
#[derive(Clone, Copy)]
struct Schedule {
    begin: Instant,
    rate: f64,
}

impl Schedule {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    fn due(&self, number: u64) -> Instant {
        self.begin + Duration::from_secs_f64(number as f64 / self.rate)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of posts is small and not negative"
    )]
    fn due_by(&self, now: Instant) -> u64 {
        (now.saturating_duration_since(self.begin).as_secs_f64() * self.rate) as u64
    }
}

/// Reads a sample of what was written, as soon as the store has it.
#[derive(Clone)]
struct ReadBack<S> {
    reader: S,
    watch: Watch,
    schedule: Schedule,
    /// Of so many posts one is read back.
    every: u64,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// A post that was read back.
struct Seen {
    due: Instant,
    latency: Duration,
    reading: Duration,
}

impl<S: DocumentStore> ReadBack<S> {
    async fn look(self, database: String, ids: Vec<String>) {
        let asked = Instant::now();
        let found = self.reader.fetch(&database, &ids).await.unwrap();
        let (now, reading) = (Instant::now(), asked.elapsed());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, document) in ids.iter().zip(found) {
            assert!(document.is_some(), "{id} was acknowledged and is not there");
            let due = self.schedule.due(corpus::number(id));
            seen.push(Seen { due, latency: now - due, reading });
        }
    }
}

impl<R: DocumentStore> Writing for ReadBack<R> {
    async fn write<S: DocumentStore>(
        &self,
        store: &S,
        database: &str,
        documents: &[Document],
    ) -> Result<Vec<WriteOutcome>, StoreError> {
        let rows = self.watch.write(store, database, documents).await?;
        let sampled = |id: &&String| corpus::number(id).is_multiple_of(self.every);
        let ids: Vec<_> = documents.iter().map(|one| &one.id).filter(sampled).cloned().collect();
        if !ids.is_empty() {
            tokio::spawn(self.clone().look(database.to_owned(), ids));
        }
        Ok(rows)
    }
}

/// What a load has met with.
struct Level {
    seen: Vec<Seen>,
    /// How many documents a second were written, if fewer than came.
    behind: Option<f64>,
}

impl Level {
    async fn run<L: EventLog, S: DocumentStore>(log: &L, store: &S, offered: f64) -> Self {
        let topic = place::topic(log, "latency").await;
        let projection = place::projection(topic);
        store.create_database(&projection.database).await.unwrap();
        let config = SinkConfig::default();
        let (reporter, _status) = status("sink");
        let cancel = CancellationToken::new();
        // The member has joined its group before the first post comes.
        let schedule = Schedule { begin: Instant::now() + Duration::from_secs(2), rate: offered };
        let time = WARM_UP + Duration::from_secs(setting("BENCH_SECONDS", 20));
        let total = schedule.due_by(schedule.begin + time);
        let writing = ReadBack {
            reader: store.clone(),
            watch: Watch::default(),
            schedule,
            every: (schedule.due_by(schedule.begin + Duration::from_secs(1)) / SAMPLES).max(10),
            seen: Arc::default(),
        };
        let through = Through { store: store.clone(), writing: writing.clone() };
        let sink =
            bowerbird_sink::run(log, &through, &projection, &config, &reporter, cancel.clone());
        // A task of its own, as sources are: else it and the sink's loop share one thread.
        let load = tokio::spawn({
            let (log, watch) = (log.clone(), writing.watch.clone());
            async move {
                publish(&log, topic, schedule, total).await;
                let ended = Instant::now();
                while watch.documents() < total && ended.elapsed() < REST {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                let behind = ended.elapsed() > Duration::from_secs(1);
                cancel.cancel();
                behind.then(|| rate(watch.documents(), schedule.begin.elapsed()))
            }
        });
        sink.await.unwrap();
        let behind = load.await.unwrap();
        store.drop_database(&projection.database).await.unwrap();
        let mut seen = std::mem::take(&mut *writing.seen.lock().unwrap());
        seen.retain(|seen| seen.due >= schedule.begin + WARM_UP);
        Self { seen, behind }
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sorted = |of: fn(&Seen) -> Duration| {
            let mut all: Vec<_> = self.seen.iter().map(of).collect();
            all.sort();
            all
        };
        let (latency, reading) = (sorted(|seen| seen.latency), sorted(|seen| seen.reading));
        let at = |all: &[Duration], per_cent: usize| {
            let place = (all.len() * per_cent).div_ceil(100).saturating_sub(1);
            all.get(place).map_or(f64::NAN, |time| time.as_secs_f64() * 1_000.0)
        };
        let [p50, p99, most] = [50, 99, 100].map(|per_cent| at(&latency, per_cent));
        let (reading, count) = (at(&reading, 50), self.seen.len());
        write!(f, "{p50:.0} | {p99:.0} | {most:.0} | {reading:.1} | {count}")?;
        match self.behind {
            Some(rate) => write!(f, ", falls behind: {rate:.0} documents/s"),
            None => Ok(()),
        }
    }
}

/// Publishes posts when they are due, and waits for no answer before the next are.
async fn publish<L: EventLog>(log: &L, topic: &'static str, schedule: Schedule, total: u64) {
    let topic: Arc<str> = topic.into();
    let (posts, mut calls, mut sent) = (corpus::Posts::new(&topic), JoinSet::new(), 0);
    let mut wake = schedule.begin;
    while sent < total {
        wake += LINGER;
        sleep_until(wake.into()).await;
        let due = schedule.due_by(Instant::now()).min(total);
        let records: Vec<_> = (sent..due).map(|number| posts.record(number)).collect();
        sent = due;
        if !records.is_empty() {
            let log = log.clone();
            calls.spawn(async move { log.publish(records).await });
        }
        while let Some(answers) = calls.try_join_next() {
            assert!(answers.unwrap().iter().all(Result::is_ok), "not all was published");
        }
    }
    for answers in calls.join_all().await {
        assert!(answers.iter().all(Result::is_ok), "not all was published");
    }
}
