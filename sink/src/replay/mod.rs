//! Replaying a part of the log: into the live projection, another database, or a topic.
//!
//! The range is fixed when a replay begins and is noted with how far it is ([`Work`]), so that the
//! same command goes on after `kill -9`. It reads as a member of no group: live groups are
//! untouched. Into a database it settles as the sink does, so merging decides what counts.

pub mod bound;
mod count;
pub mod filter;
mod origin;
mod pace;
mod plan;
mod run;
mod target;

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use bowerbird_stream::{LogError, Partition, Record};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::SinkConfig;
pub use bound::{Bound, Slice};
pub use count::{Counted, count};
pub use filter::{Filter, Predicate};
pub use plan::plan;
pub use run::{Parts, Ran, replay};

/// What the ids of replays' notes begin with.
pub const PREFIX: &str = "replay:";

/// Headers that tell where a record stood that was replayed into a topic: the topic,
pub const REPLAY_TOPIC: &str = "replay_topic";
/// the partition,
pub const REPLAY_PARTITION: &str = "replay_partition";
/// and the offset.
pub const REPLAY_OFFSET: &str = "replay_offset";

/// Where to replay to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Into {
    /// The live generation of the projection that the topic fills.
    Live,
    /// A database of its own. With posts, all notices go there too, so that what was removed stays
    /// removed.
    Database(String),
    /// A topic, with headers that tell the original position.
    Topic(String),
}

/// What was asked for, as it was written: the same command is the same replay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The topic.
    pub topic: String,
    /// Where to begin; at the earliest without.
    pub from: Option<String>,
    /// Where to end; at the end of the log when the replay begins without.
    pub to: Option<String>,
    /// The import or poll whose events to replay: the id or the source of its event in the journal.
    pub of: Option<String>,
    /// Which records.
    pub filter: Filter,
    /// Where to.
    pub into: Into,
}

/// How to replay.
#[derive(Clone, Debug)]
pub struct ReplayConfig {
    /// What.
    pub asked: Asked,
    /// The most events a second.
    pub rate: Option<NonZeroU32>,
    /// Begin anew where an earlier run of the same replay was interrupted.
    pub anew: bool,
    /// How batches are settled.
    pub sink: SinkConfig,
}

/// The place that records go to, resolved when the replay began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// A database, by a mapping.
    Database {
        /// Its name.
        database: String,
        /// The projection that its documents are of.
        projection: String,
        /// The version of the mapping.
        mapping: u32,
        /// The number of the live generation; nothing for a database of its own.
        generation: Option<u32>,
    },
    /// A topic.
    Topic {
        /// Its name.
        topic: String,
    },
}

/// What a replay has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Records read.
    pub read: u64,
    /// Of these, those that passed the filter.
    pub replayed: u64,
    /// Documents written.
    pub written: u64,
    /// Entities for which the store already said all.
    pub unchanged: u64,
    /// Records published into the topic.
    pub published: u64,
    /// Records given up, each with its dead letter.
    pub dead_letters: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.read += other.read;
        self.replayed += other.replayed;
        self.written += other.written;
        self.unchanged += other.unchanged;
        self.published += other.published;
        self.dead_letters += other.dead_letters;
    }
}

/// A replay, as it is noted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// What was asked for.
    pub asked: Asked,
    /// When it began.
    pub started: Timestamp,
    /// What is replayed of each partition, by `topic/partition`.
    pub slices: BTreeMap<String, Slice>,
    /// The next offset to be done, likewise; what is before it is durable.
    pub next: BTreeMap<String, i64>,
    /// The filter, with what the import or poll adds to it.
    pub filter: Filter,
    /// Where to.
    pub place: Place,
    /// What was done, as far as it was noted.
    pub counts: Counts,
    /// When it was done.
    pub finished: Option<Timestamp>,
    /// Whether the journal knows.
    pub told: bool,
}

impl Work {
    /// Whether it writes to this database.
    pub fn writes_to(&self, name: &str) -> bool {
        matches!(&self.place, Place::Database { database, .. } if database == name)
    }

    /// Whether a record of one of its slices is replayed. The filter is for the topic that was
    /// asked for; what goes with it goes whole.
    fn takes(&self, record: &Record) -> bool {
        *record.position.topic != *self.asked.topic || self.filter.passes(record)
    }

    /// Whether nothing is left to do.
    pub fn is_over(&self) -> bool {
        self.finished.is_some() && self.told
    }

    /// Offsets that are done, and all of them.
    pub fn progress(&self) -> (u64, u64) {
        let mut progress = (0, 0);
        for (partition, slice) in &self.slices {
            let next = self.next.get(partition).copied().unwrap_or(slice.from);
            progress.0 += u64::try_from(next.clamp(slice.from, slice.to) - slice.from).unwrap_or(0);
            progress.1 += u64::try_from(slice.to - slice.from).unwrap_or(0);
        }
        progress
    }
}

/// Partitions by the names that notes have for them.
fn partition_of(name: &str) -> Option<Partition> {
    let (topic, partition) = name.rsplit_once('/')?;
    Some(Partition::new(topic, partition.parse().ok()?))
}

/// Why a replay makes no sense as it was asked for.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReplayRefusal {
    /// An end that is none.
    #[error("{what} {text:?} can't be read: {why}")]
    Bound {
        /// Which end.
        what: &'static str,
        /// As it was written.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// No such partition.
    #[error("topic {topic} has no partition {partition}; it has {partitions}, counted from 0")]
    Partition {
        /// The topic.
        topic: String,
        /// What was asked for.
        partition: i32,
        /// How many there are.
        partitions: usize,
    },
    /// No projection is filled from it.
    #[error("no projection is filled from topic {0}; replay it into a topic: --into topic:NAME")]
    NoProjection(String),
    /// The journal knows no such import or poll.
    #[error("the journal tells of no import or poll with the id or source {wanted:?}; {}", named(.known))]
    NoOrigin {
        /// What was asked for.
        wanted: String,
        /// Sources of which it does tell, the latest last.
        known: Vec<String>,
    },
    /// The database belongs to somebody.
    #[error("{0}")]
    Taken(String),
    /// No such target topic.
    #[error(
        "there is no topic {0} to replay into; make it, or have it made: log.apply_topics = true"
    )]
    NoTarget(String),
    /// The target topic.
    #[error("the records can't go into topic {topic}: {error}")]
    Target {
        /// Its name.
        topic: String,
        /// What the log said.
        error: LogError,
    },
}

fn named(sources: &[String]) -> String {
    match sources {
        [] => "it tells of none at all".to_owned(),
        some => format!("it last tells of {}", some.join(", ")),
    }
}
