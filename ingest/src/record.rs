//! Records that are no content: facts for the journal, and what never became an event.

use std::collections::BTreeMap;

use bowerbird_stream::dead_letter::{self, Reason};
use bowerbird_stream::log::Outgoing;
use bowerbird_stream::{Event, EventType, topic};
use bytes::Bytes;
use jiff::Timestamp;
use xxhash_rust::xxh3::xxh3_128;

use crate::post::Refusal;

/// `ce_type` of a line of an archive that never became an event.
pub const LINE_REFUSED: &str = "line.refused";
/// `ce_type` of an item of a stream that never became an event.
pub const ITEM_REFUSED: &str = "item.refused";
/// `ce_type` of a feature that never became an event.
pub const FEATURE_REFUSED: &str = "feature.refused";

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
