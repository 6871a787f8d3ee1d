//! The thread that polls librdkafka for one consumer, and does nothing that waits for the store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::client::{Current, Failures, Maker, leave};
use super::error::{Kind, code, fault, kind};
use super::handover::{Command, Handover, Owned};
use super::orphans::Orphans;
use super::query::{committed, extents, list};
use super::rebalance::{GroupConsumer, out_of_range};
use super::record::Copier;
use crate::error::LogError;
use crate::log::{Delivery, Partition, Record};

/// How long a poll waits for a first message. Commands wait as long.
const WAIT: Duration = Duration::from_millis(50);
/// How long a full hand-over may hold up polling, before fetching is paused. Pausing throws away
/// what librdkafka has fetched ahead, so a store that is merely slow must not cause it.
const STALL: Duration = Duration::from_millis(500);
/// How many records are handed over at once, and how many bytes.
const BATCH: usize = 512;
const BATCH_BYTES: usize = 256 << 10;
/// How often it is tried whether a trouble is over.
pub(super) const PROBE: Duration = Duration::from_secs(2);
/// How long such a try may take.
const PROBE_WAIT: Duration = Duration::from_secs(1);

/// What one consumer's thread works with.
pub(super) struct Poller {
    pub(super) consumer: Arc<GroupConsumer>,
    /// Makes another client when this one has failed for good.
    pub(super) maker: Maker,
    pub(super) current: Current,
    pub(super) failures: Failures,
    pub(super) orphans: Orphans,
    pub(super) handover: Arc<Handover>,
    pub(super) address: String,
    /// What was subscribed to, or is read.
    pub(super) topics: Vec<String>,
    /// Whether it is a member of its group.
    pub(super) member: bool,
    pub(super) copier: Copier,
    /// Fetching is paused because nobody takes what was fetched.
    pub(super) throttled: bool,
    pub(super) probe_at: Instant,
}

/// Tells the async side when the thread ends, also by a panic.
struct Farewell(Arc<Handover>, String);

impl Drop for Farewell {
    fn drop(&mut self) {
        let panicked = std::thread::panicking();
        self.0.tell(|state| {
            let end = if panicked {
                let reason = "its poll thread panicked".to_owned();
                Err(LogError::Fatal { address: self.1.clone(), reason })
            } else {
                Ok(())
            };
            state.ended.get_or_insert(end);
            state.commands.clear();
        });
    }
}

impl Poller {
    pub(super) fn run(mut self) {
        let _farewell = Farewell(Arc::clone(&self.handover), self.address.clone());
        let mut records = Vec::with_capacity(BATCH);
        loop {
            let (commands, closing) = {
                let mut state = self.handover.lock();
                (std::mem::take(&mut state.commands), state.closing)
            };
            if closing {
                break;
            }
            commands.into_iter().for_each(|command| self.obey(command));
            self.throttle();
            let failed = self.poll(&mut records);
            self.handover.push(&mut records);
            let looked_after = match failed {
                Some(error) => self.fail(&error),
                None => self.find_orphans(),
            };
            if let Err(error) = looked_after {
                self.handover.tell(|state| state.ended = Some(Err(error)));
                break;
            }
            self.probe();
            self.place();
        }
        leave(self.consumer);
    }

    /// Fills a batch; returns the error that ended it, if one did.
    fn poll(&mut self, records: &mut Vec<Record>) -> Option<KafkaError> {
        let mut bytes = 0;
        let mut wait = WAIT;
        while records.len() < BATCH && bytes < BATCH_BYTES {
            match self.consumer.poll(wait)? {
                Ok(message) => {
                    let record = self.copier.record(&message);
                    bytes += record.size();
                    records.push(record);
                }
                Err(error) => return Some(error),
            }
            wait = Duration::ZERO;
        }
        None
    }

    /// Stops fetching when nobody takes what was fetched, and polls on for the group's sake.
    fn throttle(&mut self) {
        if self.throttled && self.handover.is_half_empty() {
            self.throttled = false;
            self.each(|owned| !owned.paused, |consumer, list| consumer.resume(list));
        } else if self.throttled || self.handover.is_full() {
            if !self.throttled {
                self.handover.wait_for_room(STALL);
            }
            if self.throttled || self.handover.is_full() {
                // Again each time: partitions may have been assigned since.
                self.throttled = true;
                self.each(|owned| !owned.paused, |consumer, list| consumer.pause(list));
            }
        }
    }

    fn each(
        &self,
        which: impl Fn(&super::handover::Owned) -> bool,
        act: impl Fn(&GroupConsumer, &TopicPartitionList) -> KafkaResult<()>,
    ) {
        let partitions: Vec<_> = {
            let state = self.handover.lock();
            state.owned.iter().filter(|(_, o)| which(o)).map(|(p, _)| p.clone()).collect()
        };
        let done = of(&partitions)
            .and_then(|list| if list.count() == 0 { Ok(()) } else { act(&self.consumer, &list) });
        if let Err(error) = done {
            tracing::warn!(%error, "partitions not paused or resumed");
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Pause(partitions) => {
                let paused = of(&partitions).and_then(|list| self.consumer.pause(&list));
                if let Err(error) = paused {
                    // What comes of them is dropped in any case.
                    tracing::debug!(%error, "partitions not paused");
                }
                self.mark(&partitions, true);
            }
            Command::Resume(partitions) => {
                if !self.throttled {
                    let resumed = of(&partitions).and_then(|list| self.consumer.resume(&list));
                    if let Err(error) = resumed {
                        tracing::warn!(%error, "partitions not resumed");
                    }
                }
                for partition in &partitions {
                    let next = self.handover.lock().owned.get(partition).map(|owned| owned.next);
                    if let Some(next) = next {
                        self.go_to(partition, next);
                    }
                }
                self.mark(&partitions, false);
            }
            Command::Seek { partition, offset, done } => {
                // It was taken away meanwhile.
                if !self.handover.lock().owned.contains_key(&partition) {
                    return;
                }
                self.go_to(&partition, offset);
                self.handover.tell(|state| {
                    if let Some(owned) = state.owned.get_mut(&partition) {
                        owned.next = offset;
                        owned.seeking = false;
                    }
                });
                // Whoever asked may have gone.
                let _ = done.send(());
            }
            Command::Begin(partitions) => self.begin(&partitions),
        }
    }

    /// Has partitions read from their earliest record, since what was read of them is of topics that
    /// are no more, and tells of each. Where it can't be asked, the next commit finds it again.
    fn begin(&self, partitions: &[Partition]) {
        let patience = self.consumer.context().patience;
        let asked = of(partitions).and_then(|list| extents(&*self.consumer, &list, patience));
        let extents = match asked {
            Ok(extents) => extents,
            Err(error) => {
                tracing::warn!(%error, "where topics begin that were made anew could not be asked");
                return;
            }
        };
        for partition in partitions {
            let place = (partition.topic.to_string(), partition.partition);
            let Some(extent) = extents.get(&place) else { continue };
            // It was taken away meanwhile.
            if !self.handover.lock().owned.contains_key(partition) {
                continue;
            }
            self.restart(partition, extent.earliest);
            self.handover.tell(|state| {
                state.purge(std::slice::from_ref(partition));
                let Some(owned) = state.owned.get_mut(partition) else { return };
                let Owned { next, paused, .. } = *owned;
                *owned = Owned { paused, ..Owned::at(extent.earliest) };
                let anew = Delivery::Trouble(out_of_range(partition, next, *extent));
                state.events.push_back(anew);
            });
        }
    }

    fn mark(&self, partitions: &[Partition], paused: bool) {
        let mut state = self.handover.lock();
        for partition in partitions {
            if let Some(owned) = state.owned.get_mut(partition) {
                owned.paused = paused;
            }
        }
    }

    /// Fetches a partition from this offset on; messages fetched before are dropped by librdkafka.
    fn go_to(&self, partition: &Partition, offset: i64) {
        let sought = at(partition, offset)
            .and_then(|list| self.consumer.seek_partitions(list, PROBE_WAIT))
            .and_then(|list| list.elements().iter().try_for_each(|element| element.error()));
        if let Err(error) = sought {
            tracing::debug!(%partition, offset, %error, "could not seek, starting anew");
            self.restart(partition, offset);
        }
    }

    /// Gives a partition back and takes it again: also brings back one that stopped at an error.
    fn restart(&self, partition: &Partition, offset: i64) {
        let restarted = at(partition, offset).and_then(|list| {
            self.consumer.incremental_unassign(&list)?;
            self.consumer.incremental_assign(&list)?;
            let paused = self.handover.lock().owned.get(partition).is_some_and(|o| o.paused);
            if paused || self.throttled { self.consumer.pause(&list) } else { Ok(()) }
        });
        if let Err(error) = restarted {
            tracing::warn!(%partition, offset, %error, "partition not started anew");
        }
    }

    /// Deals with an error of `poll`.
    ///
    /// # Errors
    /// Such as end the consumer.
    fn fail(&mut self, error: &KafkaError) -> Result<(), LogError> {
        if let Some((code, reason)) = self.consumer.client().fatal_error() {
            return self.begin_anew(code, reason);
        }
        let health = &self.consumer.context().health;
        let said = |topic: Option<&str>| fault(error, &self.address, topic, health);
        let trouble = match code(error) {
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => return self.recover(),
            // One broker of several; when it is the last, AllBrokersDown follows.
            Some(Code::BrokerTransportFailure | Code::Resolve | Code::PollExceeded) => {
                return Ok(());
            }
            Some(Code::InvalidSessionTimeout) => self.maker.session(),
            Some(code) if kind(code) == Kind::Missing => {
                let missing = self
                    .topics
                    .iter()
                    .find(|topic| matches!(self.check(topic), Err(LogError::MissingTopic { .. })));
                match missing {
                    Some(topic) => said(Some(topic)),
                    None => return Ok(()),
                }
            }
            _ => match said(None) {
                LogError::Fatal { address, reason } => LogError::Transient { address, reason },
                other => other,
            },
        };
        self.handover.tell(|state| state.trouble(trouble));
        self.probe_at = Instant::now() + PROBE;
        Ok(())
    }

    /// Partitions have stopped because the log does not hold what they are at: tells of each, and
    /// goes on from the earliest.
    fn recover(&mut self) -> Result<(), LogError> {
        let owned = self.handover.lock().owned.clone();
        let partitions: Vec<_> = owned.keys().cloned().collect();
        let context = self.consumer.context();
        let asked = of(&partitions).and_then(|list| {
            let extents = extents(&*self.consumer, &list, context.patience)?;
            let begins = context.begins(&self.consumer, &list)?;
            Ok((extents, begins))
        });
        let (extents, begins) = match asked {
            Ok(asked) => asked,
            Err(error) => {
                let trouble = fault(&error, &self.address, None, &context.health);
                self.handover.tell(|state| state.trouble(trouble));
                // Starting anew where it stood raises the same error again, and so another try.
                let anew = owned.iter().filter(|(_, owned)| owned.next >= 0);
                anew.for_each(|(partition, owned)| self.restart(partition, owned.next));
                return Ok(());
            }
        };
        for (partition, begin) in begins {
            let place = (partition.topic.to_string(), partition.partition);
            let Some(extent) = extents.get(&place) else { continue };
            let next = self.handover.tell(|state| {
                // As it is by now: a pause takes back what was handed over and is not read yet.
                let owned = state.owned.get_mut(&partition)?;
                let (next, overtaken) = if owned.next < 0 {
                    (begin.next, begin.overtaken)
                } else if (extent.earliest..=extent.end).contains(&owned.next) {
                    (owned.next, None)
                } else {
                    (extent.earliest, Some(out_of_range(&partition, owned.next, *extent)))
                };
                let before = std::mem::replace(&mut owned.next, next);
                if before > extent.end {
                    // It was made anew: what waits is of what it was, and would be committed of what
                    // it is.
                    state.purge(std::slice::from_ref(&partition));
                }
                state.events.extend(overtaken.map(Delivery::Trouble));
                Some(next)
            });
            if let Some(next) = next {
                self.restart(&partition, next);
            }
        }
        Ok(())
    }

    /// Tries whether a trouble is over: nothing else tells while there are no records.
    fn probe(&mut self) {
        if Instant::now() < self.probe_at || self.handover.lock().trouble.is_none() {
            return;
        }
        let well = self.topics.iter().try_for_each(|topic| self.check(topic));
        self.probe_at = Instant::now() + PROBE;
        match well {
            Ok(()) => {
                self.consumer.context().health.well();
                self.handover.tell(|state| state.trouble = None);
            }
            Err(error) => self.handover.tell(|state| state.trouble(error)),
        }
    }

    /// Places the partitions for which it could not be asked where they begin when they were
    /// assigned. librdkafka looks for itself then, but where the broker's answer is an error it
    /// leaves a partition standing until it is assigned anew (`rd_kafka_assignment_apply_offsets`).
    fn place(&mut self) {
        if Instant::now() < self.probe_at {
            return;
        }
        let standing: Vec<_> = {
            let state = self.handover.lock();
            let standing = state.owned.iter().filter(|(_, owned)| owned.next < 0);
            standing.map(|(partition, _)| partition.clone()).collect()
        };
        if standing.is_empty() {
            return;
        }
        let context = self.consumer.context();
        match of(&standing).and_then(|list| context.begins(&self.consumer, &list)) {
            Ok(begins) => {
                for (partition, begin) in begins.into_iter().filter(|(_, begin)| begin.next >= 0) {
                    self.restart(&partition, begin.next);
                    self.handover.tell(|state| {
                        state.events.extend(begin.overtaken.map(Delivery::Trouble));
                        if let Some(owned) = state.owned.get_mut(&partition) {
                            owned.next = begin.next;
                        }
                    });
                }
            }
            Err(error) => {
                let trouble = fault(&error, &self.address, None, &context.health);
                self.handover.tell(|state| state.trouble(trouble));
            }
        }
        self.probe_at = Instant::now() + PROBE;
    }

    /// Whether a topic is there, and we may read it for our group.
    fn check(&self, topic: &str) -> Result<(), LogError> {
        let health = &self.consumer.context().health;
        let said = |error: KafkaError| fault(&error, &self.address, Some(topic), health);
        let metadata = self.consumer.fetch_metadata(Some(topic), PROBE_WAIT).map_err(said)?;
        if let Some(error) = metadata.topics().first().and_then(|topic| topic.error()) {
            return Err(said(KafkaError::MetadataFetch(error.into())));
        }
        if self.member {
            let first = list([(topic, 0)].into_iter()).map_err(said)?;
            committed(&*self.consumer, &first, PROBE_WAIT).map_err(said)?;
        }
        Ok(())
    }
}

fn of(partitions: &[Partition]) -> KafkaResult<TopicPartitionList> {
    list(partitions.iter().map(|partition| (&*partition.topic, partition.partition)))
}

fn at(partition: &Partition, offset: i64) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    let offset = Offset::Offset(offset);
    list.add_partition_offset(&partition.topic, partition.partition, offset)?;
    Ok(list)
}
