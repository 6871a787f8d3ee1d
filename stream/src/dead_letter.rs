//! A dead letter: the original record with the reason why it could not be processed.

use jiff::Timestamp;

use crate::event::Headers;
use crate::log::{Outgoing, Position, Record};
use crate::topic::DEAD_LETTERS;

/// Header: why, as a short name to group by (`mapping`, `forbidden`, `line`, …).
pub const REASON: &str = "dl_reason";
/// Header: the error in full.
pub const ERROR: &str = "dl_error";
/// Header: the topic that it came from; absent when it never was in the log.
pub const TOPIC: &str = "dl_topic";
/// Header: the partition that it came from.
pub const PARTITION: &str = "dl_partition";
/// Header: the offset that it came from.
pub const OFFSET: &str = "dl_offset";
/// Header: the group that gave it up.
pub const GROUP: &str = "dl_group";
/// Header: how often it was tried.
pub const ATTEMPTS: &str = "dl_attempts";
/// Header: when it was given up, RFC 3339.
pub const TIME: &str = "dl_time";

/// Why something was given up, and after how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// A short name to group by.
    pub reason: String,
    /// The error in full, without secrets.
    pub error: String,
    /// Which group or importer gave it up.
    pub group: String,
    /// How often it was tried.
    pub attempts: u32,
}

/// The dead letter of a record that stands in the log: its key, value and headers, and where it
/// came from.
pub fn of_record(record: Record, why: &Reason, now: Timestamp) -> Outgoing {
    let Record { position, key, value, mut headers, .. } = record;
    push_reason(&mut headers, why, now);
    let Position { topic, partition, offset } = position;
    headers.push(TOPIC, topic.as_bytes());
    headers.push(PARTITION, partition.to_string());
    headers.push(OFFSET, offset.to_string());
    Outgoing { topic: DEAD_LETTERS.into(), key, value, headers }
}

/// The dead letter of something that never reached the log, such as a broken archive line.
pub fn of_source(mut outgoing: Outgoing, why: &Reason, now: Timestamp) -> Outgoing {
    push_reason(&mut outgoing.headers, why, now);
    outgoing.topic = DEAD_LETTERS.into();
    outgoing
}

fn push_reason(headers: &mut Headers, why: &Reason, now: Timestamp) {
    // A redriven letter that fails again keeps only its latest story.
    headers.retain(|name| !name.starts_with("dl_"));
    headers.push(REASON, &why.reason);
    headers.push(ERROR, &why.error);
    headers.push(GROUP, &why.group);
    headers.push(ATTEMPTS, why.attempts.to_string());
    headers.push(TIME, now.to_string());
}
