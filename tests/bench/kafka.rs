//! Archive to Kafka against a raw producer, and Kafka to a sink without a store against a raw
//! consumer: the same records, the same client settings where they decide the speed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bowerbird_ingest::archive::{self, ArchiveConfig, Input, Progress};
use bowerbird_sink::SinkConfig;
use bowerbird_stream::kafka::{KafkaConfig, KafkaLog};
use bowerbird_stream::status::status;
use bowerbird_stream::{EventLog, topic};
use bytes::Bytes;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use tokio_util::sync::CancellationToken;

use crate::place::{PARTITIONS, projection, unique};
use crate::timed::{Null, Watch};
use crate::{Row, corpus, middle, rate, service};

/// How often sink and raw consumer are measured, in turns.
const ROUNDS: usize = 3;

pub async fn measure(folder: &Path, count: u64) -> Vec<Row> {
    let brokers = service("BOWERBIRD_TEST_KAFKA");
    let log = KafkaLog::new(KafkaConfig::new(brokers.clone())).unwrap();
    let mut topics = topic::declared(PARTITIONS, 1, 8 << 20);
    let raw = bowerbird_stream::topic::TopicSpec { name: "raw".to_owned(), ..topics[0].clone() };
    topics.push(raw);
    log.apply_topics(&topics, false).await.unwrap();

    let file = corpus::file(folder, count);
    // Earlier runs on the same broker are read too.
    let mut total = end(&log).await;
    let mut rounds = Vec::new();
    let mut raw = None;
    for _ in 0..ROUNDS {
        let imported = import(&log, &file, count).await;
        total += count;
        assert_eq!(end(&log).await, total);
        let records = match raw.take() {
            Some(records) => records,
            None => records(&log, count).await,
        };
        let produced = tokio::task::block_in_place(|| produce(&brokers, &records));
        raw = Some(records);
        rounds.push((imported, produced));
    }
    drop(raw);
    println!("\nArchive → Kafka against a raw producer, round by round: {rounds:.0?}");
    let (imported, produced) = middle(rounds);
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let consumed = tokio::task::block_in_place(|| consume(&brokers, total));
        rounds.push((sink(&log, total).await, consumed));
    }
    println!("\nKafka → sink against a raw consumer, round by round: {rounds:.0?}");
    let (sunk, consumed) = middle(rounds);
    vec![
        Row {
            what: "archive → Kafka, posts",
            ours: imported,
            limit: Some((produced, "raw librdkafka producer")),
        },
        Row {
            what: "Kafka → sink → no store, events",
            ours: sunk,
            limit: Some((consumed, "raw librdkafka consumer")),
        },
    ]
}

async fn end(log: &KafkaLog) -> u64 {
    let extents = log.extents(topic::POSTS).await.unwrap();
    extents.values().map(|extent| u64::try_from(extent.end).unwrap()).sum()
}

async fn import(log: &KafkaLog, file: &Path, count: u64) -> f64 {
    let config = ArchiveConfig::new(vec![Input::from_argument(file)]);
    let progress = Arc::new(Progress::default());
    let begun = Instant::now();
    let summary = archive::import(log.clone(), config, progress, CancellationToken::new()).await;
    let rate = rate(count, begun.elapsed());
    assert_eq!(summary.total.posts, count);
    rate
}

/// A key, a value and headers, as rdkafka takes them.
type Raw = (Bytes, Bytes, OwnedHeaders);

/// The records as the import has written them, from the log.
async fn records(log: &KafkaLog, count: u64) -> Vec<Raw> {
    use bowerbird_stream::log::ConsumerConfig;
    use bowerbird_stream::{Delivery, EventConsumer};
    let config = ConsumerConfig::new(format!("bench-records-{}", std::process::id()));
    let mut consumer = log.subscribe(&[topic::POSTS], config).await.unwrap();
    let mut records = Vec::new();
    while (records.len() as u64) < count {
        match consumer.next(1_000, Duration::from_secs(10)).await.unwrap() {
            Delivery::Records(more) => records.extend(more.into_iter().map(|record| {
                let headers =
                    record.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                        headers.insert(Header { key, value: Some(value) })
                    });
                (record.key.unwrap(), record.value.unwrap(), headers)
            })),
            Delivery::Idle => panic!("the log is silent"),
            _ => {}
        }
    }
    consumer.close().await.unwrap();
    records
}

struct Acknowledged(Arc<AtomicU64>);

impl rdkafka::ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        assert!(result.is_ok());
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A producer with the settings of ours, fed from memory as fast as it takes.
fn produce(brokers: &str, records: &[Raw]) -> f64 {
    let count = records.len() as u64;
    let acknowledged = Arc::new(AtomicU64::new(0));
    let ours = KafkaConfig::new(brokers);
    let producer: ThreadedProducer<Acknowledged> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.type", "lz4")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", ours.linger.as_millis().to_string())
        .set("batch.size", ours.batch_bytes.to_string())
        .set("message.max.bytes", ours.max_record_bytes.to_string())
        .set("queue.buffering.max.kbytes", (ours.queue_bytes >> 10).to_string())
        .create_with_context(Acknowledged(acknowledged.clone()))
        .unwrap();
    let begun = Instant::now();
    for (key, value, headers) in records {
        let mut record =
            BaseRecord::to("raw").key(&key[..]).payload(&value[..]).headers(headers.clone());
        while let Err((_, back)) = producer.send(record) {
            record = back;
            std::thread::yield_now();
        }
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    assert_eq!(acknowledged.load(Ordering::Relaxed), count);
    rate(count, begun.elapsed())
}

/// A consumer that only counts, from the first record that it sees to the last.
fn consume(brokers: &str, count: u64) -> f64 {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", unique("raw"))
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    consumer.subscribe(&[topic::POSTS]).unwrap();
    let (mut begun, mut seen, mut bytes) = (None, 0, 0);
    while seen < count {
        // A rebalance ends a poll without a message, too.
        let Some(message) = consumer.poll(Duration::from_secs(1)) else { continue };
        let message = message.unwrap();
        begun.get_or_insert_with(Instant::now);
        bytes += message.payload_len();
        seen += 1;
    }
    std::hint::black_box(bytes);
    rate(count, begun.unwrap().elapsed())
}

/// The sink with a store that takes everything at once, from its first write to its last.
async fn sink(log: &KafkaLog, count: u64) -> f64 {
    let projection = projection(topic::POSTS);
    let config = SinkConfig { once: true, ..SinkConfig::default() };
    let watch = Watch::default();
    let store = watch.over(Null);
    let (reporter, _status) = status("sink");
    let cancel = CancellationToken::new();
    let report =
        bowerbird_sink::run(log, &store, &projection, &config, &reporter, cancel).await.unwrap();
    assert_eq!(report.records, count);
    watch.rate()
}
