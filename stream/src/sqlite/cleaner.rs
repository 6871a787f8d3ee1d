//! Erasing what was overwritten (compaction) or is too old (retention).
//!
//! Compaction keeps the newest record of each key, as Kafka's does: the keys of the records that
//! were appended since the last pass are taken into memory, some at a time, and the partition is
//! walked from its start for older records of those keys.

use std::collections::HashMap;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::error::Failure;
use super::reader::{self, Standing};
use super::schema::{self, Purpose, records_table};
use crate::error::LogError;
use crate::metrics;
use crate::topic::Cleanup;

/// When a process looks for the first time; it may be a short-lived one.
const FIRST: Duration = Duration::from_secs(10);
/// How often it looks after that.
const EVERY: Duration = Duration::from_secs(300);
/// How many new keys are in memory at a time.
const KEYS: usize = 100_000;
/// How many records are looked at in one go, and so at most are erased in one transaction.
const STEP: usize = 2_000;
/// How long a tombstone stays for readers to see; Kafka's `delete.retention.ms`.
const TOMBSTONE_MS: i64 = 24 * 3600 * 1000;

/// The thread that cleans; it ends when this is dropped.
pub(super) struct Cleaner {
    _stop: mpsc::Sender<()>,
}

impl Cleaner {
    pub(super) fn start(path: &Path) -> Result<Self, Failure> {
        let (stop, stopped) = mpsc::channel();
        let path = path.to_owned();
        let thread = std::thread::Builder::new().name("log-cleaner".to_owned());
        thread.spawn(move || run(&path, &stopped)).map_err(|error| LogError::Transient {
            address: String::from("sqlite"),
            reason: format!("the cleaner's thread can't be started: {error}"),
        })?;
        Ok(Self { _stop: stop })
    }
}

fn run(path: &Path, stopped: &mpsc::Receiver<()>) {
    let mut wait = FIRST;
    while stopped.recv_timeout(wait) == Err(mpsc::RecvTimeoutError::Timeout) {
        wait = EVERY;
        match clean(path, Timestamp::now()) {
            Ok(0) => {}
            Ok(records) => tracing::info!(records, "cleaned the log"),
            Err(failure) => {
                let error = failure.at(&super::address(path));
                tracing::warn!(%error, "cleaning the log failed, trying again later");
            }
        }
    }
}

/// Erases what may go at `now`; returns how many records.
pub(super) fn clean(path: &Path, now: Timestamp) -> Result<usize, Failure> {
    let mut connection = schema::open(path, Purpose::Clean)?;
    let mut erased = 0;
    for topic in super::topics::load(&connection)?.into_values() {
        for standing in reader::partitions(&connection, &topic.name)?.into_values() {
            erased += match topic.spec.cleanup {
                Cleanup::Keep => 0,
                Cleanup::DeleteAfterMs(age) => {
                    let oldest = now.as_millisecond().saturating_sub_unsigned(age);
                    retain(&mut connection, standing, oldest)?
                }
                Cleanup::Compact { max_lag_ms } => {
                    compact(&mut connection, standing, max_lag_ms, now)?
                }
            };
        }
    }
    if erased > 0 {
        metrics::cleaned(erased);
        // What was erased must leave the write-ahead log too. Busy readers only put that off.
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    }
    Ok(erased)
}

/// Deletes what was appended before `oldest`.
fn retain(connection: &mut Connection, at: Standing, oldest: i64) -> Result<usize, Failure> {
    let keep = reader::offset_at(connection, at, oldest)?;
    let table = records_table(at.id);
    let mut erased = 0;
    let mut from = at.extent.earliest;
    while from < keep {
        from = keep.min(from + STEP as i64);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        erased += transaction
            .prepare_cached(&format!("DELETE FROM {table} WHERE offset < ?1"))?
            .execute([from])?;
        transaction
            .prepare_cached("UPDATE partitions SET earliest = ?2 WHERE id = ?1 AND earliest < ?2")?
            .execute((at.id, from))?;
        transaction.commit()?;
    }
    Ok(erased)
}

/// Whether a partition must be compacted: half the time that an overwritten record may stay is
/// over for the first record that no pass has seen yet. The other half is for the pass.
fn due(appended: i64, max_lag_ms: u64, now: i64) -> bool {
    now.saturating_sub(appended) >= i64::try_from(max_lag_ms / 2).unwrap_or(i64::MAX)
}

fn compact(
    connection: &mut Connection,
    at: Standing,
    max_lag_ms: u64,
    now: Timestamp,
) -> Result<usize, Failure> {
    let now = now.as_millisecond();
    let table = records_table(at.id);
    let mut clean: i64 = connection
        .prepare_cached("SELECT clean FROM partitions WHERE id = ?1")?
        .query_row([at.id], |row| row.get(0))?;
    let first: Option<i64> = connection
        .prepare_cached(&format!(
            "SELECT appended FROM {table} WHERE offset >= ?1 ORDER BY offset LIMIT 1"
        ))?
        .query_row([clean], |row| row.get(0))
        .optional()?;
    if !first.is_some_and(|appended| due(appended, max_lag_ms, now)) {
        return Ok(0);
    }
    let mut erased = 0;
    while clean < at.extent.end {
        let (newest, upto) = newest_of_each(connection, &table, clean, at.extent.end)?;
        // The last record of a partition stays, whatever it is: it tells where the partition ends.
        let oldest_tombstone = now - TOMBSTONE_MS;
        let doomed = |offset: i64, key: &[u8], erased_at: Option<i64>| {
            newest.get(key).is_some_and(|&newer| newer > offset)
                || (offset + 1 < at.extent.end && erased_at.is_some_and(|at| at < oldest_tombstone))
        };
        erased += sweep(connection, &table, upto, doomed)?;
        connection.execute("UPDATE partitions SET clean = ?2 WHERE id = ?1", (at.id, upto))?;
        clean = upto;
    }
    Ok(erased)
}

type Newest = HashMap<Box<[u8]>, i64>;

/// The newest offset of each key from `clean` on, for some keys, and the offset up to which.
fn newest_of_each(
    connection: &Connection,
    table: &str,
    clean: i64,
    end: i64,
) -> Result<(Newest, i64), Failure> {
    let mut newest = Newest::new();
    let mut statement = connection.prepare_cached(&format!(
        "SELECT offset, key FROM {table} WHERE offset >= ?1 AND offset < ?2 ORDER BY offset"
    ))?;
    let mut rows = statement.query([clean, end])?;
    while let Some(row) = rows.next()? {
        let offset: i64 = row.get(0)?;
        if newest.len() == KEYS {
            return Ok((newest, offset));
        }
        if let Ok(key) = row.get_ref(1)?.as_blob() {
            newest.insert(key.into(), offset);
        }
    }
    Ok((newest, end))
}

/// Erases the doomed below `upto`: `doomed(offset, key, time of a tombstone)`.
fn sweep(
    connection: &mut Connection,
    table: &str,
    upto: i64,
    doomed: impl Fn(i64, &[u8], Option<i64>) -> bool,
) -> Result<usize, Failure> {
    let mut erased = 0;
    let mut from = 0;
    while from < upto {
        let mut offsets = Vec::new();
        let mut looked = 0;
        {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT offset, key, CASE WHEN value IS NULL THEN appended END FROM {table}
                 WHERE offset >= ?1 AND offset < ?2 ORDER BY offset LIMIT {STEP}"
            ))?;
            let mut rows = statement.query([from, upto])?;
            while let Some(row) = rows.next()? {
                looked += 1;
                let offset = row.get(0)?;
                from = offset + 1;
                // Records without a key are nobody's, and stay.
                let Ok(key) = row.get_ref(1)?.as_blob() else { continue };
                if doomed(offset, key, row.get(2)?) {
                    offsets.push(offset);
                }
            }
        }
        if !offsets.is_empty() {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            {
                let mut delete = transaction
                    .prepare_cached(&format!("DELETE FROM {table} WHERE offset = ?1"))?;
                for offset in &offsets {
                    erased += delete.execute([offset])?;
                }
            }
            transaction.commit()?;
        }
        if looked < STEP {
            break;
        }
    }
    Ok(erased)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_is_due_when_half_the_lag_is_over() {
        for (age, lag, expected) in [(0, 0, true), (9, 20, false), (10, 20, true), (-5, 20, false)]
        {
            assert_eq!(due(1_000, lag, 1_000 + age), expected, "{age} of {lag}");
        }
        assert!(!due(0, u64::MAX, i64::MAX - 1));
    }
}
