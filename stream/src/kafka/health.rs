//! What a client's error callback tells, kept until it is mended.
//!
//! A wrong password shows in no call's own result: a producer sees only time-outs, and a question
//! only that nobody answered. The reason comes by the error callback alone.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::error::{Kind, kind};

#[derive(Debug, Default)]
struct Faults {
    refusal: Option<String>,
    silence: Option<String>,
}

/// What is wrong between a client and its brokers.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<Faults>);

impl Health {
    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why brokers refuse us, if they do.
    pub(super) fn refusal(&self) -> Option<String> {
        self.faults().refusal.clone()
    }

    /// Why brokers can't be reached, if one could not.
    pub(super) fn silence(&self) -> Option<String> {
        self.faults().silence.clone()
    }

    /// A broker has answered as it should.
    pub(super) fn well(&self) {
        *self.faults() = Faults::default();
    }

    pub(super) fn note(&self, error: &KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        let mut faults = self.faults();
        match kind(code) {
            Kind::Refused => faults.refusal = Some(reason.to_owned()),
            // "1/1 brokers are down" says less than the broker's own error before it.
            Kind::Silent if code == Code::AllBrokersDown && faults.silence.is_some() => {}
            Kind::Silent => faults.silence = Some(reason.to_owned()),
            _ => {}
        }
    }
}

/// The context of clients that only ask.
#[derive(Debug, Default)]
pub(super) struct Asking {
    pub(super) health: Health,
}

impl ClientContext for Asking {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.health.note(&error, reason);
    }
}

impl ConsumerContext for Asking {}

/// librdkafka's log lines. What matters of them comes as an error too, and is told by whoever made
/// the call, so they are for whoever looks closer.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "librdkafka", facility, message);
        }
        _ => tracing::debug!(target: "librdkafka", facility, message),
    }
}
