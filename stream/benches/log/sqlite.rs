//! The embedded log.

use std::time::Duration;

use bowerbird_stream::log::{ConsumerConfig, EventLog};
use bowerbird_stream::sqlite::SqliteLog;
use bowerbird_stream::topic::{Cleanup, TopicSpec};
use bowerbird_stream::{Delivery, EventConsumer, Outgoing, Partition};
use futures::StreamExt;

use super::{Clock, Row, load};

pub async fn run(load: &[Outgoing], bytes: usize, rounds: usize) -> Vec<Row> {
    let mut publish = Row::new("SQLite publish, calls of 500", load.len(), bytes);
    let mut single = Row::new("SQLite publish, 64 calls of 1", load.len() / 20, bytes / 20);
    let mut read = Row::new("SQLite read", load.len(), bytes);
    for _ in 0..rounds {
        let folder = tempfile::tempdir().unwrap();
        let log = SqliteLog::open(folder.path().join("log.sqlite")).await.unwrap();
        for name in ["bench", "single"] {
            log.apply_topics(&[spec(name)], false).await.unwrap();
        }
        for (row, topic, load, size, at_once) in [
            (&mut publish, "bench", load, 500, 4),
            (&mut single, "single", &load[..load.len() / 20], 1, 64),
        ] {
            let calls = load::calls(load, topic, size);
            let clock = Clock::start();
            publish_all(&log, calls, at_once).await;
            row.add(clock.stop());
        }
        let clock = Clock::start();
        consume(&log, load.len()).await;
        read.add(clock.stop());
    }
    vec![publish, single, read]
}

pub fn spec(name: &str) -> TopicSpec {
    TopicSpec {
        name: name.to_owned(),
        partitions: 4,
        replication: 1,
        cleanup: Cleanup::Keep,
        max_record_bytes: 8 << 20,
    }
}

pub async fn publish_all(log: &impl EventLog, calls: Vec<Vec<Outgoing>>, at_once: usize) {
    futures::stream::iter(calls)
        .map(|call| log.publish(call))
        .buffer_unordered(at_once)
        .for_each(async |answers| answers.into_iter().for_each(|answer| _ = answer.unwrap()))
        .await;
}

async fn consume(log: &impl EventLog, count: usize) {
    let from = (0..4).map(|partition| (Partition::new("bench", partition), 0)).collect();
    let mut consumer = log.assign(&from, ConsumerConfig::new("")).await.unwrap();
    read(&mut consumer, count).await;
    consumer.close().await.unwrap();
}

pub async fn read(consumer: &mut impl EventConsumer, count: usize) {
    let mut got = 0;
    while got < count {
        match consumer.next(1000, Duration::from_secs(1)).await.unwrap() {
            Delivery::Records(records) => got += records.len(),
            Delivery::Idle | Delivery::Assigned(_) => {}
            other => panic!("{other:?}"),
        }
    }
}
