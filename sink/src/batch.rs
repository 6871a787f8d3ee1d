//! When to write, and what: a batch gathers records until it is full or old enough, and then
//! says what they say of each entity.

use std::collections::BTreeMap;
use std::time::Duration;

use bowerbird_stream::Record;

use crate::mapping::{Mapped, Mapping};
use crate::merge::State;

/// Records that are settled together.
#[derive(Debug, Default)]
pub struct Batch {
    records: Vec<Record>,
    bytes: usize,
}

/// When a batch is closed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// At so many records,
    pub records: usize,
    /// or so many bytes,
    pub bytes: usize,
    /// or when its oldest record has waited so long.
    pub age: Duration,
}

impl Limits {
    /// Whether so many records of so many bytes are enough.
    pub fn are_reached(&self, records: usize, bytes: usize) -> bool {
        records >= self.records || bytes >= self.bytes
    }
}

/// What several records say of one entity.
#[derive(Debug, Default)]
pub struct Entity {
    /// What they say, merged.
    pub state: State,
    /// The records, each of which is settled when the entity is.
    pub records: Vec<Record>,
}

/// A record that can't become a document, and why.
#[derive(Debug)]
pub struct Reject {
    /// The record.
    pub record: Record,
    /// A short name to group dead letters by.
    pub reason: &'static str,
    /// The error in full.
    pub error: String,
}

/// What the records of a batch say.
#[derive(Debug, Default)]
pub struct Gathered {
    /// The entities by id: ascending ids cost the store least.
    pub entities: BTreeMap<String, Entity>,
    /// What must go to the dead letters.
    pub rejects: Vec<Reject>,
}

impl Batch {
    /// Adds a record.
    pub fn add(&mut self, record: Record) {
        self.bytes += record.size();
        self.records.push(record);
    }

    /// Bytes of its records.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many records are in it.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether it takes no more.
    pub fn is_full(&self, limits: &Limits) -> bool {
        limits.are_reached(self.len(), self.bytes)
    }

    /// The records, in the order in which they were added.
    pub fn into_records(self) -> Vec<Record> {
        self.records
    }

    /// Maps and merges its records.
    pub fn gather(self, mapping: &Mapping) -> Gathered {
        let mut gathered = Gathered::default();
        for record in self.records {
            let mapped = match record.view() {
                Ok(event) => mapping
                    .map(&event, &record.position)
                    .map_err(|error| (error.name(), error.to_string())),
                Err(error) => Err(("envelope", error.to_string())),
            };
            match mapped {
                Ok(Mapped { id, state }) => {
                    let entity = gathered.entities.entry(id).or_default();
                    entity.state = std::mem::take(&mut entity.state).merge(state);
                    entity.records.push(record);
                }
                Err((reason, error)) => gathered.rejects.push(Reject { record, reason, error }),
            }
        }
        gathered
    }
}
