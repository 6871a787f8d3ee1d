//! What only Kafka can do to us: brokers that are away, offsets that retention took, settings that
//! others made. Real brokers where they can be had; librdkafka's mock where one must fail on cue.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod broker;
mod dead;
mod fenced;
mod login;
mod mock;

use std::collections::BTreeMap;
use std::time::Duration;

use bowerbird_stream::kafka::{KafkaConfig, KafkaLog};
use bowerbird_stream::log::{ConsumerConfig, EventLog, TopicChange};
use bowerbird_stream::range::RangeReader;
use bowerbird_stream::topic::{Cleanup, TopicSpec};
use bowerbird_stream::{Delivery, EventConsumer, Headers, LogError, Outgoing, Partition, Record};
use bytes::Bytes;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(30);

fn brokers() -> String {
    std::env::var("BOWERBIRD_TEST_KAFKA")
        .expect("BOWERBIRD_TEST_KAFKA names no broker: run the tests by tests/run, or set it")
}

/// A log whose patience is a test's.
fn log(brokers: &str) -> KafkaLog {
    KafkaLog::new(KafkaConfig {
        request_timeout: Duration::from_secs(3),
        delivery_timeout: Duration::from_secs(3),
        ..KafkaConfig::new(brokers)
    })
    .unwrap()
}

fn admin() -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap()
}

fn unique(name: &str) -> String {
    let now = jiff::Timestamp::now().as_microsecond();
    format!("test-{name}-{now}-{}", std::process::id())
}

fn spec(name: &str, partitions: u32) -> TopicSpec {
    let (cleanup, max_record_bytes) = (Cleanup::Keep, 1 << 20);
    TopicSpec { name: name.to_owned(), partitions, replication: 1, cleanup, max_record_bytes }
}

/// A real broker's log with one new topic.
async fn with_topic(partitions: u32) -> (KafkaLog, String) {
    let (log, topic) = (log(&brokers()), unique("kafka"));
    log.apply_topics(&[spec(&topic, partitions)], false).await.unwrap();
    (log, topic)
}

async fn delete(topic: &str) {
    admin().delete_topics(&[topic], &AdminOptions::new()).await.unwrap();
}

fn records(topic: &str, count: usize) -> Vec<Outgoing> {
    let record = |i: usize| Outgoing {
        topic: topic.into(),
        key: Some(Bytes::from(i.to_string())),
        value: Some(Bytes::from("x")),
        headers: Headers::new(),
    };
    (0..count).map(record).collect()
}

fn config(group: &str) -> ConsumerConfig {
    let (session_timeout, drain_timeout) = (Duration::from_secs(6), Duration::from_secs(2));
    ConsumerConfig { session_timeout, drain_timeout, ..ConsumerConfig::new(group) }
}

/// Calls `next` until what comes is `wanted`.
async fn until<T>(
    consumer: &mut impl EventConsumer,
    what: &str,
    mut wanted: impl FnMut(Delivery) -> Option<T>,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "{what} did not come in time");
        let delivery = consumer.next(1000, Duration::from_millis(100)).await.unwrap();
        if let Some(found) = wanted(delivery) {
            return found;
        }
    }
}

fn as_records(delivery: Delivery) -> Option<Vec<Record>> {
    match delivery {
        Delivery::Records(records) => Some(records),
        _ => None,
    }
}

fn as_trouble(delivery: Delivery) -> Option<LogError> {
    match delivery {
        Delivery::Trouble(error) => Some(error),
        _ => None,
    }
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_named() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap().to_string();
    drop(nobody);
    let log = KafkaLog::new(KafkaConfig {
        request_timeout: Duration::from_secs(1),
        ..KafkaConfig::new(&address)
    })
    .unwrap();
    let started = Instant::now();
    let published = log.publish(records("posts", 1)).await.remove(0).unwrap_err();
    let (asked, applied, subscribed, assigned) = tokio::join!(
        log.extents("posts"),
        async { log.apply_topics(&[spec("posts", 1)], false).await },
        log.subscribe(&["posts"], config("g")),
        async { log.assign(&[(Partition::new("posts", 0), 0)].into(), config("")).await },
    );
    let errors = [
        published,
        asked.unwrap_err(),
        applied.unwrap_err(),
        subscribed.err().unwrap(),
        assigned.err().unwrap(),
    ];
    for error in errors {
        assert!(matches!(error, LogError::Unreachable { .. }), "{error:?}");
        assert!(error.is_transient());
        let text = error.to_string();
        assert!(text.contains(&address) && text.contains("refused"), "{text}");
    }
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
}
