//! The one thread that writes: it gathers what waits and commits it together.
//!
//! A commit costs a sync of the disk whatever it holds, so the writes that arrived during one
//! commit share the next.
//!
//! What a write replaces is overwritten, and leaves the write-ahead log soon after: a document may be
//! replaced because what it said must be nowhere any more.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout_at;

use crate::document::Document;
use crate::error::StoreError;
use crate::metrics;
use crate::sqlite::error::{address, classify};
use crate::sqlite::{apply, schema};
use crate::store::WriteOutcome;

/// How many writes may wait; who comes after them is slowed.
const QUEUE: usize = 32;
/// The most bytes of documents in one commit; a single larger write goes alone.
const COMMIT_BYTES: usize = 16 << 20;

/// So long what was replaced may stay in the write-ahead log, and again where somebody reads it.
const EMPTIED_AFTER: Duration = Duration::from_secs(5);

/// Something to be done in a commit.
#[derive(Debug)]
enum Task {
    Write { database: String, documents: Vec<Document> },
    Create { database: String },
    Drop { database: String },
}

impl Task {
    fn bytes(&self) -> usize {
        match self {
            Self::Write { documents, .. } => documents.iter().map(Document::size).sum(),
            Self::Create { .. } | Self::Drop { .. } => 0,
        }
    }
}

/// What became of a task.
#[derive(Debug)]
enum Done {
    Outcomes(Vec<WriteOutcome>),
    Changed(bool),
}

type Answer = Result<Done, StoreError>;

#[derive(Debug)]
struct Job {
    task: Task,
    answer: oneshot::Sender<Answer>,
}

/// The handle of the thread; dropping it ends the thread once the queue is empty.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    queue: Option<mpsc::Sender<Job>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Starts the thread on a connection of its own.
    pub(super) fn start(path: &Path, connection: Connection) -> Result<Self, StoreError> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let own_path = path.to_owned();
        let failed = |error: std::io::Error| StoreError::Fatal {
            address: address(path),
            reason: format!("no thread could be started: {error}"),
        };
        // Of its own: it must wait for the next write with a bound, wherever the store is used.
        let clock =
            tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(failed)?;
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || run(&own_path, &connection, &clock, jobs))
            .map_err(failed)?;
        Ok(Self { path: path.to_owned(), queue: Some(queue), thread: Mutex::new(Some(thread)) })
    }

    pub(super) async fn write(
        &self,
        database: &str,
        documents: &[Document],
    ) -> Result<Vec<WriteOutcome>, StoreError> {
        let task = Task::Write { database: database.to_owned(), documents: documents.to_vec() };
        match self.submit(task).await? {
            Done::Outcomes(outcomes) => Ok(outcomes),
            Done::Changed(_) => Err(self.gone()),
        }
    }

    pub(super) async fn create(&self, database: &str) -> Result<bool, StoreError> {
        self.change(Task::Create { database: database.to_owned() }).await
    }

    pub(super) async fn drop_database(&self, database: &str) -> Result<bool, StoreError> {
        self.change(Task::Drop { database: database.to_owned() }).await
    }

    async fn change(&self, task: Task) -> Result<bool, StoreError> {
        match self.submit(task).await? {
            Done::Changed(changed) => Ok(changed),
            Done::Outcomes(_) => Err(self.gone()),
        }
    }

    async fn submit(&self, task: Task) -> Answer {
        let (answer, answered) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(|| self.gone())?;
        queue.send(Job { task, answer }).await.map_err(|_| self.gone())?;
        answered.await.map_err(|_| self.gone())?
    }

    fn gone(&self) -> StoreError {
        StoreError::Fatal {
            address: address(&self.path),
            reason: "its writing thread is gone; start again".to_owned(),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        let thread = self.thread.get_mut().ok().and_then(Option::take);
        // It has at most the queue left to commit. A panic of it has been told by its own hook.
        let _ = thread.map(JoinHandle::join);
    }
}

fn run(path: &Path, connection: &Connection, clock: &Runtime, mut jobs: mpsc::Receiver<Job>) {
    let (mut held, mut empties_at) = (None::<Job>, None::<tokio::time::Instant>);
    loop {
        if empties_at.is_some_and(|at| at <= tokio::time::Instant::now()) {
            empties_at = match empty_log(connection) {
                true => None,
                false => Some(tokio::time::Instant::now() + EMPTIED_AFTER),
            };
        }
        let first = match (held.take(), empties_at) {
            (Some(held), _) => Some(held),
            (None, None) => clock.block_on(jobs.recv()),
            (None, Some(at)) => match clock.block_on(async { timeout_at(at, jobs.recv()).await }) {
                Ok(first) => first,
                Err(_) => continue,
            },
        };
        let Some(first) = first else { break };
        empties_at.get_or_insert_with(|| tokio::time::Instant::now() + EMPTIED_AFTER);
        let mut bytes = first.task.bytes();
        let mut group = vec![first];
        while group.len() < QUEUE {
            let Ok(job) = jobs.try_recv() else { break };
            let size = job.task.bytes();
            if bytes + size > COMMIT_BYTES {
                held = Some(job);
                break;
            }
            bytes += size;
            group.push(job);
        }
        commit(path, connection, group);
    }
}

/// Copies the write-ahead log back and empties it, if nobody reads it; another time if somebody does.
fn empty_log(connection: &Connection) -> bool {
    let emptied = schema::at_once(connection, |connection| {
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))
    });
    // A disk that is full now is told of by the next write.
    emptied.is_ok_and(|busy| busy == 0)
}

/// Does all of a group in one transaction and answers each; a failure is everybody's.
fn commit(path: &Path, connection: &Connection, group: Vec<Job>) {
    let start = Instant::now();
    let done = transact(path, connection, &group);
    match done {
        Ok(answers) => {
            ::metrics::histogram!(metrics::COMMIT_SECONDS).record(start.elapsed());
            for (job, answer) in group.into_iter().zip(answers) {
                if let Ok(Done::Outcomes(outcomes)) = &answer {
                    metrics::count(outcomes);
                }
                // Who asked may have given up waiting; the write stands all the same.
                let _ = job.answer.send(answer);
            }
        }
        Err(error) => {
            let error = classify(path, &error);
            tracing::debug!(%error, jobs = group.len(), "commit failed");
            for job in group {
                let _ = job.answer.send(Err(error.clone()));
            }
        }
    }
}

fn transact(path: &Path, connection: &Connection, group: &[Job]) -> rusqlite::Result<Vec<Answer>> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let done = group
        .iter()
        .map(|job| perform(path, connection, &job.task))
        .collect::<rusqlite::Result<Vec<_>>>()
        .and_then(|answers| connection.execute_batch("COMMIT").map(|()| answers));
    // Some failures, such as a full disk, have rolled back by themselves.
    if done.is_err() && !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK")?;
    }
    done
}

fn perform(path: &Path, connection: &Connection, task: &Task) -> rusqlite::Result<Answer> {
    Ok(Ok(match task {
        Task::Write { database, documents } => {
            let Some(table) = schema::table(connection, database)? else {
                return Ok(Err(StoreError::MissingDatabase {
                    address: address(path),
                    database: database.clone(),
                }));
            };
            Done::Outcomes(apply::write(connection, table, documents)?)
        }
        Task::Create { database } => Done::Changed(schema::create(connection, database)?),
        Task::Drop { database } => Done::Changed(schema::drop(connection, database)?),
    }))
}
