//! How far a file is, out of what its members report. Pure.

use std::collections::BTreeSet;

use super::checkpoint::{Checkpoint, Mark, Part};
use super::summary::Findings;

/// How far members may be imported beyond the first that is not done. It bounds a checkpoint.
pub const WINDOW: u64 = 64;
/// So many members that the system can't read end the import of a file: it is not the members.
pub const MAX_UNREADABLE: usize = 64;

/// The import of one file.
#[derive(Debug)]
pub struct Tracker {
    checkpoint: Checkpoint,
    /// How many members there are, once they are all listed.
    members: Option<u64>,
    /// Members that can't be read now; a resumption tries them again.
    unreadable: BTreeSet<u64>,
}

impl Tracker {
    /// From a checkpoint on.
    pub fn new(checkpoint: Checkpoint) -> Self {
        let mut tracker = Self { checkpoint, members: None, unreadable: BTreeSet::new() };
        tracker.fold();
        tracker
    }

    /// Everything of a member up to `mark` is in the log, and `found` is what was in it.
    pub fn acknowledged(&mut self, member: u64, mark: Mark, found: &Findings) {
        let part = self.part(member);
        part.mark = mark;
        part.found.add(found);
    }

    /// There is nothing after what was acknowledged of a member.
    pub fn done(&mut self, member: u64) {
        self.part(member).done = true;
        self.unreadable.remove(&member);
        self.fold();
    }

    /// The rest of a member can't be read now.
    pub fn unreadable(&mut self, member: u64) {
        self.part(member);
        self.unreadable.insert(member);
        self.fold();
    }

    /// The file has so many members.
    pub fn listed(&mut self, members: u64) {
        self.members = Some(members);
    }

    /// The first member that is neither done nor given up: members up to [`WINDOW`] beyond it may
    /// be begun.
    pub fn first(&self) -> u64 {
        self.checkpoint.before
    }

    /// Whether every member was done or given up, here or before an interruption.
    pub fn is_over(&self) -> bool {
        self.members.is_some_and(|members| self.checkpoint.before >= members)
            && self.checkpoint.parts.keys().all(|member| self.unreadable.contains(member))
    }

    /// How many members can't be read now.
    pub fn unreadables(&self) -> usize {
        self.unreadable.len()
    }

    /// Where it stands.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// There is nothing more in the file.
    pub fn finish(&mut self) {
        self.checkpoint.finished = true;
    }

    fn part(&mut self, member: u64) -> &mut Part {
        self.checkpoint.parts.entry(member).or_default()
    }

    /// Joins what is done with what was done before it.
    fn fold(&mut self) {
        let Checkpoint { before, found, parts, .. } = &mut self.checkpoint;
        let unreadable = &self.unreadable;
        while parts.get(before).is_some_and(|part| part.done) || unreadable.contains(before) {
            *before += 1;
        }
        parts.retain(|member, part| {
            let folded = part.done && *member < *before;
            if folded {
                found.add(&part.found);
            }
            !folded
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(lines: u64) -> Findings {
        let mut found = Findings::default();
        found.counts.lines = lines;
        found
    }

    proptest! {
        /// Members report in any order, some can't be read, and the import is killed at any
        /// moment and goes on: every line counts once, and no member is passed over.
        #[test]
        fn nothing_is_passed_over_and_nothing_counts_twice(
            members in 1_u64..12,
            turns in prop::collection::vec((any::<u8>(), 0_u8..10), 0..200),
        ) {
            const LINES: u64 = 5;
            let mut tracker = Tracker::new(Checkpoint::new("a".into(), None));
            tracker.listed(members);
            let mut over = BTreeSet::new();
            for (member, turn) in turns {
                let member = u64::from(member) % members;
                let Some(from) = tracker.checkpoint().from(member) else { continue };
                match turn {
                    _ if over.contains(&member) => {}
                    0 => {
                        let kept = tracker.checkpoint;
                        let bytes = serde_json::to_vec(&kept).unwrap();
                        let kept: Checkpoint = serde_json::from_slice(&bytes).unwrap();
                        tracker = Tracker::new(kept);
                        tracker.listed(members);
                        over.clear();
                    }
                    1 => {
                        tracker.unreadable(member);
                        over.insert(member);
                    }
                    _ if from.line < LINES => {
                        let mark = Mark { line: from.line + 1, ..from };
                        tracker.acknowledged(member, mark, &lines(1));
                    }
                    _ => tracker.done(member),
                }
            }
            // It goes on to the end.
            let mut tracker = Tracker::new(tracker.checkpoint);
            for member in 0..members {
                let Some(from) = tracker.checkpoint().from(member) else { continue };
                let mark = Mark { line: LINES, ..from };
                prop_assert!(!tracker.is_over());
                tracker.acknowledged(member, mark, &lines(LINES - from.line));
                tracker.done(member);
                tracker.listed(members);
            }
            tracker.listed(members);
            prop_assert!(tracker.is_over());
            prop_assert_eq!(tracker.first(), members);
            prop_assert_eq!(tracker.checkpoint().all().counts.lines, members * LINES);
        }
    }

    #[test]
    fn what_can_not_be_read_is_tried_again_by_a_resumption() {
        let mut tracker = Tracker::new(Checkpoint::new("a".into(), None));
        tracker.acknowledged(0, Mark { leaf: 0, offset: 9, line: 1 }, &lines(1));
        tracker.unreadable(0);
        tracker.done(1);
        assert_eq!(tracker.first(), 2, "it keeps nothing else waiting");
        tracker.listed(2);
        assert!(tracker.is_over());
        let kept = tracker.checkpoint;
        assert_eq!(kept.from(0), Some(Mark { leaf: 0, offset: 9, line: 1 }));
        assert_eq!((kept.from(1), kept.from(2)), (None, Some(Mark::default())));
        let mut tracker = Tracker::new(kept);
        tracker.listed(2);
        assert!(!tracker.is_over());
        tracker.done(0);
        assert!(tracker.is_over());
    }
}
