//! `[log]`

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{LogUrl, Secret};

/// The event log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LogSection {
    /// Where it is: `sqlite:PATH` or `kafka://host:port,host:port`. Without it: `log.sqlite` in
    /// the data folder.
    #[schemars(example = &"kafka://kafka:9092")]
    pub url: Option<LogUrl>,
    /// The user towards Kafka; with it, SASL is used.
    #[schemars(example = &"bowerbird")]
    pub user: Option<String>,
    /// The password towards Kafka.
    pub password: Option<Secret>,
    /// A file that holds the password, such as a Docker secret. It is read once: who exchanges the
    /// password starts the roles again.
    #[schemars(example = &"/run/secrets/kafka_password")]
    pub password_file: Option<PathBuf>,
    /// How Kafka asks for the password. The SCRAM mechanisms need a build with `kafka-tls`.
    pub sasl_mechanism: SaslMechanism,
    /// Whether to speak TLS with Kafka; needs a build with `kafka-tls`.
    pub tls: bool,
    /// Certificates to trust, in PEM, instead of the system's.
    #[schemars(example = &"/etc/bowerbird/ca.pem")]
    pub tls_ca: Option<PathBuf>,
    /// Partitions of `posts`, `notices`, `features` and `dead-letters`: the most members that a
    /// group can share the work among. It is never changed on a topic that exists.
    #[schemars(range(min = 1, max = 1000))]
    pub partitions: u32,
    /// Copies of each partition on Kafka; 3 where there are three brokers.
    #[schemars(range(min = 1, max = 9))]
    pub replication: u32,
    /// The largest record that the topics take, in bytes.
    #[schemars(range(min = 65_536, max = 104_857_600))]
    pub max_record_bytes: u32,
    /// Whether roles create missing topics and bring settings up to date when they start. Without
    /// it, `bowerbird topics apply` does.
    pub apply_topics: bool,
}

/// How Kafka asks for the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SaslMechanism {
    /// As it is; only over TLS or a trusted network.
    #[serde(rename = "PLAIN")]
    Plain,
    /// Salted challenge and response with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// Salted challenge and response with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl SaslMechanism {
    /// Its name as Kafka knows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl Default for LogSection {
    fn default() -> Self {
        Self {
            url: None,
            user: None,
            password: None,
            password_file: None,
            sasl_mechanism: SaslMechanism::Plain,
            tls: false,
            tls_ca: None,
            partitions: 12,
            replication: 1,
            max_record_bytes: 8 << 20,
            apply_topics: true,
        }
    }
}
