//! Records that are no content: facts for the journal, and what never became an event.

use std::collections::BTreeMap;

use bowerbird_stream::dead_letter::{self, Reason};
use bowerbird_stream::log::Outgoing;
use bowerbird_stream::{Event, EventType, topic};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_128;

use crate::post::Refusal;

/// A fact about the harvest from `source`, for the journal.
pub fn fact(kind: &str, source: &str, time: Timestamp, fact: &Value) -> Outgoing {
    let value = fact.to_string();
    let event = Event {
        id: format!("{kind}-{}-{:016x}", time.as_nanosecond(), xxh3_128(value.as_bytes()) as u64),
        source: source.to_owned(),
        kind: EventType::Journal(kind.to_owned()),
        time,
        key: source.to_owned(),
        value: Some(Bytes::from(value)),
        extensions: BTreeMap::new(),
    };
    Outgoing::event(topic::JOURNAL, event)
}

/// Something that was read and never became an event.
#[derive(Debug)]
pub struct Refused<'a> {
    /// `ce_type`: what it is.
    pub kind: &'static str,
    /// `ce_source`.
    pub source: &'a str,
    /// Where in the source it stands.
    pub key: String,
    /// When it was read.
    pub time: Timestamp,
    /// Its bytes, or the first of them.
    pub value: Bytes,
    /// More about where it stands.
    pub extensions: BTreeMap<String, String>,
}

impl Refused<'_> {
    /// As a dead letter that `group` gives up.
    pub fn letter(self, refusal: &Refusal, group: &str) -> Outgoing {
        let event = Event {
            id: format!("{}-{:032x}", self.key, xxh3_128(&self.value)),
            source: self.source.to_owned(),
            kind: EventType::Journal(self.kind.to_owned()),
            time: self.time,
            key: self.key,
            value: Some(self.value),
            extensions: self.extensions,
        };
        let why = Reason {
            reason: refusal.reason.to_owned(),
            error: refusal.error.clone(),
            group: group.to_owned(),
            attempts: 1,
        };
        dead_letter::of_source(Outgoing::event(topic::DEAD_LETTERS, event), &why, Timestamp::now())
    }
}
