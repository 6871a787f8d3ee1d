//! Reading without a group, and asking what the log holds.

use std::collections::BTreeMap;
use std::time::Duration;

use bowerbird_stream::log::{EventLog, Extent};
use bowerbird_stream::{Delivery, EventConsumer, LogError};
use jiff::Timestamp;

use super::*;

pub async fn an_assignment_leaves_groups_alone(log: impl EventLog) {
    let (topic, group) = (topic(&log, 2).await, unique("group"));
    publish(&log, records(&topic, 0, 60)).await;
    let mut live = log.subscribe(&[&topic], config(&group)).await.unwrap();
    let done = read(&mut live, 60).await;
    live.commit(&after(&done)).await.unwrap();
    let committed = log.committed(&group, &topic).await.unwrap();

    let from = BTreeMap::from([(Partition::new(topic.as_str(), 1), 5)]);
    let mut reader = log.assign(&from, config(&group)).await.unwrap();
    let end = log.extents(&topic).await.unwrap()[&1].end;
    let got = read(&mut reader, end as usize - 5).await;
    let offsets: Vec<_> = got.iter().map(|record| record.position.offset).collect();
    assert_eq!(offsets, (5..end).collect::<Vec<_>>());
    let partition = Partition::new(topic.as_str(), 1);
    reader.seek(&partition, 2).await.unwrap();
    assert_eq!(read(&mut reader, 1).await[0].position.offset, 2);
    let error = reader.seek(&partition, end + 1).await.unwrap_err();
    assert!(matches!(error, LogError::OutOfRange { .. }), "{error:?}");
    reader.close().await.unwrap();

    assert_eq!(log.committed(&group, &topic).await.unwrap(), committed);
    publish(&log, records(&topic, 60, 1)).await;
    let delivery = loop {
        match live.next(10, Duration::from_millis(200)).await.unwrap() {
            Delivery::Idle => {}
            other => break other,
        }
    };
    assert!(matches!(delivery, Delivery::Records(_)), "no rebalance: {delivery:?}");
    live.close().await.unwrap();
}

pub async fn an_assignment_past_the_end_is_refused(log: impl EventLog) {
    let topic = topic(&log, 1).await;
    publish(&log, records(&topic, 0, 5)).await;
    let at = |offset| BTreeMap::from([(Partition::new(topic.as_str(), 0), offset)]);
    let error = log.assign(&at(6), config("")).await.err().unwrap();
    let LogError::OutOfRange { offset: 6, earliest: 0, end: 5, .. } = error else {
        panic!("{error:?}");
    };
    let mut before = log.assign(&at(-3), config("")).await.unwrap();
    assert_eq!(read(&mut before, 5).await[0].position.offset, 0);
    let mut end = log.assign(&at(5), config("")).await.unwrap();
    nothing(&mut end, Duration::from_millis(200)).await;
    publish(&log, records(&topic, 5, 1)).await;
    assert_eq!(number(&read(&mut end, 1).await[0]), 5);
}

pub async fn extents_and_times_tell_where_records_are(log: impl EventLog) {
    let topic = topic(&log, 3).await;
    let empty = Extent { earliest: 0, end: 0 };
    let extents = log.extents(&topic).await.unwrap();
    assert_eq!(extents, (0..3).map(|partition| (partition, empty)).collect());
    let now = Timestamp::now();
    assert_eq!(log.offsets_at(&topic, now).await.unwrap(), (0..3).map(|p| (p, 0)).collect());

    let early = publish(&log, records(&topic, 0, 60)).await;
    let between = next_millisecond().await;
    next_millisecond().await;
    let late = publish(&log, records(&topic, 60, 60)).await;

    let ends = |positions: &[Position]| {
        let mut ends: BTreeMap<i32, i64> = (0..3).map(|partition| (partition, 0)).collect();
        positions.iter().for_each(|p| _ = ends.insert(p.partition, p.offset + 1));
        ends
    };
    let extents = log.extents(&topic).await.unwrap();
    let told: BTreeMap<_, _> = extents.iter().map(|(p, extent)| (*p, extent.end)).collect();
    assert_eq!(told, ends(&late));
    assert_eq!(log.offsets_at(&topic, now - Duration::from_secs(60)).await.unwrap(), ends(&[]));
    assert_eq!(log.offsets_at(&topic, between).await.unwrap(), ends(&early));
    let future = Timestamp::now() + Duration::from_secs(60);
    assert_eq!(log.offsets_at(&topic, future).await.unwrap(), ends(&late));
}

/// Waits until the clock stands at another millisecond, which is as fine as logs keep time.
async fn next_millisecond() -> Timestamp {
    let from = Timestamp::now().as_millisecond();
    loop {
        let now = Timestamp::now();
        if now.as_millisecond() > from {
            return now;
        }
        tokio::task::yield_now().await;
    }
}
