//! Tells what must have come of what the log has acknowledged, and whether it has. It shares no
//! code with the sink: merging, reading payloads and judging documents are written once more.

mod documents;
mod ledger;
mod meaning;

use std::collections::{BTreeMap, BTreeSet};

use bowerbird_store::AnyStore;
use bowerbird_stream::{AnyLog, EventLog, Outgoing, Position, Record, topic};

use crate::corpus::Archive;
use documents::Documents;
use ledger::Ledger;
use meaning::{DATABASES, Entity, Meaning};

/// The most faults of a kind that are told in full.
const TOLD: usize = 5;

/// Watches a run.
pub struct Oracle {
    log: AnyLog,
    store: AnyStore,
    ledger: Ledger,
    /// Whether each document must point to where its event stands.
    places: bool,
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
}

/// What went wrong; each is a sentence.
pub type Wrongs = Vec<String>;

impl Oracle {
    pub fn new(log: AnyLog, store: AnyStore) -> Self {
        Self { log, store, ledger: Ledger::default(), places: true }
    }

    /// The same for a log that has lost records and was given them again elsewhere: documents
    /// still point to where they stood first.
    pub fn without_places(self) -> Self {
        Self { places: false, ..self }
    }

    /// Looks at the committed offsets first and then at what they promise: below them every
    /// record must be settled. Nothing when the log or the store could not be asked just now.
    pub async fn sample(&mut self) -> Option<Wrongs> {
        let mut committed = BTreeMap::new();
        for (database, topics) in DATABASES {
            for topic in topics {
                let group = format!("bowerbird-{database}");
                let offsets = self.log.committed(&group, topic).await.ok()?;
                committed.insert(*topic, offsets);
            }
        }
        let documents = Documents::read(&self.store).await?;
        self.ledger.read_on(&self.log).await.ok()?;
        let (letters, _) = self.ledger.letters();
        let mut wrongs = Wrongs::new();
        for (partition, records) in &self.ledger.records {
            let Some(offsets) = committed.get(&*partition.topic) else { continue };
            let below = offsets.get(&partition.partition).copied().unwrap_or(0);
            let settled = |record: &&Record| match meaning::of(record) {
                Meaning::Poison => letters.contains(&record.position),
                said => documents.covers(database_of(&partition.topic), &said),
            };
            let passed = records.iter().take_while(|record| record.position.offset < below);
            for record in passed.filter(|record| !settled(record)) {
                wrongs.push(format!(
                    "the group has committed {below} of {partition}, but {} is not settled",
                    record.position
                ));
            }
        }
        Some(bounded(wrongs))
    }

    /// Whether each group has committed all that the log holds.
    pub async fn is_level(&mut self) -> bool {
        for (database, topics) in DATABASES {
            for topic in topics {
                let Ok(extents) = self.log.extents(topic).await else { return false };
                let group = format!("bowerbird-{database}");
                let Ok(committed) = self.log.committed(&group, topic).await else { return false };
                let behind = extents.iter().any(|(partition, extent)| {
                    extent.end > extent.earliest
                        && committed.get(partition).copied().unwrap_or(0) < extent.end
                });
                if behind {
                    return false;
                }
            }
        }
        true
    }

    /// Compares everything, when the run is over and all is level.
    pub async fn judge(&mut self, archives: &[Archive], acked: &Acked) -> (Found, Wrongs) {
        let mut wrongs = Wrongs::new();
        if let Err(error) = self.ledger.read_on(&self.log).await {
            return (Found::default(), vec![format!("the log can't be read: {error}")]);
        }
        let Some(documents) = Documents::read(&self.store).await else {
            return (Found::default(), vec!["the store can't be read".to_owned()]);
        };
        wrongs.extend(bounded(self.missing(archives, acked)));
        let mut found = Found { rewrites: documents.rewrites(), ..Found::default() };
        for (database, topics) in DATABASES {
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
            wrongs.extend(bounded(documents.differences(
                database,
                &entities,
                self.places.then_some(&self.ledger),
            )));
        }
        let (letters, repeated) = self.ledger.letters();
        found.letters = letters.len() as u64;
        found.repeated = repeated;
        wrongs.extend(bounded(self.letters_differ(&letters)));
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
        for (position, sent) in &acked.0 {
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

    fn letters_differ(&self, letters: &BTreeSet<Position>) -> Wrongs {
        let of_data = |topic: &str| topic != topic::DEAD_LETTERS;
        let records = self.ledger.records.iter().filter(|(known, _)| of_data(&known.topic));
        let poisoned: BTreeSet<Position> = records
            .flat_map(|(_, records)| records)
            .filter(|record| matches!(meaning::of(record), Meaning::Poison))
            .map(|record| record.position.clone())
            .collect();
        let missing = poisoned.difference(letters).map(|at| format!("no dead letter of {at}"));
        let needless =
            letters.difference(&poisoned).map(|at| format!("a needless dead letter of {at}"));
        missing.chain(needless).collect()
    }
}

/// The records that the harness itself has published, where the log has acknowledged them.
#[derive(Debug, Default)]
pub struct Acked(pub Vec<(Position, Outgoing)>);

fn database_of(topic: &str) -> &'static str {
    let owner = DATABASES.iter().find(|(_, topics)| topics.contains(&topic));
    owner.map_or("", |(database, _)| *database)
}

fn bounded(mut wrongs: Wrongs) -> Wrongs {
    let more = wrongs.len().saturating_sub(TOLD);
    wrongs.truncate(TOLD);
    if more > 0 {
        wrongs.push(format!("… and {more} more of this kind"));
    }
    wrongs
}
