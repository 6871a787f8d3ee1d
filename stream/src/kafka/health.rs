//! What a client's error callback tells, kept until it is mended.
//!
//! A wrong password shows in no call's own result: a producer sees only time-outs, and a question
//! only that nobody answered. The reason comes by the error callback alone. That a broker hangs up
//! at once, as one does that wants a login or TLS, is told by a log line alone.

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
    hangs_up: bool,
}

/// What a broker is like that takes connections and then hangs up.
const HANGS_UP: &str = "it takes the connection and then hangs up; it may want a login (log.user \
                        and log.password) or TLS (log.tls), or be no Kafka";
/// A connection that ends sooner after it was made was ended on purpose; as librdkafka judges.
const SOON_MS: u64 = 2000;

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
        let faults = self.faults();
        if faults.hangs_up { Some(HANGS_UP.to_owned()) } else { faults.silence.clone() }
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
            Kind::Silent => {
                if code != Code::AllBrokersDown {
                    faults.hangs_up = hung_up(reason);
                }
                faults.silence = Some(reason.to_owned());
            }
            _ => {}
        }
    }

    /// Takes a log line of librdkafka: passes it on, and notes what no error tells.
    pub(super) fn hear(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "FAIL" && hung_up(message) {
            self.faults().hangs_up = true;
        }
        log(level, facility, message);
    }
}

/// Whether a failure of a connection says that the broker ended it before anything was asked, or
/// does not speak Kafka's protocol in the open.
///
/// Source: librdkafka, `rd_kafka_broker_set_error`, whose own hint for this does not get through.
fn hung_up(message: &str) -> bool {
    let ended = ["Disconnected", "Receive failed", "Send failed"];
    let Some((what, when)) = message.rsplit_once(" (after ") else { return false };
    let Some((lasted, state)) = when.split_once("ms in state ") else { return false };
    let soon = lasted.parse().is_ok_and(|lasted: u64| lasted < SOON_MS);
    let asking = state.starts_with("APIVERSION_QUERY");
    ended.iter().any(|ended| what.contains(ended)) && (asking || soon && state.starts_with("UP"))
}

/// The context of clients that only ask.
#[derive(Debug, Default)]
pub(super) struct Asking {
    pub(super) health: Health,
}

impl ClientContext for Asking {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.health.hear(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.health.note(&error, reason);
    }
}

impl ConsumerContext for Asking {}

/// librdkafka's log lines. What matters of them comes as an error too, and is told by whoever made
/// the call, so they are for whoever looks closer.
fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "librdkafka", facility, message);
        }
        _ => tracing::debug!(target: "librdkafka", facility, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DROPPED: &str =
        "[thrd:b/bootstrap]: b/bootstrap: Disconnected: connection closed by peer";

    #[test]
    fn a_broker_that_hangs_up_at_once_is_told_from_one_that_goes_away() {
        for (message, expected) in [
            (format!("{DROPPED}: receive 0 after POLLIN (after 2ms in state UP)"), true),
            (format!("{DROPPED} (after 0ms in state UP, 1 identical error(s) suppressed)"), true),
            (format!("{DROPPED} (after 0ms in state APIVERSION_QUERY)"), true),
            ("b: Send failed: Broken pipe (after 0ms in state UP)".to_owned(), true),
            (
                "b: Receive failed: Invalid response size 352518912 (0..100000000): increase \
              receive.message.max.bytes (after 1ms in state APIVERSION_QUERY)"
                    .to_owned(),
                true,
            ),
            (format!("{DROPPED} (after 61000ms in state UP)"), false),
            (
                "b: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state \
              CONNECT)"
                    .to_owned(),
                false,
            ),
            (
                "b: ApiVersionRequest failed: Local: Timed out (after 10000ms in state \
              APIVERSION_QUERY)"
                    .to_owned(),
                false,
            ),
            (DROPPED.to_owned(), false),
        ] {
            assert_eq!(hung_up(&message), expected, "{message}");
        }
    }

    #[test]
    fn the_latest_silence_is_told() {
        let (health, info) = (Health::default(), RDKafkaLogLevel::Info);
        let error = KafkaError::MetadataFetch;
        health.note(&error(Code::BrokerTransportFailure), "refused");
        health.hear(info, "FAIL", &format!("{DROPPED} (after 2ms in state UP)"));
        health.note(&error(Code::AllBrokersDown), "1/1 brokers are down");
        assert_eq!(health.silence().as_deref(), Some(HANGS_UP));
        health.note(&error(Code::BrokerTransportFailure), "refused");
        assert_eq!(health.silence().as_deref(), Some("refused"));
        health.well();
        assert_eq!(health.silence(), None);
    }
}
