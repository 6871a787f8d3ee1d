//! What can go wrong with a store, said for whoever runs it.

use std::time::Duration;

use thiserror::Error;

/// An error of a document store: the whole request failed. The text says what, why and what to
/// do; it never holds a secret.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Nobody answers there, or the connection broke; going on trying makes sense.
    #[error("the document store at {address} can't be reached: {reason}")]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// No answer in time; the request may have been applied.
    #[error("the document store at {address} did not answer within {seconds:.1} s")]
    TimedOut {
        /// Which store.
        address: String,
        /// How long it had, in seconds.
        seconds: f64,
    },
    /// 401 or 403: it refuses who we are; nothing goes on until that is mended. Ask again seldom:
    /// CouchDB locks an account for five minutes at its fifth failure (`chttpd_auth_lockout`).
    #[error(
        "the document store at {address} refuses the credentials: {reason}; check store.user and store.password"
    )]
    Unauthorised {
        /// Which store.
        address: String,
        /// What it said.
        reason: String,
    },
    /// 404: the database is not there.
    #[error("database {database} does not exist on {address}")]
    MissingDatabase {
        /// Which store.
        address: String,
        /// The database.
        database: String,
    },
    /// The sequence is not of this database: it was dropped and made anew since.
    #[error(
        "{since:?} is no sequence of database {database} on {address} as it is now; read its \
         changes from the beginning"
    )]
    StaleSequence {
        /// Which store.
        address: String,
        /// The database.
        database: String,
        /// What was asked for.
        since: String,
    },
    /// 413: the request is too large; smaller ones may go through.
    #[error("the document store at {address} finds a request of {bytes} bytes too large: {reason}")]
    TooLarge {
        /// Which store.
        address: String,
        /// The request's size.
        bytes: usize,
        /// What it said.
        reason: String,
    },
    /// 400 and its like: something in this request will never be taken.
    #[error("the document store at {address} refuses the request: {reason}")]
    Rejected {
        /// Which store.
        address: String,
        /// What it said.
        reason: String,
    },
    /// 429, 5xx: later.
    #[error("the document store at {address} can't do that just now: {reason}")]
    Busy {
        /// Which store.
        address: String,
        /// What it said.
        reason: String,
        /// How long it asks us to wait, if it said so.
        retry_after: Option<Duration>,
    },
    /// The disk under the store is full; work pauses until there is room.
    #[error(
        "no room left for the document store at {address}: {reason}; free some space, it goes on by itself"
    )]
    Full {
        /// Which store.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// Anything else; trying again will not help.
    #[error("the document store at {address} failed: {reason}")]
    Fatal {
        /// Which store.
        address: String,
        /// What it said.
        reason: String,
    },
}

impl StoreError {
    /// Whether the same call may go through later with nothing changed on our side.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::TimedOut { .. }
                | Self::Busy { .. }
                | Self::Full { .. }
        )
    }

    /// Whether work must pause until an operator mends something, and then goes on by itself.
    pub fn pauses(&self) -> bool {
        matches!(self, Self::Unauthorised { .. } | Self::Full { .. } | Self::MissingDatabase { .. })
    }
}
