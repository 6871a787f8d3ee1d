//! Holes that retention made, until the journal has them. A hole is known only as long as the
//! committed offset is before it, so nothing is committed past one that is not told yet: after a
//! crash it is found, and told, again.

use std::collections::BTreeMap;

use bowerbird_stream::Partition;

/// So many holes of a partition wait to be told; beyond that the last grows.
const WAITING: usize = 16;
/// Below every offset.
const NOTHING: i64 = -1;

/// Records that the log let go of before they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Of which partition.
    pub partition: Partition,
    /// The first that is missing.
    pub from: i64,
    /// The first that is there. Before `from` where the log was made anew with fewer records.
    pub to: i64,
}

impl Gap {
    /// What may be committed without stepping over it.
    fn limit(&self) -> i64 {
        // A log that was made anew has no offset that says: something is missing here.
        if self.from < self.to { self.from } else { NOTHING }
    }
}

#[derive(Debug, Default)]
struct Lane {
    /// Is being told.
    telling: Vec<Gap>,
    /// The partition was taken away meanwhile: what is being told holds nothing back any more.
    orphan: bool,
    /// Comes after it.
    waiting: Vec<Gap>,
}

/// The holes that are not told yet. Of each partition some are told at a time, together.
#[derive(Debug, Default)]
pub struct Gaps {
    lanes: BTreeMap<Partition, Lane>,
    given_up: bool,
}

impl Gaps {
    /// There is a hole: what to tell now.
    pub fn open(&mut self, gap: Gap) -> Option<Vec<Gap>> {
        let partition = gap.partition.clone();
        let lane = self.lanes.entry(partition.clone()).or_default();
        let full = lane.waiting.len() >= WAITING;
        match lane.waiting.last_mut() {
            // Larger than it was is better than not told.
            Some(last) if full => last.to = gap.to,
            _ => lane.waiting.push(gap),
        }
        self.next(&partition)
    }

    /// What was being told of this partition is acknowledged: what to tell next.
    pub fn told(&mut self, partition: &Partition) -> Option<Vec<Gap>> {
        let lane = self.lanes.get_mut(partition)?;
        lane.telling.clear();
        lane.orphan = false;
        if lane.waiting.is_empty() {
            self.lanes.remove(partition);
            return None;
        }
        self.next(partition)
    }

    fn next(&mut self, partition: &Partition) -> Option<Vec<Gap>> {
        let lane = self.lanes.get_mut(partition)?;
        if !lane.telling.is_empty() || self.given_up {
            return None;
        }
        lane.telling = std::mem::take(&mut lane.waiting);
        Some(lane.telling.clone())
    }

    /// These partitions are not ours any more. Whoever has them next finds what is not told.
    pub fn forget<'a>(&mut self, partitions: impl IntoIterator<Item = &'a Partition>) {
        for partition in partitions {
            let Some(lane) = self.lanes.get_mut(partition) else { continue };
            lane.waiting.clear();
            lane.orphan = true;
            if lane.telling.is_empty() {
                self.lanes.remove(partition);
            }
        }
    }

    /// Nothing more is told; what is not told holds back what it did.
    pub fn give_up(&mut self) {
        self.given_up = true;
    }

    /// Whether some are being told.
    pub fn is_telling(&self) -> bool {
        !self.given_up && self.lanes.values().any(|lane| !lane.telling.is_empty())
    }

    /// Whether one of these partitions has a hole that is not told.
    pub fn hold(&self, partitions: &[Partition]) -> bool {
        partitions.iter().any(|partition| self.limit(partition).is_some())
    }

    /// What may be committed of a partition at most, if that is limited; negative: nothing.
    pub fn limit(&self, partition: &Partition) -> Option<i64> {
        let lane = self.lanes.get(partition)?;
        let telling = if lane.orphan { &[][..] } else { &lane.telling };
        telling.iter().chain(&lane.waiting).map(Gap::limit).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(from: i64, to: i64) -> Gap {
        Gap { partition: Partition::new("posts", 0), from, to }
    }

    #[test]
    fn one_is_told_at_a_time_and_nothing_is_committed_past_it() {
        let (mut gaps, partition) = (Gaps::default(), Partition::new("posts", 0));
        assert_eq!(gaps.open(gap(10, 20)), Some(vec![gap(10, 20)]));
        assert_eq!(gaps.limit(&partition), Some(10));
        for from in (30..30 + 10 * (WAITING as i64 + 3)).step_by(10) {
            assert_eq!(gaps.open(gap(from, from + 5)), None, "one is being told");
        }
        assert!(gaps.hold(std::slice::from_ref(&partition)));
        assert_eq!(gaps.limit(&Partition::new("posts", 1)), None);
        let next = gaps.told(&partition).unwrap();
        assert_eq!(next.len(), WAITING);
        assert_eq!((next[0].from, next[WAITING - 1].to), (30, 30 + 10 * 18 + 5));
        assert_eq!(gaps.limit(&partition), Some(30));
        assert_eq!(gaps.told(&partition), None);
        assert!(!gaps.is_telling() && gaps.limit(&partition).is_none());
    }

    #[test]
    fn a_log_that_was_made_anew_is_not_committed_at_all_until_it_is_told() {
        let (mut gaps, partition) = (Gaps::default(), Partition::new("posts", 0));
        assert!(gaps.open(gap(100, 0)).is_some());
        assert_eq!(gaps.limit(&partition), Some(NOTHING));
        gaps.told(&partition);
        assert_eq!(gaps.limit(&partition), None);
    }

    #[test]
    fn a_partition_that_comes_back_waits_for_what_is_still_being_told() {
        let (mut gaps, partition) = (Gaps::default(), Partition::new("posts", 0));
        assert!(gaps.open(gap(10, 20)).is_some());
        gaps.forget([&partition]);
        assert!(gaps.is_telling() && gaps.limit(&partition).is_none());
        assert_eq!(gaps.open(gap(15, 30)), None);
        assert_eq!(gaps.limit(&partition), Some(15));
        assert_eq!(gaps.told(&partition), Some(vec![gap(15, 30)]), "the old answer is not its");
        gaps.give_up();
        assert!(!gaps.is_telling());
        assert_eq!(gaps.limit(&partition), Some(15), "given up is not told");
    }
}
