//! What keeps a source from being harvested at all.

use std::error::Error;

use thiserror::Error;

/// A source can't be harvested. The text says what, why and what to do; it never holds a secret.
/// Faults that pass, or that an operator mends, are no errors: a role waits and tells its status.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IngestError {
    /// A value of the configuration makes no sense.
    #[error("{key} is wrong: {reason}")]
    Config {
        /// The key, as it stands in the configuration.
        key: &'static str,
        /// What is wrong with it, and what it should be.
        reason: String,
    },
    /// No HTTP client can be made.
    #[error("no HTTP client can be made: {0}; check the system's TLS certificates")]
    Client(String),
}

/// An error with everything that caused it, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
