//! What was taken and is not yet being written, in the order of its keys: pure. A backlog comes
//! from each partition in long runs, so that records that came one after the other are far apart
//! by key; and a store that keeps documents in the order of their ids writes about as many nodes of
//! its tree for a batch as there are between the batch's first and last id.

use std::time::Instant;
use std::vec::IntoIter;

use bowerbird_stream::{Partition, Record};

use crate::batch::{Batch, Limits};

/// Records that wait for a writer. Those that came together are closed together, sorted, and
/// written before any that came later: none waits for ever behind smaller keys.
#[derive(Debug, Default)]
pub struct Window {
    open: Batch,
    closed: IntoIter<Record>,
}

impl Window {
    /// Adds a record.
    pub fn add(&mut self, record: Record, now: Instant) {
        self.open.add(record, now);
    }

    /// How many records wait.
    pub fn len(&self) -> usize {
        self.open.len() + self.closed.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a batch is to be written without waiting for more.
    pub fn is_due(&self, limits: &Limits, now: Instant) -> bool {
        self.closed.len() > 0
            || self.open.is_full(limits)
            || self.open.due_at(limits).is_some_and(|due| due <= now)
    }

    /// When a batch is to be written if nothing more comes; nothing while nothing waits.
    pub fn due_at(&self, limits: &Limits) -> Option<Instant> {
        self.open.due_at(limits)
    }

    /// The next batch: the smallest keys of what was closed together, in pieces of about one size.
    pub fn cut(&mut self, limits: &Limits, now: Instant) -> Batch {
        if self.closed.len() == 0 {
            let mut records = std::mem::take(&mut self.open).into_records();
            // Stable: records of one key stay in the order of the log.
            records.sort_by(|one, two| one.key.cmp(&two.key));
            self.closed = records.into_iter();
        }
        let pieces = self.closed.len().div_ceil(limits.records.max(1)).max(1);
        let piece = Limits { records: self.closed.len().div_ceil(pieces), ..*limits };
        let mut batch = Batch::default();
        while !batch.is_full(&piece) {
            let Some(record) = self.closed.next() else { break };
            batch.add(record, now);
        }
        batch
    }

    /// Lets go what is somebody else's now; the bytes of that.
    pub fn forget(&mut self, partitions: &[Partition]) -> usize {
        let theirs = |record: &Record| partitions.contains(&record.position.in_partition());
        let mut bytes = 0;
        let mut keep = |record: &Record| {
            let ours = !theirs(record);
            bytes += if ours { 0 } else { record.size() };
            ours
        };
        let closed = std::mem::take(&mut self.closed);
        self.closed = closed.filter(&mut keep).collect::<Vec<_>>().into_iter();
        self.open.retain(keep);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use bowerbird_stream::{Headers, Position};
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn record(partition: i32, offset: i64, key: u8) -> Record {
        Record {
            position: Position { topic: "posts".into(), partition, offset },
            appended: jiff::Timestamp::UNIX_EPOCH,
            key: Some(Bytes::from(vec![key])),
            value: Some(Bytes::from_static(b"1234567")),
            headers: Headers::new(),
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Add { partition: i32, key: u8 },
        Cut { records: usize, bytes: usize },
        Forget { partition: i32 },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..3, any::<u8>()).prop_map(|(partition, key)| Step::Add { partition, key }),
            2 => (1_usize..6, 1_usize..60).prop_map(|(records, bytes)| Step::Cut { records, bytes }),
            1 => (0..3).prop_map(|partition| Step::Forget { partition }),
        ]
    }

    proptest! {
        /// Each record is cut once, or forgotten; batches keep to their bounds and to the order of
        /// keys; and nothing is overtaken by what came after it was closed.
        #[test]
        fn nothing_is_lost_or_overtaken_for_ever(steps in prop::collection::vec(step(), 0..80)) {
            let now = Instant::now();
            let mut window = Window::default();
            // What waits, and how often the window had been closed when it came.
            let mut waiting: BTreeMap<(i32, i64), u32> = BTreeMap::new();
            let (mut closed, mut left) = (0, 0_usize);
            let mut offset = 0;
            for step in steps {
                match step {
                    Step::Add { partition, key } => {
                        window.add(record(partition, offset, key), now);
                        waiting.insert((partition, offset), closed);
                        offset += 1;
                    }
                    Step::Cut { records, bytes } => {
                        if left == 0 {
                            left = waiting.len();
                            closed += 1;
                        }
                        let limits = Limits { records, bytes, age: Duration::ZERO };
                        let batch = window.cut(&limits, now).into_records();
                        prop_assert!(batch.len() <= records);
                        prop_assert_eq!(batch.is_empty(), waiting.is_empty());
                        let before: usize =
                            batch.iter().rev().skip(1).map(Record::size).sum();
                        prop_assert!(before < bytes, "more than its bytes");
                        let sorted = batch.is_sorted_by_key(|one| (&one.key, one.position.offset));
                        prop_assert!(sorted, "not in the order of keys, then of the log");
                        left -= batch.len();
                        for Position { partition, offset, .. } in
                            batch.into_iter().map(|record| record.position)
                        {
                            prop_assert!(waiting.remove(&(partition, offset)) < Some(closed));
                        }
                        let oldest = waiting.values().filter(|came| **came < closed).count();
                        prop_assert_eq!(oldest, left, "something was overtaken");
                    }
                    Step::Forget { partition } => {
                        let gone: Vec<_> = waiting
                            .extract_if(.., |(theirs, _), _| *theirs == partition)
                            .collect();
                        left -= gone.iter().filter(|(_, came)| *came < closed).count();
                        let bytes = window.forget(&[Partition::new("posts", partition)]);
                        let size = record(0, 0, 0).size();
                        prop_assert_eq!(bytes, gone.len() * size);
                    }
                }
                prop_assert_eq!(window.len(), waiting.len());
            }
        }
    }
}
