//! An event and its envelope: CloudEvents 1.0, Kafka protocol binding, binary mode.
//!
//! The attributes travel as `ce_*` headers and the value is the payload as it was received, its
//! bytes untouched (CloudEvents Kafka protocol binding 1.0.2, section 3.2).

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;
use thiserror::Error;

use crate::envelope::Envelope;
pub use crate::headers::Headers;

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

pub(crate) const SPEC_VERSION: &str = "1.0";
pub(crate) const PREFIX: &str = "ce_";

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
        self.envelope().headers()
    }

    pub(crate) fn envelope(&self) -> Envelope {
        let mut envelope = Envelope::new(&self.id, &self.source, &self.kind, self.time);
        for (name, value) in &self.extensions {
            envelope.put(name, value);
        }
        envelope
    }

    /// Reads an event back from a record.
    ///
    /// # Errors
    /// As [`EventView::read`].
    pub fn from_parts(
        key: Option<&Bytes>,
        value: Option<Bytes>,
        headers: &Headers,
    ) -> Result<Self, EnvelopeError> {
        let view = EventView::read(key, None, headers)?;
        Ok(Self {
            id: view.id.to_owned(),
            source: view.source.to_owned(),
            kind: view.kind,
            time: view.time,
            key: view.key.to_owned(),
            value,
            extensions: view
                .extensions
                .iter()
                .map(|&(n, v)| (n.to_owned(), v.to_owned()))
                .collect(),
        })
    }

    /// The event as it would be read in place.
    pub fn view(&self) -> EventView<'_> {
        EventView {
            id: &self.id,
            source: &self.source,
            kind: self.kind.clone(),
            time: self.time,
            key: &self.key,
            value: self.value.as_deref(),
            extensions: self.extensions.iter().map(|(n, v)| (&**n, &**v)).collect(),
        }
    }
}

/// An [`Event`] read in place: nothing of the record is copied. The fields mean the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventView<'a> {
    /// `ce_id`.
    pub id: &'a str,
    /// `ce_source`.
    pub source: &'a str,
    /// `ce_type`.
    pub kind: EventType,
    /// `ce_time`.
    pub time: Timestamp,
    /// The record's key.
    pub key: &'a str,
    /// The payload as received, or nothing for a tombstone.
    pub value: Option<&'a [u8]>,
    extensions: Vec<(&'a str, &'a str)>,
}

impl<'a> EventView<'a> {
    /// Reads an event out of a record.
    ///
    /// # Errors
    /// When the record is not a CloudEvent in binary mode. Headers without the `ce_` prefix are
    /// not ours and are passed over.
    pub fn read(
        key: Option<&'a Bytes>,
        value: Option<&'a Bytes>,
        headers: &'a Headers,
    ) -> Result<Self, EnvelopeError> {
        let (mut version, mut id, mut source, mut kind, mut time) = (None, None, None, None, None);
        let mut extensions = Vec::new();
        for (header, value) in headers.iter() {
            let Some(name) = header.strip_prefix(PREFIX) else { continue };
            let text = std::str::from_utf8(value)
                .map_err(|_| EnvelopeError::NotText(header.to_owned()))?;
            match name {
                "specversion" => version = Some(text),
                "id" => id = Some(text),
                "source" => source = Some(text),
                "type" => kind = Some(text),
                "time" => time = Some(text),
                _ => extensions.push((name, text)),
            }
        }
        let version = version.ok_or(EnvelopeError::Missing("specversion"))?;
        if version != SPEC_VERSION {
            return Err(EnvelopeError::Version(version.to_owned()));
        }
        let time = time.ok_or(EnvelopeError::Missing("time"))?;
        let key = key.and_then(|key| std::str::from_utf8(key).ok()).ok_or(EnvelopeError::Key)?;
        Ok(Self {
            id: id.ok_or(EnvelopeError::Missing("id"))?,
            source: source.ok_or(EnvelopeError::Missing("source"))?,
            kind: EventType::from(kind.ok_or(EnvelopeError::Missing("type"))?),
            time: time.parse().map_err(|_| EnvelopeError::Time(time.to_owned()))?,
            key,
            value: value.map(|value| &**value),
            extensions,
        })
    }

    /// An extension by its name without the `ce_` prefix; of several of a name the last counts.
    pub fn extension(&self, name: &str) -> Option<&'a str> {
        self.extensions.iter().rfind(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Outgoing;
    use proptest::prelude::*;

    fn event() -> impl Strategy<Value = Event> {
        let extensions = proptest::collection::btree_map("x[a-z0-9]{1,6}", any::<String>(), 0..4);
        let time = -377_705_023_201_000_i64..253_402_207_200_000;
        let value = proptest::option::of(any::<Vec<u8>>());
        (any::<[String; 3]>(), any::<String>(), time, value, extensions).prop_map(
            |([id, source, key], kind, time, value, extensions)| Event {
                id,
                source,
                kind: EventType::from(kind.as_str()),
                time: Timestamp::from_millisecond(time).unwrap(),
                key,
                value: value.map(Bytes::from),
                extensions,
            },
        )
    }

    proptest! {
        #[test]
        fn an_event_comes_back_from_its_headers(event in event()) {
            let key = Bytes::from(event.key.clone());
            let back = Event::from_parts(Some(&key), event.value.clone(), &event.headers());
            prop_assert_eq!(back.as_ref(), Ok(&event));
            let headers = event.headers();
            let view = EventView::read(Some(&key), event.value.as_ref(), &headers);
            prop_assert_eq!(view, Ok(event.view()));
            let record = Outgoing::event("topic", event);
            prop_assert_eq!((record.key, record.headers), (Some(key), headers));
        }

        #[test]
        fn any_headers_are_read_or_refused(
            names in proptest::collection::vec("(ce_)?(id|source|type|time|specversion|[a-z]{0,3})", 0..8),
            values in proptest::collection::vec(any::<Vec<u8>>(), 8),
            key in proptest::option::of(any::<Vec<u8>>()),
        ) {
            let headers: Headers = names.iter().zip(&values).collect();
            let key = key.map(Bytes::from);
            let _ = Event::from_parts(key.as_ref(), None, &headers);
        }
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let good =
            [("ce_specversion", "1.0"), ("ce_id", "1"), ("ce_source", "s"), ("ce_type", "t")];
        let key = Bytes::from_static(b"k");
        let read = |headers: Vec<(&str, &str)>| {
            Event::from_parts(Some(&key), None, &headers.into_iter().collect()).unwrap_err()
        };
        assert_eq!(read(good.to_vec()), EnvelopeError::Missing("time"));
        let with = |extra| good.into_iter().chain([extra]).collect::<Vec<_>>();
        assert_eq!(read(with(("ce_time", "noon"))), EnvelopeError::Time("noon".into()));
        assert_eq!(read(with(("ce_specversion", "0.3"))), EnvelopeError::Version("0.3".into()));
        assert_eq!(read(vec![]), EnvelopeError::Missing("specversion"));
        let whole: Headers = with(("ce_time", "2026-01-01T00:00:00Z")).into_iter().collect();
        assert_eq!(Event::from_parts(None, None, &whole), Err(EnvelopeError::Key));
    }
}
