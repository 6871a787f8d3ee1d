//! What was taken and is not yet being written, in the order of its keys: pure. A backlog comes
//! from each partition in long runs, so that records that came one after the other are far apart
//! by key; and a store that keeps documents in the order of their ids writes about as many nodes of
//! its tree for a batch as there are between the batch's first and last id.

use std::collections::BTreeMap;
use std::time::Instant;

use bowerbird_stream::{Partition, Record};
use bytes::Bytes;

use crate::batch::{Batch, Limits};

/// So many newer records with smaller keys are written before older ones, and then no more until
/// those are written: about as many as wait in a backlog.
const OVERTAKING: usize = 8_192;

/// Records that wait for a writer. The smallest keys go first, also such as came later, so that
/// partitions that are read unevenly are written side by side; but none waits for ever behind
/// smaller keys.
#[derive(Debug)]
pub struct Window {
    /// What came before the others.
    old: Generation,
    new: Generation,
    /// How many have come.
    came: u64,
    /// How many new ones were written while old ones waited, and how many may be.
    overtaken: usize,
    overtaking: usize,
    /// How many are to be written without waiting for more.
    due: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self::new(OVERTAKING)
    }
}

/// Records by key, those of one key in the order in which they came.
#[derive(Debug, Default)]
struct Generation {
    records: BTreeMap<(Option<Bytes>, u64), Record>,
    bytes: usize,
    opened: Option<Instant>,
}

impl Generation {
    fn add(&mut self, number: u64, record: Record, now: Instant) {
        self.bytes += record.size();
        self.opened.get_or_insert(now);
        self.records.insert((record.key.clone(), number), record);
    }

    fn first(&self) -> Option<&(Option<Bytes>, u64)> {
        self.records.first_key_value().map(|(key, _)| key)
    }

    fn pop(&mut self) -> Option<Record> {
        let (_, record) = self.records.pop_first()?;
        self.bytes -= record.size();
        Some(record)
    }

    /// Lets go what is somebody else's now; the bytes of that.
    fn forget(&mut self, partitions: &[Partition]) -> usize {
        let theirs = |record: &Record| partitions.contains(&record.position.in_partition());
        let gone = self.records.extract_if(.., |_, record| theirs(record));
        let bytes = gone.map(|(_, record)| record.size()).sum();
        self.bytes -= bytes;
        bytes
    }
}

impl Window {
    fn new(overtaking: usize) -> Self {
        let (old, new) = Default::default();
        Self { old, new, came: 0, overtaken: 0, overtaking, due: 0 }
    }

    /// Adds a record.
    pub fn add(&mut self, record: Record, now: Instant) {
        self.new.add(self.came, record, now);
        self.came += 1;
    }

    /// How many records wait.
    pub fn len(&self) -> usize {
        self.old.records.len() + self.new.records.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a batch is to be written without waiting for more.
    pub fn is_due(&self, limits: &Limits, now: Instant) -> bool {
        self.due > 0
            || limits.are_reached(self.len(), self.old.bytes + self.new.bytes)
            || self.due_at(limits).is_some_and(|due| due <= now)
    }

    /// When a batch is to be written if nothing more comes; nothing while nothing waits.
    pub fn due_at(&self, limits: &Limits) -> Option<Instant> {
        let waiting = [&self.old, &self.new].into_iter().filter(|some| !some.records.is_empty());
        waiting.filter_map(|some| some.opened).min().map(|opened| opened + limits.age)
    }

    /// The next batch: the smallest keys. What waits now is cut into pieces of about one size.
    pub fn cut(&mut self, limits: &Limits) -> Batch {
        if self.due == 0 {
            self.due = self.len();
        }
        let pieces = self.due.div_ceil(limits.records.max(1)).max(1);
        let piece = Limits { records: self.due.div_ceil(pieces), ..*limits };
        let mut batch = Batch::default();
        while !batch.is_full(&piece) {
            let Some(record) = self.next() else { break };
            batch.add(record);
        }
        self.due = self.due.saturating_sub(batch.len());
        batch
    }

    fn next(&mut self) -> Option<Record> {
        if self.old.records.is_empty() {
            self.old = std::mem::take(&mut self.new);
            self.overtaken = 0;
        }
        let smaller = self.new.first().is_some_and(|new| Some(new) < self.old.first());
        if smaller && self.overtaken < self.overtaking {
            self.overtaken += 1;
            return self.new.pop();
        }
        self.old.pop()
    }

    /// Lets go what is somebody else's now; the bytes of that.
    pub fn forget(&mut self, partitions: &[Partition]) -> usize {
        let bytes = self.old.forget(partitions) + self.new.forget(partitions);
        self.due = self.due.min(self.len());
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
        /// Each record is cut once, or forgotten; batches keep to their bounds and have the smallest
        /// keys in their order, of one key in that of the log, as long as none is overtaken by
        /// more than the bound.
        #[test]
        fn nothing_is_lost_or_overtaken_for_ever(
            steps in prop::collection::vec(step(), 0..80),
            overtaking in prop_oneof![0_usize..9, Just(OVERTAKING)],
        ) {
            let now = Instant::now();
            let mut window = Window::new(overtaking);
            // What waits, by offset: its partition, its key, and how many that came later went first.
            let mut waiting: BTreeMap<i64, (i32, u8, usize)> = BTreeMap::new();
            let (mut offset, mut most) = (0, 0);
            for step in steps {
                match step {
                    Step::Add { partition, key } => {
                        window.add(record(partition, offset, key), now);
                        waiting.insert(offset, (partition, key, 0));
                        most = most.max(waiting.len());
                        offset += 1;
                    }
                    Step::Cut { records, bytes } => {
                        let limits = Limits { records, bytes, age: Duration::ZERO };
                        let batch = window.cut(&limits).into_records();
                        prop_assert!(batch.len() <= records);
                        prop_assert_eq!(batch.is_empty(), waiting.is_empty());
                        let before: usize =
                            batch.iter().rev().skip(1).map(Record::size).sum();
                        prop_assert!(before < bytes, "more than its bytes");
                        for Position { offset, .. } in batch.into_iter().map(|one| one.position) {
                            let Some((_, key, overtaken)) = waiting.remove(&offset) else {
                                panic!("{offset} was cut twice");
                            };
                            prop_assert!(overtaken <= 2 * overtaking + most);
                            for (other, (_, theirs, passed)) in &mut waiting {
                                prop_assert!(*theirs != key || *other > offset, "out of order");
                                *passed += usize::from(*other < offset);
                            }
                            let smallest = waiting.values().all(|(_, theirs, _)| *theirs >= key);
                            prop_assert!(smallest || overtaking < OVERTAKING);
                        }
                    }
                    Step::Forget { partition } => {
                        let gone = waiting.extract_if(.., |_, (theirs, ..)| *theirs == partition);
                        let gone = gone.count();
                        let bytes = window.forget(&[Partition::new("posts", partition)]);
                        let size = record(0, 0, 0).size();
                        prop_assert_eq!(bytes, gone * size);
                    }
                }
                prop_assert_eq!(window.len(), waiting.len());
                prop_assert!(window.due <= window.len());
            }
        }
    }

    #[test]
    fn what_came_later_is_written_first_only_so_often() {
        let now = Instant::now();
        let limits = Limits { records: 1, bytes: 1 << 20, age: Duration::from_secs(1) };
        let mut window = Window::new(3);
        window.add(record(0, 0, 9), now);
        window.add(record(0, 1, 8), now);
        let cut =
            |window: &mut Window| window.cut(&limits).into_records()[0].key.as_ref().unwrap()[0];
        assert_eq!(cut(&mut window), 8);
        for key in 1..=5 {
            window.add(record(1, key.into(), key), now);
        }
        let order: Vec<u8> = (0..6).map(|_| cut(&mut window)).collect();
        assert_eq!(order, [1, 2, 3, 9, 4, 5]);
        assert_eq!(window.due_at(&limits), None);
    }

    #[test]
    fn what_waits_is_due_when_the_oldest_is() {
        let (now, age) = (Instant::now(), Duration::from_secs(1));
        let limits = Limits { records: 2, bytes: 1 << 20, age };
        let mut window = Window::default();
        window.add(record(0, 0, 1), now);
        assert!(!window.is_due(&limits, now) && window.is_due(&limits, now + age));
        window.add(record(0, 1, 2), now + age);
        assert!(window.is_due(&limits, now), "it is full");
        window.add(record(0, 2, 3), now + age);
        assert_eq!(window.cut(&limits).len(), 2);
        assert!(window.is_due(&limits, now), "what waited with it does not wait for more");
        assert_eq!(window.cut(&limits).len(), 1);
        assert!(!window.is_due(&limits, now + age) && window.due_at(&limits).is_none());
    }
}
