//! How data sets are harvested.

use std::time::Duration;

use bowerbird_stream::retry::RetryPolicy;
use secrecy::SecretString;
use url::Url;

pub use super::schedule::Schedule;
use crate::outbox::OutboxConfig;
use crate::renewal::Renewal;

/// How data sets are harvested.
#[derive(Clone, Debug)]
pub struct AurinConfig {
    /// Where the WFS is.
    pub base_url: Url,
    /// User and password; with nothing, none are sent.
    pub credentials: Option<(String, SecretString)>,
    /// Where the password may have been exchanged: looked at before each poll.
    pub renewal: Option<Renewal>,
    /// Features asked for in one page. Servers may give fewer.
    pub page_size: u32,
    /// How long the WFS may be silent, before an answer and in it.
    pub timeout: Duration,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// The largest feature that is read, in bytes.
    pub max_feature_bytes: usize,
    /// How often and after which waits a request is tried again.
    pub retry: RetryPolicy,
    /// The data sets.
    pub datasets: Vec<DatasetConfig>,
    /// How features travel to the log.
    pub outbox: OutboxConfig,
    /// How long the log may take, after the shutdown began, to acknowledge what it has been given.
    pub drain_timeout: Duration,
}

/// A data set to poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetConfig {
    /// The type name, as the capabilities list it.
    pub type_name: String,
    /// The property that is unique to each feature: its id, and what pages are sorted by.
    pub id_property: String,
    /// The licence, carried with every feature.
    pub licence: String,
    /// Who is to be named in published work, carried with every feature.
    pub attribution: String,
    /// When it is polled.
    pub schedule: Schedule,
}

impl AurinConfig {
    /// Sound values for this WFS and these data sets.
    pub fn new(base_url: Url, datasets: Vec<DatasetConfig>) -> Self {
        Self {
            base_url,
            credentials: None,
            renewal: None,
            page_size: 1_000,
            timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(10),
            max_feature_bytes: 64 << 20,
            retry: RetryPolicy {
                initial: Duration::from_millis(500),
                max: Duration::from_secs(30),
                max_attempts: Some(4),
                ..RetryPolicy::default()
            },
            datasets,
            outbox: OutboxConfig { linger: Duration::from_millis(50), ..OutboxConfig::default() },
            drain_timeout: Duration::from_secs(5),
        }
    }
}
