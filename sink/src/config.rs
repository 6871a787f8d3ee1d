//! What a sink needs to know. The command builds it from `bowerbird.toml`.

use std::time::Duration;

use bowerbird_stream::topic;

use crate::mapping::Mapping;

/// A database together with the group that fills it and the topics that it is filled from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Projection {
    /// Its name, and the role under which it reports.
    pub name: &'static str,
    /// The database.
    pub database: String,
    /// The consumer group, which owns the committed offsets.
    pub group: String,
    /// The topics.
    pub topics: Vec<&'static str>,
    /// What makes its documents.
    pub mapping: Mapping,
}

impl Projection {
    /// Posts and the notices about them.
    pub fn posts() -> Self {
        Self::of("posts", vec![topic::POSTS, topic::NOTICES])
    }

    /// Features of data sets.
    pub fn features() -> Self {
        Self::of("features", vec![topic::FEATURES])
    }

    /// The journal.
    pub fn journal() -> Self {
        Self::of("journal", vec![topic::JOURNAL])
    }

    /// Every projection that a sink keeps.
    pub fn all() -> Vec<Self> {
        vec![Self::posts(), Self::features(), Self::journal()]
    }

    fn of(name: &'static str, topics: Vec<&'static str>) -> Self {
        Self {
            name,
            database: name.to_owned(),
            group: format!("bowerbird-{name}"),
            topics,
            mapping: Mapping::CURRENT,
        }
    }

    /// Another generation of it, with a database and a group of its own; the first one's names
    /// have no number. `CouchDB` allows no `@` in names.
    #[must_use]
    pub fn generation(self, number: u32) -> Self {
        if number <= 1 {
            return self;
        }
        let (database, group) =
            (format!("{}-{number}", self.name), format!("bowerbird-{}-{number}", self.name));
        Self { database, group, ..self }
    }
}

/// How a sink works. Every bound of memory is here: what waits is never more than
/// `max_pending_bytes`, whatever the backlog.
#[derive(Clone, Debug)]
pub struct SinkConfig {
    /// A batch is written when it has so many documents,
    pub batch_documents: usize,
    /// or so many bytes of records,
    pub batch_bytes: usize,
    /// or when its oldest record has waited so long.
    pub flush_interval: Duration,
    /// How many bulk writes may be under way at once.
    pub writers: usize,
    /// The most bytes of records taken from the log and not yet settled.
    pub max_pending_bytes: usize,
    /// How often offsets are committed.
    pub commit_interval: Duration,
    /// How long shutdown and revoked partitions may take to finish what was begun.
    pub drain_timeout: Duration,
    /// Make the database when it is not there.
    pub create_databases: bool,
    /// How often a document that the store fails on for now is tried before it is a dead letter.
    pub max_attempts: u32,
    /// The longest wait between two tries of a request.
    pub max_backoff: Duration,
    /// A name that stays with this member over restarts, if any.
    pub instance: Option<String>,
    /// A member that is silent for so long is taken for dead.
    pub session_timeout: Duration,
    /// Drain to the ends seen at start and stop; what would be waited out fails at once.
    pub once: bool,
}

impl Default for SinkConfig {
    fn default() -> Self {
        Self {
            batch_documents: 500,
            batch_bytes: 2 << 20,
            flush_interval: Duration::from_millis(50),
            writers: 6,
            max_pending_bytes: 8 << 20,
            commit_interval: Duration::from_secs(1),
            drain_timeout: Duration::from_secs(10),
            create_databases: true,
            max_attempts: 8,
            max_backoff: Duration::from_secs(30),
            instance: None,
            session_timeout: Duration::from_secs(6),
            once: false,
        }
    }
}
