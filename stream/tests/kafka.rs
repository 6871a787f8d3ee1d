//! What only Kafka can do to us: brokers that are away, offsets that retention took, settings that
//! others made. Real brokers where they can be had; librdkafka's mock where one must fail on cue.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use bowerbird_stream::kafka::{KafkaConfig, KafkaLog};
use bowerbird_stream::log::{ConsumerConfig, EventLog, TopicChange};
use bowerbird_stream::topic::{Cleanup, TopicSpec};
use bowerbird_stream::{Delivery, EventConsumer, Headers, LogError, Outgoing, Partition, Record};
use bytes::Bytes;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::mocking::MockCluster;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
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
    let log = log(&address);
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

#[tokio::test]
async fn settings_that_nobody_declared_stay() {
    let (log, topic) = with_topic(1).await;
    let alter = AlterConfig::new(ResourceSpecifier::Topic(&topic))
        .set("segment.bytes", "2097152")
        .set("retention.ms", "1000");
    let altered = admin().alter_configs(&[alter], &AdminOptions::new()).await.unwrap();
    assert!(altered[0].is_ok());
    let changes = log.apply_topics(&[spec(&topic, 1)], false).await.unwrap();
    let TopicChange::Altered { settings, .. } = &changes[0] else { panic!("{changes:?}") };
    assert_eq!(settings["retention.ms"], (Some("1000".to_owned()), "-1".to_owned()));
    let listed = log.topics().await.unwrap();
    let settings = &listed.iter().find(|listed| listed.name == topic).unwrap().settings;
    assert_eq!(settings["segment.bytes"], "2097152");
    assert_eq!(settings["retention.ms"], "-1");
    delete(&topic).await;
}

/// Deletes everything before `offset` of partition 0, as retention does.
async fn cut(topic: &str, offset: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(offset)).unwrap();
    admin().delete_records(&list, &AdminOptions::new()).await.unwrap();
}

fn is_cut(error: &LogError, expected: (i64, i64, i64)) -> bool {
    let LogError::OutOfRange { offset, earliest, end, .. } = error else { return false };
    (*offset, *earliest, *end) == expected
}

#[tokio::test]
async fn offsets_that_retention_took_are_told_and_skipped() {
    let (log, topic) = with_topic(1).await;
    let (group, partition) = (unique("group"), Partition::new(topic.as_str(), 0));
    log.publish(records(&topic, 100)).await;
    let mut consumer = log.subscribe(&[&topic], config(&group)).await.unwrap();
    until(&mut consumer, "records", as_records).await;
    consumer.commit(&[(partition.clone(), 10)].into()).await.unwrap();
    consumer.close().await.unwrap();
    cut(&topic, 40).await;

    // Before it is read: the committed offset is gone.
    let mut consumer = log.subscribe(&[&topic], config(&group)).await.unwrap();
    let error = until(&mut consumer, "the trouble", as_trouble).await;
    assert!(is_cut(&error, (10, 40, 100)), "{error:?}");
    let got = until(&mut consumer, "records", as_records).await;
    assert_eq!(got[0].position.offset, 40);

    // While it is read: what would be fetched next is gone.
    let deadline = Instant::now() + PATIENCE;
    let mut last = got.last().unwrap().position.offset;
    while last < 99 {
        assert!(Instant::now() < deadline);
        last = until(&mut consumer, "records", as_records).await.last().unwrap().position.offset;
    }
    consumer.pause(std::slice::from_ref(&partition)).unwrap();
    log.publish(records(&topic, 100)).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    cut(&topic, 150).await;
    consumer.resume(std::slice::from_ref(&partition)).unwrap();
    let error = until(&mut consumer, "the trouble", as_trouble).await;
    assert!(is_cut(&error, (100, 150, 200)), "{error:?}");
    let got = until(&mut consumer, "records", as_records).await;
    assert_eq!(got[0].position.offset, 150);
    consumer.close().await.unwrap();
    delete(&topic).await;
}

#[tokio::test]
async fn a_topic_that_is_deleted_while_it_is_read_is_named() {
    let (log, topic) = with_topic(1).await;
    log.publish(records(&topic, 10)).await;
    let mut consumer = log.subscribe(&[&topic], config(&unique("group"))).await.unwrap();
    until(&mut consumer, "records", as_records).await;
    delete(&topic).await;
    let missing = |delivery: Delivery| match delivery {
        Delivery::Trouble(LogError::MissingTopic { topic, .. }) => Some(topic),
        _ => None,
    };
    assert_eq!(until(&mut consumer, "the trouble", missing).await, topic);
    // And it goes on when the topic is back.
    log.apply_topics(&[spec(&topic, 1)], false).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "nothing came from the topic that is back");
        log.publish(records(&topic, 10)).await;
        let delivery = consumer.next(100, Duration::from_millis(500)).await.unwrap();
        match delivery {
            Delivery::Records(_) => break,
            Delivery::Revoked(_) | Delivery::Assigned(_) => {}
            Delivery::Trouble(_) | Delivery::Idle => {}
        }
    }
    consumer.close().await.unwrap();
    delete(&topic).await;
}

#[tokio::test]
async fn a_static_member_comes_back_without_a_rebalance() {
    let (log, topic) = with_topic(4).await;
    let group = unique("group");
    let member = |name: &str| ConsumerConfig { instance: Some(name.to_owned()), ..config(&group) };
    let assigned = |delivery: Delivery| match delivery {
        Delivery::Assigned(partitions) => Some(partitions),
        _ => None,
    };
    let mut stays = log.subscribe(&[&topic], member("stays")).await.unwrap();
    assert_eq!(until(&mut stays, "the assignment", assigned).await.len(), 4);
    let mut restarts = log.subscribe(&[&topic], member("restarts")).await.unwrap();
    let mut kept = 4;
    let deadline = Instant::now() + PATIENCE;
    let theirs = loop {
        assert!(Instant::now() < deadline, "no assignment came in time");
        if let Delivery::Revoked(gone) = stays.next(1, Duration::from_millis(50)).await.unwrap() {
            kept -= gone.partitions.len();
        }
        let delivery = restarts.next(1, Duration::from_millis(50)).await.unwrap();
        if let Some(partitions) = assigned(delivery) {
            break partitions;
        }
    };
    assert_eq!(kept + theirs.len(), 4);
    restarts.close().await.unwrap();
    let mut back = log.subscribe(&[&topic], member("restarts")).await.unwrap();
    assert_eq!(until(&mut back, "the assignment", assigned).await, theirs);
    let delivery = stays.next(1, Duration::from_millis(500)).await.unwrap();
    assert!(matches!(delivery, Delivery::Idle), "the other member noticed nothing: {delivery:?}");
    stays.close().await.unwrap();
    back.close().await.unwrap();
    delete(&topic).await;
}

#[tokio::test]
async fn a_stalled_reader_stays_in_its_group_and_in_its_memory() {
    let (log, topic) = with_topic(2).await;
    let value = Bytes::from(vec![b'x'; 16 << 10]);
    let large = |record: Outgoing| Outgoing { value: Some(value.clone()), ..record };
    let load: Vec<_> = records(&topic, 1500).into_iter().map(large).collect();
    for answer in log.publish(load).await {
        answer.unwrap();
    }
    let group = unique("group");
    let small = ConsumerConfig { prefetch_bytes: 1 << 20, ..config(&group) };
    let mut consumer = log.subscribe(&[&topic], small).await.unwrap();
    let mut offsets: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    let mut count = 0;
    let mut note = |records: Vec<Record>| {
        count += records.len();
        for record in records {
            offsets.entry(record.position.partition).or_default().push(record.position.offset);
        }
        count
    };
    note(until(&mut consumer, "records", as_records).await);
    // Longer than the session, and than a full hand-over may hold up polling.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let groups = log.groups().await.unwrap();
    let info = groups.iter().find(|info| info.name == group).unwrap();
    assert_eq!((info.state.as_str(), info.members.len()), ("Stable", 1));
    let rest = |delivery| as_records(delivery).map(&mut note).filter(|count| *count == 1500);
    until(&mut consumer, "the rest", rest).await;
    for (partition, offsets) in offsets {
        let expected: Vec<_> = (0..offsets.len() as i64).collect();
        assert_eq!(offsets, expected, "partition {partition}: all, once, in order");
    }
    consumer.close().await.unwrap();
    delete(&topic).await;
}

#[tokio::test]
async fn a_revocation_waits_for_the_drain_and_no_longer() {
    let (log, topic) = with_topic(2).await;
    let group = unique("group");
    log.publish(records(&topic, 20)).await;
    let mut first = log.subscribe(&[&topic], config(&group)).await.unwrap();
    let got = until(&mut first, "records", as_records).await;
    let mut second = log.subscribe(&[&topic], config(&group)).await.unwrap();
    let revoked = |delivery: Delivery| match delivery {
        Delivery::Revoked(revocation) => Some(revocation),
        _ => None,
    };
    let revocation = until(&mut first, "the revocation", revoked).await;
    assert!(!revocation.lost);
    let gone = revocation.partitions[0].clone();
    // While it is not let go of, it can be committed, and nobody else gets it.
    let offset = got.iter().filter(|record| record.position.in_partition() == gone).count() as i64;
    first.commit(&[(gone.clone(), offset)].into()).await.unwrap();
    let none = second.next(1, Duration::from_millis(300)).await.unwrap();
    assert!(matches!(none, Delivery::Idle), "{none:?}");
    drop(revocation);
    let assigned = |delivery: Delivery| match delivery {
        Delivery::Assigned(partitions) => Some(partitions),
        _ => None,
    };
    assert_eq!(until(&mut second, "the assignment", assigned).await, std::slice::from_ref(&gone));
    let error = first.commit(&[(gone, offset)].into()).await.unwrap_err();
    assert!(!error.is_transient(), "it is another member's: {error}");

    // Who never lets go is waited for only so long.
    second.close().await.unwrap();
    until(&mut first, "the assignment", assigned).await;
    let mut third = log.subscribe(&[&topic], config(&group)).await.unwrap();
    let kept = until(&mut first, "the revocation", revoked).await;
    let started = Instant::now();
    assert_eq!(until(&mut third, "the assignment", assigned).await, kept.partitions);
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    first.close().await.unwrap();
    third.close().await.unwrap();
    delete(&topic).await;
}

/// A mock of one broker with a topic of one partition.
fn mock() -> (MockCluster<'static, rdkafka::producer::DefaultProducerContext>, KafkaLog) {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("posts", 1, 1).unwrap();
    let log = log(&cluster.bootstrap_servers());
    (cluster, log)
}

#[tokio::test]
async fn a_consumer_tells_that_the_broker_is_away_and_when_it_is_back() {
    let (cluster, log) = mock();
    log.publish(records("posts", 5)).await.remove(0).unwrap();
    let from = [(Partition::new("posts", 0), 0)].into();
    let mut reader = log.assign(&from, config("")).await.unwrap();
    until(&mut reader, "records", as_records).await;
    cluster.broker_down(1).unwrap();
    let error = until(&mut reader, "the trouble", as_trouble).await;
    assert!(matches!(error, LogError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains(&log.address()), "{error}");
    let again = reader.next(1, Duration::from_millis(100)).await.unwrap();
    assert!(matches!(again, Delivery::Trouble(_)), "it lasts: {again:?}");
    cluster.broker_up(1).unwrap();
    let idle = |delivery: Delivery| matches!(delivery, Delivery::Idle).then_some(());
    until(&mut reader, "the end of the trouble", idle).await;
    log.publish(records("posts", 5)).await.remove(0).unwrap();
    until(&mut reader, "records", as_records).await;
    reader.close().await.unwrap();
}

#[tokio::test]
async fn publishing_outlives_errors_of_the_broker_and_of_the_producer() {
    let (cluster, log) = mock();
    use RDKafkaRespErr::*;
    // Such as librdkafka gets over by itself.
    let passing = [
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
    ];
    cluster.request_errors(RDKafkaApiKey::Produce, &passing);
    for answer in log.publish(records("posts", 20)).await {
        answer.unwrap();
    }
    // A topic that we may not write to.
    cluster.request_errors(RDKafkaApiKey::Produce, &[RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
    let error = log.publish(records("posts", 1)).await.remove(0).unwrap_err();
    assert!(matches!(error, LogError::Unauthorised { .. }) && error.pauses(), "{error:?}");
    // The producer has lost its identity: it fails for good, and another one takes over.
    cluster
        .request_errors(RDKafkaApiKey::Produce, &[RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER]);
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "publishing did not come back");
        match log.publish(records("posts", 1)).await.remove(0) {
            Ok(_) => break,
            // librdkafka remembers the refusal until it next looks at the topic.
            Err(error) => assert!(error.is_transient() || error.pauses(), "{error:?}"),
        }
    }
}

#[tokio::test]
async fn a_record_that_is_not_acknowledged_in_time_has_failed_for_now() {
    let (cluster, log) = mock();
    log.publish(records("posts", 1)).await.remove(0).unwrap();
    cluster.broker_down(1).unwrap();
    let started = Instant::now();
    let error = log.publish(records("posts", 1)).await.remove(0).unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    cluster.broker_up(1).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = log.publish(records("posts", 1)).await.remove(0) {
        assert!(Instant::now() < deadline, "{error}");
    }
}
