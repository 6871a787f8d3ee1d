//! Why there is no connection, or none any more.

use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;

use crate::post::Problem;

/// Why there is no connection. The text is for people; it never holds a secret.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum Failure {
    /// No connection, or it broke.
    #[error("the connection failed: {0}")]
    Network(String),
    /// The server closed the stream.
    #[error("the server closed the stream{}", because(.0))]
    Ended(Vec<Problem>),
    /// Not one byte for too long.
    #[error("nothing arrived for {0:?}, not even an empty line: the connection is dead")]
    Idle(Duration),
    /// The server answered with something else than a stream.
    #[error("the server answered {status}{}", because(.problems))]
    Http {
        /// The status.
        status: u16,
        /// When the rate limit is over (`x-rate-limit-reset`), if it says so.
        reset: Option<Timestamp>,
        /// What it said.
        problems: Vec<Problem>,
    },
    /// What arrives is no stream of items.
    #[error("what arrives is not a stream of items: {0}")]
    Protocol(String),
}

impl Failure {
    /// A short name, as a label of metrics.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Network(_) => "network",
            Self::Ended(_) => "ended",
            Self::Idle(_) => "idle",
            Self::Http { .. } => "http",
            Self::Protocol(_) => "protocol",
        }
    }

    /// What the server said of it.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Ended(problems) | Self::Http { problems, .. } => problems,
            _ => &[],
        }
    }
}

fn because(problems: &[Problem]) -> String {
    let texts: Vec<String> = problems.iter().map(Problem::text).collect();
    if texts.is_empty() { String::new() } else { format!(": {}", texts.join("; ")) }
}
