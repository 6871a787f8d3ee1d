//! Why there is no connection, or none any more.

use std::time::Duration;

use thiserror::Error;

use super::kept::Kept;
use crate::post::Problem;

/// Why there is no connection. The text is for people; it never holds a secret.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum Failure {
    /// No connection, or it broke.
    #[error("the connection failed: {0}")]
    Network(String),
    /// The token can't be sent.
    #[error("the bearer token holds what no token does, such as a line break")]
    Token,
    /// The server closed the stream, or has said that it ends it.
    #[error("the server {} the stream{}", if .0.is_empty() { "closed" } else { "ended" }, because(.0))]
    Ended(Vec<Problem>),
    /// Not one byte for too long.
    #[error("nothing arrived for {0:?}, not even an empty line: the connection is dead")]
    Idle(Duration),
    /// The server answered with something else than a stream.
    #[error("the server answered {status}{}", because(.problems))]
    Http {
        /// The status.
        status: u16,
        /// What it said of rate limits, and the like.
        headers: Kept,
        /// What it said.
        problems: Vec<Problem>,
    },
    /// What arrives is no stream of items.
    #[error("what arrives is not a stream of items: {0}")]
    Protocol(String),
    /// The operator's own bound is reached.
    #[error("the {cap} posts of x.monthly_cap_posts are used up for {month}")]
    Capped {
        /// How many posts a month may bring.
        cap: u64,
        /// Which month, of UTC.
        month: String,
    },
}

/// What a server that ends or refuses a stream means by it.
///
/// Source: X's OpenAPI description, `connection_issue` of `ConnectionExceptionProblem` and
/// `disconnect_type` of `OperationalDisconnectProblem`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// As many connections are open as the plan has.
    TooManyConnections,
    /// There are no rules, or none that hold.
    NoRules,
    /// This client reads too slowly.
    SlowReader,
    /// The plan's posts or the credits are used up.
    UsedUp,
    /// None of these.
    Other,
}

impl Failure {
    /// Whether the server took the connection only to refuse it on that.
    pub fn refuses(&self) -> bool {
        matches!(self, Self::Protocol(_))
            || !matches!(self.meaning(), Meaning::SlowReader | Meaning::Other)
    }

    /// A short name, as a label of metrics.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Ended(_) if self.meaning() == Meaning::SlowReader => "slow-reader",
            Self::Network(_) => "network",
            Self::Token => "token",
            Self::Ended(_) => "ended",
            Self::Idle(_) => "idle",
            Self::Http { .. } => "http",
            Self::Protocol(_) => "protocol",
            Self::Capped { .. } => "cap",
        }
    }

    /// What the server said of it.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Ended(problems) | Self::Http { problems, .. } => problems,
            _ => &[],
        }
    }

    /// Whether it may be that another token would be taken.
    pub fn refuses_token(&self) -> bool {
        matches!(self, Self::Token | Self::Http { status: 401 | 403, .. })
    }

    /// What the server means by it.
    pub fn meaning(&self) -> Meaning {
        let status = match self {
            Self::Http { status, .. } => *status,
            _ => 0,
        };
        let said = self.problems().iter().map(|problem| match problem.issue.as_str() {
            "TooManyConnections" => Meaning::TooManyConnections,
            "RuleConfigurationIssue" | "RulesInvalidIssue" | "InvalidRules" => Meaning::NoRules,
            "SlowReader" => Meaning::SlowReader,
            // Names of problems drift less in their last part than before it.
            _ => match problem.kind.as_str() {
                "usage-capped" | "credits" | "credits-depleted" => Meaning::UsedUp,
                _ if ["UsageCapExceeded", "CreditsDepleted"].contains(&&*problem.title) => {
                    Meaning::UsedUp
                }
                _ => Meaning::Other,
            },
        });
        let said = said.into_iter().find(|meaning| *meaning != Meaning::Other);
        said.unwrap_or(match status {
            402 => Meaning::UsedUp,
            409 => Meaning::NoRules,
            _ => Meaning::Other,
        })
    }
}

fn because(problems: &[Problem]) -> String {
    let texts: Vec<String> = problems.iter().map(Problem::text).collect();
    if texts.is_empty() { String::new() } else { format!(": {}", texts.join("; ")) }
}
