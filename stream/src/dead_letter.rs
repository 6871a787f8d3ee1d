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

/// What a letter tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// Why it was given up.
    pub why: Reason,
    /// Where the record stands; nothing when it never was in the log.
    pub origin: Option<Position>,
    /// When it was given up.
    pub time: Timestamp,
}

impl Story {
    /// Reads it from the headers of a letter; nothing when they are not those of one.
    pub fn of(headers: &Headers) -> Option<Self> {
        let text = |name: &str| headers.text(name);
        let origin = || {
            Some(Position {
                topic: text(TOPIC)?.into(),
                partition: text(PARTITION)?.parse().ok()?,
                offset: text(OFFSET)?.parse().ok()?,
            })
        };
        let why = Reason {
            reason: text(REASON)?.to_owned(),
            error: text(ERROR).unwrap_or_default().to_owned(),
            group: text(GROUP).unwrap_or_default().to_owned(),
            attempts: text(ATTEMPTS).and_then(|attempts| attempts.parse().ok()).unwrap_or(0),
        };
        let time = text(TIME).and_then(|time| time.parse().ok()).unwrap_or_default();
        Some(Self { why, origin: origin(), time })
    }
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn why(reason: &str) -> Reason {
        Reason {
            reason: reason.to_owned(),
            error: "no text".to_owned(),
            group: "sink-posts".to_owned(),
            attempts: 3,
        }
    }

    #[test]
    fn a_letter_keeps_the_record_and_tells_where_it_came_from() {
        let mut headers: Headers = [("ce_id", "7"), ("dl_reason", "of old")].into_iter().collect();
        headers.push_entry("foreign", None);
        let record = Record {
            position: Position { topic: "posts".into(), partition: 3, offset: 42 },
            appended: Timestamp::UNIX_EPOCH,
            key: Some(Bytes::from("1534")),
            value: None,
            headers,
        };
        let letter = of_record(record, &why("mapping"), Timestamp::UNIX_EPOCH);
        assert_eq!((&*letter.topic, letter.key.as_deref()), (DEAD_LETTERS, Some(&b"1534"[..])));
        assert_eq!(letter.value, None);
        let told: Vec<_> = letter
            .headers
            .iter()
            .map(|(name, value)| (name, std::str::from_utf8(value).unwrap()))
            .collect();
        let expected = [
            ("ce_id", "7"),
            ("foreign", ""),
            (REASON, "mapping"),
            (ERROR, "no text"),
            (GROUP, "sink-posts"),
            (ATTEMPTS, "3"),
            (TIME, "1970-01-01T00:00:00Z"),
            (TOPIC, "posts"),
            (PARTITION, "3"),
            (OFFSET, "42"),
        ];
        assert_eq!(told, expected);
        let story = Story::of(&letter.headers).unwrap();
        let origin = Position { topic: "posts".into(), partition: 3, offset: 42 };
        assert_eq!((story.why, story.origin), (why("mapping"), Some(origin)));
    }

    #[test]
    fn a_letter_of_what_never_was_in_the_log_names_no_place() {
        let outgoing = Outgoing {
            topic: "posts".into(),
            key: None,
            value: Some(Bytes::from("{broken")),
            headers: Headers::new(),
        };
        let letter = of_source(outgoing, &why("line"), Timestamp::UNIX_EPOCH);
        assert_eq!((&*letter.topic, letter.headers.text(REASON)), (DEAD_LETTERS, Some("line")));
        assert_eq!(letter.headers.get(TOPIC), None);
        assert_eq!(letter.value.as_deref(), Some(&b"{broken"[..]));
    }
}
