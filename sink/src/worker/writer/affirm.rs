//! Saying the newest observation again where an older one stands behind it.
//!
//! The log keeps the last record of each key, merging the newest observation. They differ when an
//! older one comes late: compaction would take the newer, and a rebuild would find the older alone.
//! So the newer is published once more, behind it, before the late one counts as settled.
//! `docs/adr/0005-late-observations.md` tells what else was thought of.

use std::collections::{BTreeMap, HashMap};

use bowerbird_store::DocumentStore;
use bowerbird_stream::log::{ConsumerConfig, Outgoing};
use bowerbird_stream::range::RangeReader;
use bowerbird_stream::{EventLog, LogError, Partition, Position, Record, topic};
use bytes::Bytes;

use super::{Unit, Writer};
use crate::error::SinkError;
use crate::merge::{PayloadHash, Stamp};
use crate::metrics as names;

/// The header of a copy: where the observation stood before.
const AFFIRMS: &str = "affirms";
/// Records that are not wanted are read up to so many in a row; where more lie between two that
/// are, the log is asked anew.
const GAP: i64 = 500;
/// Records taken at a time.
const TAKE: usize = 500;

impl Unit {
    /// Whether a record of it stands behind its newest observation, where compaction would keep
    /// that one instead: then the offset of the last.
    pub(super) fn buried_by(&self) -> Option<i64> {
        let at = &self.state.observed.as_ref()?.stamp.position;
        let behind = |position: &Position| {
            (&position.topic, position.partition) == (&at.topic, at.partition)
                && position.offset > at.offset
        };
        let records = self.records.iter().map(|record| &record.position);
        let last = records.filter(|position| behind(position)).map(|one| one.offset).max()?;
        topic::is_compacted(&at.topic).then_some(last)
    }
}

/// An observation that must be said again.
struct Buried {
    /// Which of the units.
    unit: usize,
    key: Bytes,
    stamp: Stamp,
    by: i64,
}

impl Buried {
    fn of(unit: usize, what: &Unit) -> Option<Self> {
        let by = what.buried_by()?;
        let stamp = what.state.observed.as_ref()?.stamp.clone();
        let key = what.records.first()?.key.clone()?;
        Some(Self { unit, key, stamp, by })
    }

    /// Whether this is a record of the observation.
    fn is(&self, record: &Record) -> bool {
        record.key.as_ref() == Some(&self.key)
            && record.view().is_ok_and(|event| event.time == self.stamp.time)
            && PayloadHash::of(record.value.as_deref().unwrap_or_default()) == self.stamp.hash
    }

    fn say_again(&self, record: Record) -> Outgoing {
        let Record { key, value, mut headers, .. } = record;
        headers.retain(|name| name != AFFIRMS);
        headers.push(AFFIRMS, self.stamp.position.to_string());
        Outgoing { topic: self.stamp.position.topic.clone(), key, value, headers }
    }
}

impl<L: EventLog, S: DocumentStore> Writer<L, S> {
    /// Says the buried observations among `units` again; each then stands where its copy does. One
    /// that the log no longer has stays where it is, and is told of.
    pub(super) async fn affirm(&self, units: &mut [Unit]) -> Result<(), SinkError> {
        if !self.affirms {
            return Ok(());
        }
        let buried: Vec<Buried> =
            units.iter().enumerate().filter_map(|(at, unit)| Buried::of(at, unit)).collect();
        if buried.is_empty() {
            return Ok(());
        }
        let mut originals = self.originals(units, &buried).await?;
        let (mut copies, mut of) = (Vec::new(), Vec::new());
        for (at, buried) in buried.iter().enumerate() {
            match originals.remove(&at) {
                Some(record) => {
                    copies.push(buried.say_again(record));
                    of.push(buried);
                }
                None => self.not_affirmed(buried, "the log does not hold it any more"),
            }
        }
        for (buried, answer) in of.into_iter().zip(self.offer(copies).await?) {
            match answer {
                Ok(position) => {
                    metrics::counter!(names::AFFIRMED, "projection" => self.projection.name)
                        .increment(1);
                    if let Some(seen) = &mut units[buried.unit].state.observed {
                        seen.stamp.position = position;
                    }
                }
                Err(error) => self.not_affirmed(buried, &error.to_string()),
            }
        }
        Ok(())
    }

    /// The document stays right, but a rebuild would find only the older observation.
    fn not_affirmed(&self, buried: &Buried, why: &str) {
        metrics::counter!(names::NOT_AFFIRMED, "projection" => self.projection.name).increment(1);
        let Buried { key, stamp, by, .. } = buried;
        let key = String::from_utf8_lossy(key);
        tracing::warn!(%key, position = %stamp.position, by, why, "newest observation can't be said again");
    }

    /// The records of buried observations that could be found, by their number.
    async fn originals(
        &self,
        units: &[Unit],
        buried: &[Buried],
    ) -> Result<HashMap<usize, Record>, SinkError> {
        let mut found = HashMap::new();
        let mut missing = Vec::new();
        for (at, one) in buried.iter().enumerate() {
            let records = &units[one.unit].records;
            match records.iter().find(|record| record.position == one.stamp.position) {
                Some(record) => _ = found.insert(at, record.clone()),
                None => missing.push(at),
            }
        }
        let places = missing.iter().map(|at| &buried[*at].stamp.position);
        for round in rounds(places) {
            self.look_for(round, buried, &missing, &mut found).await?;
        }
        missing.retain(|at| !found.contains_key(at));
        // It was compacted away there: then a copy of it stands before what has buried it.
        let mut between = BTreeMap::<Partition, (i64, i64)>::new();
        for at in &missing {
            let Buried { stamp: Stamp { position, .. }, by, .. } = &buried[*at];
            let range = between.entry(position.in_partition()).or_insert((position.offset, *by));
            *range = (range.0.min(position.offset), range.1.max(*by));
        }
        self.look_for(between, buried, &missing, &mut found).await?;
        Ok(found)
    }

    /// Looks for the `wanted` in these ranges of the log.
    async fn look_for(
        &self,
        ranges: BTreeMap<Partition, (i64, i64)>,
        buried: &[Buried],
        wanted: &[usize],
        found: &mut HashMap<usize, Record>,
    ) -> Result<(), SinkError> {
        if ranges.is_empty() {
            return Ok(());
        }
        let mut by_key = HashMap::<&[u8], Vec<usize>>::new();
        wanted.iter().for_each(|at| by_key.entry(&buried[*at].key).or_default().push(*at));
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
                    let is: Vec<_> = of.filter(|at| buried[*at].is(&record)).collect();
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
