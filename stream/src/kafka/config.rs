//! How to reach Kafka, and how its clients are set up.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::error::LogError;
use crate::log::ConsumerConfig;

/// How a password is proved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// The password itself; use it inside TLS only.
    Plain,
    /// SCRAM-SHA-256; needs the feature `kafka-tls`.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// SCRAM-SHA-512; needs the feature `kafka-tls`.
    #[default]
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

/// Who we are to Kafka.
#[derive(Clone, Debug)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The password.
    pub password: SecretString,
    /// How it is proved.
    pub mechanism: Mechanism,
}

/// How batches are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Not at all.
    None,
    /// Fast.
    #[default]
    Lz4,
    /// Smaller, at more work.
    Zstd,
}

impl Compression {
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// A Kafka cluster and how to talk to it.
#[derive(Clone)]
pub struct KafkaConfig {
    /// `host:port`, separated by commas.
    pub brokers: String,
    /// The name under which brokers log this client.
    pub client_id: String,
    /// Who we are; nothing for a cluster that does not ask.
    pub login: Option<Login>,
    /// Whether to use TLS; needs the feature `kafka-tls`.
    pub tls: bool,
    /// Certificates to trust, in PEM, instead of the system's.
    pub tls_ca: Option<PathBuf>,
    /// The largest record that is sent, in bytes.
    pub max_record_bytes: usize,
    /// The most that waits to be sent, in bytes. Publishers wait when it is full.
    pub queue_bytes: usize,
    /// How long a record waits for others to share its batch.
    pub linger: Duration,
    /// The largest batch, in bytes before compression. It must not exceed what a topic takes.
    pub batch_bytes: usize,
    /// How batches are compressed.
    pub compression: Compression,
    /// A record that is not acknowledged within this time has failed.
    pub delivery_timeout: Duration,
    /// How long one request may take.
    pub request_timeout: Duration,
    /// More librdkafka properties, by name. Those that the promises of this log rest on can't be
    /// set here.
    pub extra: BTreeMap<String, String>,
}

impl KafkaConfig {
    /// Sound values for the cluster at `brokers`.
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            client_id: "bowerbird".to_owned(),
            login: None,
            tls: false,
            tls_ca: None,
            max_record_bytes: 8 << 20,
            queue_bytes: 64 << 20,
            linger: Duration::from_millis(5),
            batch_bytes: 512 << 10,
            compression: Compression::default(),
            delivery_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(10),
            extra: BTreeMap::new(),
        }
    }

    /// The address without secrets, for messages.
    pub fn address(&self) -> String {
        format!("kafka://{}", self.brokers)
    }
}

impl fmt::Debug for KafkaConfig {
    /// Shows the names of the extra properties only: a value may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("login", &self.login)
            .field("tls", &self.tls)
            .field("extra", &self.extra.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Properties that the promises of this log rest on, or that have a field of their own.
const OURS: &[&str] = &[
    "acks",
    "allow.auto.create.topics",
    "auto.offset.reset",
    "batch.size",
    "bootstrap.servers",
    "client.id",
    "compression.codec",
    "compression.type",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "enable.random.seed",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "linger.ms",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "max.poll.interval.ms",
    "message.max.bytes",
    "message.send.max.retries",
    "message.timeout.ms",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "partitioner",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "queued.max.messages.kbytes",
    "request.required.acks",
    "retries",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "session.timeout.ms",
    "ssl.ca.location",
    "transactional.id",
];

/// A checked configuration, from which clients are made.
#[derive(Clone)]
pub(super) struct Clients {
    pub(super) config: Arc<KafkaConfig>,
}

impl Clients {
    pub(super) fn new(config: KafkaConfig) -> Result<Self, LogError> {
        let refuse = |reason: String| {
            Err(LogError::Fatal {
                address: config.address(),
                reason: format!("{reason}; change the configuration"),
            })
        };
        if config.brokers.split(',').any(|broker| broker.trim().is_empty()) {
            return refuse("it names no broker; expected host:port,…".to_owned());
        }
        if let Some(name) = config.extra.keys().find(|name| OURS.contains(&name.as_str())) {
            return refuse(format!("the property {name} can't be set, bowerbird sets it itself"));
        }
        let needs_tls = config.tls
            || config.tls_ca.is_some()
            || config.login.as_ref().is_some_and(|login| login.mechanism != Mechanism::Plain);
        if needs_tls && !cfg!(feature = "kafka-tls") {
            return refuse(
                "TLS and SCRAM are not in this build; use one with the feature kafka-tls"
                    .to_owned(),
            );
        }
        Ok(Self { config: Arc::new(config) })
    }

    /// The extra properties come last, so that they count.
    fn with_extra(&self, mut client: ClientConfig) -> ClientConfig {
        for (name, value) in &self.config.extra {
            client.set(name, value);
        }
        client
    }

    fn base(&self) -> ClientConfig {
        let config = &self.config;
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &config.brokers)
            .set("client.id", &config.client_id)
            .set("allow.auto.create.topics", "false")
            .set("socket.timeout.ms", millis(config.request_timeout))
            // Back within seconds after a broker comes back.
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "2000")
            .set("socket.keepalive.enable", "true")
            // Why a connection was closed is told on this level, and by no error (health).
            .set_log_level(RDKafkaLogLevel::Info);
        let protocol = match (&config.login, config.tls) {
            (None, false) => "plaintext",
            (None, true) => "ssl",
            (Some(_), false) => "sasl_plaintext",
            (Some(_), true) => "sasl_ssl",
        };
        client.set("security.protocol", protocol);
        if let Some(login) = &config.login {
            let mechanism = match login.mechanism {
                Mechanism::Plain => "PLAIN",
                Mechanism::ScramSha256 => "SCRAM-SHA-256",
                Mechanism::ScramSha512 => "SCRAM-SHA-512",
            };
            client
                .set("sasl.mechanism", mechanism)
                .set("sasl.username", &login.user)
                .set("sasl.password", login.password.expose_secret());
        }
        if let Some(ca) = &config.tls_ca {
            client.set("ssl.ca.location", ca.display().to_string());
        }
        client
    }

    /// For questions: metadata, offsets, groups.
    pub(super) fn asking(&self) -> ClientConfig {
        self.with_extra(self.base())
    }

    /// For the committed offsets of a group. It is never subscribed, so it is no member.
    pub(super) fn asking_group(&self, group: &str) -> ClientConfig {
        let mut client = self.base();
        client.set("group.id", group).set("enable.auto.commit", "false");
        self.with_extra(client)
    }

    /// For publishing: every record is acknowledged by all replicas in sync, once, in order.
    pub(super) fn producing(&self) -> ClientConfig {
        let config = &self.config;
        let mut client = self.base();
        client
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // As Java clients choose partitions (topic::partition_of).
            .set("partitioner", "murmur2_random")
            .set("linger.ms", millis(config.linger))
            .set("batch.size", config.batch_bytes.min(config.max_record_bytes).to_string())
            .set("batch.num.messages", "100000")
            .set("compression.type", config.compression.name())
            .set("message.timeout.ms", millis(config.delivery_timeout))
            // Room for the record's own frame.
            .set("message.max.bytes", (config.max_record_bytes + FRAME).to_string())
            .set("queue.buffering.max.kbytes", (config.queue_bytes >> 10).max(1).to_string())
            // Topics are known to exist before they are published to.
            .set("topic.metadata.propagation.max.ms", "10000")
            // Bounded by bytes alone.
            .set("queue.buffering.max.messages", "0");
        self.with_extra(client)
    }

    /// For consuming, as a member of a group or with an assignment of its own.
    pub(super) fn consuming(&self, consumer: &ConsumerConfig) -> ClientConfig {
        let mut client = self.base();
        // A reader without a group still needs a name; it never joins, and commits nothing.
        let group = if consumer.group.is_empty() { READER } else { &consumer.group };
        // One half of what is fetched ahead waits in the hand-over. Of the other half librdkafka may
        // queue a part; what one fetch brings comes on top, compressed and unpacked.
        let queue = (consumer.prefetch_bytes / 4).clamp(64 << 10, 1 << 30);
        let fetch = (consumer.prefetch_bytes / 8).clamp(64 << 10, 1 << 30);
        client
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // Never silently elsewhere: the consumer decides where to go on, and says so.
            .set("auto.offset.reset", "error")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", millis(consumer.session_timeout))
            .set("heartbeat.interval.ms", millis(consumer.session_timeout / 5))
            .set("max.poll.interval.ms", millis(longest_silence(consumer)))
            .set("fetch.wait.max.ms", "100")
            // Topics are known to exist before they are subscribed to: one that is gone is gone.
            .set("topic.metadata.propagation.max.ms", "3000")
            .set("fetch.error.backoff.ms", "100")
            // A partition that waits because enough is queued would do so for a whole second.
            .set("fetch.queue.backoff.ms", "5")
            .set("queued.min.messages", "100000")
            .set("queued.max.messages.kbytes", (queue >> 10).to_string())
            // A record that is larger comes alone, whatever these say.
            .set("message.max.bytes", fetch.min(1_000_000).to_string())
            .set("fetch.max.bytes", fetch.to_string())
            // One batch of each partition rather than a long run of one, so that what a reader has at
            // hand is close together in time.
            .set("fetch.message.max.bytes", (64 << 10).to_string());
        if let Some(instance) = &consumer.instance {
            client.set("group.instance.id", instance);
        }
        self.with_extra(client)
    }
}

/// What a record may need beside its own bytes: the frames of its batch and its headers.
const FRAME: usize = 64 << 10;

/// The group name of readers that have none.
const READER: &str = "bowerbird-reader";

/// The poll thread is silent only while revoked partitions drain.
fn longest_silence(consumer: &ConsumerConfig) -> Duration {
    let drain = 2 * consumer.drain_timeout + Duration::from_secs(30);
    drain.max(consumer.session_timeout).max(Duration::from_secs(300))
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_promises_rest_on_cannot_be_overridden() {
        for (name, taken) in
            [("acks", false), ("enable.auto.commit", false), ("ssl.cipher.suites", true)]
        {
            let mut config = KafkaConfig::new("localhost:9092");
            config.extra.insert(name.to_owned(), "0".to_owned());
            assert_eq!(Clients::new(config).is_ok(), taken, "{name}");
        }
        for brokers in ["", "a:1,", " "] {
            assert!(Clients::new(KafkaConfig::new(brokers)).is_err(), "{brokers:?}");
        }
        assert!(OURS.is_sorted());
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut config = KafkaConfig::new("localhost:9092");
        config.login = Some(Login {
            user: "alice".to_owned(),
            password: "hunter2".to_owned().into(),
            mechanism: Mechanism::Plain,
        });
        config.extra.insert("ssl.key.password".to_owned(), "hunter2".to_owned());
        let shown = format!("{config:?}");
        assert!(shown.contains("alice") && !shown.contains("hunter2"), "{shown}");
    }
}
