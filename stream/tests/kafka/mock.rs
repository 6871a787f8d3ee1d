//! Faults on cue, by librdkafka's mock of a broker.

use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;

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
async fn brokers_without_an_address_are_no_trouble_while_another_has_one() {
    let (cluster, log) = mock();
    log.publish(records("posts", 5)).await.remove(0).unwrap();
    // It begins with any of them: with many it is sure to meet one of these.
    let mut brokers: Vec<_> = (0..20).map(|n| format!("nobody-{n}.invalid:9092")).collect();
    brokers.push(cluster.bootstrap_servers());
    let log = self::log(&brokers.join(","));
    let from = [(Partition::new("posts", 0), 0)].into();
    let mut reader = log.assign(&from, config("")).await.unwrap();
    let without_trouble = |delivery: Delivery| match delivery {
        Delivery::Trouble(error) => panic!("{error}"),
        other => as_records(other),
    };
    until(&mut reader, "records", without_trouble).await;
    reader.close().await.unwrap();

    let log = self::log("nobody.invalid:9092");
    let error = log.assign(&from, config("")).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, LogError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("nobody.invalid"), "{error}");
}

#[tokio::test]
async fn reading_a_range_outlives_a_broker_that_is_away_for_a_while() {
    let (cluster, log) = mock();
    log.publish(records("posts", 5)).await.remove(0).unwrap();
    let posts = Partition::new("posts", 0);
    let ranges = [(posts.clone(), (0, 10))].into();
    let mut range = RangeReader::new(&log, ranges, config("")).await.unwrap();
    assert_eq!(range.next(100).await.unwrap().map(|records| records.len()), Some(5));
    let mut other = log.assign(&[(posts, 5)].into(), config("")).await.unwrap();
    cluster.broker_down(1).unwrap();
    let outage = async {
        until(&mut other, "the trouble", as_trouble).await;
        cluster.broker_up(1).unwrap();
        log.publish(records("posts", 5)).await.remove(0).unwrap();
    };
    let (rest, ()) = tokio::join!(range.next(100), outage);
    assert_eq!(rest.unwrap().map(|records| records.len()), Some(5));
    assert!(range.next(100).await.unwrap().is_none());
    other.close().await.unwrap();
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
async fn a_producer_that_has_lost_its_identity_is_replaced() {
    use RDKafkaRespErr::*;
    // What the broker answers to which request, and whether an operator must mend it.
    let first_request = RDKafkaApiKey::InitProducerId;
    for (request, answer, pauses) in [
        (first_request, RD_KAFKA_RESP_ERR_PRODUCER_FENCED, Some(false)),
        (first_request, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, Some(false)),
        (first_request, RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, Some(true)),
        (RDKafkaApiKey::Produce, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, Some(false)),
        // librdkafka asks for another identity by itself, or asks again.
        (RDKafkaApiKey::Produce, RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID, None),
        (RDKafkaApiKey::Produce, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, None),
        (RDKafkaApiKey::Produce, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING, None),
    ] {
        let (cluster, log) = mock();
        if request != first_request {
            log.publish(records("posts", 1)).await.remove(0).unwrap();
        }
        cluster.request_errors(request, &[answer]);
        let told = log.publish(records("posts", 1)).await.remove(0).err();
        if let Some(pauses) = pauses {
            let told = told.unwrap();
            assert_eq!((told.pauses(), told.is_transient()), (pauses, !pauses), "{told:?}");
        }
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = log.publish(records("posts", 1)).await.remove(0) {
            assert!(error.is_transient() || error.pauses(), "{answer:?}: {error:?}");
            assert!(Instant::now() < deadline, "{answer:?}: publishing did not come back: {error}");
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

#[tokio::test]
async fn a_question_waits_for_an_election_and_not_for_ever() {
    use RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION as NO_LEADER;
    let (cluster, log) = mock();
    log.publish(records("posts", 5)).await.remove(0).unwrap();
    cluster.request_errors(RDKafkaApiKey::ListOffsets, &[NO_LEADER; 3]);
    let extents = log.extents("posts").await.unwrap();
    assert_eq!(extents[&0].end, 5);
    cluster.request_errors(RDKafkaApiKey::ListOffsets, &[NO_LEADER; 1_000]);
    let started = Instant::now();
    let error = log.extents("posts").await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}
