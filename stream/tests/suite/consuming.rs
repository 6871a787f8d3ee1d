//! Consuming by group: commits, starts, pauses, seeks.

use std::collections::BTreeSet;
use std::time::Duration;

use bowerbird_stream::log::{EventLog, StartAt};
use bowerbird_stream::{Delivery, EventConsumer, LogError};
use bytes::Bytes;
use tokio::time::Instant;

use super::*;

pub async fn a_group_resumes_where_it_committed(log: impl EventLog) {
    let (topic, group) = (topic(&log, 3).await, unique("group"));
    publish(&log, records(&topic, 0, 100)).await;
    let mut first = log.subscribe(&[&topic], config(&group)).await.unwrap();
    assert_eq!(assigned(&mut first).await.len(), 3);
    let done = read(&mut first, 100).await;
    first.commit(&after(&done)).await.unwrap();
    first.close().await.unwrap();
    publish(&log, records(&topic, 100, 50)).await;
    let mut second = log.subscribe(&[&topic], config(&group)).await.unwrap();
    let rest: BTreeSet<_> = read(&mut second, 50).await.iter().map(number).collect();
    assert_eq!(rest, (100..150).collect());
    nothing(&mut second, Duration::from_millis(300)).await;
    second.close().await.unwrap();
}

pub async fn what_was_not_committed_comes_again(log: impl EventLog) {
    let (topic, group) = (topic(&log, 1).await, unique("group"));
    publish(&log, records(&topic, 0, 60)).await;
    let mut first = log.subscribe(&[&topic], config(&group)).await.unwrap();
    let done = read(&mut first, 60).await;
    first.commit(&after(&done[..20])).await.unwrap();
    first.close().await.unwrap();
    let mut second = log.subscribe(&[&topic], config(&group)).await.unwrap();
    let again: Vec<_> = read(&mut second, 40).await.iter().map(number).collect();
    assert_eq!(again, (20..60).collect::<Vec<_>>());
    second.close().await.unwrap();
}

pub async fn a_group_may_start_at_the_end(log: impl EventLog) {
    let topic = topic(&log, 2).await;
    publish(&log, records(&topic, 0, 30)).await;
    let group = unique("group");
    let config = ConsumerConfig { start: StartAt::End, ..config(&group) };
    let mut consumer = log.subscribe(&[&topic], config).await.unwrap();
    assigned(&mut consumer).await;
    publish(&log, records(&topic, 30, 10)).await;
    let got: BTreeSet<_> = read(&mut consumer, 10).await.iter().map(number).collect();
    assert_eq!(got, (30..40).collect());
    consumer.close().await.unwrap();
}

pub async fn paused_partitions_wait(log: impl EventLog) {
    let (topic, group) = (topic(&log, 2).await, unique("group"));
    publish(&log, records(&topic, 0, 200)).await;
    let mut consumer = log.subscribe(&[&topic], config(&group)).await.unwrap();
    let first = read(&mut consumer, 1).await.remove(0).position.in_partition();
    consumer.pause(std::slice::from_ref(&first)).unwrap();
    let other = Partition::new(topic.as_str(), 1 - first.partition);
    let extents = log.extents(&topic).await.unwrap();
    let of_other = extents[&other.partition].end as usize;
    let got = read(&mut consumer, of_other).await;
    assert!(got.iter().all(|record| record.position.in_partition() == other));
    nothing(&mut consumer, Duration::from_millis(300)).await;
    consumer.resume(std::slice::from_ref(&first)).unwrap();
    let got = read(&mut consumer, extents[&first.partition].end as usize - 1).await;
    let offsets: Vec<_> = got.iter().map(|record| record.position.offset).collect();
    assert_eq!(offsets, (1..extents[&first.partition].end).collect::<Vec<_>>());
    nothing(&mut consumer, Duration::from_millis(300)).await;
    let foreign = Partition::new(topic.as_str(), 7);
    assert!(consumer.pause(std::slice::from_ref(&foreign)).is_err());
    assert!(consumer.resume(&[foreign]).is_err());
    consumer.close().await.unwrap();
}

pub async fn seeks_there_and_back(log: impl EventLog) {
    let (topic, group) = (topic(&log, 1).await, unique("group"));
    publish(&log, records(&topic, 0, 100)).await;
    let mut consumer = log.subscribe(&[&topic], config(&group)).await.unwrap();
    let partition = Partition::new(topic.as_str(), 0);
    read(&mut consumer, 10).await;
    for offset in [90, 0, 50, 99, 3] {
        consumer.seek(&partition, offset).await.unwrap();
        let got = read(&mut consumer, 1).await;
        assert_eq!(got[0].position.offset, offset);
    }
    consumer.seek(&partition, 100).await.unwrap();
    nothing(&mut consumer, Duration::from_millis(300)).await;
    publish(&log, records(&topic, 100, 1)).await;
    assert_eq!(number(&read(&mut consumer, 1).await[0]), 100);
    for offset in [-1, 102] {
        let error = consumer.seek(&partition, offset).await.unwrap_err();
        let LogError::OutOfRange { offset: told, earliest: 0, end: 101, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(told, offset);
    }
    consumer.close().await.unwrap();
}

pub async fn memory_is_bounded_by_the_prefetch(log: impl EventLog) {
    let (topic, group) = (topic(&log, 2).await, unique("group"));
    let value = Bytes::from(vec![b'x'; 64 << 10]);
    let large =
        |i: usize| Outgoing { value: Some(value.clone()), ..record(&topic, &i.to_string(), "") };
    publish(&log, (0..400).map(large).collect()).await;
    let config = ConsumerConfig { prefetch_bytes: 1 << 20, ..config(&group) };
    let mut consumer = log.subscribe(&[&topic], config).await.unwrap();
    let mut count = 0;
    let deadline = Instant::now() + PATIENCE;
    while count < 400 {
        assert!(Instant::now() < deadline, "{count} records came in time");
        let delivery = consumer.next(usize::MAX, Duration::from_millis(200)).await.unwrap();
        let Delivery::Records(records) = delivery else { continue };
        let bytes: usize = records.iter().map(Record::size).sum();
        // A fetch may bring one record more than fits.
        assert!(bytes <= (1 << 20) + (128 << 10), "{bytes} bytes at once");
        count += records.len();
    }
    consumer.close().await.unwrap();
}

pub async fn a_dropped_wait_loses_nothing(log: impl EventLog) {
    let (topic, group) = (topic(&log, 1).await, unique("group"));
    publish(&log, records(&topic, 0, 2000)).await;
    let mut consumer = log.subscribe(&[&topic], config(&group)).await.unwrap();
    let mut numbers = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while numbers.len() < 2000 {
        assert!(Instant::now() < deadline, "{} records came in time", numbers.len());
        let next = consumer.next(7, Duration::from_secs(1));
        match tokio::time::timeout(Duration::from_micros(300), next).await {
            Ok(Ok(Delivery::Records(records))) => numbers.extend(records.iter().map(number)),
            Ok(Err(error)) => panic!("{error}"),
            Ok(Ok(_)) | Err(_) => {}
        }
    }
    assert_eq!(numbers, (0..2000).collect::<Vec<_>>());
    consumer.close().await.unwrap();
}
