//! Erasing what was overwritten (compaction) or is too old (retention).

mod compact;

use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior};

use super::error::Failure;
use super::reader::{self, Standing};
use super::schema::{self, Purpose, records_table};
use super::{seat, topics};
use crate::error::LogError;
use crate::metrics;
use crate::topic::Cleanup;

/// When a process looks for the first time; it may be a short-lived one.
const FIRST: Duration = Duration::from_secs(10);
/// How often it looks after that.
const EVERY: Duration = Duration::from_secs(300);
/// How many records are looked at, copied or deleted in one go: writers wait for it.
const STEP: i64 = 2_000;
/// One process at a time cleans; its seat is taken as a group's is.
const SEAT: &str = "cleaner of this log";
/// How long who must erase something now waits for the seat, and how often it asks.
const SEAT_PATIENCE: Duration = Duration::from_secs(10);
const SEAT_ASKED_EVERY: Duration = Duration::from_millis(20);

/// The thread that cleans; it ends when this is dropped.
pub(super) struct Cleaner {
    _stop: mpsc::Sender<()>,
}

impl Cleaner {
    pub(super) fn start(path: &Path) -> Result<Self, Failure> {
        let (stop, stopped) = mpsc::channel();
        let (path, address) = (path.to_owned(), super::address(path));
        let thread = std::thread::Builder::new().name("log-cleaner".to_owned());
        thread.spawn(move || run(&path, &stopped)).map_err(|error| LogError::Transient {
            address,
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

/// Erases what may go at `now`; returns how many records. Nothing while another process does so.
pub(super) fn clean(path: &Path, now: Timestamp) -> Result<usize, Failure> {
    let who = format!("process {}", std::process::id());
    let Some(_seat) = seat::take(&seat::folder(path), SEAT, &who)? else { return Ok(0) };
    let mut connection = schema::open(path, Purpose::Clean)?;
    compact::finish_interrupted(&mut connection)?;
    let mut erased = 0;
    for topic in topics::load(&connection)?.into_values() {
        for standing in reader::partitions(&connection, &topic.name)?.into_values() {
            erased += match topic.spec.cleanup {
                Cleanup::Keep | Cleanup::KeepErasable { .. } => 0,
                Cleanup::DeleteAfterMs(age) => {
                    let oldest = now.as_millisecond().saturating_sub_unsigned(age);
                    retain(&mut connection, standing, oldest)?
                }
                Cleanup::Compact { max_lag_ms } => {
                    compact::compact(&mut connection, standing, max_lag_ms, now.as_millisecond())?
                }
            };
        }
    }
    tell(&connection, erased)?;
    Ok(erased)
}

/// Erases from these partitions of a topic what stands before these offsets.
pub(super) fn forget(path: &Path, topic: &str, heads: &[(Standing, i64)]) -> Result<(), Failure> {
    let _seat = seat(path)?;
    let mut connection = schema::open(path, Purpose::Clean)?;
    let topics = topics::load(&connection)?;
    if let Some(Cleanup::Compact { .. }) = topics.get(topic).map(|topic| &topic.spec.cleanup) {
        let reason = format!("topic {topic} is compacted: no head of it can be forgotten");
        return Err(LogError::Fatal { address: super::address(path), reason }.into());
    }
    compact::finish_interrupted(&mut connection)?;
    let mut erased = 0;
    for (standing, before) in heads {
        erased += compact::behead(&mut connection, *standing, *before)?;
    }
    tell(&connection, erased)
}

/// The cleaner's seat; waits for it, but not for long.
fn seat(path: &Path) -> Result<seat::Seat, LogError> {
    let (folder, who) = (seat::folder(path), format!("process {}", std::process::id()));
    let deadline = Instant::now() + SEAT_PATIENCE;
    loop {
        if let Some(seat) = seat::take(&folder, SEAT, &who)? {
            return Ok(seat);
        }
        if Instant::now() >= deadline {
            let by = seat::occupant(&folder, SEAT).unwrap_or_default();
            let reason = format!("it is being cleaned by {by}");
            return Err(LogError::Transient { address: super::address(path), reason });
        }
        std::thread::sleep(SEAT_ASKED_EVERY);
    }
}

fn tell(connection: &Connection, erased: usize) -> Result<(), Failure> {
    if erased > 0 {
        metrics::cleaned(erased);
        // What was erased must leave the write-ahead log too. Busy readers only put that off.
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    }
    Ok(())
}

/// Deletes what was appended before `oldest`.
fn retain(connection: &mut Connection, at: Standing, oldest: i64) -> Result<usize, Failure> {
    let keep = reader::offset_at(connection, at, oldest)?;
    let table = records_table(at.id);
    let mut erased = 0;
    let mut from = at.extent.earliest;
    while from < keep {
        from = keep.min(from + STEP);
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
