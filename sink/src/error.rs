//! What ends a sink.

use bowerbird_store::StoreError;
use bowerbird_stream::LogError;
use thiserror::Error;

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
}
