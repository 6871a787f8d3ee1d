//! Partitions that nobody of a group has, and getting them an owner.
//!
//! A named member that is ended between the two rounds of a cooperative rebalance and comes back
//! within its session is given what it had, without a rebalance: the broker does not know that a
//! second round was still to come. What it had let go in the first then is nobody's until something
//! else moves the group. So named members look whether everything has an owner, and where that lasts,
//! one leaves the group and joins it again, which begins a rebalance.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaResult, RDKafkaErrorCode as Code};
use xxhash_rust::xxh3::xxh3_64;

use super::error::code;
use super::poller::Poller;
use crate::error::LogError;
use crate::log::Partition;

/// How often is looked.
const EVERY: Duration = Duration::from_secs(5);
/// How long looking may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// How much longer than a rebalance may take they must have been without an owner.
const MARGIN: Duration = Duration::from_secs(3);
/// Members that see the same at the same time should not all leave: each waits up to so much longer.
const SPREAD_MS: u64 = 5_000;

/// What was seen so far.
#[derive(Debug)]
pub(super) struct Orphans {
    look_at: Instant,
    /// How many partitions each topic has; that never changes.
    counts: BTreeMap<String, i32>,
    seen: Seen,
}

/// Who was seen without an owner, and since when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen(Option<(BTreeSet<Partition>, Instant)>);

impl Seen {
    /// Whether the same have been without an owner for so `long` by now.
    fn last(&mut self, orphans: BTreeSet<Partition>, long: Duration, now: Instant) -> bool {
        if orphans.is_empty() {
            self.0 = None;
            return false;
        }
        match &self.0 {
            Some((before, since)) if *before == orphans => {
                let lasts = now.saturating_duration_since(*since) >= long;
                if lasts {
                    self.0 = None;
                }
                lasts
            }
            _ => {
                self.0 = Some((orphans, now));
                false
            }
        }
    }
}

impl Orphans {
    pub(super) fn new(now: Instant) -> Self {
        Self { look_at: now + EVERY, counts: BTreeMap::new(), seen: Seen::default() }
    }
}

impl Poller {
    /// Looks, when it is time, whether all partitions have an owner, and joins anew where some have
    /// had none for too long.
    ///
    /// # Errors
    /// When it can't join, not even by another client.
    pub(super) fn find_orphans(&mut self) -> Result<(), LogError> {
        let now = Instant::now();
        let Some(instance) = self.maker.instance.as_ref().filter(|_| self.member) else {
            return Ok(());
        };
        if now < self.orphans.look_at {
            return Ok(());
        }
        self.orphans.look_at = now + EVERY;
        let spread = Duration::from_millis(xxh3_64(instance.as_bytes()) % SPREAD_MS);
        let long = self.maker.drain + MARGIN + spread;
        let orphans = match self.orphans() {
            Ok(Some(orphans)) => orphans,
            // A rebalance is under way, or it can't be told now.
            Ok(None) => BTreeSet::new(),
            Err(error) => {
                tracing::debug!(%error, "who has which partitions could not be asked");
                BTreeSet::new()
            }
        };
        if !self.orphans.seen.last(orphans.clone(), long, now) {
            return Ok(());
        }
        let partitions: Vec<_> = orphans.iter().map(ToString::to_string).collect();
        let (group, partitions) = (&self.maker.group, partitions.join(", "));
        tracing::warn!(group, partitions, "nobody has these partitions, joining anew");
        self.consumer.unsubscribe();
        match (self.maker.begin)(&self.consumer) {
            Ok(()) => Ok(()),
            // It is no member any more.
            Err(error) => self.begin_anew(code(&error).unwrap_or(Code::Fail), error.to_string()),
        }
    }

    /// The partitions without an owner; nothing while the group is not stable.
    fn orphans(&mut self) -> KafkaResult<Option<BTreeSet<Partition>>> {
        for topic in &self.topics {
            if !self.orphans.counts.contains_key(topic) {
                let metadata = self.consumer.fetch_metadata(Some(topic), PATIENCE)?;
                let count = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
                let count = i32::try_from(count).unwrap_or(i32::MAX);
                if count > 0 {
                    self.orphans.counts.insert(topic.clone(), count);
                }
            }
        }
        let list = self.consumer.fetch_group_list(Some(&self.maker.group), PATIENCE)?;
        let Some(group) = list.groups().iter().find(|group| group.state() == "Stable") else {
            return Ok(None);
        };
        let mut owned = BTreeSet::new();
        for member in group.members() {
            // Of one whose assignment can't be read it is not known what it has.
            let Some(assigned) = member.assignment().and_then(assigned) else { return Ok(None) };
            owned.extend(assigned);
        }
        let all = self.orphans.counts.iter().flat_map(|(topic, count)| {
            let topic: std::sync::Arc<str> = topic.as_str().into();
            (0..*count).map(move |number| Partition::new(topic.clone(), number))
        });
        Ok(Some(all.filter(|partition| !owned.contains(partition)).collect()))
    }
}

/// The partitions of an assignment as members are sent it; nothing when that is broken.
///
/// Source: Kafka's `ConsumerProtocolAssignment.json`: version, topics (name, partitions), user data.
fn assigned(bytes: &[u8]) -> Option<Vec<Partition>> {
    let mut rest = bytes;
    let mut take = |count: usize| -> Option<&[u8]> {
        let (taken, left) = rest.split_at_checked(count)?;
        rest = left;
        Some(taken)
    };
    let mut partitions = Vec::new();
    // A member that has nothing may have been sent nothing.
    if bytes.is_empty() {
        return Some(partitions);
    }
    let number = |bytes: &[u8]| Some(i32::from_be_bytes(bytes.try_into().ok()?));
    take(2)?;
    for _ in 0..number(take(4)?)? {
        let length = i16::from_be_bytes(take(2)?.try_into().ok()?);
        let name = std::str::from_utf8(take(usize::try_from(length).ok()?)?).ok()?;
        let topic: std::sync::Arc<str> = name.into();
        for _ in 0..number(take(4)?)? {
            partitions.push(Partition::new(topic.clone(), number(take(4)?)?));
        }
    }
    Some(partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_read_as_kafka_writes_it() {
        let bytes =
            b"\0\x01\0\0\0\x02\0\x05posts\0\0\0\x02\0\0\0\0\0\0\0\x03\0\x01n\0\0\0\0\0\0\0\0";
        let expected = [Partition::new("posts", 0), Partition::new("posts", 3)];
        assert_eq!(assigned(bytes).unwrap(), expected);
        assert_eq!(assigned(b""), Some(Vec::new()));
        for cut in 1..bytes.len() - 4 {
            assert_eq!(assigned(&bytes[..cut]), None, "{cut}");
        }
        assert_eq!(assigned(b"\0\0\x7f\xff\xff\xff\0\x01"), None);
    }

    #[test]
    fn only_the_same_for_long_enough_count() {
        let (begun, long) = (Instant::now(), Duration::from_secs(10));
        let at = |second| begun + Duration::from_secs(second);
        let some = |numbers: &[i32]| -> BTreeSet<_> {
            numbers.iter().map(|number| Partition::new("posts", *number)).collect()
        };
        let mut seen = Seen::default();
        for (second, orphans, lasts) in [
            (0, some(&[1]), false),
            (5, some(&[1]), false),
            // A rebalance goes on: other partitions are on their way.
            (9, some(&[2, 3]), false),
            (10, some(&[2, 3]), false),
            (15, some(&[]), false),
            (16, some(&[2, 3]), false),
            (25, some(&[2, 3]), false),
            (26, some(&[2, 3]), true),
            // What it did takes its time.
            (27, some(&[2, 3]), false),
            (36, some(&[2, 3]), false),
            (37, some(&[2, 3]), true),
        ] {
            assert_eq!(seen.last(orphans, long, at(second)), lasts, "at {second} s");
        }
    }
}
