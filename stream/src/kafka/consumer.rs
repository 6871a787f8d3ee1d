//! The async side of a consumer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout, timeout_at};

use super::KafkaLog;
use super::client::{Current, Failures, Maker};
use super::error::{code, fault};
use super::handover::{Command, Handover, Owned};
use super::health::Health;
use super::orphans::Orphans;
use super::poller::Poller;
use super::query::{committed, list};
use super::rebalance::{GroupConsumer, out_of_range};
use super::record::Copier;
use crate::error::LogError;
use crate::log::{ConsumerConfig, Delivery, EventConsumer, Partition};

const ENDED: &str = "the consumer has ended";
/// How long leaving the group may take.
const LEAVE: Duration = Duration::from_secs(15);

/// A consumer of Kafka.
pub struct KafkaConsumer {
    log: KafkaLog,
    current: Current,
    handover: Arc<Handover>,
    group: String,
    member: bool,
}

impl KafkaConsumer {
    pub(super) async fn subscribe(
        log: KafkaLog,
        topics: &[&str],
        config: ConsumerConfig,
    ) -> Result<Self, LogError> {
        for topic in topics {
            log.query.topic(topic).await?;
        }
        let topics: Vec<_> = topics.iter().map(|&topic| topic.to_owned()).collect();
        let names = topics.clone();
        let begin = move |consumer: &GroupConsumer| {
            consumer.subscribe(&names.iter().map(String::as_str).collect::<Vec<_>>())
        };
        Self::start(log, config, topics, BTreeMap::new(), true, begin).await
    }

    pub(super) async fn assign(
        log: KafkaLog,
        from: &BTreeMap<Partition, i64>,
        config: ConsumerConfig,
    ) -> Result<Self, LogError> {
        let mut owned = BTreeMap::new();
        let mut topics: BTreeMap<String, _> = BTreeMap::new();
        for (partition, &offset) in from {
            let name = partition.topic.to_string();
            if !topics.contains_key(&name) {
                topics.insert(name.clone(), log.query.extents(&name).await?);
            }
            let extent = topics[&name].get(&partition.partition).copied();
            let extent = extent.ok_or_else(|| LogError::MissingTopic {
                address: log.address.clone(),
                topic: partition.to_string(),
            })?;
            if offset > extent.end {
                return Err(out_of_range(partition, offset, extent));
            }
            owned.insert(partition.clone(), Owned::at(offset.max(extent.earliest)));
        }
        let places = owned.iter().map(|(partition, owned)| (partition.clone(), owned.next));
        let places: BTreeMap<_, _> = places.collect();
        let topics = topics.into_keys().collect();
        let begin = move |consumer: &GroupConsumer| consumer.assign(&offsets(&places)?);
        Self::start(log, config, topics, owned, false, begin).await
    }

    async fn start(
        log: KafkaLog,
        config: ConsumerConfig,
        topics: Vec<String>,
        owned: BTreeMap<Partition, Owned>,
        member: bool,
        begin: impl Fn(&GroupConsumer) -> KafkaResult<()> + Send + 'static,
    ) -> Result<Self, LogError> {
        let handover = Arc::new(Handover::new((config.prefetch_bytes / 2).max(1)));
        handover.lock().owned = owned;
        let address = log.address.clone();
        let maker = Maker {
            native: log.clients.consuming(&config),
            handover: Arc::clone(&handover),
            address: address.clone(),
            group: config.group.clone(),
            instance: config.instance,
            start: config.start,
            drain: config.drain_timeout,
            patience: log.clients.config.request_timeout.min(Duration::from_secs(5)),
            begin: Box::new(begin),
        };
        let started = {
            let (address, handover) = (address.clone(), Arc::clone(&handover));
            spawn_blocking(move || {
                let consumer = maker.make()?;
                let current = Current::default();
                current.set(&consumer);
                let poller = Poller {
                    consumer,
                    maker,
                    current: current.clone(),
                    failures: Failures::default(),
                    orphans: Orphans::new(Clock::now()),
                    handover,
                    address: address.clone(),
                    topics,
                    member,
                    copier: Copier::default(),
                    throttled: false,
                    probe_at: Clock::now(),
                };
                let thread = std::thread::Builder::new().name("log-poller".to_owned());
                thread.spawn(move || poller.run()).map_err(|error| LogError::Transient {
                    address: address.clone(),
                    reason: format!("the poll thread can't be started: {error}"),
                })?;
                Ok(current)
            })
        };
        let current = started.await.unwrap_or_else(|error| {
            Err(LogError::Fatal { address, reason: format!("the start was cut off: {error}") })
        })?;
        Ok(Self { log, current, handover, group: config.group, member })
    }

    fn fatal(&self, reason: String) -> LogError {
        LogError::Fatal { address: self.log.address.clone(), reason }
    }

    /// Changes partitions of this member, and has the poll thread act on it.
    fn order(
        &self,
        partitions: &[Partition],
        change: impl Fn(&mut Owned),
        command: Command,
    ) -> Result<(), LogError> {
        self.handover.order(|state| {
            if let Some(foreign) = partitions.iter().find(|p| !state.owned.contains_key(*p)) {
                return Err(LogError::NotAssigned { partition: foreign.to_string() });
            }
            let purged = state.purge(partitions);
            for partition in partitions {
                if let Some(owned) = state.owned.get_mut(partition) {
                    owned.next = purged.get(partition).copied().unwrap_or(owned.next);
                    change(owned);
                }
            }
            state.commands.push_back(command);
            Ok(())
        })
    }
}

impl EventConsumer for KafkaConsumer {
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Delivery, LogError> {
        let deadline = Instant::now() + wait;
        loop {
            if let Some(delivery) = self.handover.take(max) {
                return delivery;
            }
            if timeout_at(deadline, self.handover.ready()).await.is_err() {
                let trouble = self.handover.lock().trouble.clone();
                return Ok(trouble.map_or(Delivery::Idle, Delivery::Trouble));
            }
        }
    }

    fn pause(&mut self, partitions: &[Partition]) -> Result<(), LogError> {
        let command = Command::Pause(partitions.to_vec());
        self.order(partitions, |owned| owned.paused = true, command)
    }

    fn resume(&mut self, partitions: &[Partition]) -> Result<(), LogError> {
        // The poll thread marks them as resumed, when it fetches them from the right offset again.
        let command = Command::Resume(partitions.to_vec());
        self.order(partitions, |owned| owned.paused = true, command)
    }

    async fn seek(&mut self, partition: &Partition, offset: i64) -> Result<(), LogError> {
        let extents = self.log.query.extents(&partition.topic).await?;
        if let Some(&extent) = extents.get(&partition.partition)
            && !(extent.earliest..=extent.end).contains(&offset)
        {
            return Err(out_of_range(partition, offset, extent));
        }
        let (done, answer) = oneshot::channel();
        let command = Command::Seek { partition: partition.clone(), offset, done };
        self.order(std::slice::from_ref(partition), |owned| owned.seeking = true, command)?;
        answer.await.map_err(|_| match self.handover.lock().ended {
            Some(_) => self.fatal(ENDED.to_owned()),
            None => LogError::NotAssigned { partition: partition.to_string() },
        })
    }

    async fn commit(&mut self, commits: &BTreeMap<Partition, i64>) -> Result<(), LogError> {
        if commits.is_empty() {
            return Ok(());
        }
        if self.group.is_empty() {
            return Err(self.fatal("a reader without a group has no offsets to commit".to_owned()));
        }
        // Before the look at what is owned: a client that takes the place of another owns nothing of
        // what that one did.
        let consumer = self.current.get().ok_or_else(|| self.fatal(ENDED.to_owned()))?;
        let known: Vec<Partition> = {
            let state = self.handover.lock();
            if let Some(foreign) = commits.keys().find(|p| !state.owned.contains_key(*p)) {
                return Err(LogError::NotAssigned { partition: foreign.to_string() });
            }
            // Somebody has not heard yet that it was made anew, and is read from its beginning.
            let next = |partition: &Partition| state.owned[partition].next;
            let beyond = commits.iter().find(|(p, offset)| (0..**offset).contains(&next(p)));
            if let Some((partition, offset)) = beyond.filter(|_| self.member) {
                let (address, next) = (self.log.address.clone(), next(partition));
                let reason = format!("{partition} was read up to {next} and not up to {offset}");
                return Err(LogError::Transient { address, reason });
            }
            let before = commits.keys().filter(|p| state.owned[*p].committed >= 0);
            before.cloned().collect()
        };
        let address = self.log.address.clone();
        let list = offsets(commits).map_err(|e| fault(&e, &address, None, &Health::default()))?;
        let (member, group) = (self.member, self.group.clone());
        let committed = spawn_blocking(move || {
            if member {
                let said = |e| fault(&e, &address, None, &consumer.context().health);
                let anew = made_anew(&consumer, known).map_err(said)?;
                if !anew.is_empty() {
                    return Ok(anew);
                }
            }
            let committed = consumer.commit(&list, CommitMode::Sync);
            committed.map(|()| Vec::new()).map_err(|error| match code(&error) {
                // The group is between two generations, or has other members.
                Some(Code::UnknownMemberId | Code::IllegalGeneration) if !member => {
                    let reason = format!("group {group} has live members: stop them first");
                    LogError::Fatal { address, reason }
                }
                // Or its name was taken: the poll thread is about to tell what is lost.
                Some(Code::UnknownMemberId | Code::IllegalGeneration | Code::FencedInstanceId) => {
                    LogError::Transient { address, reason: error.to_string() }
                }
                _ => fault(&error, &address, None, &consumer.context().health),
            })
        });
        let anew = committed
            .await
            .unwrap_or_else(|error| Err(self.fatal(format!("the commit was cut off: {error}"))))?;
        self.handover.order(|state| {
            for (partition, offset) in commits.iter().filter(|_| anew.is_empty()) {
                if let Some(owned) = state.owned.get_mut(partition) {
                    owned.committed = *offset;
                }
            }
            if anew.is_empty() {
                return Ok(());
            }
            let names: Vec<_> = anew.iter().map(ToString::to_string).collect();
            let address = self.log.address.clone();
            let reason =
                format!("{} was made anew; it is read from its beginning", names.join(", "));
            state.commands.push_back(Command::Begin(anew));
            Err(LogError::Transient { address, reason })
        })
    }

    async fn close(self) -> Result<(), LogError> {
        let (handover, address) = (Arc::clone(&self.handover), self.log.address.clone());
        drop(self);
        let ended = async {
            while handover.lock().ended.is_none() {
                handover.ready().await;
            }
        };
        timeout(LEAVE, ended).await.map_err(|_| LogError::Transient {
            address,
            reason: "the group was not left in time; it will notice by itself".to_owned(),
        })
    }
}

impl Drop for KafkaConsumer {
    /// Has the poll thread leave the group, and does not wait for it.
    fn drop(&mut self) {
        self.handover.order(|state| state.closing = true);
    }
}

/// Which of these partitions the group has no commit of any more, though this member has made one.
/// A group that is alive loses its commits of a topic only when that is deleted. librdkafka may not
/// notice where the topic is back at once, and reads on in the new one as if it were the old one, past
/// what that holds until there.
fn made_anew(consumer: &GroupConsumer, known: Vec<Partition>) -> KafkaResult<Vec<Partition>> {
    if known.is_empty() {
        return Ok(known);
    }
    let places = known.iter().map(|partition| (&*partition.topic, partition.partition));
    let there = committed(consumer, &list(places)?, consumer.context().patience)?;
    let lost = |partition: &Partition| {
        !there.contains_key(&(partition.topic.to_string(), partition.partition))
    };
    Ok(known.into_iter().filter(lost).collect())
}

fn offsets(places: &BTreeMap<Partition, i64>) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(places.len());
    for (Partition { topic, partition }, &offset) in places {
        list.add_partition_offset(topic, *partition, Offset::Offset(offset))?;
    }
    Ok(list)
}
