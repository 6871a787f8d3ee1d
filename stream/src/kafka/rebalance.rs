//! Rebalances: where assigned partitions begin, and the time that revoked ones have to drain.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::handover::{Handover, Owned};
use super::health::Health;
use super::query::{By, committed, extents};
use crate::error::LogError;
use crate::log::{Delivery, Extent, Partition, Revocation, StartAt};

/// How often a drain is looked after.
const LOOK: Duration = Duration::from_millis(5);

/// A consumer's callbacks; they run on the poll thread.
pub(super) struct Rebalancing {
    pub(super) health: Health,
    pub(super) handover: Arc<Handover>,
    pub(super) start: StartAt,
    /// How long revoked partitions may drain.
    pub(super) drain: Duration,
    /// How long one question may take.
    pub(super) patience: Duration,
}

pub(super) type GroupConsumer = BaseConsumer<Rebalancing>;

impl ClientContext for Rebalancing {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.health.hear(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.health.note(&error, reason);
    }
}

impl ConsumerContext for Rebalancing {
    fn rebalance(
        &self,
        consumer: &GroupConsumer,
        what: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let incremental = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let done = if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.assign(consumer, list);
            // librdkafka has a partition stay paused while others have it (`serve_removals` lifts its
            // own pause alone): what was paused when it went would never be read when it is back.
            if let Err(error) = consumer.resume(list) {
                tracing::warn!(%error, "assigned partitions not resumed");
            }
            if incremental { consumer.incremental_assign(list) } else { consumer.assign(list) }
        } else {
            self.revoke(consumer, list);
            if incremental { consumer.incremental_unassign(list) } else { consumer.unassign() }
        };
        if let Err(error) = done {
            tracing::warn!(%error, "rebalance not applied, the group will try again");
        }
    }
}

impl Rebalancing {
    /// Decides where each partition begins, and tells of them before any record comes.
    fn assign(&self, consumer: &GroupConsumer, list: &mut TopicPartitionList) {
        let begins = match self.begins(consumer, list) {
            Ok(begins) => begins,
            Err(error) => {
                // librdkafka will look for itself, and ask again where it finds nothing.
                tracing::warn!(%error, "where the assigned partitions begin could not be asked");
                partitions(list).into_iter().map(|p| (p, Begin::unknown())).collect()
            }
        };
        for (partition, begin) in &begins {
            let offset = if begin.next < 0 { Offset::Invalid } else { Offset::Offset(begin.next) };
            if let Err(error) =
                list.set_partition_offset(&partition.topic, partition.partition, offset)
            {
                tracing::warn!(%partition, %error, "where it begins could not be set");
            }
        }
        if begins.is_empty() {
            return;
        }
        self.handover.tell(|state| {
            let assigned = begins.iter().map(|(partition, _)| partition.clone()).collect();
            state.events.push_back(Delivery::Assigned(assigned));
            for (partition, begin) in begins {
                state.events.extend(begin.overtaken.map(Delivery::Trouble));
                state.owned.insert(partition, Owned::at(begin.next));
            }
        });
    }

    /// Where partitions begin, by the group's committed offsets and what the log still holds.
    pub(super) fn begins(
        &self,
        consumer: &GroupConsumer,
        list: &TopicPartitionList,
    ) -> KafkaResult<Vec<(Partition, Begin)>> {
        let committed = committed(consumer, list, self.patience)?;
        let extents = extents(consumer, list, self.patience)?;
        Ok(begins(list, &committed, &extents, self.start))
    }

    /// Lets the async side finish with the partitions, within the drain time-out.
    fn revoke(&self, consumer: &GroupConsumer, list: &TopicPartitionList) {
        let partitions = partitions(list);
        let lost = consumer.assignment_lost();
        let (released, mut wait) = oneshot::channel();
        let drain = self.handover.tell(|state| {
            state.purge(&partitions);
            let drain = !state.closing && !lost && !partitions.is_empty();
            if !state.closing && !partitions.is_empty() {
                let released = drain.then_some(released);
                let revocation = Revocation { partitions: partitions.clone(), lost, released };
                state.events.push_back(Delivery::Revoked(revocation));
            }
            if !drain {
                state.owned.retain(|partition, _| !partitions.contains(partition));
            }
            drain
        });
        if !drain {
            return;
        }
        let deadline = Instant::now() + self.drain;
        while wait.try_recv() == Err(TryRecvError::Empty) {
            if Instant::now() >= deadline || self.handover.lock().closing {
                tracing::warn!(?partitions, "revoked partitions were not drained in time");
                break;
            }
            std::thread::sleep(LOOK);
        }
        self.handover.tell(|state| {
            state.owned.retain(|partition, _| !partitions.contains(partition));
            // Whoever has not seen the revocation yet is too late to drain.
            for event in &mut state.events {
                if let Delivery::Revoked(revocation) = event
                    && revocation.partitions == partitions
                {
                    revocation.lost = true;
                }
            }
        });
    }
}

/// Where a partition begins.
#[derive(Clone, Debug)]
pub(super) struct Begin {
    /// The offset; negative: not known.
    pub(super) next: i64,
    /// The committed offset is not in the log any more.
    pub(super) overtaken: Option<LogError>,
}

impl Begin {
    fn unknown() -> Self {
        Self { next: -1, overtaken: None }
    }
}

fn begins(
    list: &TopicPartitionList,
    committed: &By<i64>,
    extents: &By<Extent>,
    start: StartAt,
) -> Vec<(Partition, Begin)> {
    let begin = |partition: Partition| {
        let place = (partition.topic.to_string(), partition.partition);
        let Some(extent) = extents.get(&place) else { return (partition, Begin::unknown()) };
        let begin = begin(&partition, committed.get(&place).copied(), *extent, start);
        (partition, begin)
    };
    partitions(list).into_iter().map(begin).collect()
}

/// Where one partition begins.
fn begin(partition: &Partition, committed: Option<i64>, extent: Extent, start: StartAt) -> Begin {
    match committed {
        Some(offset) if (extent.earliest..=extent.end).contains(&offset) => {
            Begin { next: offset, overtaken: None }
        }
        Some(offset) => Begin {
            next: extent.earliest,
            overtaken: Some(out_of_range(partition, offset, extent)),
        },
        None => {
            let next = match start {
                StartAt::Earliest => extent.earliest,
                StartAt::End => extent.end,
            };
            Begin { next, overtaken: None }
        }
    }
}

pub(super) fn out_of_range(partition: &Partition, offset: i64, extent: Extent) -> LogError {
    let Extent { earliest, end } = extent;
    let Partition { topic, partition } = partition;
    LogError::OutOfRange { topic: topic.to_string(), partition: *partition, offset, earliest, end }
}

pub(super) fn partitions(list: &TopicPartitionList) -> Vec<Partition> {
    let partition = |e: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
        Partition::new(e.topic(), e.partition())
    };
    list.elements().iter().map(partition).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_begins_where_the_group_left_it_or_where_the_log_begins() {
        let partition = Partition::new("posts", 0);
        let extent = Extent { earliest: 10, end: 20 };
        for (committed, start, next, overtaken) in [
            (Some(10), StartAt::Earliest, 10, false),
            (Some(20), StartAt::Earliest, 20, false),
            (Some(9), StartAt::Earliest, 10, true),
            (Some(9), StartAt::End, 10, true),
            (Some(21), StartAt::Earliest, 10, true),
            (None, StartAt::Earliest, 10, false),
            (None, StartAt::End, 20, false),
        ] {
            let begin = begin(&partition, committed, extent, start);
            let got = (begin.next, begin.overtaken.is_some());
            assert_eq!(got, (next, overtaken), "{committed:?} {start:?}");
        }
    }
}
