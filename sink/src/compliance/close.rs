//! Letting a log that nobody appends to go on compacting.
//!
//! Kafka compacts closed segments, and closes one when a record comes behind it. A tombstone in the
//! last one erases nothing until then: of a partition that gets no more records, what was removed
//! would stay for ever. So where one was silent for long, its last record is said again. Likewise
//! where the head of dead letters was forgotten: its bytes leave the disk with its segments.

use std::collections::BTreeMap;

use bowerbird_stream::dead_letter;
use bowerbird_stream::log::{ConsumerConfig, Outgoing};
use bowerbird_stream::range::RangeReader;
use bowerbird_stream::topic::{self, CLOSES};
use bowerbird_stream::{EventLog, Partition, Record};
use jiff::{SignedDuration, Timestamp};

use crate::error::SinkError;
use crate::journal::publish_all;
use crate::mapping::Mapping;

/// Of so many last records of a partition one is taken that can be read.
const LAST: i64 = 100;
/// Segments of dead letters are closed after so many times as long as those of compacted topics.
const LONGER: i32 = 5;

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
    let is_closed = |topic: &&str| topic::is_compacted(topic) || *topic == topic::DEAD_LETTERS;
    for topic in topic::ALL.into_iter().filter(is_closed) {
        for (number, extent) in log.extents(topic).await? {
            if topic == topic::DEAD_LETTERS && extent.earliest == 0 {
                continue;
            }
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
    let again = last.into_iter().filter_map(|(partition, records)| match &*partition.topic {
        topic::DEAD_LETTERS => letter_again(records, quiet_for * LONGER, now),
        _ => again(records, quiet_for, now),
    });
    let again: Vec<_> = again.collect();
    if !again.is_empty() {
        tracing::info!(
            partitions = again.len(),
            "last records said again, so that the log compacts"
        );
        publish_all(log, again).await?;
    }
    Ok(())
}

/// Whether the last of these came long ago, and nothing was said again since.
fn is_quiet(records: &[Record], quiet_for: SignedDuration, now: Timestamp) -> bool {
    records.last().is_some_and(|last| {
        now.duration_since(last.appended) > quiet_for && last.headers.get(CLOSES).is_none()
    })
}

/// What is to be said again of a partition of dead letters with these last records: one that comes
/// into the same partition, under its name.
fn letter_again(
    mut records: Vec<Record>,
    quiet_for: SignedDuration,
    now: Timestamp,
) -> Option<Outgoing> {
    if !is_quiet(&records, quiet_for, now) {
        return None;
    }
    records.retain(|record| record.key.is_some());
    let (record, position) = records.pop().map(|record| (record.clone(), record.position))?;
    let mut again = dead_letter::again(record);
    again.headers.set(CLOSES, position.to_string());
    Some(again)
}

/// What is to be said again of a partition with these last records.
fn again(mut records: Vec<Record>, quiet_for: SignedDuration, now: Timestamp) -> Option<Outgoing> {
    if !is_quiet(&records, quiet_for, now) {
        return None;
    }
    // What can't be read would be a dead letter once more.
    records.retain(|record| {
        let event = record.view();
        event.is_ok_and(|event| Mapping::CURRENT.map(&event, &record.position).is_ok())
    });
    let Record { position, key, value, mut headers, .. } = records.pop()?;
    headers.set(CLOSES, position.to_string());
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

    #[test]
    fn of_letters_the_last_with_a_key_is_said_again_under_its_name() {
        let quiet_for = SignedDuration::from_secs(10);
        let at = |second| Timestamp::from_second(second).unwrap();
        let said = |records: &[Record], now| letter_again(records.to_vec(), quiet_for, at(now));
        let (letter, mut keyless) = (record(5, "poison"), record(6, "poison"));
        keyless.key = None;
        assert_eq!(said(&[], 99), None);
        assert_eq!(said(std::slice::from_ref(&letter), 15), None);
        assert_eq!(said(std::slice::from_ref(&keyless), 99), None);
        let copy = said(&[letter.clone(), keyless], 99).unwrap();
        assert_eq!((&copy.key, &copy.value), (&letter.key, &letter.value));
        assert_eq!(copy.headers.text(dead_letter::ID), Some("0@5"));
        let closed = Record { headers: copy.headers, ..record(7, "poison") };
        assert_eq!(said(&[letter, closed], 99), None);
    }
}
