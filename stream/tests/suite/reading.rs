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

pub async fn a_head_that_is_forgotten_is_gone_for_every_reader(log: impl EventLog) {
    let (topic, group) = (topic(&log, 2).await, unique("group"));
    publish(&log, records(&topic, 0, 60)).await;
    let before = log.extents(&topic).await.unwrap();
    let end = before[&0].end;
    assert!(end > 10, "{before:?}");
    let first = Partition::new(topic.as_str(), 0);
    let at = |offset| BTreeMap::from([(first.clone(), offset)]);
    let mut reader = log.assign(&at(0), config(&group)).await.unwrap();
    read(&mut reader, 3).await;
    reader.commit(&at(3)).await.unwrap();
    reader.close().await.unwrap();

    log.forget(&topic, &BTreeMap::from([(0, 7)])).await.unwrap();
    let left = BTreeMap::from([(0, Extent { earliest: 7, end }), (1, before[&1])]);
    assert_eq!(log.extents(&topic).await.unwrap(), left);
    // Once more, or less, changes nothing.
    log.forget(&topic, &BTreeMap::from([(0, 7)])).await.unwrap();
    log.forget(&topic, &BTreeMap::from([(0, 2), (1, -1)])).await.unwrap();
    assert_eq!(log.extents(&topic).await.unwrap(), left);
    let long_ago = Timestamp::now() - Duration::from_secs(3600);
    assert_eq!(log.offsets_at(&topic, long_ago).await.unwrap()[&0], 7);

    let mut reader = log.assign(&at(0), config("")).await.unwrap();
    let got = read(&mut reader, end as usize - 7).await;
    let offsets: Vec<_> = got.iter().map(|record| record.position.offset).collect();
    assert_eq!(offsets, (7..end).collect::<Vec<_>>());
    let error = reader.seek(&first, 6).await.unwrap_err();
    assert!(matches!(error, LogError::OutOfRange { offset: 6, earliest: 7, .. }), "{error:?}");
    reader.close().await.unwrap();
    // A group that was not so far is told, and goes on.
    let mut live = log.subscribe(&[&topic], config(&group)).await.unwrap();
    let (mut told, mut came) = (None, None);
    while told.is_none() || came.is_none() {
        match live.next(100, PATIENCE).await.unwrap() {
            Delivery::Trouble(LogError::OutOfRange { partition: 0, offset, earliest, .. }) => {
                told = Some((offset, earliest));
            }
            Delivery::Records(records) => {
                let mut here = records.iter().filter(|one| one.position.partition == 0);
                came = came.or(here.next().map(|one| one.position.offset));
            }
            Delivery::Assigned(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((told, came), (Some((3, 7)), Some(7)));
    live.close().await.unwrap();

    let past = log.forget(&topic, &BTreeMap::from([(0, end + 1)])).await.unwrap_err();
    assert!(matches!(past, LogError::OutOfRange { .. }), "{past:?}");
    let missing = log.forget(&topic, &BTreeMap::from([(9, 1)])).await.unwrap_err();
    assert!(matches!(missing, LogError::MissingTopic { .. }), "{missing:?}");
    assert_eq!(log.extents(&topic).await.unwrap(), left, "nothing is done of what is refused");
    log.forget(&topic, &BTreeMap::from([(0, end)])).await.unwrap();
    assert_eq!(log.extents(&topic).await.unwrap()[&0], Extent { earliest: end, end });
    let next = publish(&log, records(&topic, 60, 40)).await;
    assert!(next.iter().any(|at| (at.partition, at.offset) == (0, end)), "{next:?}");
}

pub async fn a_compacted_topic_forgets_no_head(log: impl EventLog) {
    let name = unique("compacted");
    let cleanup = Cleanup::Compact { max_lag_ms: 3_600_000 };
    let spec = TopicSpec { cleanup, ..spec(&name, 1) };
    log.apply_topics(&[spec], false).await.unwrap();
    publish(&log, records(&name, 0, 5)).await;
    let error = log.forget(&name, &BTreeMap::from([(0, 3)])).await.unwrap_err();
    assert!(matches!(error, LogError::Fatal { .. }), "{error:?}");
    assert_eq!(log.extents(&name).await.unwrap()[&0], Extent { earliest: 0, end: 5 });
}
