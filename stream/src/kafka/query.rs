//! Asking Kafka: topics, offsets, groups. Each question blocks, so each is asked on a thread of
//! its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::task::spawn_blocking;

use super::config::Clients;
use super::error::{fault, of_code};
use super::health::Asking;
use crate::error::LogError;
use crate::log::{Extent, GroupInfo};
use crate::retry::{RetryPolicy, Verdict, retry};

type Asker = BaseConsumer<Asking>;

/// How many groups' clients are kept open for the next question.
const GROUPS: usize = 16;

/// A topic in the cluster's metadata.
#[derive(Clone, Debug)]
pub(super) struct TopicMeta {
    pub(super) name: String,
    pub(super) partitions: Vec<i32>,
    pub(super) replication: u32,
    /// Whether every partition has a leader.
    pub(super) led: bool,
}

/// The asking end of a log.
pub(super) struct Query {
    clients: Clients,
    address: String,
    asker: Mutex<Option<Arc<Asker>>>,
    /// Clients by group, the most recently used last.
    groups: Mutex<Vec<(String, Arc<Asker>)>>,
}

impl Query {
    pub(super) fn new(clients: Clients) -> Self {
        let address = clients.config.address();
        Self { clients, address, asker: Mutex::default(), groups: Mutex::default() }
    }

    fn asker(&self) -> Result<Arc<Asker>, LogError> {
        let mut slot = self.asker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asker) = &*slot {
            return Ok(Arc::clone(asker));
        }
        let made = Asker::from_config_and_context(&self.clients.asking(), Asking::default());
        let asker = Arc::new(self.made(made)?);
        *slot = Some(Arc::clone(&asker));
        Ok(asker)
    }

    /// A client with this group's name: it reads the group's offsets and is no member of it.
    fn group_asker(&self, group: &str) -> Result<Arc<Asker>, LogError> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let asker = match groups.iter().position(|(name, _)| name == group) {
            Some(at) => groups.remove(at).1,
            None => {
                let config = self.clients.asking_group(group);
                let made = Asker::from_config_and_context(&config, Asking::default());
                Arc::new(self.made(made)?)
            }
        };
        groups.push((group.to_owned(), Arc::clone(&asker)));
        if groups.len() > GROUPS {
            // On a blocking thread already; closing takes a moment.
            drop(groups.remove(0));
        }
        Ok(asker)
    }

    fn made(&self, made: KafkaResult<Asker>) -> Result<Asker, LogError> {
        made.map_err(|error| fault(&error, &self.address, None, &Default::default()))
    }

    /// Asks away from the async threads. A partition has no leader for a moment after its topic was
    /// made, and whenever that moves; likewise a group and its coordinator. Within the time-out this
    /// is waited out.
    async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        topic: Option<&str>,
        question: impl Fn(&Self, Duration) -> Result<T, Failed> + Send + Sync + 'static,
    ) -> Result<T, LogError> {
        let question = Arc::new(question);
        let judge = |error: &LogError| match error {
            LogError::Transient { .. } => Verdict::Again { after: None },
            _ => Verdict::GiveUp,
        };
        let max_elapsed = Some(self.clients.config.request_timeout);
        let policy =
            RetryPolicy { max: Duration::from_secs(1), max_elapsed, ..RetryPolicy::default() };
        let notify = |error: &LogError, _: Duration| tracing::debug!(topic, %error, "asking again");
        retry(&policy, judge, notify, || {
            let (query, topic) = (Arc::clone(self), topic.map(str::to_owned));
            let question = Arc::clone(&question);
            let asked = spawn_blocking(move || {
                let patience = query.clients.config.request_timeout;
                question(&query, patience).map_err(|failed| failed.said(&query, topic.as_deref()))
            });
            async {
                asked.await.unwrap_or_else(|error| {
                    let address = self.address.clone();
                    let reason = format!("the question was cut off: {error}");
                    Err(LogError::Fatal { address, reason })
                })
            }
        })
        .await
    }

    /// Every topic that is not internal, by name.
    pub(super) async fn topics(self: &Arc<Self>) -> Result<Vec<TopicMeta>, LogError> {
        self.ask(None, |query, patience| {
            let asker = query.asker()?;
            let metadata = asker.fetch_metadata(None, patience).heard(&asker)?;
            let mut topics: Vec<_> = metadata
                .topics()
                .iter()
                .filter(|topic| !topic.name().starts_with("__"))
                .map(topic_meta)
                .collect();
            topics.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(topics)
        })
        .await
    }

    /// One topic.
    pub(super) async fn topic(self: &Arc<Self>, topic: &str) -> Result<TopicMeta, LogError> {
        let name = topic.to_owned();
        self.ask(Some(topic), move |query, patience| {
            let asker = query.asker()?;
            topic_of(&asker, &name, patience)
        })
        .await
    }

    /// What each partition of a topic holds.
    pub(super) async fn extents(
        self: &Arc<Self>,
        topic: &str,
    ) -> Result<BTreeMap<i32, Extent>, LogError> {
        let name = topic.to_owned();
        self.ask(Some(topic), move |query, patience| {
            let asker = query.asker()?;
            let partitions = topic_of(&asker, &name, patience)?.partitions;
            let list = list(partitions.iter().map(|&partition| (&*name, partition)))?;
            let extents = extents(&*asker, &list, patience).heard(&asker)?;
            Ok(extents.into_iter().map(|((_, partition), extent)| (partition, extent)).collect())
        })
        .await
    }

    /// The first offsets that were appended at `millis` or after; the ends where none was.
    pub(super) async fn offsets_at(
        self: &Arc<Self>,
        topic: &str,
        millis: i64,
    ) -> Result<BTreeMap<i32, i64>, LogError> {
        let name = topic.to_owned();
        self.ask(Some(topic), move |query, patience| {
            let asker = query.asker()?;
            let partitions = topic_of(&asker, &name, patience)?.partitions;
            let list = list(partitions.iter().map(|&partition| (&*name, partition)))?;
            let at = |offset| offsets(&*asker, &list, offset, patience).heard(&asker);
            // The ends first: what is appended in between is at or after neither.
            let ends = at(Offset::End)?;
            // Kafka's own times are never negative.
            let found = at(Offset::Offset(millis.max(0)))?;
            let of = |(place, end): ((String, i32), i64)| {
                let offset = found.get(&place).copied().filter(|&offset| offset >= 0);
                (place.1, offset.unwrap_or(end))
            };
            Ok(ends.into_iter().map(of).collect())
        })
        .await
    }

    /// A group's committed offsets on a topic.
    pub(super) async fn committed(
        self: &Arc<Self>,
        group: &str,
        topic: &str,
    ) -> Result<BTreeMap<i32, i64>, LogError> {
        let (name, group) = (topic.to_owned(), group.to_owned());
        self.ask(Some(topic), move |query, patience| {
            let partitions = topic_of(&query.asker()?, &name, patience)?.partitions;
            let asker = query.group_asker(&group)?;
            let list = list(partitions.iter().map(|&partition| (&*name, partition)))?;
            let committed = committed(&*asker, &list, patience).heard(&asker)?;
            Ok(committed.into_iter().map(|((_, partition), offset)| (partition, offset)).collect())
        })
        .await
    }

    /// All groups, by name.
    pub(super) async fn groups(self: &Arc<Self>) -> Result<Vec<GroupInfo>, LogError> {
        self.ask(None, |query, patience| {
            let asker = query.asker()?;
            let list = asker.fetch_group_list(None, patience).heard(&asker)?;
            let mut groups: Vec<_> = list
                .groups()
                .iter()
                .map(|group| GroupInfo {
                    name: group.name().to_owned(),
                    state: group.state().to_owned(),
                    members: group
                        .members()
                        .iter()
                        .map(|member| format!("{} {}", member.client_id(), member.client_host()))
                        .collect(),
                })
                .collect();
            groups.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(groups)
        })
        .await
    }
}

impl Drop for Query {
    fn drop(&mut self) {
        let asker = self.asker.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let groups = self.groups.get_mut().unwrap_or_else(PoisonError::into_inner);
        super::let_go((asker, std::mem::take(groups)));
    }
}

fn topic_meta(topic: &rdkafka::metadata::MetadataTopic) -> TopicMeta {
    let partitions = topic.partitions();
    TopicMeta {
        name: topic.name().to_owned(),
        partitions: partitions.iter().map(|partition| partition.id()).collect(),
        replication: partitions.first().map_or(0, |partition| partition.replicas().len() as u32),
        led: !partitions.is_empty() && partitions.iter().all(|partition| partition.leader() >= 0),
    }
}

fn topic_of(asker: &Arc<Asker>, topic: &str, patience: Duration) -> Result<TopicMeta, Failed> {
    let metadata = asker.fetch_metadata(Some(topic), patience).heard(asker)?;
    let missing = || Failed::Code(Code::UnknownTopicOrPartition);
    let found = metadata.topics().first().ok_or_else(missing)?;
    match found.error() {
        Some(error) => Err(Failed::Code(error.into())),
        None if found.partitions().is_empty() => Err(missing()),
        None => Ok(topic_meta(found)),
    }
}

/// Why a question has no answer.
enum Failed {
    Asked(KafkaError, Arc<Asker>),
    Code(Code),
    Log(LogError),
}

impl From<LogError> for Failed {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

impl From<KafkaError> for Failed {
    fn from(error: KafkaError) -> Self {
        Self::Code(error.rdkafka_error_code().unwrap_or(Code::Fail))
    }
}

impl Failed {
    fn said(self, query: &Query, topic: Option<&str>) -> LogError {
        match self {
            Self::Asked(error, asker) => {
                fault(&error, &query.address, topic, &asker.context().health)
            }
            Self::Code(code) => of_code(code, &query.address, topic, &Default::default()),
            Self::Log(error) => error,
        }
    }
}

/// Listens for why, where an answer is missing.
trait Heard<T> {
    fn heard(self, asker: &Arc<Asker>) -> Result<T, Failed>;
}

/// More events than a call leaves behind.
const EVENTS: usize = 64;

impl<T> Heard<T> for KafkaResult<T> {
    fn heard(self, asker: &Arc<Asker>) -> Result<T, Failed> {
        // Errors, and log lines, wait in a queue until somebody polls; each poll takes one of them,
        // and returns nothing.
        for _ in 0..EVENTS {
            asker.poll(Duration::ZERO);
        }
        match self {
            Ok(answer) => {
                asker.context().health.well();
                Ok(answer)
            }
            Err(error) => Err(Failed::Asked(error, Arc::clone(asker))),
        }
    }
}

/// A list of partitions.
pub(super) fn list<'a>(
    partitions: impl Iterator<Item = (&'a str, i32)>,
) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (topic, partition) in partitions {
        list.add_partition(topic, partition);
    }
    Ok(list)
}

/// By topic and partition.
pub(super) type By<T> = BTreeMap<(String, i32), T>;

/// Asks all leaders at once for the offsets at a time in milliseconds, the beginning or the end:
/// the request by time (ListOffsets) knows both as special times. -1: none at or after the time.
fn offsets<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    list: &TopicPartitionList,
    at: Offset,
    patience: Duration,
) -> KafkaResult<By<i64>> {
    if list.count() == 0 {
        return Ok(By::new());
    }
    let mut times = list.clone();
    times.set_all_offsets(at)?;
    let answer = consumer.offsets_for_times(times, patience)?;
    answer
        .elements()
        .iter()
        .map(|element| {
            element.error()?;
            let offset = match element.offset() {
                Offset::Offset(offset) => offset,
                _ => -1,
            };
            Ok(((element.topic().to_owned(), element.partition()), offset))
        })
        .collect()
}

/// What the partitions hold.
pub(super) fn extents<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    list: &TopicPartitionList,
    patience: Duration,
) -> KafkaResult<By<Extent>> {
    let earliest = offsets(consumer, list, Offset::Beginning, patience)?;
    let ends = offsets(consumer, list, Offset::End, patience)?;
    let extent = |(place, end): ((String, i32), i64)| {
        let earliest = earliest.get(&place).copied().unwrap_or(end).max(0);
        (place, Extent { earliest, end: end.max(earliest) })
    };
    Ok(ends.into_iter().map(extent).collect())
}

/// The committed offsets of the consumer's group; partitions without one are absent.
pub(super) fn committed<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    list: &TopicPartitionList,
    patience: Duration,
) -> KafkaResult<By<i64>> {
    if list.count() == 0 {
        return Ok(By::new());
    }
    let answer = consumer.committed_offsets(list.clone(), patience)?;
    let mut found = By::new();
    for element in answer.elements() {
        element.error()?;
        if let Offset::Offset(offset) = element.offset() {
            found.insert((element.topic().to_owned(), element.partition()), offset);
        }
    }
    Ok(found)
}
