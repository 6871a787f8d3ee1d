//! Publishing with patience, but not for ever: a command waits here, not a service.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::error::LogError;
use crate::log::{EventLog, Outgoing, Position};
use crate::retry::{RetryPolicy, Verdict, retry};

/// How long the log may take nothing before it is an error.
const PATIENCE: Duration = Duration::from_secs(60);

/// Publishes until the log has taken or refused each record for good: one answer per record. What
/// it can't take for now is tried again, within [`PATIENCE`].
pub(super) async fn deliver<L: EventLog>(
    log: &L,
    records: Vec<Outgoing>,
) -> Result<Vec<Result<Position, LogError>>, LogError> {
    let policy = RetryPolicy { max_elapsed: Some(PATIENCE), ..RetryPolicy::default() };
    let judge = |_: &LogError| Verdict::Again { after: None };
    let notify = |error: &LogError, wait: Duration| {
        tracing::warn!(%error, ?wait, "the log takes nothing just now, trying again");
    };
    let mut answers: Vec<Option<Result<Position, LogError>>> =
        records.iter().map(|_| None).collect();
    let state = Mutex::new(&mut answers);
    retry(&policy, judge, notify, || attempt(log, &records, &state)).await?;
    Ok(answers.into_iter().flatten().collect())
}

type Answers<'a> = Mutex<&'a mut Vec<Option<Result<Position, LogError>>>>;

/// Publishes the records that have no answer yet.
async fn attempt<L: EventLog>(
    log: &L,
    records: &[Outgoing],
    answers: &Answers<'_>,
) -> Result<(), LogError> {
    let lock = || answers.lock().unwrap_or_else(PoisonError::into_inner);
    let open: Vec<usize> = (0..records.len()).filter(|at| lock()[*at].is_none()).collect();
    let outgoing = open.iter().map(|at| records[*at].clone()).collect();
    let mut trouble = None;
    for (at, answer) in open.into_iter().zip(log.publish(outgoing).await) {
        match answer {
            Err(error) if error.is_transient() || error.pauses() => trouble = Some(error),
            answer => lock()[at] = Some(answer),
        }
    }
    trouble.map_or(Ok(()), Err)
}
