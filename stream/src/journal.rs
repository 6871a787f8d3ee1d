//! Facts about the harvest itself, as events of the journal.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_128;

use crate::event::{Event, EventType};
use crate::log::Outgoing;
use crate::topic;

/// A fact from `source`: `kind` is its `ce_type` (`stream.gap`, `import.finished`, …).
pub fn fact(kind: &str, source: &str, time: Timestamp, fact: &Value) -> Outgoing {
    let value = fact.to_string();
    let id = format!("{kind}-{}-{:016x}", time.as_nanosecond(), xxh3_128(value.as_bytes()) as u64);
    record(kind, id, source, time, value)
}

/// A fact that may be told again under the same `id`, and then counts once.
pub fn named(kind: &str, id: String, source: &str, time: Timestamp, fact: &Value) -> Outgoing {
    record(kind, id, source, time, fact.to_string())
}

fn record(kind: &str, id: String, source: &str, time: Timestamp, value: String) -> Outgoing {
    let event = Event {
        id,
        source: source.to_owned(),
        kind: EventType::Journal(kind.to_owned()),
        time,
        key: source.to_owned(),
        value: Some(Bytes::from(value)),
        extensions: BTreeMap::new(),
    };
    Outgoing::event(topic::JOURNAL, event)
}
