//! Tells what must have come of what the log has acknowledged, and whether it has. It shares no
//! code with the sink: merging, reading payloads and judging documents are written once more.

mod documents;
mod generations;
mod ledger;
mod meaning;
mod stream;

use std::collections::{BTreeMap, BTreeSet};

use bowerbird_store::AnyStore;
use bowerbird_stream::{AnyLog, EventLog, Outgoing, Position, Record, topic};

use crate::corpus::Archive;
use documents::Documents;
pub use generations::{Generation, generations};
use ledger::{Ledger, Letters};
pub use meaning::DATABASES;
use meaning::{Entity, Meaning, Seen};

/// The most faults of a kind that are told in full.
const TOLD: usize = 5;

/// Watches a run.
pub struct Oracle {
    log: AnyLog,
    store: AnyStore,
    ledger: Ledger,
    /// Whether each document must point to where its event stands.
    places: bool,
    /// Whether times that our processes have noted can be compared.
    clocks_are_right: bool,
}

/// What a judgement found besides faults.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    pub events: u64,
    pub documents: u64,
    pub letters: u64,
    /// Letters that stand in the log more than once.
    pub repeated: u64,
    /// Revisions beyond the first of each document.
    pub rewrites: u64,
    /// Posts that came from the stream.
    pub streamed: u64,
    /// Generations of posts.
    pub generations: u64,
}

/// What went wrong; each is a sentence.
pub type Wrongs = Vec<String>;

impl Oracle {
    pub fn new(log: AnyLog, store: AnyStore) -> Self {
        Self { log, store, ledger: Ledger::default(), places: true, clocks_are_right: true }
    }

    /// The same where clocks were stepped.
    pub fn without_clocks(self) -> Self {
        Self { clocks_are_right: false, ..self }
    }

    /// The same for a log that has lost records and was given them again elsewhere: documents
    /// still point to where they stood first.
    pub fn without_places(self) -> Self {
        Self { places: false, ..self }
    }

    /// Looks at the committed offsets first and then at what they promise: below them every
    /// record must be settled. Nothing when the log or the store could not be asked just now.
    pub async fn sample(&mut self) -> Option<Wrongs> {
        let generations = generations(&self.store).await?;
        let mut committed = Vec::new();
        for generation in &generations {
            for topic in generation.topics {
                let offsets = self.log.committed(&generation.group, topic).await.ok()?;
                committed.push((generation, *topic, offsets));
            }
        }
        let documents = Documents::read(&self.store, &generations).await?;
        self.ledger.read_on(&self.log).await.ok()?;
        let (letters, _) = self.ledger.letters();
        let mut wrongs = Wrongs::new();
        for (generation, topic, offsets) in &committed {
            let Generation { group, database, .. } = generation;
            let given_up =
                |at: &Position| letters.get(at).is_some_and(|groups| groups.contains(group));
            let settled = |record: &&Record| match meaning::of(record) {
                Meaning::Poison => given_up(&record.position),
                said => documents.covers(database, &said),
            };
            let records = self.ledger.records.iter().filter(|(known, _)| *known.topic == **topic);
            for (partition, records) in records {
                let below = offsets.get(&partition.partition).copied().unwrap_or(0);
                let passed = records.iter().take_while(|record| record.position.offset < below);
                for record in passed.filter(|record| !settled(record)) {
                    wrongs.push(format!(
                        "{group} has committed {below} of {partition}, but {} is not settled",
                        record.position
                    ));
                }
            }
        }
        Some(bounded(wrongs))
    }

    /// Where the group of a live generation has not committed all that the log holds; nothing when
    /// log or store can't be asked just now.
    pub async fn behind(&self) -> Option<Vec<String>> {
        let mut behind = Vec::new();
        let generations = generations(&self.store).await?;
        for Generation { group, topics, .. } in generations.iter().filter(|one| one.live) {
            for topic in *topics {
                let extents = self.log.extents(topic).await.ok()?;
                let committed = self.log.committed(group, topic).await.ok()?;
                for (partition, extent) in extents.iter().filter(|(_, e)| e.end > e.earliest) {
                    let (at, end) = (committed.get(partition).copied().unwrap_or(0), extent.end);
                    if at < end {
                        behind.push(format!("{group} has {at} of {end} of {topic}/{partition}"));
                    }
                }
            }
        }
        Some(behind)
    }

    /// Whether nobody fills a generation any more that is not live.
    pub async fn former_are_left(&self) -> bool {
        let Some(generations) = generations(&self.store).await else { return false };
        let Ok(groups) = self.log.groups().await else { return false };
        let mut former = generations.iter().filter(|one| !one.live);
        former.all(|one| {
            let group = groups.iter().find(|group| group.name == one.group);
            group.is_none_or(|group| group.members.is_empty())
        })
    }

    /// Compares everything, when the run is over and all is level.
    pub async fn judge(&mut self, archives: &[Archive], acked: &Acked) -> (Found, Wrongs) {
        let mut wrongs = Wrongs::new();
        if let Err(error) = self.ledger.read_on(&self.log).await {
            return (Found::default(), vec![format!("the log can't be read: {error}")]);
        }
        let unread = || (Found::default(), vec!["the store can't be read".to_owned()]);
        let Some(generations) = generations(&self.store).await else { return unread() };
        let Some(documents) = Documents::read(&self.store, &generations).await else {
            return unread();
        };
        wrongs.extend(bounded(self.missing(archives, acked)));
        if self.clocks_are_right {
            wrongs.extend(bounded(stream::missing(&self.ledger)));
        }
        let mut found = Found {
            rewrites: documents.rewrites(),
            streamed: stream::posts(&self.ledger).count() as u64,
            generations: generations.iter().filter(|one| one.projection == topic::POSTS).count()
                as u64,
            ..Found::default()
        };
        let (letters, repeated) = self.ledger.letters();
        for (projection, topics) in DATABASES {
            let mut entities: BTreeMap<String, Entity> = BTreeMap::new();
            for record in topics.iter().flat_map(|topic| self.ledger.of(topic)) {
                found.events += 1;
                match meaning::of(record) {
                    Meaning::Seen(id, seen) => entities.entry(id).or_default().see(seen),
                    Meaning::Notice(id, kind, notice) => {
                        entities.entry(id).or_default().hear(kind, notice);
                    }
                    Meaning::Poison => {}
                }
            }
            found.documents += entities.len() as u64;
            for one in generations.iter().filter(|one| one.projection == projection) {
                let Generation { database, .. } = one;
                let places = self.places.then_some(&self.ledger);
                wrongs.extend(match one.live {
                    true => bounded(documents.differences(database, &entities, places)),
                    false => generations::strays(&documents, database, &entities, &acked.last),
                });
                if one.live {
                    wrongs.extend(bounded(self.letters_differ(one, &letters)));
                    wrongs.extend(bounded(self.kept(&entities)));
                }
            }
        }
        found.letters = letters.len() as u64;
        found.repeated = repeated;
        (found, wrongs)
    }

    /// What a producer saw acknowledged and the log does not hold.
    fn missing(&self, archives: &[Archive], acked: &Acked) -> Wrongs {
        let mut wrongs = Wrongs::new();
        let mut held: BTreeSet<(&str, &[u8])> = BTreeSet::new();
        for topic in [topic::POSTS, topic::NOTICES] {
            let values = self.ledger.of(topic).filter_map(|record| record.value.as_deref());
            held.extend(values.map(|value| (topic, value)));
        }
        for archive in archives {
            for (topic, value) in &archive.events {
                if !held.contains(&(*topic, value.as_bytes())) {
                    let file = archive.path.display();
                    wrongs.push(format!("imported from {file} but not in {topic}: {value:.120}"));
                }
            }
        }
        for (position, sent) in &acked.records {
            let same = self.ledger.at(position).is_some_and(|record| record.value == sent.value);
            if !same {
                wrongs
                    .push(format!("acknowledged at {position}, but the log has not got it there"));
            }
        }
        let expected: BTreeSet<(String, u64)> = archives
            .iter()
            .flat_map(|archive| {
                let file = archive.path.file_name().unwrap().to_string_lossy().into_owned();
                archive.broken.iter().map(move |line| (file.clone(), *line))
            })
            .collect();
        let lines = self.ledger.lines();
        for (file, line) in expected.symmetric_difference(&lines) {
            let there = if expected.contains(&(file.clone(), *line)) { "no" } else { "a needless" };
            wrongs.push(format!("{there} dead letter of line {line} of {file}"));
        }
        wrongs
    }

    /// The removed posts that compaction would keep in the log, and the places of scrubbed ones,
    /// besides such as were given up. A log that has lost records and was given them again may lack
    /// what a store remembers.
    fn kept(&self, entities: &BTreeMap<String, Entity>) -> Wrongs {
        if !self.places {
            return Wrongs::new();
        }
        let records = self.ledger.of(topic::POSTS);
        let records = records.filter(|record| !matches!(meaning::of(record), Meaning::Poison));
        let last: BTreeMap<&[u8], &Record> =
            records.filter_map(|record| Some((record.key.as_deref()?, record))).collect();
        let kept = entities.iter().filter_map(|(id, entity)| {
            let last = last.get(id.as_bytes())?;
            let of = match meaning::of(last) {
                Meaning::Seen(..) if entity.kind(id) == "removed" => "a removed post",
                Meaning::Seen(_, Seen { place: true, .. }) if entity.is_scrubbed() => {
                    "a scrubbed post, with its place"
                }
                _ => return None,
            };
            Some(format!("{} is the last of {of}", last.position))
        });
        kept.collect()
    }

    /// Whether the group of a live generation has given up what is poison, and nothing else. Who
    /// fills another generation, or replays, writes letters of its own.
    fn letters_differ(&self, live: &Generation, letters: &Letters) -> Wrongs {
        let records = live.topics.iter().flat_map(|topic| self.ledger.of(topic));
        let poisoned: BTreeSet<&Position> = records
            .filter(|record| matches!(meaning::of(record), Meaning::Poison))
            .map(|record| &record.position)
            .collect();
        let of_it = letters.iter().filter(|(at, _)| live.topics.contains(&&*at.topic));
        let given_up: BTreeSet<&Position> = of_it
            .clone()
            .filter(|(_, groups)| groups.contains(&live.group))
            .map(|(at, _)| at)
            .collect();
        let all: BTreeSet<&Position> = of_it.map(|(at, _)| at).collect();
        let missing = poisoned.difference(&given_up).map(|at| format!("no dead letter of {at}"));
        let needless =
            all.difference(&poisoned).map(|at| format!("a needless dead letter of {at}"));
        missing.chain(needless).collect()
    }
}

/// The records that the harness itself has published, where the log has acknowledged them.
#[derive(Debug, Default)]
pub struct Acked {
    pub records: Vec<(Position, Outgoing)>,
    /// The posts that were published when nobody filled a former generation any more.
    pub last: BTreeSet<String>,
}

fn bounded(mut wrongs: Wrongs) -> Wrongs {
    let more = wrongs.len().saturating_sub(TOLD);
    wrongs.truncate(TOLD);
    if more > 0 {
        wrongs.push(format!("… and {more} more of this kind"));
    }
    wrongs
}
