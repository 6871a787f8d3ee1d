//! The event log as a trait: what the pipeline needs of one, and no more.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::error::LogError;
pub use crate::record::{Outgoing, Partition, Position, Record};
use crate::topic::TopicSpec;

/// The offsets that a partition holds: `earliest` up to but not including `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// The first offset still held.
    pub earliest: i64,
    /// One past the last acknowledged record.
    pub end: i64,
}

/// A topic as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: u32,
    /// Copies of each partition.
    pub replication: u32,
    /// Its settings in the log's own words (`cleanup.policy`, …), those that differ from defaults.
    pub settings: BTreeMap<String, String>,
}

/// What [`EventLog::apply_topics`] did, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "change")]
pub enum TopicChange {
    /// It was not there.
    Created {
        /// Its name.
        topic: String,
    },
    /// Settings were changed: name → (before, after).
    Altered {
        /// Its name.
        topic: String,
        /// Setting → (before, after).
        settings: BTreeMap<String, (Option<String>, String)>,
    },
    /// It is as declared.
    Unchanged {
        /// Its name.
        topic: String,
    },
}

/// Where a group begins on a partition that it has no committed offset for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartAt {
    /// At the earliest record held. A group that collects must not miss what came before it.
    #[default]
    Earliest,
    /// At the end.
    End,
}

/// How to consume.
#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    /// The group; it owns the committed offsets, also with an explicit assignment.
    pub group: String,
    /// A name that stays with this member over restarts (static membership), if any. Who comes with
    /// the name of another puts that one out of the group.
    pub instance: Option<String>,
    /// Where to begin without a committed offset.
    pub start: StartAt,
    /// The most bytes fetched ahead of [`EventConsumer::next`], over all partitions.
    pub prefetch_bytes: usize,
    /// A member that is silent for so long is taken for dead, and others get what it had. Of a named
    /// one nothing else tells that it has gone.
    pub session_timeout: Duration,
    /// How long a revoked partition may drain ([`Revocation`]).
    pub drain_timeout: Duration,
}

impl ConsumerConfig {
    /// Sound values for `group`.
    pub fn new(group: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            instance: None,
            start: StartAt::Earliest,
            prefetch_bytes: 16 << 20,
            session_timeout: Duration::from_secs(6),
            drain_timeout: Duration::from_secs(5),
        }
    }
}

/// Partitions that this member must let go of. While it lives, the log waits (up to the drain
/// time-out) before anyone else gets them: flush, commit, then drop it.
#[derive(Debug)]
pub struct Revocation {
    /// Which.
    pub partitions: Vec<Partition>,
    /// They are already somebody else's: abandon the work, a commit would be refused or harmful.
    pub lost: bool,
    /// Dropping it tells the log that the partitions are free.
    pub released: Option<oneshot::Sender<()>>,
}

/// What a consumer hands out.
#[derive(Debug)]
pub enum Delivery {
    /// Records, each partition's in order.
    Records(Vec<Record>),
    /// These partitions are now this member's.
    Assigned(Vec<Partition>),
    /// These are to be let go.
    Revoked(Revocation),
    /// A fault that the consumer gets over by itself, or waits for an operator to mend
    /// ([`LogError::pauses`]): show it, and go on calling `next`. While it lasts it is told again
    /// at the end of each wait, in the place of `Idle`.
    Trouble(LogError),
    /// Nothing new within the wait, and nothing wrong.
    Idle,
}

/// A member of a consumer group, or a reader with an assignment of its own.
pub trait EventConsumer: Send + 'static {
    /// The next delivery: at most `max` records, waiting at most `wait` for the first. With a `max`
    /// of 0 it hands out everything but records: who has no room for more still hears of revocations.
    /// Cancel safe: a delivery is never lost when the future is dropped.
    ///
    /// # Errors
    /// Only such as end the consumer; passing faults are [`Delivery::Trouble`].
    fn next(
        &mut self,
        max: usize,
        wait: Duration,
    ) -> impl Future<Output = Result<Delivery, LogError>> + Send;

    /// Stops fetching from these partitions until [`resume`](Self::resume); already assigned only.
    ///
    /// # Errors
    /// When a partition is not this member's.
    fn pause(&mut self, partitions: &[Partition]) -> Result<(), LogError>;

    /// Fetches from them again.
    ///
    /// # Errors
    /// When a partition is not this member's.
    fn resume(&mut self, partitions: &[Partition]) -> Result<(), LogError>;

    /// The next record of this partition will be the one at `offset`, or the first one after it.
    ///
    /// # Errors
    /// [`LogError::OutOfRange`] when the log does not hold it; the end itself is allowed.
    fn seek(
        &mut self,
        partition: &Partition,
        offset: i64,
    ) -> impl Future<Output = Result<(), LogError>> + Send;

    /// Commits for the group: offset = the next one to read. Returns when the log has it.
    ///
    /// # Errors
    /// Transient ones are worth another try; [`LogError::NotAssigned`] when a partition was taken
    /// away, and then nothing is committed.
    fn commit(
        &mut self,
        offsets: &BTreeMap<Partition, i64>,
    ) -> impl Future<Output = Result<(), LogError>> + Send;

    /// Leaves the group at once, so that others need not wait for the session to time out. A named
    /// member stays in it for as long as that: to come back to what it had.
    fn close(self) -> impl Future<Output = Result<(), LogError>> + Send;
}

/// An append-only log of topics and partitions.
pub trait EventLog: Clone + Send + Sync + 'static {
    /// What consumes from it.
    type Consumer: EventConsumer;

    /// Its address without secrets, for messages.
    fn address(&self) -> String;

    /// Whether compaction leaves what was appended to a partition last, and what that has overwritten,
    /// until more is appended behind it.
    fn compacts_behind_appends(&self) -> bool {
        false
    }

    /// Brings the topics to what is declared; with `dry_run` only says what it would do.
    ///
    /// # Errors
    /// [`LogError::PartitionsDiffer`] when a topic exists with other partitions.
    fn apply_topics(
        &self,
        topics: &[TopicSpec],
        dry_run: bool,
    ) -> impl Future<Output = Result<Vec<TopicChange>, LogError>> + Send;

    /// The topics that exist, without the log's internal ones, by name.
    ///
    /// # Errors
    /// When the log can't be asked.
    fn topics(&self) -> impl Future<Output = Result<Vec<TopicInfo>, LogError>> + Send;

    /// Appends records, and returns when the log has acknowledged or refused each: one answer per
    /// record, in order. Waits while the log's queue is full, so callers are slowed, not buffered.
    /// Records of one call with the same key keep their order. Several calls may be under way.
    fn publish(
        &self,
        records: Vec<Outgoing>,
    ) -> impl Future<Output = Vec<Result<Position, LogError>>> + Send;

    /// Joins a group on these topics.
    ///
    /// # Errors
    /// [`LogError::MissingTopic`], or when the log can't be reached.
    fn subscribe(
        &self,
        topics: &[&str],
        config: ConsumerConfig,
    ) -> impl Future<Output = Result<Self::Consumer, LogError>> + Send;

    /// Reads these partitions from these offsets, as a member of no group: live groups are
    /// untouched, and no [`Delivery::Assigned`] comes. An offset before the earliest begins at the
    /// earliest.
    ///
    /// # Errors
    /// [`LogError::MissingTopic`], [`LogError::OutOfRange`] for an offset past the end, or when the
    /// log can't be reached.
    fn assign(
        &self,
        from: &BTreeMap<Partition, i64>,
        config: ConsumerConfig,
    ) -> impl Future<Output = Result<Self::Consumer, LogError>> + Send;

    /// What each partition of a topic holds, by partition number.
    ///
    /// # Errors
    /// [`LogError::MissingTopic`], or when the log can't be asked.
    fn extents(
        &self,
        topic: &str,
    ) -> impl Future<Output = Result<BTreeMap<i32, Extent>, LogError>> + Send;

    /// Forgets the head of partitions: of each that is named the records before that offset, which
    /// are gone for every reader when this returns, as if retention had taken them. What is gone
    /// already stays gone. What it has done when it is cut off is a shorter head.
    ///
    /// # Errors
    /// [`LogError::MissingTopic`], [`LogError::OutOfRange`] for an offset past the end; of a
    /// compacted topic no head can be forgotten; or when the log can't be reached.
    fn forget(
        &self,
        topic: &str,
        before: &BTreeMap<i32, i64>,
    ) -> impl Future<Output = Result<(), LogError>> + Send;

    /// For each partition the offset of the first record appended at or after `time`; the end
    /// where there is none.
    ///
    /// # Errors
    /// [`LogError::MissingTopic`], or when the log can't be asked.
    fn offsets_at(
        &self,
        topic: &str,
        time: Timestamp,
    ) -> impl Future<Output = Result<BTreeMap<i32, i64>, LogError>> + Send;

    /// The committed offsets of any group on a topic; partitions without one are absent.
    ///
    /// # Errors
    /// When the log can't be asked.
    fn committed(
        &self,
        group: &str,
        topic: &str,
    ) -> impl Future<Output = Result<BTreeMap<i32, i64>, LogError>> + Send;

    /// The groups that the log knows, by name.
    ///
    /// # Errors
    /// When the log can't be asked.
    fn groups(&self) -> impl Future<Output = Result<Vec<GroupInfo>, LogError>> + Send;
}

/// A consumer group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupInfo {
    /// Its name.
    pub name: String,
    /// Its state in the log's own words (`Stable`, `Empty`, …).
    pub state: String,
    /// Who is in it.
    pub members: Vec<String>,
}

/// Those offsets of `before` that would take something from what `extents` says is held.
///
/// # Errors
/// [`LogError::OutOfRange`] for one past the end; [`LogError::MissingTopic`] for a partition that is
/// not there.
pub(crate) fn heads(
    address: &str,
    topic: &str,
    extents: &BTreeMap<i32, Extent>,
    before: &BTreeMap<i32, i64>,
) -> Result<BTreeMap<i32, i64>, LogError> {
    let mut heads = BTreeMap::new();
    for (&partition, &offset) in before {
        let Some(&Extent { earliest, end }) = extents.get(&partition) else {
            let topic = Partition::new(topic, partition).to_string();
            return Err(LogError::MissingTopic { address: address.to_owned(), topic });
        };
        if offset > end {
            let topic = topic.to_owned();
            return Err(LogError::OutOfRange { topic, partition, offset, earliest, end });
        }
        if offset > earliest {
            heads.insert(partition, offset);
        }
    }
    Ok(heads)
}

/// The log's times are in milliseconds: the first that is not before `time`.
pub(crate) fn ceiling_millis(time: Timestamp) -> i64 {
    let millis = -(-time.as_nanosecond()).div_euclid(1_000_000);
    i64::try_from(millis).unwrap_or(i64::MAX)
}
