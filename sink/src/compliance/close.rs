//! Letting a log that nobody appends to go on compacting.
//!
//! Kafka compacts closed segments, and closes one when a record comes behind it. A tombstone in the
//! last one erases nothing until then: of a partition that gets no more records, what was removed
//! would stay for ever. So where one was silent for long, its last record is said again.

use std::collections::BTreeMap;

use bowerbird_stream::log::{ConsumerConfig, Outgoing};
use bowerbird_stream::range::RangeReader;
use bowerbird_stream::{EventLog, Partition, Record, topic};
use jiff::{SignedDuration, Timestamp};

use crate::error::SinkError;
use crate::journal::publish_all;
use crate::mapping::Mapping;

/// The header of what was said again for that: where it stood before.
const CLOSES: &str = "closes";
/// Of so many last records of a partition one is taken that can be read.
const LAST: i64 = 100;

/// Says the last record of each partition again that was silent for `quiet_for`, once.
pub(super) async fn segments<L: EventLog>(
    log: &L,
    quiet_for: SignedDuration,
    now: Timestamp,
) -> Result<(), SinkError> {
    if !log.compacts_behind_appends() {
        return Ok(());
    }
    let mut ranges = BTreeMap::new();
    for topic in topic::ALL.into_iter().filter(|topic| topic::is_compacted(topic)) {
        for (number, extent) in log.extents(topic).await? {
            let from = extent.earliest.max(extent.end - LAST);
            ranges.insert(Partition::new(topic, number), (from, extent.end));
        }
    }
    let config = ConsumerConfig::new("bowerbird-compliance");
    let mut reader = RangeReader::new(log, ranges, config).await?;
    let mut last = BTreeMap::<Partition, Vec<Record>>::new();
    while let Some(records) = reader.next(LAST as usize).await? {
        for record in records {
            last.entry(record.position.in_partition()).or_default().push(record);
        }
    }
    let again: Vec<_> =
        last.into_values().filter_map(|records| again(records, quiet_for, now)).collect();
    if !again.is_empty() {
        tracing::info!(
            partitions = again.len(),
            "last records said again, so that the log compacts"
        );
        publish_all(log, again).await?;
    }
    Ok(())
}

/// What is to be said again of a partition with these last records.
fn again(mut records: Vec<Record>, quiet_for: SignedDuration, now: Timestamp) -> Option<Outgoing> {
    let last = records.last()?;
    let is_quiet = now.duration_since(last.appended) > quiet_for;
    if !is_quiet || last.headers.get(CLOSES).is_some() {
        return None;
    }
    // What can't be read would be a dead letter once more.
    records.retain(|record| {
        let event = record.view();
        event.is_ok_and(|event| Mapping::CURRENT.map(&event, &record.position).is_ok())
    });
    let Record { position, key, value, mut headers, .. } = records.pop()?;
    headers.retain(|name| name != CLOSES);
    headers.push(CLOSES, position.to_string());
    Some(Outgoing { topic: position.topic, key, value, headers })
}

#[cfg(test)]
mod tests {
    use bowerbird_stream::{Event, EventType, Position};
    use bytes::Bytes;

    use super::*;

    fn record(offset: i64, value: &'static str) -> Record {
        let event = Event {
            id: "e".to_owned(),
            source: "s".to_owned(),
            kind: EventType::PostReceived,
            time: Timestamp::UNIX_EPOCH,
            key: "1".to_owned(),
            value: None,
            extensions: BTreeMap::new(),
        };
        Record {
            position: Position { topic: topic::POSTS.into(), partition: 0, offset },
            appended: Timestamp::from_second(offset).unwrap(),
            key: Some(Bytes::from_static(b"1")),
            value: Some(Bytes::from_static(value.as_bytes())),
            headers: event.headers(),
        }
    }

    #[test]
    fn the_last_that_can_be_read_is_said_again_once() {
        let quiet_for = SignedDuration::from_secs(10);
        let at = |second| Timestamp::from_second(second).unwrap();
        let said = |records: &[Record], now| again(records.to_vec(), quiet_for, at(now));
        let good = record(5, r#"{"id":"1","text":"a"}"#);
        assert_eq!(said(&[], 99), None);
        assert_eq!(said(std::slice::from_ref(&good), 15), None);
        let copy = said(&[good.clone(), record(6, "poison")], 17).unwrap();
        assert_eq!(
            (copy.value, copy.headers.text(CLOSES)),
            (good.value.clone(), Some("posts/0@5"))
        );
        let closed = Record { headers: copy.headers, ..record(7, "") };
        assert_eq!(said(&[good.clone(), closed], 99), None);
        assert_eq!(said(&[record(6, "poison")], 99), None);
    }
}
