//! An event and its envelope: CloudEvents 1.0, Kafka protocol binding, binary mode.
//!
//! The attributes travel as `ce_*` headers and the value is the payload as it was received, its
//! bytes untouched (CloudEvents Kafka protocol binding 1.0.2, section 3.2).

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;
use thiserror::Error;

/// What happened; the `ce_type` attribute.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum EventType {
    /// A post was observed; the value is a v2 stream item or an archive line.
    PostReceived,
    /// A post was removed; no value, so that compaction erases the content from the log.
    PostErased,
    /// A platform asks for a removal, a restoration or a geo scrub.
    NoticeReceived,
    /// A feature of a data set was observed; the value is its GeoJSON.
    FeatureObserved,
    /// A feature is no longer in its data set; no value.
    FeatureVanished,
    /// A fact about the harvest itself: `stream.gap`, `import.finished`, …
    Journal(String),
}

impl EventType {
    /// The `ce_type` attribute.
    pub fn as_str(&self) -> &str {
        match self {
            Self::PostReceived => "post.received",
            Self::PostErased => "post.erased",
            Self::NoticeReceived => "notice.received",
            Self::FeatureObserved => "feature.observed",
            Self::FeatureVanished => "feature.vanished",
            Self::Journal(name) => name,
        }
    }
}

impl From<&str> for EventType {
    fn from(name: &str) -> Self {
        match name {
            "post.received" => Self::PostReceived,
            "post.erased" => Self::PostErased,
            "notice.received" => Self::NoticeReceived,
            "feature.observed" => Self::FeatureObserved,
            "feature.vanished" => Self::FeatureVanished,
            other => Self::Journal(other.to_owned()),
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something that happened, with where it came from and when it was observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `ce_id`: with `source` it names this event; the same observation has the same id again.
    pub id: String,
    /// `ce_source`: a URI reference, such as `x:stream` or `archive:posts-2021.jsonl.gz`.
    pub source: String,
    /// `ce_type`.
    pub kind: EventType,
    /// `ce_time`: when the content was observed. It decides which observation is newest.
    pub time: Timestamp,
    /// The record's key: the id of the entity, so that its events share a partition, in order.
    pub key: String,
    /// The payload as received, or nothing for a tombstone.
    pub value: Option<Bytes>,
    /// CloudEvents extensions, by name without the `ce_` prefix: lower-case letters and digits.
    pub extensions: BTreeMap<String, String>,
}

/// Record headers in their order; a name may occur more than once.
pub type Headers = Vec<(String, Bytes)>;

const SPEC_VERSION: &str = "1.0";
const PREFIX: &str = "ce_";

/// Why a record is not an event. The record goes to the dead letters with this as its reason.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EnvelopeError {
    /// A required attribute is absent.
    #[error("header ce_{0} is missing: not a CloudEvent in binary mode")]
    Missing(&'static str),
    /// A header of this envelope is not UTF-8.
    #[error("header {0} is not UTF-8")]
    NotText(String),
    /// A version other than 1.0.
    #[error("ce_specversion is {0:?}, expected \"1.0\"")]
    Version(String),
    /// `ce_time` is not an RFC 3339 time.
    #[error("ce_time {0:?} is not an RFC 3339 time")]
    Time(String),
    /// The record has no key, or one that is not UTF-8.
    #[error("the record has no key of UTF-8 text")]
    Key,
}

impl Event {
    /// The headers that carry everything but key and value.
    pub fn headers(&self) -> Headers {
        let mut headers = Vec::with_capacity(5 + self.extensions.len());
        let mut put = |name: &str, value: &str| {
            headers.push((format!("{PREFIX}{name}"), Bytes::copy_from_slice(value.as_bytes())));
        };
        put("specversion", SPEC_VERSION);
        put("id", &self.id);
        put("source", &self.source);
        put("type", self.kind.as_str());
        put("time", &self.time.to_string());
        for (name, value) in &self.extensions {
            put(name, value);
        }
        headers
    }

    /// Reads an event back from a record.
    ///
    /// # Errors
    /// When the record is not a CloudEvent in binary mode. Headers without the `ce_` prefix are
    /// not ours and are passed over.
    pub fn from_parts(
        key: Option<&Bytes>,
        value: Option<Bytes>,
        headers: &[(String, Bytes)],
    ) -> Result<Self, EnvelopeError> {
        let (mut version, mut id, mut source, mut kind, mut time) = (None, None, None, None, None);
        let mut extensions = BTreeMap::new();
        for (header, value) in headers {
            let Some(name) = header.strip_prefix(PREFIX) else { continue };
            let text =
                std::str::from_utf8(value).map_err(|_| EnvelopeError::NotText(header.clone()))?;
            match name {
                "specversion" => version = Some(text),
                "id" => id = Some(text),
                "source" => source = Some(text),
                "type" => kind = Some(text),
                "time" => time = Some(text),
                _ => {
                    extensions.insert(name.to_owned(), text.to_owned());
                }
            }
        }
        let version = version.ok_or(EnvelopeError::Missing("specversion"))?;
        if version != SPEC_VERSION {
            return Err(EnvelopeError::Version(version.to_owned()));
        }
        let time = time.ok_or(EnvelopeError::Missing("time"))?;
        let key = key.and_then(|key| std::str::from_utf8(key).ok()).ok_or(EnvelopeError::Key)?;
        Ok(Self {
            id: id.ok_or(EnvelopeError::Missing("id"))?.to_owned(),
            source: source.ok_or(EnvelopeError::Missing("source"))?.to_owned(),
            kind: EventType::from(kind.ok_or(EnvelopeError::Missing("type"))?),
            time: time.parse().map_err(|_| EnvelopeError::Time(time.to_owned()))?,
            key: key.to_owned(),
            value,
            extensions,
        })
    }
}
