//! Writing an event's envelope.
//!
//! A source makes many events a second, and each has half a dozen attributes. They are written
//! where they go: headers and key of a record are one run of bytes, so that a record costs one
//! allocation, and copies of it none.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use crate::event::{EventType, PREFIX, SPEC_VERSION};
use crate::headers::{Headers, put_name, put_value};
use crate::record::Outgoing;

/// Enough for what an imported post has.
const USUAL_BYTES: usize = 256;
/// A time to the nanosecond.
const TIME_BYTES: usize = 32;

/// The attributes of an event that is being made; what they mean is said at
/// [`Event`](crate::Event).
#[derive(Debug)]
pub struct Envelope(Vec<u8>);

impl Envelope {
    /// With the attributes that every event has.
    pub fn new(id: &str, source: &str, kind: &EventType, time: Timestamp) -> Self {
        let mut text = String::with_capacity(TIME_BYTES);
        // A string takes all that is written to it.
        write!(text, "{time}").ok();
        let mut envelope = Self(Vec::with_capacity(USUAL_BYTES));
        envelope.put("specversion", SPEC_VERSION);
        envelope.put("id", id);
        envelope.put("source", source);
        envelope.put("type", kind.as_str());
        envelope.put("time", &text);
        envelope
    }

    /// Adds an attribute, by its name without the `ce_` prefix.
    pub fn put(&mut self, name: &str, value: &str) {
        put_name(&mut self.0, &[PREFIX, name]);
        put_value(&mut self.0, Some(value.as_bytes()));
    }

    /// As the headers of a record.
    pub fn headers(self) -> Headers {
        Headers::just_encoded(Bytes::from(self.0))
    }

    /// As a record of `topic`.
    pub fn record(mut self, topic: Arc<str>, key: &str, value: Option<Bytes>) -> Outgoing {
        let end = self.0.len();
        self.0.extend_from_slice(key.as_bytes());
        let bytes = Bytes::from(self.0);
        let headers = Headers::just_encoded(bytes.slice(..end));
        Outgoing { topic, key: Some(bytes.slice(end..)), value, headers }
    }
}
