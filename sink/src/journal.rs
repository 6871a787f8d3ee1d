//! Facts about the pipeline's own work, for the journal.

use bowerbird_stream::retry::{RetryPolicy, Verdict, retry};
use bowerbird_stream::{EventLog, LogError, journal};
use jiff::Timestamp;
use serde_json::Value;

use crate::error::SinkError;

/// How often a log that can't take it just now is tried again.
const ATTEMPTS: u32 = 8;

/// A fact.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// `ce_type`.
    pub kind: &'static str,
    /// `ce_id`: the same fact told again has the same.
    pub id: String,
    /// `ce_source`, and the key.
    pub source: String,
    /// When it was so.
    pub time: Timestamp,
    /// What.
    pub fact: Value,
}

/// Publishes a fact, and returns when the log has it.
///
/// # Errors
/// When the log can't take it.
pub async fn publish<L: EventLog>(log: &L, fact: Fact) -> Result<(), SinkError> {
    let Fact { kind, id, source, time, fact } = fact;
    let record = journal::named(kind, id, &source, time, &fact);
    let judge = |error: &LogError| match error.is_transient() {
        true => Verdict::Again { after: None },
        false => Verdict::GiveUp,
    };
    let policy = RetryPolicy { max_attempts: Some(ATTEMPTS), ..RetryPolicy::default() };
    let attempt = || async {
        let answers = log.publish(vec![record.clone()]).await;
        answers.into_iter().next().map_or(Ok(()), |answer| answer.map(|_| ()))
    };
    Ok(retry(&policy, judge, |_, _| {}, attempt).await?)
}
