//! What can go wrong with views, said for whoever runs them.

use std::time::Duration;

use bowerbird_store::StoreError;
use thiserror::Error;

/// An error of design documents or views. The text says what, why and what to do; it never holds a
/// secret.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ViewError {
    /// The store under the views failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A folder of design documents is not as it must be.
    #[error(
        "{path}: {reason}; expected <database>/<design>/views/<view>/map.js and, if any, reduce.js"
    )]
    Folder {
        /// The file or folder.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The design document is not there.
    #[error(
        "database {database} has no design document {design}; deploy it with `bowerbird mapreduce \
         deploy`"
    )]
    MissingDesign {
        /// The database.
        database: String,
        /// The design document, without `_design/`.
        design: String,
    },
    /// The design document has no such view.
    #[error("design {design} of database {database} has no view {view}; it has {known}")]
    MissingView {
        /// The database.
        database: String,
        /// The design document, without `_design/`.
        design: String,
        /// What was asked for.
        view: String,
        /// What there is.
        known: String,
    },
    /// The query can't be answered as it is.
    #[error("the query can't be answered: {0}")]
    Query(String),
    /// A map or reduce function is broken, or takes too much time or memory.
    #[error("{function} of design {design} fails: {reason}")]
    Script {
        /// The design document, without `_design/`.
        design: String,
        /// `map of view x` or `reduce of view x`.
        function: String,
        /// What the engine said.
        reason: String,
    },
    /// The index was not built in the time that it had; it goes on building.
    #[error(
        "design {design} of database {database} was not built within {} s; the building goes on, \
         ask again later or wait longer",
        waited.as_secs()
    )]
    NotBuilt {
        /// The database.
        database: String,
        /// The design document, without `_design/`.
        design: String,
        /// How long was waited.
        waited: Duration,
    },
    /// Somebody else deploys the same design document at the same time.
    #[error(
        "design {design} of database {database} was changed by somebody else meanwhile; try again"
    )]
    Contended {
        /// The database.
        database: String,
        /// The design document, without `_design/`.
        design: String,
    },
    /// The file of the embedded views failed.
    #[error("the index of the views at {path} failed: {reason}")]
    Index {
        /// The file.
        path: String,
        /// What the system said.
        reason: String,
    },
}

impl ViewError {
    /// Whether the same call may go through later with nothing changed on our side.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::NotBuilt { .. } | Self::Contended { .. } => true,
            _ => false,
        }
    }
}
