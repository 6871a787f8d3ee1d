//! What ends a sink.

use bowerbird_store::StoreError;
use bowerbird_stream::LogError;
use jiff::Timestamp;
use thiserror::Error;

use crate::projections::Refusal;
use crate::replay::ReplayRefusal;

/// An error that ends a sink or a verification. Nothing is lost by it: what was not settled was
/// not committed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SinkError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A mapping made something that is no document: a mistake of this program.
    #[error("the mapping of {id} is not a document: {error}; please report this")]
    Render {
        /// The entity.
        id: String,
        /// What the encoder said.
        error: String,
    },
    /// The scratch file of a verification.
    #[error(
        "the scratch file of the verification failed: {0}; it needs room in the folder for temporary files"
    )]
    Scratch(String),
    /// Work was given up at the deadline of a shutdown; it will be done again.
    #[error(
        "stopped before {0} records were settled; they were not committed and will be read again"
    )]
    Unsettled(usize),
    /// A note of the pipeline about itself is not what it should be.
    #[error(
        "the note {note} in database bowerbird can't be read: {error}; was it changed by hand?"
    )]
    Unreadable {
        /// Its id.
        note: String,
        /// What is wrong with it.
        error: String,
    },
    /// Somebody else has changed a note first.
    #[error(
        "somebody else changed {note} meanwhile; look at it again, and try again if it is still wanted"
    )]
    Contended {
        /// Its id.
        note: String,
    },
    /// Somebody else does the same job.
    #[error(
        "{job} is under way in {holder}, which has it until {until} and renews that while it lives; \
         wait for its end, or stop it"
    )]
    Held {
        /// The job.
        job: String,
        /// Who does it.
        holder: String,
        /// Until when.
        until: Timestamp,
    },
    /// A group has not got to the log's end in time.
    #[error(
        "group {group} has not committed within {patience:?} what the log held; is a sink running? \
         `bowerbird lag` tells how far it is"
    )]
    Behind {
        /// The group.
        group: String,
        /// How long it was waited for.
        patience: std::time::Duration,
    },
    /// A generation is still filled by somebody.
    #[error("group {group} still has members ({members}); stop them first, or wait and try again")]
    InUse {
        /// The group.
        group: String,
        /// Who is in it.
        members: String,
    },
    /// A generation that shall go live has no database.
    #[error(
        "generation {generation} can't go live: its database {database} is not there; `bowerbird \
         projections rebuild {projection}` fills a new one from the log"
    )]
    Gone {
        /// The projection.
        projection: &'static str,
        /// Its generation.
        generation: u32,
        /// The database.
        database: String,
    },
    /// The pointer of a projection does not allow it.
    #[error(transparent)]
    Generation(#[from] Refusal),
    /// A replay that makes no sense as it was asked for.
    #[error(transparent)]
    Replay(#[from] ReplayRefusal),
    /// Work was stopped before its end; it can be gone on with.
    #[error("stopped before it was done; the same command goes on where it stopped")]
    Interrupted,
}
