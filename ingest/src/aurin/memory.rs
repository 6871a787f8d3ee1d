//! What the log holds of the data sets: read from its features, so that a poll after a restart
//! publishes what changed and nothing else, and no state can disagree with the log.

use std::collections::{BTreeMap, HashMap, HashSet};

use bowerbird_stream::log::ConsumerConfig;
use bowerbird_stream::range::RangeReader;
use bowerbird_stream::{EventLog, EventType, EventView, LogError, Partition, topic};
use jiff::Timestamp;

use super::feature::{self, Feature};

/// Records taken at a time.
const TAKE: usize = 1_000;
/// So many refused features of a data set are remembered, not to have a letter at each poll.
const MAX_REFUSED: usize = 100_000;

/// The data sets, as far as the log has been read. It grows with their features: their ids, and
/// some 80 bytes for each.
#[derive(Debug, Default)]
pub struct Memory {
    read_to: BTreeMap<i32, i64>,
    sets: HashMap<String, Known>,
}

impl Memory {
    /// Nothing is known yet of these.
    pub fn new<'a>(type_names: impl IntoIterator<Item = &'a str>) -> Self {
        let sets = type_names.into_iter().map(|name| (name.to_owned(), Known::default()));
        Self { read_to: BTreeMap::new(), sets: sets.collect() }
    }

    /// What is known of a data set.
    pub fn of(&mut self, type_name: &str) -> &mut Known {
        self.sets.entry(type_name.to_owned()).or_default()
    }

    /// Reads what has come into the log since it was read last, by whomever.
    ///
    /// # Errors
    /// When the log can't be read. What was read until then is read again the next time, which
    /// changes nothing.
    pub async fn catch_up<L: EventLog>(&mut self, log: &L) -> Result<(), LogError> {
        let extents = log.extents(topic::FEATURES).await?;
        let is_new = |(partition, to): (&i32, &i64)| {
            extents.get(partition).is_none_or(|extent| extent.end < *to)
        };
        if self.read_to.iter().any(is_new) {
            // Another log stands in the place of the one that was read.
            self.read_to.clear();
            self.sets.values_mut().for_each(|known| *known = Known::default());
        }
        let ranges = extents.iter().map(|(number, extent)| {
            let from = self.read_to.get(number).copied().unwrap_or(0).max(extent.earliest);
            (Partition::new(topic::FEATURES, *number), (from, extent.end))
        });
        let config = ConsumerConfig::new("bowerbird-aurin-memory");
        let mut reader = RangeReader::new(log, ranges.collect(), config).await?;
        while let Some(records) = reader.next(TAKE).await? {
            for event in records.iter().filter_map(|record| record.view().ok()) {
                if let Some(dataset) = event.extension("dataset")
                    && let Some(known) = self.sets.get_mut(dataset)
                {
                    known.hear(dataset, &event);
                }
            }
        }
        self.read_to = extents.iter().map(|(number, extent)| (*number, extent.end)).collect();
        Ok(())
    }
}

/// The features of a data set.
#[derive(Debug, Default)]
pub struct Known {
    features: HashMap<String, Version>,
    refused: HashSet<u128>,
    poll: u64,
    newest: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
struct Version {
    hash: u128,
    terms: u64,
    time: Timestamp,
    poll: u64,
    there: bool,
}

/// What a feature is to those that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// As the log has it.
    Same,
    /// New, or another than the log has.
    Changed,
    /// This poll had it before, the same.
    Again,
    /// This poll had its id before, with another content.
    Shared,
}

impl Known {
    /// A poll begins: the time of its observations, later than that of any other, also when the
    /// clock was set back. The newest observation wins.
    pub fn begin(&mut self, now: Timestamp) -> Timestamp {
        self.poll += 1;
        let tick = jiff::SignedDuration::from_millis(1);
        let after = self.newest.and_then(|newest| newest.checked_add(tick).ok());
        let begin = after.map_or(now, |after| after.max(now));
        self.newest = Some(begin);
        begin
    }

    /// How many features there are.
    pub fn count(&self) -> u64 {
        self.features.values().filter(|version| version.there).count() as u64
    }

    /// A feature was received in the poll that began at `time`.
    pub fn see(&mut self, feature: &Feature, terms: u64, time: Timestamp) -> Seen {
        let now = Version { hash: feature.hash, terms, time, poll: self.poll, there: true };
        let Some(before) = self.features.get_mut(&feature.id) else {
            self.features.insert(feature.id.clone(), now);
            return Seen::Changed;
        };
        let is_same = before.there && (before.hash, before.terms) == (now.hash, now.terms);
        match (before.poll == self.poll, is_same) {
            (true, true) => Seen::Again,
            (false, true) => {
                before.poll = self.poll;
                Seen::Same
            }
            (seen, false) => {
                *before = now;
                if seen { Seen::Shared } else { Seen::Changed }
            }
        }
    }

    /// Whether a feature that can't be read is refused for the first time.
    pub fn refuse(&mut self, hash: u128) -> bool {
        if self.refused.len() >= MAX_REFUSED {
            self.refused.clear();
        }
        self.refused.insert(hash)
    }

    /// The features that were there and that this poll has not received.
    pub fn missing(&self) -> Vec<String> {
        let missing =
            self.features.iter().filter(|(_, version)| version.there && version.poll != self.poll);
        missing.map(|(id, _)| id.clone()).collect()
    }

    /// A feature is not there any more, as the poll that began at `time` found.
    pub fn vanish(&mut self, id: &str, time: Timestamp) {
        if let Some(version) = self.features.get_mut(id) {
            (version.there, version.time) = (false, time);
        }
    }

    /// What the log has of a feature. It has each in the order of what came, which is not that of
    /// the observations: replays, and others who poll.
    fn hear(&mut self, dataset: &str, event: &EventView<'_>) {
        let there = match event.kind {
            EventType::FeatureObserved => true,
            EventType::FeatureVanished => false,
            _ => return,
        };
        let id = event.key.strip_prefix(dataset).and_then(|rest| rest.strip_prefix(':'));
        let Some(id) = id else { return };
        self.newest = self.newest.max(Some(event.time));
        if self.features.get(id).is_some_and(|known| known.time > event.time) {
            return;
        }
        let extension = |name| event.extension(name).unwrap_or_default();
        // What differs from each hash is published once more.
        let hash = event.value.and_then(feature::content_hash).unwrap_or_default();
        let terms = feature::terms(extension("licence"), extension("attribution"));
        let poll = self.features.get(id).map_or(0, |known| known.poll);
        let version = Version { hash, terms, time: event.time, poll, there };
        self.features.insert(id.to_owned(), version);
    }
}

#[cfg(test)]
mod tests {
    use bowerbird_stream::Event;
    use bytes::Bytes;

    use super::*;

    const DAY: i64 = 86_400;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn read(code: &str, value: u32) -> Feature {
        let json = format!(r#"{{"properties":{{"code":"{code}","v":{value}}}}}"#);
        feature::read(Bytes::from(json), "code").unwrap()
    }

    fn heard(known: &mut Known, code: &str, value: Option<u32>, time: Timestamp) {
        let event = Event {
            id: "any".into(),
            source: "aurin:a:b".into(),
            kind: match value {
                Some(_) => EventType::FeatureObserved,
                None => EventType::FeatureVanished,
            },
            time,
            key: format!("a:b:{code}"),
            value: value.map(|value| read(code, value).bytes),
            extensions: BTreeMap::new(),
        };
        known.hear("a:b", &event.view());
    }

    #[test]
    fn what_is_seen_is_told_from_what_is_known() {
        let (mut known, terms) = (Known::default(), feature::terms("", ""));
        heard(&mut known, "1", Some(1), at(10));
        heard(&mut known, "2", Some(1), at(10));
        heard(&mut known, "3", Some(1), at(10));
        heard(&mut known, "4", Some(1), at(10));
        heard(&mut known, "4", None, at(11));
        // Older ones that come late change nothing.
        heard(&mut known, "4", Some(1), at(9));
        heard(&mut known, "1", Some(7), at(9));
        assert_eq!(known.count(), 3);
        let begun = known.begin(at(12));
        for (code, value, expected) in [
            ("1", 1, Seen::Same),
            ("1", 1, Seen::Again),
            ("2", 2, Seen::Changed),
            ("2", 3, Seen::Shared),
            ("4", 1, Seen::Changed),
            ("5", 1, Seen::Changed),
        ] {
            assert_eq!(known.see(&read(code, value), terms, begun), expected, "{code} {value}");
        }
        assert_eq!(known.missing(), ["3"]);
        known.vanish("3", begun);
        assert_eq!((known.missing().len(), known.count()), (0, 4));
        known.begin(at(13));
        assert_eq!(known.see(&read("3", 1), terms, at(13)), Seen::Changed);
        // Another licence is to be told, too.
        assert_eq!(known.see(&read("1", 1), terms + 1, at(13)), Seen::Changed);
    }

    #[test]
    fn a_poll_is_later_than_any_observation() {
        let mut known = Known::default();
        assert_eq!(known.begin(at(DAY)), at(DAY));
        heard(&mut known, "1", Some(1), at(2 * DAY));
        let begun = known.begin(at(DAY));
        assert!(begun > at(2 * DAY) && known.begin(at(DAY)) > begun);
        assert_eq!(known.begin(at(3 * DAY)), at(3 * DAY));
    }

    #[test]
    fn a_refused_feature_is_told_once() {
        let mut known = Known::default();
        assert!(known.refuse(7) && !known.refuse(7) && known.refuse(8));
    }
}
