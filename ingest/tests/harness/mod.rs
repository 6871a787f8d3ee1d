//! A log of its own for each test, and what is in it.

#![allow(dead_code, reason = "each test uses some of it")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

pub mod archives;
pub mod flaky;
pub mod inside;
pub mod memory;
pub mod streamed;
pub mod wfs;

use std::time::Duration;

use bowerbird_ingest::gaps::{Asked, Holes, holes};
use bowerbird_stream::log::{ConsumerConfig, Delivery, Partition};
use bowerbird_stream::sqlite::SqliteLog;
use bowerbird_stream::{Event, EventConsumer, EventLog, Record, topic};
use jiff::Timestamp;
use tempfile::TempDir;

/// The largest record that the log takes.
pub const MAX_RECORD_BYTES: u32 = 1 << 20;

/// A log in a folder that goes away with it.
pub struct TestLog {
    pub log: SqliteLog,
    pub folder: TempDir,
}

impl TestLog {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = SqliteLog::open(folder.path().join("log.sqlite")).await.unwrap();
        log.apply_topics(&topic::declared(3, 1, MAX_RECORD_BYTES), false).await.unwrap();
        Self { log, folder }
    }

    /// Every record of a topic.
    pub async fn records(&self, topic: &str) -> Vec<Record> {
        let extents = self.log.extents(topic).await.unwrap();
        let from = extents
            .iter()
            .map(|(partition, extent)| (Partition::new(topic, *partition), extent.earliest))
            .collect();
        let expected: i64 = extents.values().map(|extent| extent.end - extent.earliest).sum();
        let mut consumer = self.log.assign(&from, ConsumerConfig::new("test")).await.unwrap();
        let mut records = Vec::new();
        while (records.len() as i64) < expected {
            match consumer.next(10_000, Duration::from_secs(5)).await.unwrap() {
                Delivery::Records(some) => records.extend(some),
                Delivery::Idle => panic!("{topic}: {} of {expected} records", records.len()),
                _ => {}
            }
        }
        consumer.close().await.unwrap();
        records
    }

    /// Every event of a topic.
    pub async fn events(&self, topic: &str) -> Vec<Event> {
        self.records(topic).await.iter().map(|record| record.event().unwrap()).collect()
    }

    /// The facts of one kind in the journal, in order.
    pub async fn journal(&self, kind: &str) -> Vec<serde_json::Value> {
        let events = self.events(topic::JOURNAL).await;
        let values = events.into_iter().filter(|event| event.kind.as_str() == kind);
        values.map(|event| serde_json::from_slice(&event.value.unwrap()).unwrap()).collect()
    }
}

/// All holes that a log knows of.
pub async fn holes_of(log: &impl EventLog, now: Timestamp) -> Holes {
    let asked = Asked { from: Timestamp::MIN, to: Timestamp::MAX, limit: usize::MAX };
    holes(log, asked, now).await.unwrap()
}

/// Waits until `holds`, and fails when it takes too long.
pub async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
