//! The embedded event log: one SQLite file.
//!
//! One thread writes, and groups what waits into one transaction (`writer`); readers have
//! connections of their own. Several processes may use a file at the same time, on one machine.
//! A group has one live member at a time, which holds all partitions (`seat`).

mod append;
mod cleaner;
mod consumer;
mod error;
mod reader;
mod schema;
mod seat;
mod topics;
mod writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, spawn_blocking};

pub use consumer::SqliteConsumer;

use crate::error::LogError;
use crate::log::{
    ConsumerConfig, EventLog, Extent, GroupInfo, Outgoing, Partition, Position, TopicChange,
    TopicInfo,
};
use crate::topic::TopicSpec;
use cleaner::Cleaner;
use error::Failure;
use reader::{Reader, Standing};
use writer::{Request, TRANSACTION_BYTES, Writer};

/// How many requests may wait for the writer; callers wait when it is full.
const QUEUE: usize = 64;

/// The embedded log. Clones share one writer, which ends with the last of them.
#[derive(Clone)]
pub struct SqliteLog {
    address: String,
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    queue: mpsc::Sender<Request>,
    appended: watch::Receiver<u64>,
    reader: Reader,
    _cleaner: Cleaner,
}

impl std::fmt::Debug for SqliteLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteLog").field("address", &self.address).finish_non_exhaustive()
    }
}

impl SqliteLog {
    /// Opens the log at `path`, and makes it where there is none.
    ///
    /// # Errors
    /// When the file can't be used: not a database, somebody else's, made by a newer version, or
    /// not accessible.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, LogError> {
        let path = path.as_ref().to_owned();
        let address = address(&path);
        off_thread(&address.clone(), move || {
            Self::open_here(path, &address).map_err(|failure| failure.at(&address))
        })
        .await?
    }

    fn open_here(path: PathBuf, address: &str) -> Result<Self, Failure> {
        let connection = schema::create(&path)?;
        let (send, queue) = mpsc::channel(QUEUE);
        let (tell, appended) = watch::channel(0);
        let writer = Writer::new(connection, address.to_owned(), tell)?;
        let thread = std::thread::Builder::new().name("log-writer".to_owned());
        thread.spawn(move || writer.run(queue)).map_err(|error| LogError::Transient {
            address: address.to_owned(),
            reason: format!("the writer's thread can't be started: {error}"),
        })?;
        let _cleaner = Cleaner::start(&path)?;
        let reader = Reader::open(&path)?;
        let shared = Shared { path, queue: send, appended, reader, _cleaner };
        Ok(Self { address: address.to_owned(), shared: Arc::new(shared) })
    }

    /// Erases now what compaction and retention allow at `now`, and returns how many records that
    /// was. It happens by itself every few minutes.
    ///
    /// # Errors
    /// When the file can't be written.
    pub async fn clean(&self, now: Timestamp) -> Result<usize, LogError> {
        let path = self.shared.path.clone();
        let address = self.address.clone();
        off_thread(&self.address, move || {
            cleaner::clean(&path, now).map_err(|failure| failure.at(&address))
        })
        .await?
    }

    fn appended(&self) -> watch::Receiver<u64> {
        self.shared.appended.clone()
    }

    fn seats(&self) -> PathBuf {
        seat::folder(&self.shared.path)
    }

    /// A connection of its own for a consumer.
    async fn reader(&self) -> Result<Reader, LogError> {
        let path = self.shared.path.clone();
        let address = self.address.clone();
        off_thread(&self.address, move || {
            Reader::open(&path).map_err(|failure| failure.at(&address))
        })
        .await?
    }

    /// Asks the writer, and waits for its answer.
    async fn request<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, LogError> {
        let stopped = || LogError::Fatal {
            address: self.address.clone(),
            reason: "its writer has stopped; see the log, and start again".to_owned(),
        };
        let (send, answer) = oneshot::channel();
        self.shared.queue.send(request(send)).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())
    }

    async fn partitions(&self, topic: &str) -> Result<BTreeMap<i32, Standing>, LogError> {
        let name = topic.to_owned();
        let found = self.shared.reader.ask(move |c| reader::partitions(c, &name)).await?;
        if found.is_empty() {
            let (address, topic) = (self.address.clone(), topic.to_owned());
            return Err(LogError::MissingTopic { address, topic });
        }
        Ok(found)
    }

    async fn partition(&self, partition: &Partition) -> Result<Standing, LogError> {
        let standing = self.partitions(&partition.topic).await?;
        standing.get(&partition.partition).copied().ok_or_else(|| LogError::MissingTopic {
            address: self.address.clone(),
            topic: partition.to_string(),
        })
    }

    /// Refuses when a group has a live member: its offsets are that member's.
    async fn refuse_live(&self, group: &str) -> Result<(), LogError> {
        let (folder, name) = (self.seats(), group.to_owned());
        let occupant = off_thread(&self.address, move || seat::occupant(&folder, &name)).await?;
        match occupant {
            None => Ok(()),
            Some(who) => Err(LogError::Fatal {
                address: self.address.clone(),
                reason: format!("group {group} has a live member ({who}): stop it first"),
            }),
        }
    }
}

impl EventLog for SqliteLog {
    type Consumer = SqliteConsumer;

    fn address(&self) -> String {
        self.address.clone()
    }

    async fn apply_topics(
        &self,
        topics: &[TopicSpec],
        dry_run: bool,
    ) -> Result<Vec<TopicChange>, LogError> {
        let topics = topics.to_vec();
        self.request(|answer| Request::Apply { topics, dry_run, answer }).await?
    }

    async fn topics(&self) -> Result<Vec<TopicInfo>, LogError> {
        self.shared.reader.ask(topics::list).await
    }

    async fn publish(&self, mut records: Vec<Outgoing>) -> Vec<Result<Position, LogError>> {
        let mut answers = Vec::with_capacity(records.len());
        // Parts of a large call wait in line one after another, so that others get in between.
        while !records.is_empty() {
            let (count, bytes) = part(&records);
            let rest = records.split_off(count);
            let part = std::mem::replace(&mut records, rest);
            let append = |answer| Request::Append { records: part, bytes, answer };
            match self.request(append).await {
                Ok(part) => answers.extend(part),
                Err(error) => answers.extend((0..count).map(|_| Err(error.clone()))),
            }
        }
        answers
    }

    async fn subscribe(
        &self,
        topics: &[&str],
        config: ConsumerConfig,
    ) -> Result<SqliteConsumer, LogError> {
        SqliteConsumer::subscribe(self.clone(), topics, config).await
    }

    async fn assign(
        &self,
        from: &BTreeMap<Partition, i64>,
        config: ConsumerConfig,
    ) -> Result<SqliteConsumer, LogError> {
        SqliteConsumer::assign(self.clone(), from, config).await
    }

    async fn extents(&self, topic: &str) -> Result<BTreeMap<i32, Extent>, LogError> {
        let partitions = self.partitions(topic).await?;
        Ok(partitions.into_iter().map(|(number, at)| (number, at.extent)).collect())
    }

    async fn forget(&self, topic: &str, before: &BTreeMap<i32, i64>) -> Result<(), LogError> {
        let partitions = self.partitions(topic).await?;
        let extents = partitions.iter().map(|(number, at)| (*number, at.extent)).collect();
        let heads = crate::log::heads(&self.address, topic, &extents, before)?;
        let heads = heads.into_iter().filter_map(|(number, before)| {
            partitions.get(&number).map(|standing| (*standing, before))
        });
        let (heads, topic) = (heads.collect::<Vec<_>>(), topic.to_owned());
        let (path, address) = (self.shared.path.clone(), self.address.clone());
        off_thread(&self.address, move || {
            cleaner::forget(&path, &topic, &heads).map_err(|failure| failure.at(&address))
        })
        .await?
    }

    async fn offsets_at(
        &self,
        topic: &str,
        time: Timestamp,
    ) -> Result<BTreeMap<i32, i64>, LogError> {
        let partitions = self.partitions(topic).await?;
        let find = move |connection: &rusqlite::Connection| {
            let found = partitions.into_iter().map(|(number, at)| {
                Ok((number, reader::offset_at(connection, at, crate::log::ceiling_millis(time))?))
            });
            found.collect()
        };
        self.shared.reader.ask(find).await
    }

    async fn committed(&self, group: &str, topic: &str) -> Result<BTreeMap<i32, i64>, LogError> {
        let partitions = self.partitions(topic).await?;
        let group = group.to_owned();
        let offsets = self.shared.reader.ask(move |c| reader::committed(c, &group)).await?;
        let of = |(number, at): (i32, Standing)| offsets.get(&at.id).map(|&next| (number, next));
        Ok(partitions.into_iter().filter_map(of).collect())
    }

    async fn groups(&self) -> Result<Vec<GroupInfo>, LogError> {
        let names = self.shared.reader.ask(reader::groups).await?;
        let folder = self.seats();
        let info = move |name: String| {
            let members: Vec<_> = seat::occupant(&folder, &name).into_iter().collect();
            let state = if members.is_empty() { "Empty" } else { "Stable" }.to_owned();
            GroupInfo { name, state, members }
        };
        off_thread(&self.address, move || names.into_iter().map(info).collect()).await
    }
}

/// How many of the records share the next request, and their size.
fn part(records: &[Outgoing]) -> (usize, usize) {
    let mut bytes = 0;
    for (index, record) in records.iter().enumerate() {
        bytes += record.size();
        if bytes >= TRANSACTION_BYTES {
            return (index + 1, bytes);
        }
    }
    (records.len(), bytes)
}

fn address(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

/// Runs what may block away from the async threads.
async fn off_thread<T: Send + 'static>(
    address: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, LogError> {
    spawn_blocking(work).await.map_err(|error| gone(address, &error))
}

/// Work that never answered: its thread panicked, or the process is ending.
fn gone(address: &str, error: &JoinError) -> LogError {
    LogError::Fatal {
        address: address.to_owned(),
        reason: format!("the work was cut off: {error}"),
    }
}
