//! `[sink]`

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The way from the log to the documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SinkSection {
    /// The most documents of one write. CouchDB is fastest at about 500.
    #[schemars(range(min = 1, max = 10_000))]
    pub batch_documents: usize,
    /// The most bytes of one write.
    #[schemars(range(min = 65_536, max = 104_857_600))]
    pub batch_bytes: usize,
    /// How long an incomplete batch waits for more, in milliseconds.
    #[schemars(range(min = 1, max = 600_000))]
    pub flush_interval_ms: u64,
    /// Writes under way at once, at most: fewer while the store is slow.
    #[schemars(range(min = 1, max = 64))]
    pub writers: usize,
    /// The most bytes of events held between the log and the store; above it, reading waits.
    #[schemars(range(min = 1_048_576, max = 4_294_967_296_u64))]
    pub max_pending_bytes: usize,
    /// How often offsets are committed, in milliseconds: after a crash, at most what was written
    /// since the last commit is processed again.
    #[schemars(range(min = 10, max = 600_000))]
    pub commit_interval_ms: u64,
    /// How often a document that the store fails on for now is tried before it becomes a dead
    /// letter. A store that can't be reached or refuses the credentials is waited for instead.
    #[schemars(range(min = 1, max = 1_000))]
    pub max_attempts: u32,
    /// The longest wait between two tries of a request, in milliseconds.
    #[schemars(range(min = 100, max = 3_600_000))]
    pub max_backoff_ms: u64,
    /// A name of this member that stays over restarts, so that Kafka gives it the same partitions
    /// at once. Two members must not share it: the one that comes puts the other out, and one that
    /// is put out over and over ends. A member with a name does not leave its group when it stops,
    /// so that it finds all as it was if it is back within `sink.session_timeout_ms`; when it is
    /// gone for good, its partitions wait for as long before others get them.
    #[schemars(example = &"sink-1")]
    pub instance: Option<String>,
    /// How long Kafka hears nothing from a member before it takes it for dead, in milliseconds.
    /// After a crash the others have its partitions so much later, and a second or two. A member
    /// is heard from five times as often. Brokers refuse what is outside their
    /// group.min.session.timeout.ms and group.max.session.timeout.ms: 6000 and 1800000, unless
    /// they were changed.
    #[schemars(range(min = 1_000, max = 1_800_000))]
    pub session_timeout_ms: u64,
    /// How often it is looked whether a notice about a user must be carried to that user's posts, in
    /// milliseconds.
    #[schemars(range(min = 100, max = 3_600_000))]
    pub sweep_interval_ms: u64,
    /// How long finishing may take after a signal, in milliseconds: of every role, not of the sink
    /// alone. Sources have a fifth of it, sinks two; those two also bound how long partitions that move
    /// to another member are drained.
    #[schemars(range(min = 100, max = 600_000))]
    pub drain_timeout_ms: u64,
}

impl Default for SinkSection {
    fn default() -> Self {
        Self {
            batch_documents: 500,
            batch_bytes: 2 << 20,
            flush_interval_ms: 50,
            writers: 6,
            max_pending_bytes: 8 << 20,
            commit_interval_ms: 1_000,
            max_attempts: 8,
            max_backoff_ms: 30_000,
            instance: None,
            session_timeout_ms: 6_000,
            sweep_interval_ms: 600_000,
            drain_timeout_ms: 10_000,
        }
    }
}
