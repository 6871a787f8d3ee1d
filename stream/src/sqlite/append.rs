//! Appending records inside a transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::Connection;

use super::error::Failure;
use super::schema::records_table;
use super::topics::Topics;
use crate::error::LogError;
use crate::log::{Outgoing, Position};
use crate::topic::partition_of;

/// One answer per record.
pub(super) type Answers = Vec<Result<Position, LogError>>;

/// Where a record goes, and which of the batch it is.
struct Placed<'a> {
    call: usize,
    index: usize,
    record: &'a Outgoing,
}

/// The records of one partition.
struct Lane<'a> {
    topic: Arc<str>,
    number: i32,
    records: Vec<Placed<'a>>,
}

/// Appends the records of several calls: one list of answers per call. The calls' order is kept in
/// each partition.
pub(super) fn append(
    connection: &Connection,
    topics: &Topics,
    calls: &[&[Outgoing]],
    keyless: &mut u32,
    address: &str,
    now: Timestamp,
) -> Result<Vec<Answers>, Failure> {
    let missing = |topic: &str| {
        Err(LogError::MissingTopic { address: address.to_owned(), topic: topic.to_owned() })
    };
    let mut answers: Vec<Answers> =
        calls.iter().map(|records| Vec::with_capacity(records.len())).collect();
    let mut lanes: BTreeMap<i64, Lane<'_>> = BTreeMap::new();
    for (call, records) in calls.iter().enumerate() {
        for (index, record) in records.iter().enumerate() {
            let Some(topic) = topics.get(&record.topic) else {
                answers[call].push(missing(&record.topic));
                continue;
            };
            let number = match &record.key {
                Some(key) => partition_of(key, topic.partitions.len() as u32) as usize,
                None => {
                    *keyless = keyless.wrapping_add(1);
                    *keyless as usize % topic.partitions.len().max(1)
                }
            };
            let most = topic.spec.max_record_bytes;
            if record.size() > most as usize {
                answers[call].push(Err(LogError::TooLarge {
                    topic: record.topic.to_string(),
                    bytes: record.size(),
                    reason: format!("the topic takes up to {most} bytes"),
                }));
                continue;
            }
            let Some(&id) = topic.partitions.get(number) else {
                answers[call].push(missing(&record.topic));
                continue;
            };
            let number = number as i32;
            // The offset is not known before the partition is read, below.
            let topic = Arc::clone(&topic.name);
            answers[call].push(Ok(Position {
                topic: Arc::clone(&topic),
                partition: number,
                offset: -1,
            }));
            let lane =
                lanes.entry(id).or_insert_with(|| Lane { topic, number, records: Vec::new() });
            lane.records.push(Placed { call, index, record });
        }
    }
    for (id, lane) in lanes {
        let first = append_lane(connection, id, &lane, now.as_millisecond())?;
        for (offset, placed) in (first..).zip(&lane.records) {
            answers[placed.call][placed.index] =
                Ok(Position { topic: Arc::clone(&lane.topic), partition: lane.number, offset });
        }
    }
    Ok(answers)
}

/// Appends to one partition, and returns the first record's offset.
fn append_lane(
    connection: &Connection,
    id: i64,
    lane: &Lane<'_>,
    now: i64,
) -> Result<i64, Failure> {
    // Read inside the transaction: another process may have appended since.
    let (first, last): (i64, i64) = connection
        .prepare_cached("SELECT next, appended FROM partitions WHERE id = ?1")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    // A clock that was set back must not make the times of a partition go backwards.
    let appended = now.max(last);
    let table = records_table(id);
    let mut insert = connection.prepare_cached(&format!(
        "INSERT INTO {table} (offset, appended, key, headers, value) VALUES (?1, ?2, ?3, ?4, ?5)"
    ))?;
    let mut next = first;
    for Placed { record, .. } in &lane.records {
        insert.execute((
            next,
            appended,
            record.key.as_deref(),
            &record.headers.encoded()[..],
            record.value.as_deref(),
        ))?;
        next += 1;
    }
    connection
        .prepare_cached("UPDATE partitions SET next = ?2, appended = ?3 WHERE id = ?1")?
        .execute((id, next, appended))?;
    Ok(first)
}
