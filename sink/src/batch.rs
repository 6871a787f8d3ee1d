//! When to write: a batch gathers what events say of entities until it is full or old enough.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bowerbird_stream::Record;
use bowerbird_stream::dead_letter::Reason;

use crate::mapping::Mapped;
use crate::merge::State;

/// What several records say of one entity.
#[derive(Debug)]
pub struct Entity {
    /// What they say, merged.
    pub state: State,
    /// The records, each of which is settled when the entity is.
    pub records: Vec<Record>,
}

/// What is written together: entities by id, since ascending ids cost the store least, and
/// records that can't become documents.
#[derive(Debug, Default)]
pub struct Batch {
    /// The entities.
    pub entities: BTreeMap<String, Entity>,
    /// The records for the dead letters.
    pub rejects: Vec<(Record, Reason)>,
    /// Bytes of all records in it.
    pub bytes: usize,
    opened: Option<Instant>,
}

/// When a batch is closed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// At so many entities and rejects,
    pub documents: usize,
    /// or so many bytes,
    pub bytes: usize,
    /// or when its oldest record has waited so long.
    pub age: Duration,
}

impl Batch {
    /// Adds what a record says.
    pub fn add(&mut self, mapped: Mapped, record: Record, now: Instant) {
        self.note(&record, now);
        let entity = self
            .entities
            .entry(mapped.id)
            .or_insert_with(|| Entity { state: State::default(), records: Vec::new() });
        entity.state = std::mem::take(&mut entity.state).merge(mapped.state);
        entity.records.push(record);
    }

    /// Adds a record that can't become a document.
    pub fn reject(&mut self, record: Record, reason: Reason, now: Instant) {
        self.note(&record, now);
        self.rejects.push((record, reason));
    }

    fn note(&mut self, record: &Record, now: Instant) {
        self.bytes += record.size();
        self.opened.get_or_insert(now);
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.opened.is_none()
    }

    /// Whether it takes no more.
    pub fn is_full(&self, limits: &Limits) -> bool {
        self.entities.len() + self.rejects.len() >= limits.documents || self.bytes >= limits.bytes
    }

    /// When it is old enough to be written; nothing while it is empty.
    pub fn due_at(&self, limits: &Limits) -> Option<Instant> {
        self.opened.map(|opened| opened + limits.age)
    }
}
