//! Records, and where they stand.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::{EnvelopeError, Event, EventView, Headers};

/// One partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Partition {
    /// The topic; shared, since every record names it.
    pub topic: Arc<str>,
    /// The partition's number, from 0.
    pub partition: i32,
}

impl Partition {
    /// Names a partition.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// Where a record stands in the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition's number.
    pub partition: i32,
    /// The record's offset in it.
    pub offset: i64,
}

impl Position {
    /// The partition that it is in.
    pub fn in_partition(&self) -> Partition {
        Partition { topic: Arc::clone(&self.topic), partition: self.partition }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.topic, self.partition, self.offset)
    }
}

/// A record to be appended: key, value and headers as they shall stand in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The topic.
    pub topic: Arc<str>,
    /// The key, which decides the partition ([`crate::topic::partition_of`]).
    pub key: Option<Bytes>,
    /// The value; nothing for a tombstone.
    pub value: Option<Bytes>,
    /// The headers.
    pub headers: Headers,
}

impl Outgoing {
    /// `event` as a record of `topic`.
    pub fn event(topic: impl Into<Arc<str>>, event: Event) -> Self {
        event.envelope().record(topic.into(), &event.key, event.value)
    }

    /// Its size in bytes, as queues and batches count it.
    pub fn size(&self) -> usize {
        self.key.as_ref().map_or(0, Bytes::len)
            + self.value.as_ref().map_or(0, Bytes::len)
            + self.headers.size()
    }
}

/// A record as it stands in the log. It need not be an event of ours: anyone may write to a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it stands.
    pub position: Position,
    /// When the log took it, by the log's own clock or the producer's.
    pub appended: Timestamp,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; nothing for a tombstone.
    pub value: Option<Bytes>,
    /// The headers.
    pub headers: Headers,
}

impl Record {
    /// Reads it as an event.
    ///
    /// # Errors
    /// When it is none: it belongs into the dead letters then.
    pub fn event(&self) -> Result<Event, EnvelopeError> {
        Event::from_parts(self.key.as_ref(), self.value.clone(), &self.headers)
    }

    /// Reads it as an event, in place.
    ///
    /// # Errors
    /// As [`event`](Self::event).
    pub fn view(&self) -> Result<EventView<'_>, EnvelopeError> {
        EventView::read(self.key.as_ref(), self.value.as_ref(), &self.headers)
    }

    /// Its size in bytes, as queues and batches count it.
    pub fn size(&self) -> usize {
        self.key.as_ref().map_or(0, Bytes::len)
            + self.value.as_ref().map_or(0, Bytes::len)
            + self.headers.size()
    }
}
