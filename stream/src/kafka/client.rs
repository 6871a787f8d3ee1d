//! Making a consumer's client, and what is done when one has failed for good.
//!
//! librdkafka calls an error fatal when a client can't go on with what it is: a named member that
//! another one of the same name has put out of the group. That other one may be the member itself.
//! When the group's coordinator dies while a member joins, the answer may be lost that told it who
//! it is now, and the next coordinator knows the name by another id. A fresh client gets over that;
//! two processes of one name would put each other out for ever.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};

use super::error::fault;
use super::handover::Handover;
use super::health::Health;
use super::poller::{PROBE, Poller};
use super::rebalance::{GroupConsumer, Rebalancing};
use crate::error::LogError;
use crate::log::{Delivery, Revocation, StartAt};

/// So often a client is made anew within [`WINDOW`].
const TRIES: usize = 4;
/// How long a failure counts.
const WINDOW: Duration = Duration::from_secs(300);
/// The first wait; each is twice the one before. The other of two members of one name has its name
/// for as long, so the waits are also what keeps them from doing nothing but joining.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// What to do after a client has failed for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Make another after this long.
    Anew(Duration),
    /// It will only fail again.
    Enough,
}

/// When clients of one consumer have failed for good: as many as it takes to judge.
#[derive(Clone, Debug, Default)]
pub(super) struct Failures(Vec<Instant>);

impl Failures {
    /// Takes in that one has failed now.
    pub(super) fn judge(&mut self, now: Instant) -> Verdict {
        self.0.retain(|at| now.saturating_duration_since(*at) < WINDOW);
        let before = self.0.len();
        if before >= TRIES {
            return Verdict::Enough;
        }
        self.0.push(now);
        Verdict::Anew(FIRST_WAIT * (1 << before))
    }
}

type Begin = Box<dyn Fn(&GroupConsumer) -> KafkaResult<()> + Send>;

/// What a consumer's clients are made of.
pub(super) struct Maker {
    pub(super) native: ClientConfig,
    pub(super) handover: Arc<Handover>,
    pub(super) address: String,
    pub(super) group: String,
    /// The name that stays with this member over restarts, if any.
    pub(super) instance: Option<String>,
    pub(super) start: StartAt,
    pub(super) drain: Duration,
    pub(super) patience: Duration,
    /// Joins the group, or takes an assignment.
    pub(super) begin: Begin,
}

impl Maker {
    pub(super) fn make(&self) -> Result<Arc<GroupConsumer>, LogError> {
        let context = Rebalancing {
            health: Health::default(),
            handover: Arc::clone(&self.handover),
            start: self.start,
            drain: self.drain,
            patience: self.patience,
        };
        let said = |error: KafkaError| fault(&error, &self.address, None, &Health::default());
        let made = GroupConsumer::from_config_and_context(&self.native, context).map_err(said)?;
        (self.begin)(&made).map_err(said)?;
        Ok(Arc::new(made))
    }

    /// What brokers mean that do not take the member's session time-out.
    pub(super) fn session(&self) -> LogError {
        let session = self.native.get("session.timeout.ms").unwrap_or_default();
        let reason = format!(
            "the brokers refuse a session time-out of {session} ms for group {}: it is below their \
             group.min.session.timeout.ms or above their group.max.session.timeout.ms; change \
             sink.session_timeout_ms, or those",
            self.group,
        );
        LogError::Transient { address: self.address.clone(), reason }
    }

    /// What a client failed for good of, as long as another is tried.
    pub(super) fn trouble(&self, code: Code, reason: &str, after: Duration) -> LogError {
        let reason = match (code, &self.instance) {
            (Code::FencedInstanceId, Some(instance)) => format!(
                "another member has come to group {} under the name {instance}; joining again in \
                 {} s; if that is another process, give each a sink.instance of its own",
                self.group,
                after.as_secs(),
            ),
            _ => format!("{reason}; joining again in {} s", after.as_secs()),
        };
        LogError::Transient { address: self.address.clone(), reason }
    }

    /// What ends the consumer.
    pub(super) fn end(&self, code: Code, reason: String) -> LogError {
        match (code, &self.instance) {
            (Code::FencedInstanceId, Some(instance)) => {
                LogError::Fenced { group: self.group.clone(), instance: instance.clone() }
            }
            _ => LogError::Fatal { address: self.address.clone(), reason },
        }
    }
}

impl Poller {
    /// This client has failed for good: all that it had is somebody else's, and another client joins
    /// the group after a while.
    ///
    /// # Errors
    /// When that has been tried often enough. Of a reader nothing is known that would fail so.
    pub(super) fn begin_anew(&mut self, code: Code, reason: String) -> Result<(), LogError> {
        self.handover.tell(|state| {
            let partitions: Vec<_> = std::mem::take(&mut state.owned).into_keys().collect();
            state.purge(&partitions);
            // Who waits for a seek hears that the partition is gone.
            state.commands.clear();
            if !partitions.is_empty() {
                let revocation = Revocation { partitions, lost: true, released: None };
                state.events.push_back(Delivery::Revoked(revocation));
            }
        });
        let verdict =
            if self.member { self.failures.judge(Instant::now()) } else { Verdict::Enough };
        let Verdict::Anew(wait) = verdict else { return Err(self.maker.end(code, reason)) };
        let trouble = self.maker.trouble(code, &reason, wait);
        self.handover.tell(|state| state.trouble(trouble));
        if self.handover.closes_within(wait) {
            return Ok(());
        }
        let failed = std::mem::replace(&mut self.consumer, self.maker.make()?);
        self.current.set(&self.consumer);
        leave(failed);
        self.throttled = false;
        self.probe_at = Instant::now() + PROBE;
        Ok(())
    }
}

/// The client of now, for the async side. The poll thread alone keeps it alive.
#[derive(Clone, Default)]
pub(super) struct Current(Arc<Mutex<Weak<GroupConsumer>>>);

impl Current {
    pub(super) fn get(&self) -> Option<Arc<GroupConsumer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    pub(super) fn set(&self, consumer: &Arc<GroupConsumer>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(consumer);
    }
}

/// Leaves the group and ends the client. A commit may be under way on another thread; it is waited
/// for, since the last one to let go of a consumer closes it.
pub(super) fn leave(mut consumer: Arc<GroupConsumer>) {
    loop {
        match Arc::try_unwrap(consumer) {
            Ok(last) => return drop(last),
            Err(shared) => consumer = shared,
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_made_anew_so_often_and_ever_later() {
        let anew = |seconds| Verdict::Anew(Duration::from_secs(seconds));
        for (name, failures) in [
            ("once", vec![(0, anew(1))]),
            ("once in a long while", vec![(0, anew(1)), (300, anew(1)), (900, anew(1))]),
            (
                "two members of one name",
                vec![
                    (0, anew(1)),
                    (4, anew(2)),
                    (9, anew(4)),
                    (18, anew(8)),
                    (36, Verdict::Enough),
                ],
            ),
            (
                "the window goes along",
                vec![
                    (0, anew(1)),
                    (100, anew(2)),
                    (200, anew(4)),
                    (299, anew(8)),
                    (300, anew(8)),
                    (301, Verdict::Enough),
                ],
            ),
        ] {
            let (begun, mut known) = (Instant::now(), Failures::default());
            for (second, expected) in failures {
                let now = begun + Duration::from_secs(second);
                assert_eq!(known.judge(now), expected, "{name}, at {second} s");
                assert!(known.0.len() <= TRIES);
            }
        }
    }
}
