//! Facts about the pipeline's own work, for the journal.

use bowerbird_stream::log::Outgoing;
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
    publish_all(log, vec![journal::named(kind, id, &source, time, &fact)]).await
}

/// Publishes records that say the same when they are said twice, and returns when the log has all
/// of them: when one failed for now, all are tried again.
///
/// # Errors
/// When the log can't take them.
pub async fn publish_all<L: EventLog>(log: &L, records: Vec<Outgoing>) -> Result<(), SinkError> {
    let judge = |error: &LogError| match error.is_transient() {
        true => Verdict::Again { after: None },
        false => Verdict::GiveUp,
    };
    let policy = RetryPolicy { max_attempts: Some(ATTEMPTS), ..RetryPolicy::default() };
    let attempt = || async {
        let answers = log.publish(records.clone()).await;
        answers.into_iter().try_for_each(|answer| answer.map(drop))
    };
    Ok(retry(&policy, judge, |_, _| {}, attempt).await?)
}
