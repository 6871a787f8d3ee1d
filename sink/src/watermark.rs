//! What may be committed: per partition, everything below the first record that is not settled.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bowerbird_stream::{Partition, Position};

/// The records of one partition that were taken, in order, and which of them are settled.
#[derive(Debug, Default)]
struct Lane {
    taken: VecDeque<(i64, bool)>,
    unsettled: usize,
    next: i64,
    committed: Option<i64>,
}

/// The watermarks of the partitions that are ours.
#[derive(Debug, Default)]
pub struct Watermarks {
    lanes: HashMap<Partition, Lane>,
}

impl Watermarks {
    /// A record was taken from the log. Offsets of a partition only grow, except after a seek or
    /// a reassignment, which [`forget`](Self::forget) goes before, and where its topic was deleted
    /// and made anew: then nothing that was known of it holds, not even what was committed.
    pub fn take(&mut self, partition: &Partition, offset: i64) {
        if !self.lanes.contains_key(partition) {
            self.lanes.insert(partition.clone(), Lane::default());
        }
        if let Some(lane) = self.lanes.get_mut(partition) {
            if offset < lane.next {
                *lane = Lane::default();
            }
            lane.taken.push_back((offset, false));
            lane.unsettled += 1;
            lane.next = offset + 1;
        }
    }

    /// A record is durable as a document, or its dead letter is acknowledged. One of a partition
    /// that was forgotten in the meantime is none of our business any more.
    pub fn settle(&mut self, position: &Position) {
        let partition = position.in_partition();
        let Some(lane) = self.lanes.get_mut(&partition) else { return };
        let at = lane.taken.binary_search_by_key(&position.offset, |(offset, _)| *offset);
        if let Some((_, settled @ false)) = at.ok().and_then(|at| lane.taken.get_mut(at)) {
            *settled = true;
            lane.unsettled -= 1;
        }
        while lane.taken.front().is_some_and(|(_, settled)| *settled) {
            lane.taken.pop_front();
        }
    }

    /// The offsets that may be committed and are not yet: per partition the next one to read.
    pub fn due(&self) -> BTreeMap<Partition, i64> {
        self.due_within(|_| None)
    }

    /// The same, within the limits that partitions may have; a negative one allows nothing.
    pub fn due_within(
        &self,
        limit: impl Fn(&Partition) -> Option<i64>,
    ) -> BTreeMap<Partition, i64> {
        let mark = |partition: &Partition, lane: &Lane| {
            limit(partition).map_or(lane.mark(), |limit| lane.mark().min(limit))
        };
        self.lanes
            .iter()
            .map(|(partition, lane)| (partition, lane, mark(partition, lane)))
            .filter(|(.., mark)| *mark >= 0)
            .filter(|(_, lane, mark)| lane.committed.is_none_or(|committed| committed < *mark))
            .map(|(partition, _, mark)| (partition.clone(), mark))
            .collect()
    }

    /// These were committed.
    pub fn committed(&mut self, offsets: &BTreeMap<Partition, i64>) {
        for (partition, offset) in offsets {
            if let Some(lane) = self.lanes.get_mut(partition) {
                lane.committed = lane.committed.max(Some(*offset));
            }
        }
    }

    /// How many records of these partitions are taken and not settled.
    pub fn unsettled<'a>(&self, partitions: impl IntoIterator<Item = &'a Partition>) -> usize {
        partitions
            .into_iter()
            .filter_map(|partition| self.lanes.get(partition))
            .map(|lane| lane.unsettled)
            .sum()
    }

    /// How many records are taken and not settled.
    pub fn all_unsettled(&self) -> usize {
        self.lanes.values().map(|lane| lane.unsettled).sum()
    }

    /// These partitions are not ours any more.
    pub fn forget<'a>(&mut self, partitions: impl IntoIterator<Item = &'a Partition>) {
        for partition in partitions {
            self.lanes.remove(partition);
        }
    }
}

impl Lane {
    fn mark(&self) -> i64 {
        self.taken.front().map_or(self.next, |(offset, _)| *offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn position(offset: i64) -> Position {
        Position { topic: "posts".into(), partition: 0, offset }
    }

    #[test]
    fn a_hole_holds_the_watermark_back() {
        let partition = Partition::new("posts", 0);
        let mut marks = Watermarks::default();
        for offset in [3, 5, 6] {
            marks.take(&partition, offset);
        }
        marks.settle(&position(5));
        assert_eq!(marks.due()[&partition], 3);
        marks.settle(&position(3));
        assert_eq!(marks.due()[&partition], 6);
        marks.committed(&marks.due());
        assert!(marks.due().is_empty());
        marks.settle(&position(6));
        assert_eq!(marks.due()[&partition], 7);
        assert_eq!(marks.due_within(|_| Some(7))[&partition], 7);
        assert!(marks.due_within(|_| Some(6)).is_empty(), "it has that already");
        assert!(Watermarks::default().due_within(|_| Some(-1)).is_empty());
        marks.forget([&partition]);
        marks.settle(&position(6));
        assert!(marks.due().is_empty());
    }

    #[test]
    fn a_partition_that_was_made_anew_is_committed_from_its_beginning() {
        let partition = Partition::new("posts", 0);
        let mut marks = Watermarks::default();
        marks.take(&partition, 90);
        marks.take(&partition, 91);
        marks.settle(&position(90));
        marks.committed(&marks.due());
        marks.take(&partition, 0);
        marks.take(&partition, 1);
        assert_eq!(marks.due()[&partition], 0);
        marks.settle(&position(0));
        // One of the old partition, still under way, is none of the new one.
        marks.settle(&position(91));
        assert_eq!(marks.due()[&partition], 1);
        assert_eq!(marks.all_unsettled(), 1);
    }

    proptest! {
        #[test]
        fn never_past_what_is_not_settled(
            order in Just((0..60i64).collect::<Vec<_>>()).prop_shuffle(),
            settled in 0..60usize,
        ) {
            let partition = Partition::new("posts", 0);
            let mut marks = Watermarks::default();
            for offset in 0..60 {
                marks.take(&partition, offset);
            }
            for offset in &order[..settled] {
                marks.settle(&position(*offset));
                marks.settle(&position(*offset));
            }
            let first_open = order[settled..].iter().min().copied();
            prop_assert_eq!(marks.due()[&partition], first_open.unwrap_or(60));
            prop_assert_eq!(marks.all_unsettled(), 60 - settled);
        }
    }
}
