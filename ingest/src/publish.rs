//! Publishing with patience: what the log can't take now is tried again, what it never takes
//! becomes a dead letter, and nothing is dropped.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bowerbird_stream::dead_letter::{self, Reason};
use bowerbird_stream::log::Outgoing;
use bowerbird_stream::retry::{RetryPolicy, Verdict, retry};
use bowerbird_stream::{EventLog, LogError, topic};
use bytes::Bytes;
use jiff::Timestamp;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::metrics as names;

/// How much is kept of a value that is too large for the log.
pub const KEPT_BYTES: usize = 64 << 10;

/// The longest wait before the log is tried again.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Header of a value that was cut: its size before, in bytes.
pub const BYTES: &str = "ce_bytes";

/// Hears that the log is in trouble, and with nothing that it is well again.
pub type OnTrouble = Arc<dyn Fn(Option<&LogError>) + Send + Sync>;

/// Publishes for one source.
#[derive(Clone)]
pub struct Publisher<L> {
    log: L,
    /// Who gives up what the log refuses, as dead letters name it.
    group: &'static str,
    policy: RetryPolicy,
    drain: Duration,
    patient: bool,
    on_trouble: OnTrouble,
}

impl<L> fmt::Debug for Publisher<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("group", &self.group).finish_non_exhaustive()
    }
}

/// Why records are not in the log.
#[derive(Debug, Error)]
pub enum Unpublished {
    /// The log refuses them, and trying again will not help.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Shutdown, and the log did not take them inside its deadline.
    #[error("stopped before the log acknowledged everything")]
    Stopped,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Bytes acknowledged.
    pub bytes: usize,
    /// Of the records, how many became dead letters because the log takes none so large.
    pub too_large: u64,
}

impl<L: EventLog> Publisher<L> {
    /// A publisher for `group`. After the shutdown begins, what is under way has `drain` to be
    /// acknowledged.
    pub fn new(log: L, group: &'static str, drain: Duration, on_trouble: OnTrouble) -> Self {
        // A source waits meanwhile, and X has no patience with one that waits long.
        let policy = RetryPolicy { max: LONGEST_WAIT, ..RetryPolicy::default() };
        Self { log, group, policy, drain, patient: false, on_trouble }
    }

    /// Waits also for what only an operator can mend, such as a topic that is not there: for
    /// services, which nobody starts again.
    #[must_use]
    pub fn patient(mut self) -> Self {
        self.patient = true;
        self
    }

    /// The name that dead letters give.
    pub fn group(&self) -> &'static str {
        self.group
    }

    /// Publishes until each record is acknowledged, as itself or as a dead letter.
    ///
    /// # Errors
    /// When the log refuses for good, or on shutdown.
    pub async fn publish(
        &self,
        records: Vec<Outgoing>,
        cancel: &CancellationToken,
    ) -> Result<Published, Unpublished> {
        let bytes = records.iter().map(Outgoing::size).sum();
        let state = Mutex::new(Attempt { pending: records, ..Attempt::default() });
        let judge = |error: &LogError| {
            let mends = error.is_transient() || error.pauses() || self.patient;
            if mends && !matches!(error, LogError::TooLarge { .. }) {
                Verdict::Again { after: None }
            } else {
                Verdict::GiveUp
            }
        };
        let notify = |error: &LogError, wait: Duration| {
            metrics::counter!(names::PUBLISH_RETRIES).increment(1);
            tracing::debug!(%error, ?wait, "publishing again");
            (self.on_trouble)(Some(error));
        };
        let trying = retry(&self.policy, judge, notify, || self.attempt(&state));
        let deadline = async {
            cancel.cancelled().await;
            tokio::time::sleep(self.drain).await;
        };
        tokio::select! {
            biased;
            result = trying => result?,
            () = deadline => return Err(Unpublished::Stopped),
        }
        let Attempt { too_large, failed, acknowledged, .. } =
            state.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (topic, count) in acknowledged {
            let labels = [("topic", topic.to_string()), ("source", self.group.to_owned())];
            metrics::counter!(names::RECORDS, &labels).increment(count);
        }
        if failed {
            (self.on_trouble)(None);
        }
        metrics::counter!(names::PUBLISHED_BYTES).increment(bytes as u64);
        Ok(Published { bytes, too_large })
    }

    /// Publishes what is pending; what failed is pending again.
    async fn attempt(&self, state: &Mutex<Attempt>) -> Result<(), LogError> {
        loop {
            let records = std::mem::take(&mut lock(state).pending);
            let answers = self.log.publish(records.clone()).await;
            let mut attempt = lock(state);
            let mut worst: Option<LogError> = None;
            for (record, answer) in records.into_iter().zip(answers) {
                let Err(error) = answer else {
                    attempt.tally(&record.topic);
                    continue;
                };
                if let LogError::TooLarge { .. } = error
                    && let Some(length) = shorter(&record)
                {
                    attempt.too_large += u64::from(&*record.topic != topic::DEAD_LETTERS);
                    attempt.pending.push(shortened(record, length, &error, self.group));
                    continue;
                }
                attempt.pending.push(record);
                if worst.as_ref().is_none_or(LogError::is_transient) {
                    worst = Some(error);
                }
            }
            attempt.failed |= worst.is_some();
            match worst {
                Some(error) => return Err(error),
                None if attempt.pending.is_empty() => return Ok(()),
                // Only shortened ones are left: at once again.
                None => {}
            }
        }
    }
}

#[derive(Default)]
struct Attempt {
    pending: Vec<Outgoing>,
    too_large: u64,
    failed: bool,
    acknowledged: Vec<(Arc<str>, u64)>,
}

impl Attempt {
    fn tally(&mut self, topic: &Arc<str>) {
        match self.acknowledged.iter_mut().find(|(name, _)| name == topic) {
            Some((_, count)) => *count += 1,
            None => self.acknowledged.push((Arc::clone(topic), 1)),
        }
    }
}

fn lock(state: &Mutex<Attempt>) -> std::sync::MutexGuard<'_, Attempt> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// To how many bytes a value is cut that was refused for its size; nothing when there is nothing
/// left to cut.
fn shorter(record: &Outgoing) -> Option<usize> {
    let length = record.value.as_ref().map_or(0, Bytes::len);
    (length > 0).then_some(if length > KEPT_BYTES { KEPT_BYTES } else { length / 2 })
}

/// The dead letter of a record that is too large: the beginning of its value, and its size.
fn shortened(mut record: Outgoing, length: usize, error: &LogError, group: &str) -> Outgoing {
    if record.headers.get(BYTES).is_none() {
        let size = record.value.as_ref().map_or(0, Bytes::len);
        record.headers.push(BYTES, size.to_string());
    }
    record.value = record.value.map(|value| value.slice(..length));
    let why = Reason {
        reason: "too-large".to_owned(),
        error: error.to_string(),
        group: group.to_owned(),
        attempts: 1,
    };
    dead_letter::of_source(record, &why, Timestamp::now())
}
