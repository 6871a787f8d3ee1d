//! Kafka, against librdkafka driven bare.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bowerbird_stream::kafka::{KafkaConfig, KafkaLog};
use bowerbird_stream::log::{ConsumerConfig, EventLog};
use bowerbird_stream::{EventConsumer, Outgoing, Partition};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{
    BaseRecord, NoCustomPartitioner, Producer, ProducerContext, ThreadedProducer,
};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::sqlite::{publish_all, read, spec};
use super::{Clock, Row, Took, load};

/// How many publishes of 1000 are under way at a time.
const AT_ONCE: usize = 16;

pub async fn run(load: &[Outgoing], bytes: usize, rounds: usize) -> Vec<Row> {
    let brokers = std::env::var("BOWERBIRD_TEST_KAFKA")
        .expect("BOWERBIRD_TEST_KAFKA names no broker: start one with tests/services/kafka.sh");
    let log = KafkaLog::new(KafkaConfig::new(&brokers)).unwrap();
    let mut bare_publish = Row::new("bare ThreadedProducer", load.len(), bytes);
    let mut publish = Row::new("Kafka publish", load.len(), bytes);
    let mut bare_consume = Row::new("bare BaseConsumer", load.len(), bytes);
    let mut consume = Row::new("Kafka consume", load.len(), bytes);
    let mut topics = Vec::new();
    for round in 0..rounds {
        let unique = jiff::Timestamp::now().as_millisecond();
        let names = [format!("bench-bare-{unique}"), format!("bench-ours-{unique}")];
        log.apply_topics(&names.each_ref().map(|name| spec(name)), false).await.unwrap();
        let bare = || tokio::task::block_in_place(|| produce_bare(&brokers, &names[0], load));
        // Whoever goes first finds the broker rested.
        for turn in 0..2 {
            if (turn + round) % 2 == 0 {
                bare_publish.add(bare());
            } else {
                let calls = load::calls(load, &names[1], 1000);
                let clock = Clock::start();
                publish_all(&log, calls, AT_ONCE).await;
                publish.add(clock.stop());
            }
        }
        for turn in 0..2 {
            // Both read what was published by us.
            if (turn + round) % 2 == 0 {
                let bare = || consume_bare(&brokers, &names[1], load.len());
                bare_consume.add(tokio::task::block_in_place(bare));
            } else {
                let clock = Clock::start();
                let partition = |number| (Partition::new(&*names[1], number), 0);
                let from = (0..4).map(partition).collect();
                let config = ConsumerConfig::new("");
                let mut consumer = log.assign(&from, config).await.unwrap();
                read(&mut consumer, load.len()).await;
                consume.add(clock.stop());
                consumer.close().await.unwrap();
            }
        }
        topics.extend(names);
    }
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
    let topics: Vec<_> = topics.iter().map(String::as_str).collect();
    admin.delete_topics(&topics, &AdminOptions::new()).await.unwrap();
    vec![bare_publish, publish, bare_consume, consume]
}

struct Counting(Arc<AtomicUsize>);

impl ClientContext for Counting {}

impl ProducerContext for Counting {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        assert!(result.is_ok());
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The settings of our own producer.
fn produce_bare(brokers: &str, topic: &str, load: &[Outgoing]) -> Took {
    let delivered = Arc::new(AtomicUsize::new(0));
    let producer: ThreadedProducer<Counting, NoCustomPartitioner> =
        ThreadedProducer::from_config_and_context(
            ClientConfig::new()
                .set("bootstrap.servers", brokers)
                .set("enable.idempotence", "true")
                .set("acks", "all")
                .set("partitioner", "murmur2_random")
                .set("linger.ms", "5")
                .set("batch.size", "524288")
                .set("batch.num.messages", "100000")
                .set("compression.type", "lz4")
                .set("queue.buffering.max.kbytes", "65536")
                .set("queue.buffering.max.messages", "0")
                .set("message.max.bytes", "8454144"),
            Counting(delivered.clone()),
        )
        .unwrap();
    let clock = Clock::start();
    for record in load {
        let headers = OwnedHeaders::new_with_capacity(record.headers.iter().count());
        let headers = record
            .headers
            .entries()
            .fold(headers, |headers, (key, value)| headers.insert(Header { key, value }));
        let mut waiting = BaseRecord::to(topic)
            .key(record.key.as_ref().unwrap().as_ref())
            .payload(record.value.as_ref().unwrap().as_ref())
            .headers(headers);
        while let Err((error, back)) = producer.send(waiting) {
            assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
            std::thread::sleep(Duration::from_millis(1));
            waiting = back;
        }
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    while delivered.load(Ordering::Relaxed) < load.len() {
        std::thread::sleep(Duration::from_millis(1));
    }
    clock.stop()
}

fn consume_bare(brokers: &str, topic: &str, count: usize) -> Took {
    let clock = Clock::start();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "bench")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "20")
        // Its default of a second would make this a poor yardstick.
        .set("fetch.queue.backoff.ms", "5")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..4 {
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let (mut got, mut bytes) = (0, 0);
    while got < count {
        let Some(message) = consumer.poll(Duration::from_secs(1)) else { continue };
        bytes += message.unwrap().payload().map_or(0, <[u8]>::len);
        got += 1;
    }
    assert!(bytes > 0);
    clock.stop()
}
