//! What can go wrong when the pipeline is set up, said for whoever runs it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

/// One thing that is wrong with the configuration, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file with its line, or the environment variable.
    pub place: String,
    /// What is wrong, and what would be right; without secrets.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// An error of the configuration or of the pages that the roles serve. The text says what, why
/// and what to do; it never holds a secret.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InfraError {
    /// The configuration has mistakes; all of them are listed.
    #[error("the configuration can't be used:\n{}", listed(.0))]
    Invalid(Vec<Problem>),
    /// A file that the configuration names, or the configuration itself, can't be read.
    #[error("{what} {path} can't be read: {reason}", path = path.display())]
    Unreadable {
        /// What it is: `configuration`, `log.password_file`, …
        what: String,
        /// Where it was looked for.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// An address to serve on can't be had.
    #[error(
        "{what} can't listen on {address}: {reason}; choose another address by {key} (port 0 takes \
         any free one)"
    )]
    Listen {
        /// What would be served there.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        reason: String,
        /// The configuration key to change.
        key: &'static str,
    },
    /// The dashboard was asked to listen where others could reach it.
    #[error(
        "the dashboard has no login, so it listens on loopback only, not on {address}; set \
         dashboard.listen to 127.0.0.1:PORT and reach it from elsewhere by an SSH tunnel \
         (ssh -L) or behind a proxy that asks for a login"
    )]
    NotLoopback {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// A server ended although nobody asked it to.
    #[error("{what} ended: {reason}")]
    Serve {
        /// What was served.
        what: &'static str,
        /// What the system said.
        reason: String,
    },
}

fn listed(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(|problem| format!("  {problem}")).collect();
    lines.join("\n")
}
