//! What passes between the poll thread and the async side of a consumer.
//!
//! The poll thread must never wait for the store, or the group takes its member for dead; so what
//! it fetched waits here, bounded by bytes, and it goes on polling.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use crate::error::LogError;
use crate::log::{Delivery, Partition, Record};

/// A partition that this member has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owned {
    /// The offset after the last one handed over; negative while it is not known where to begin.
    pub(super) next: i64,
    /// The caller wants nothing of it. Until the poll thread has paused or resumed it, what comes
    /// is dropped, to be fetched again.
    pub(super) paused: bool,
    /// A seek is under way: what comes is from before it.
    pub(super) seeking: bool,
    /// What this member has committed of it, since it has it; negative before.
    pub(super) committed: i64,
}

impl Owned {
    pub(super) fn at(next: i64) -> Self {
        Self { next, paused: false, seeking: false, committed: -1 }
    }
}

/// What the async side asks of the poll thread.
#[derive(Debug)]
pub(super) enum Command {
    Pause(Vec<Partition>),
    Resume(Vec<Partition>),
    Seek {
        partition: Partition,
        offset: i64,
        done: oneshot::Sender<()>,
    },
    /// Their topics were made anew: they begin where those do.
    Begin(Vec<Partition>),
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) records: VecDeque<Record>,
    pub(super) bytes: usize,
    /// What comes before the records.
    pub(super) events: VecDeque<Delivery>,
    pub(super) commands: VecDeque<Command>,
    pub(super) owned: BTreeMap<Partition, Owned>,
    /// What is wrong, as long as it is.
    pub(super) trouble: Option<LogError>,
    /// The caller is done with this consumer.
    pub(super) closing: bool,
    /// The poll thread has ended, and why, if not because it was asked to.
    pub(super) ended: Option<Result<(), LogError>>,
}

impl State {
    /// Takes what was fetched ahead of these partitions out again, and returns where each began.
    pub(super) fn purge(&mut self, partitions: &[Partition]) -> BTreeMap<Partition, i64> {
        let mut first = BTreeMap::new();
        let mut freed = 0;
        self.records.retain(|record| {
            let partition = record.position.in_partition();
            let purged = partitions.contains(&partition);
            if purged {
                freed += record.size();
                first.entry(partition).or_insert(record.position.offset);
            }
            !purged
        });
        self.bytes = self.bytes.saturating_sub(freed);
        first
    }

    /// A fault that goes on until it is mended; told at once when it is a new one.
    pub(super) fn trouble(&mut self, error: LogError) {
        let known = self
            .trouble
            .as_ref()
            .is_some_and(|old| std::mem::discriminant(old) == std::mem::discriminant(&error));
        if !known {
            tracing::warn!(%error, "consumer in trouble");
            self.events.push_back(Delivery::Trouble(error.clone()));
        }
        self.trouble = Some(error);
    }
}

#[derive(Debug)]
pub(super) struct Handover {
    state: Mutex<State>,
    /// Bytes from which on the poll thread waits.
    limit: usize,
    /// For the async side: there is something.
    ready: Notify,
    /// For the poll thread: there is room, or a command.
    room: Condvar,
}

impl Handover {
    pub(super) fn new(limit: usize) -> Self {
        let state = Mutex::default();
        Self { state, limit, ready: Notify::new(), room: Condvar::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state for the async side to see.
    pub(super) fn tell<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.ready.notify_one();
        result
    }

    /// Changes the state for the poll thread to see.
    pub(super) fn order<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.room.notify_one();
        result
    }

    /// Hands over what was fetched. Records of partitions that are not owned any more are dropped, and
    /// such as were handed over before: when the group moves, librdkafka pauses what a member keeps
    /// (`rd_kafka_assignment_pause`) and goes on from the last record that was polled; one that is
    /// being polled at that moment comes again.
    pub(super) fn push(&self, records: &mut Vec<Record>) {
        if records.is_empty() {
            return;
        }
        self.tell(|state| {
            // Records come in runs of one partition; the owner is looked up once a run.
            let mut run = Run::default();
            for record in records.drain(..) {
                if !run.goes_on(&record) {
                    run.settle(state);
                    run = Run::begin(&record, state);
                }
                if run.wanted && record.position.offset >= run.next {
                    run.next = record.position.offset + 1;
                    state.bytes += record.size();
                    state.records.push_back(record);
                }
            }
            run.settle(state);
            // Records are the proof that all is well again. A topic that is gone sends none.
            if !matches!(state.trouble, Some(LogError::MissingTopic { .. })) {
                state.trouble = None;
            }
        });
    }

    /// Takes what comes before the records, or up to `max` records.
    pub(super) fn take(&self, max: usize) -> Option<Result<Delivery, LogError>> {
        let mut state = self.lock();
        if let Some(event) = state.events.pop_front() {
            return Some(Ok(event));
        }
        if state.records.is_empty() || max == 0 {
            let ended = state.ended.clone()?;
            return Some(ended.map(|()| Delivery::Idle));
        }
        let count = state.records.len().min(max);
        let records: Vec<_> = state.records.drain(..count).collect();
        let was_full = state.bytes >= self.limit;
        let bytes = records.iter().map(Record::size).sum();
        state.bytes = state.bytes.saturating_sub(bytes);
        let room = was_full && state.bytes < self.limit;
        drop(state);
        if room {
            self.room.notify_one();
        }
        crate::metrics::consumed("kafka", records.len(), bytes);
        Some(Ok(Delivery::Records(records)))
    }

    /// Waits for [`take`](Self::take) to have something.
    pub(super) async fn ready(&self) {
        self.ready.notified().await;
    }

    pub(super) fn is_full(&self) -> bool {
        self.lock().bytes >= self.limit
    }

    /// Whether so little is left that fetching should go on after a throttle.
    pub(super) fn is_half_empty(&self) -> bool {
        self.lock().bytes <= self.limit / 2
    }

    /// Blocks the poll thread for so long, or until the caller is done with this consumer: whether
    /// it is.
    pub(super) fn closes_within(&self, wait: Duration) -> bool {
        let waited = self.room.wait_timeout_while(self.lock(), wait, |state| !state.closing);
        waited.unwrap_or_else(PoisonError::into_inner).0.closing
    }

    /// Blocks the poll thread until there is room, a command, or `wait` is over.
    pub(super) fn wait_for_room(&self, wait: Duration) {
        let full = |state: &mut State| {
            state.bytes >= self.limit && state.commands.is_empty() && !state.closing
        };
        drop(self.room.wait_timeout_while(self.lock(), wait, full));
    }
}

/// A run of records of one partition.
#[derive(Default)]
struct Run {
    partition: Option<Partition>,
    wanted: bool,
    next: i64,
}

impl Run {
    fn begin(record: &Record, state: &State) -> Self {
        let partition = record.position.in_partition();
        let owned = state.owned.get(&partition);
        let wanted = owned.is_some_and(|owned| !owned.paused && !owned.seeking);
        Self { partition: Some(partition), wanted, next: owned.map_or(0, |owned| owned.next) }
    }

    fn goes_on(&self, record: &Record) -> bool {
        let position = &record.position;
        self.partition.as_ref().is_some_and(|partition| {
            partition.partition == position.partition && partition.topic == position.topic
        })
    }

    fn settle(&self, state: &mut State) {
        let owned = self.partition.as_ref().and_then(|partition| state.owned.get_mut(partition));
        if let (Some(owned), true) = (owned, self.wanted) {
            owned.next = self.next;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use bytes::Bytes;
    use jiff::Timestamp;

    use super::*;
    use crate::event::Headers;
    use crate::log::Position;

    #[test]
    fn what_comes_twice_is_handed_over_once() {
        let (handover, partition) = (Handover::new(1 << 20), Partition::new("posts", 0));
        let record = |offset| Record {
            position: Position { topic: "posts".into(), partition: 0, offset },
            appended: Timestamp::UNIX_EPOCH,
            key: None,
            value: Some(Bytes::from("x")),
            headers: Headers::new(),
        };
        let comes = |offsets: Range<i64>| -> Vec<i64> {
            handover.push(&mut offsets.map(record).collect());
            match handover.take(100) {
                Some(Ok(Delivery::Records(records))) => {
                    records.into_iter().map(|record| record.position.offset).collect()
                }
                other => panic!("{other:?}"),
            }
        };
        handover.lock().owned.insert(partition.clone(), Owned::at(-1));
        assert_eq!(comes(3..6), [3, 4, 5]);
        assert_eq!(comes(5..8), [6, 7]);
        // From where it is read again, all of it is.
        handover.lock().owned.insert(partition, Owned::at(4));
        assert_eq!(comes(4..6), [4, 5]);
    }
}
