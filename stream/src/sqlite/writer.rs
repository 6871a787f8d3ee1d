//! The one thread that writes.
//!
//! Requests wait in a bounded queue; all that wait together share a transaction, and so one sync of
//! the disk. Each is answered when that transaction is durable.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};
use tokio::sync::{mpsc, oneshot, watch};

use super::append::{self, Answers};
use super::error::Failure;
use super::topics::{self, Topics};
use crate::error::LogError;
use crate::log::{Outgoing, TopicChange};
use crate::metrics;
use crate::topic::TopicSpec;

/// The most that shares one transaction, in bytes: what it holds is in memory twice.
pub(super) const TRANSACTION_BYTES: usize = 8 << 20;
/// The most requests that share one transaction.
const TRANSACTION_REQUESTS: usize = 1024;

type Answer<T> = oneshot::Sender<Result<T, LogError>>;

/// What the writer is asked for.
pub(super) enum Request {
    Append {
        records: Vec<Outgoing>,
        bytes: usize,
        answer: oneshot::Sender<Answers>,
    },
    /// A new live member of a group; answered with its epoch.
    Join {
        group: String,
        answer: Answer<i64>,
    },
    /// Offsets by partition id, for the member of this epoch, or for a reader without membership.
    Commit {
        group: String,
        epoch: Option<i64>,
        offsets: BTreeMap<i64, i64>,
        answer: Answer<()>,
    },
    Apply {
        topics: Vec<TopicSpec>,
        dry_run: bool,
        answer: Answer<Vec<TopicChange>>,
    },
}

impl Request {
    fn bytes(&self) -> usize {
        match self {
            Self::Append { bytes, .. } => *bytes,
            _ => 0,
        }
    }

    fn refuse(self, error: &LogError) {
        // A caller that has gone away needs no answer.
        match self {
            Self::Append { records, answer, .. } => {
                let _ = answer.send(records.iter().map(|_| Err(error.clone())).collect());
            }
            Self::Join { answer, .. } => drop(answer.send(Err(error.clone()))),
            Self::Commit { answer, .. } => drop(answer.send(Err(error.clone()))),
            Self::Apply { answer, .. } => drop(answer.send(Err(error.clone()))),
        }
    }
}

/// What a request comes to, told when the transaction is durable.
enum Reply {
    Join(Result<i64, LogError>),
    Commit(Result<(), LogError>),
    Apply(Result<Vec<TopicChange>, LogError>),
    Append(Answers),
}

pub(super) struct Writer {
    connection: Connection,
    address: String,
    topics: Topics,
    /// `PRAGMA data_version` when the topics were read: another value tells of another writer.
    seen: i64,
    keyless: u32,
    /// Counts the transactions that appended something: wakes the readers of this process.
    appended: watch::Sender<u64>,
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        address: String,
        appended: watch::Sender<u64>,
    ) -> Result<Self, Failure> {
        let topics = topics::load(&connection)?;
        let seen = data_version(&connection)?;
        Ok(Self { connection, address, topics, seen, keyless: 0, appended })
    }

    /// Serves until every sender is gone.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut batch = Vec::new();
        while let Some(first) = queue.blocking_recv() {
            let mut bytes = first.bytes();
            batch.push(first);
            while bytes < TRANSACTION_BYTES && batch.len() < TRANSACTION_REQUESTS {
                let Ok(next) = queue.try_recv() else { break };
                bytes += next.bytes();
                batch.push(next);
            }
            self.serve(std::mem::take(&mut batch));
        }
    }

    fn serve(&mut self, batch: Vec<Request>) {
        let started = std::time::Instant::now();
        match self.transact(&batch) {
            Ok(replies) => {
                let mut records = 0;
                for (request, reply) in batch.into_iter().zip(replies) {
                    records += answer(request, reply);
                }
                if records > 0 {
                    metrics::published("sqlite", records, started.elapsed());
                    self.appended.send_modify(|count| *count = count.wrapping_add(1));
                }
            }
            Err(failure) => {
                let error = failure.at(&self.address);
                metrics::publish_failed("sqlite");
                tracing::warn!(%error, "transaction failed");
                batch.into_iter().for_each(|request| request.refuse(&error));
            }
        }
    }

    /// Does the whole batch, or nothing of it.
    fn transact(&mut self, batch: &[Request]) -> Result<Vec<Reply>, Failure> {
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version = data_version(&transaction)?;
        if version != self.seen {
            self.topics = topics::load(&transaction)?;
            self.seen = version;
        }
        let mut appended = append::append(
            &transaction,
            &self.topics,
            &batch.iter().filter_map(records).collect::<Vec<_>>(),
            &mut self.keyless,
            &self.address,
            Timestamp::now(),
        )?
        .into_iter();
        let mut applied = false;
        let replies = batch
            .iter()
            .map(|request| {
                Ok(match request {
                    Request::Append { .. } => Reply::Append(appended.next().unwrap_or_default()),
                    Request::Join { group, .. } => Reply::Join(Ok(join(&transaction, group)?)),
                    Request::Commit { group, epoch, offsets, .. } => {
                        Reply::Commit(commit(&transaction, &self.address, group, *epoch, offsets)?)
                    }
                    Request::Apply { topics, dry_run, .. } => {
                        applied = !dry_run;
                        Reply::Apply(match topics::apply(&transaction, topics, *dry_run) {
                            Ok(changes) => Ok(changes),
                            Err(Failure::Log(refused)) => Err(refused),
                            Err(failure) => return Err(failure),
                        })
                    }
                })
            })
            .collect::<Result<_, Failure>>()?;
        transaction.commit()?;
        if applied {
            self.topics = topics::load(&self.connection)?;
        }
        Ok(replies)
    }
}

/// `PRAGMA data_version`: changes when another connection has written.
pub(super) fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

fn records(request: &Request) -> Option<&[Outgoing]> {
    match request {
        Request::Append { records, .. } => Some(records),
        _ => None,
    }
}

/// Tells the caller, and returns how many records were appended.
fn answer(request: Request, reply: Reply) -> usize {
    let mut records = 0;
    match (request, reply) {
        (Request::Append { answer, .. }, Reply::Append(answers)) => {
            records = answers.iter().filter(|answer| answer.is_ok()).count();
            let _ = answer.send(answers);
        }
        (Request::Join { answer, .. }, Reply::Join(reply)) => drop(answer.send(reply)),
        (Request::Commit { answer, .. }, Reply::Commit(reply)) => drop(answer.send(reply)),
        (Request::Apply { answer, .. }, Reply::Apply(reply)) => drop(answer.send(reply)),
        // Replies are made from the requests, one for one.
        _ => {}
    }
    records
}

fn join(connection: &Connection, group: &str) -> rusqlite::Result<i64> {
    connection
        .prepare_cached(
            "INSERT INTO consumer_groups (name, epoch) VALUES (?1, 1)
             ON CONFLICT (name) DO UPDATE SET epoch = epoch + 1 RETURNING epoch",
        )?
        .query_row([group], |row| row.get(0))
}

fn commit(
    connection: &Connection,
    address: &str,
    group: &str,
    epoch: Option<i64>,
    offsets: &BTreeMap<i64, i64>,
) -> rusqlite::Result<Result<(), LogError>> {
    let current: Option<i64> = connection
        .prepare_cached("SELECT epoch FROM consumer_groups WHERE name = ?1")?
        .query_row([group], |row| row.get(0))
        .optional()?;
    match (epoch, current) {
        (None, None) => {
            connection
                .prepare_cached("INSERT INTO consumer_groups (name, epoch) VALUES (?1, 0)")?
                .execute([group])?;
        }
        (Some(mine), current) if current != Some(mine) => {
            return Ok(Err(LogError::Fatal {
                address: address.to_owned(),
                reason: format!("another member has taken over group {group}: nothing committed"),
            }));
        }
        _ => {}
    }
    let mut upsert = connection.prepare_cached(
        "INSERT INTO commits (consumer_group, partition, next) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET next = excluded.next",
    )?;
    for (partition, next) in offsets {
        upsert.execute((group, partition, next))?;
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bytes::Bytes;

    use super::*;
    use crate::event::Headers;
    use crate::sqlite::schema;
    use crate::topic::declared;

    fn writer(path: &Path) -> Writer {
        let (tell, _) = watch::channel(0);
        Writer::new(schema::create(path).unwrap(), "sqlite:test".to_owned(), tell).unwrap()
    }

    fn append(count: usize) -> (Request, oneshot::Receiver<Answers>) {
        let record = Outgoing {
            topic: "posts".into(),
            key: Some(Bytes::from("k")),
            value: Some(Bytes::from(vec![1; 1000])),
            headers: Headers::new(),
        };
        let (answer, answers) = oneshot::channel();
        (Request::Append { records: vec![record; count], bytes: count * 1000, answer }, answers)
    }

    #[test]
    fn a_full_disk_refuses_all_or_nothing_and_goes_on_when_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(&folder.path().join("log.sqlite"));
        let (answer, _changes) = oneshot::channel();
        let topics = declared(1, 1, 1 << 20);
        writer.serve(vec![Request::Apply { topics, dry_run: false, answer }]);
        let limit = |writer: &Writer, pages: i64| {
            writer.connection.pragma_update(None, "max_page_count", pages).unwrap();
        };
        limit(&writer, 60);
        let (small, mut first) = append(3);
        writer.serve(vec![small]);
        assert!(first.try_recv().unwrap().iter().all(Result::is_ok));
        let ((large, mut large_answers), (small, mut small_answers)) = (append(5000), append(1));
        writer.serve(vec![large, small]);
        for answers in [&mut large_answers, &mut small_answers] {
            for answer in answers.try_recv().unwrap() {
                let error = answer.unwrap_err();
                assert!(matches!(error, LogError::Full { .. }) && error.pauses(), "{error:?}");
            }
        }
        limit(&writer, 1 << 20);
        let (again, mut answers) = append(2);
        writer.serve(vec![again]);
        let offsets: Vec<_> =
            answers.try_recv().unwrap().into_iter().map(|answer| answer.unwrap().offset).collect();
        assert_eq!(offsets, [3, 4], "what was refused left no gap");
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_turn_the_log_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(&folder.path().join("log.sqlite"));
        let (answer, _changes) = oneshot::channel();
        let topics = declared(1, 1, 1 << 20);
        writer.serve(vec![Request::Apply { topics, dry_run: false, answer }]);
        let (request, _answers) = append(1);
        let Request::Append { records, .. } = request else { panic!() };
        let mut keyless = 0;
        for second in [100, 90, 110] {
            let now = Timestamp::from_second(second).unwrap();
            let calls = [&records[..]];
            let at = "sqlite:test";
            append::append(&writer.connection, &writer.topics, &calls, &mut keyless, at, now)
                .unwrap();
        }
        let partition = writer.topics["posts"].partitions[0];
        let table = schema::records_table(partition);
        let mut statement =
            writer.connection.prepare(&format!("SELECT appended FROM {table}")).unwrap();
        let times: Vec<i64> =
            statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(times, [100_000, 100_000, 110_000]);
    }
}
