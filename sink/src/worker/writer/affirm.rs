//! Saying the newest observation again where the log would not keep it as it must be.
//!
//! The log keeps the last record of each key, merging the newest observation. They differ when an
//! older one comes late: compaction would take the newer, and a rebuild would find the older alone.
//! So the newer is published once more, behind it, before the late one counts as settled.
//! `docs/adr/0005-late-observations.md` tells what else was thought of.
//!
//! Likewise where the last record tells a place that a geo scrub takes: then it is published once
//! more without it, before the document loses it (`docs/adr/0006-erasing.md`).

use std::collections::{BTreeMap, HashMap};

use bowerbird_store::DocumentStore;
use bowerbird_stream::log::{ConsumerConfig, Outgoing};
use bowerbird_stream::range::RangeReader;
use bowerbird_stream::{EventLog, EventView, LogError, Partition, Position, Record, topic};
use bytes::Bytes;

use super::insist::LastWord;
use super::{Unit, Writer};
use crate::error::SinkError;
use crate::mapping::{SCRUBBED_HEADER, hash_of, without_place};
use crate::merge::{Stamp, State};
use crate::metrics as names;

/// The header of a copy: where the observation stood before.
const AFFIRMS: &str = "affirms";
/// Records that are not wanted are read up to so many in a row; where more lie between two that
/// are, the log is asked anew.
const GAP: i64 = 500;
/// Records taken at a time.
const TAKE: usize = 500;

impl Unit {
    /// Whether a record of it, or what the store was made from, stands behind its newest
    /// observation, where compaction would keep that one instead: then the offset of the last. The
    /// store knows a later one where another batch was faster.
    fn buried_by(&self) -> Option<i64> {
        let at = &self.state.observed.as_ref()?.stamp.position;
        let behind = |position: &Position| {
            (&position.topic, position.partition) == (&at.topic, at.partition)
                && position.offset > at.offset
        };
        let records = self.records.iter().map(|record| &record.position);
        let all = records.chain(self.stood.iter().map(|stood| &stood.position));
        all.filter(|position| behind(position)).map(|one| one.offset).max()
    }

    /// Whether the last copy of its newest observation may tell a place that a geo scrub takes.
    fn may_tell_place(&self) -> bool {
        let Some(seen) = self.state.observed.as_ref().filter(|_| self.state.is_scrubbed()) else {
            return false;
        };
        let last = &seen.stamp.position;
        match self.records.iter().find(|record| record.position == *last) {
            Some(record) => scrubbed(record).is_some(),
            None => self.stood.as_ref().is_some_and(|at| at.position == *last && !at.scrubbed),
        }
    }

    /// Whether a record of it is the newest observation without its place, and what the store's
    /// `there` was made from is an earlier one, which may tell it.
    pub(super) fn brings_scrub(&self, there: &State) -> bool {
        let (Some(seen), Some(there)) = (&self.state.observed, &there.observed) else {
            return false;
        };
        let at = &seen.stamp.position;
        let mut read = self.records.iter().filter(|record| record.position == *at);
        there.stamp.position != *at
            && read.any(|record| record.headers.get(SCRUBBED_HEADER).is_some())
    }
}

/// The value of an observation without what tells its place; nothing when it tells none.
fn scrubbed(record: &Record) -> Option<Bytes> {
    let event = record.view().ok()?;
    without_place(event.key, event.value?).map(Bytes::from)
}

/// An observation that must be said again.
struct Again {
    /// Which of the units.
    unit: usize,
    key: Bytes,
    stamp: Stamp,
    /// The offset of the last record that stands behind it.
    buried_by: Option<i64>,
    /// Whether its place must go.
    scrub: bool,
}

impl Again {
    fn of(unit: usize, what: &Unit) -> Option<Self> {
        let stamp = &what.state.observed.as_ref()?.stamp;
        if !topic::is_compacted(&stamp.position.topic) {
            return None;
        }
        let buried_by = what.buried_by();
        if buried_by.is_none() && !what.may_tell_place() {
            return None;
        }
        let (stamp, scrub) = (stamp.clone(), what.state.is_scrubbed());
        Some(Self { unit, key: what.records.first()?.key.clone()?, stamp, buried_by, scrub })
    }

    /// Whether this is a record of the observation.
    fn is(&self, record: &Record) -> bool {
        let is = |event: EventView<'_>| {
            event.time == self.stamp.time && hash_of(&event) == self.stamp.hash
        };
        record.key.as_ref() == Some(&self.key) && record.view().is_ok_and(is)
    }

    /// The copy; nothing when what the log has of it may be the last.
    fn say(&self, record: Record) -> Option<Outgoing> {
        let scrubbed = Some(&record).filter(|_| self.scrub).and_then(scrubbed);
        if scrubbed.is_none() && self.buried_by.is_none() {
            return None;
        }
        let Record { key, value, mut headers, .. } = record;
        headers.set(AFFIRMS, self.stamp.position.to_string());
        if scrubbed.is_some() {
            headers.set(SCRUBBED_HEADER, String::from(self.stamp.hash));
        }
        let value = scrubbed.or(value);
        Some(Outgoing { topic: self.stamp.position.topic.clone(), key, value, headers })
    }
}

impl<L: EventLog, S: DocumentStore> Writer<L, S> {
    /// Says those observations of `units` again that must be; each then stands where its copy does.
    /// One that the log no longer has stays where it is, and is told of.
    pub(super) async fn affirm(&self, units: &mut [Unit]) -> Result<(), SinkError> {
        let minded = units.iter().enumerate().filter(|(_, unit)| self.minds(unit));
        // A quiet one affirms nothing.
        let minded = minded.filter(|(_, unit)| self.affirms || unit.may_tell_place());
        let again: Vec<Again> = minded.filter_map(|(at, unit)| Again::of(at, unit)).collect();
        if again.is_empty() {
            return Ok(());
        }
        let mut originals = self.originals(units, &again).await?;
        let (mut copies, mut of) = (Vec::new(), Vec::new());
        for (at, again) in again.iter().enumerate() {
            match originals.remove(&at) {
                Some(record) => {
                    let copy = again.say(record);
                    of.extend(copy.as_ref().map(|copy| (again, copy.clone())));
                    copies.extend(copy);
                }
                None => self.not_affirmed(again, "the log does not hold it any more"),
            }
        }
        for ((again, said), answer) in of.into_iter().zip(self.offer(copies).await?) {
            match answer {
                Ok(position) => {
                    let name =
                        if again.buried_by.is_some() { names::AFFIRMED } else { names::SCRUBBED };
                    metrics::counter!(name, "projection" => self.projection.name).increment(1);
                    let unit = &mut units[again.unit];
                    unit.stands_at(position.clone(), again.scrub);
                    unit.last_word = again.scrub.then_some(LastWord { at: position, said });
                }
                Err(error) => self.not_affirmed(again, &error.to_string()),
            }
        }
        Ok(())
    }

    /// The document stays right, but a rebuild would find only the older observation.
    fn not_affirmed(&self, again: &Again, why: &str) {
        metrics::counter!(names::NOT_AFFIRMED, "projection" => self.projection.name).increment(1);
        let Again { key, stamp, buried_by, .. } = again;
        let key = String::from_utf8_lossy(key);
        tracing::warn!(%key, position = %stamp.position, buried_by, why, "newest observation can't be said again");
    }

    /// The records of these observations that could be found, by their number.
    async fn originals(
        &self,
        units: &[Unit],
        again: &[Again],
    ) -> Result<HashMap<usize, Record>, SinkError> {
        let mut found = HashMap::new();
        let mut missing = Vec::new();
        for (at, one) in again.iter().enumerate() {
            let records = &units[one.unit].records;
            match records.iter().find(|record| record.position == one.stamp.position) {
                Some(record) => _ = found.insert(at, record.clone()),
                None => missing.push(at),
            }
        }
        let places = missing.iter().map(|at| &again[*at].stamp.position);
        for round in rounds(places) {
            self.look_for(round, again, &missing, &mut found).await?;
        }
        missing.retain(|at| !found.contains_key(at));
        // It was compacted away there: then a copy of it stands behind, before what has buried it.
        let mut between = BTreeMap::<Partition, (i64, i64)>::new();
        for at in &missing {
            let Again { stamp: Stamp { position, .. }, buried_by, .. } = &again[*at];
            let by = match buried_by {
                Some(by) => *by,
                None => self.end_of(position).await?,
            };
            let range = between.entry(position.in_partition()).or_insert((position.offset, by));
            *range = (range.0.min(position.offset), range.1.max(by));
        }
        self.look_for(between, again, &missing, &mut found).await?;
        Ok(found)
    }

    /// The end of the partition that a position is in.
    async fn end_of(&self, position: &Position) -> Result<i64, SinkError> {
        let extents = self.patiently_of_log(|| self.log.extents(&position.topic)).await?;
        Ok(extents.get(&position.partition).map_or(position.offset, |extent| extent.end))
    }

    /// Looks for the `wanted` in these ranges of the log.
    async fn look_for(
        &self,
        ranges: BTreeMap<Partition, (i64, i64)>,
        again: &[Again],
        wanted: &[usize],
        found: &mut HashMap<usize, Record>,
    ) -> Result<(), SinkError> {
        if ranges.is_empty() {
            return Ok(());
        }
        let mut by_key = HashMap::<&[u8], Vec<usize>>::new();
        wanted.iter().for_each(|at| by_key.entry(&again[*at].key).or_default().push(*at));
        let config =
            ConsumerConfig { prefetch_bytes: 1 << 20, ..ConsumerConfig::new("bowerbird-affirm") };
        let look = || async {
            let mut seen = Vec::new();
            let mut reader = match RangeReader::new(&self.log, ranges.clone(), config.clone()).await
            {
                // It is another log than the one that the document was made from.
                Err(LogError::OutOfRange { .. }) => return Ok(seen),
                reader => reader?,
            };
            while let Some(records) = reader.next(TAKE).await? {
                for record in records {
                    let key = record.key.as_deref().unwrap_or_default();
                    let of = by_key.get(key).into_iter().flatten().copied();
                    let is: Vec<_> = of.filter(|at| again[*at].is(&record)).collect();
                    seen.extend(is.into_iter().map(|at| (at, record.clone())));
                }
            }
            Ok(seen)
        };
        found.extend(self.patiently_of_log(look).await?);
        Ok(())
    }
}

/// Ranges that hold all of `places`, at most one for each partition at a time, without long parts
/// that hold none.
fn rounds<'a>(
    places: impl IntoIterator<Item = &'a Position>,
) -> Vec<BTreeMap<Partition, (i64, i64)>> {
    let mut offsets = BTreeMap::<Partition, Vec<i64>>::new();
    for place in places {
        offsets.entry(place.in_partition()).or_default().push(place.offset);
    }
    let mut rounds = Vec::<BTreeMap<Partition, (i64, i64)>>::new();
    for (partition, mut offsets) in offsets {
        offsets.sort_unstable();
        for (round, some) in offsets.chunk_by(|one, next| next - one <= GAP).enumerate() {
            let (Some(first), Some(last)) = (some.first(), some.last()) else { continue };
            if rounds.len() == round {
                rounds.push(BTreeMap::new());
            }
            rounds[round].insert(partition.clone(), (*first, last + 1));
        }
    }
    rounds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_close_is_read_in_one_go() {
        let at = |partition, offset| Position { topic: "posts".into(), partition, offset };
        let places = [at(0, 7), at(0, 5), at(1, 90), at(0, 7 + GAP), at(0, 9_000), at(0, 9_000)];
        let part = |partition| Partition::new("posts", partition);
        let expected = vec![
            BTreeMap::from([(part(0), (5, 8 + GAP)), (part(1), (90, 91))]),
            BTreeMap::from([(part(0), (9_000, 9_001))]),
        ];
        assert_eq!(rounds(&places), expected);
        assert_eq!(rounds([]), Vec::new());
    }
}
