//! The cases, and what they share.

pub mod consuming;
pub mod groups;
pub mod lag;
pub mod letters;
pub mod publishing;
pub mod reading;
pub mod stuck;
pub mod topics;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bowerbird_stream::kafka::{KafkaConfig, KafkaLog};
use bowerbird_stream::log::{ConsumerConfig, EventLog, Record};
use bowerbird_stream::sqlite::SqliteLog;
use bowerbird_stream::topic::{Cleanup, TopicSpec};
use bowerbird_stream::{Delivery, EventConsumer, Headers, Outgoing, Partition, Position};
use bytes::Bytes;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use tokio::time::Instant;

/// No case waits longer for anything.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A log in a file of its own.
pub async fn sqlite(folder: &tempfile::TempDir) -> SqliteLog {
    SqliteLog::open(folder.path().join("log.sqlite")).await.unwrap()
}

fn brokers() -> String {
    std::env::var("BOWERBIRD_TEST_KAFKA")
        .expect("BOWERBIRD_TEST_KAFKA names no broker: run the tests by tests/run, or set it")
}

/// The Kafka that the environment names.
pub fn kafka() -> KafkaLog {
    KafkaLog::new(KafkaConfig::new(brokers())).unwrap()
}

tokio::task_local! {
    /// The names that a case has taken.
    static NAMES: RefCell<Vec<String>>;
}

/// A name that no other case and no other run has.
pub fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = jiff::Timestamp::now().as_millisecond();
    let name = format!("test-{name}-{now}-{}-{count}", std::process::id());
    // A log in a file of its own needs no cleaning up.
    let _ = NAMES.try_with(|names| names.borrow_mut().push(name.clone()));
    name
}

/// Runs a case, and deletes the topics and groups of the names that it took.
pub async fn and_clean_up(case: impl Future<Output = ()>) {
    NAMES
        .scope(RefCell::default(), async {
            case.await;
            let names = NAMES.with(RefCell::take);
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            let admin: AdminClient<_> =
                ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
            // Most names are not both a topic and a group, so answers say nothing.
            let _ = admin.delete_topics(&names, &AdminOptions::new()).await;
            let _ = admin.delete_groups(&names, &AdminOptions::new()).await;
        })
        .await;
}

/// A topic that keeps everything.
pub fn spec(name: &str, partitions: u32) -> TopicSpec {
    TopicSpec {
        name: name.to_owned(),
        partitions,
        replication: 1,
        cleanup: Cleanup::Keep,
        max_record_bytes: 2 << 20,
    }
}

/// Makes a topic of a new name.
pub async fn topic(log: &impl EventLog, partitions: u32) -> String {
    let name = unique("topic");
    log.apply_topics(&[spec(&name, partitions)], false).await.unwrap();
    name
}

pub fn record(topic: &str, key: &str, value: &str) -> Outgoing {
    Outgoing {
        topic: topic.into(),
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: Headers::new(),
    }
}

/// `count` records with keys and values counted from `from`.
pub fn records(topic: &str, from: usize, count: usize) -> Vec<Outgoing> {
    (from..from + count).map(|i| record(topic, &format!("key-{i}"), &i.to_string())).collect()
}

pub async fn publish(log: &impl EventLog, records: Vec<Outgoing>) -> Vec<Position> {
    log.publish(records).await.into_iter().map(|answer| answer.unwrap()).collect()
}

/// How the cases consume: quick to notice, quick to give up.
pub fn config(group: &str) -> ConsumerConfig {
    ConsumerConfig {
        session_timeout: Duration::from_secs(6),
        drain_timeout: Duration::from_secs(3),
        ..ConsumerConfig::new(group)
    }
}

pub fn number(record: &Record) -> usize {
    std::str::from_utf8(record.value.as_ref().unwrap()).unwrap().parse().unwrap()
}

/// Reads until `count` records have come. Trouble and rebalances are passed over, and revoked
/// partitions let go of at once.
pub async fn read(consumer: &mut impl EventConsumer, count: usize) -> Vec<Record> {
    let mut records = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while records.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} records came in time", records.len());
        let wait = Duration::from_millis(200);
        if let Delivery::Records(more) = consumer.next(count - records.len(), wait).await.unwrap() {
            records.extend(more);
        }
    }
    records
}

/// Waits for this member's first assignment.
pub async fn assigned(consumer: &mut impl EventConsumer) -> Vec<Partition> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "no assignment came in time");
        let wait = Duration::from_millis(200);
        match consumer.next(1, wait).await.unwrap() {
            Delivery::Assigned(partitions) if !partitions.is_empty() => return partitions,
            Delivery::Records(records) => panic!("records before an assignment: {records:?}"),
            _ => {}
        }
    }
}

/// Nothing comes for a while.
pub async fn nothing(consumer: &mut impl EventConsumer, wait: Duration) {
    let deadline = Instant::now() + wait;
    while Instant::now() < deadline {
        match consumer.next(10, Duration::from_millis(100)).await.unwrap() {
            Delivery::Idle => {}
            other => panic!("expected nothing, got {other:?}"),
        }
    }
}

/// What to commit after these records: per partition one past the last.
pub fn after(records: &[Record]) -> BTreeMap<Partition, i64> {
    let mut offsets = BTreeMap::new();
    for record in records {
        offsets.insert(record.position.in_partition(), record.position.offset + 1);
    }
    offsets
}

/// Every partition from its start.
pub async fn everything(log: &impl EventLog, topic: &str) -> BTreeMap<Partition, i64> {
    let extents = log.extents(topic).await.unwrap();
    extents.into_iter().map(|(p, extent)| (Partition::new(topic, p), extent.earliest)).collect()
}
