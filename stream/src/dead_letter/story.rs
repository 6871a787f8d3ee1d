//! Reading what stands in the topic: letters, and marks.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::mark::Deed;
use super::rewrite::name_of;
use super::{
    ATTEMPTS, CUT, ERROR, GROUP, MARK, OFFSET, OURS, PARTITION, REASON, REDRIVE, TIME, TOPIC, TYPE,
};
use crate::event::Headers;
use crate::log::{Outgoing, Position, Record};

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

/// Where a letter stood first in its topic: its name, written `<partition>@<offset>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LetterId {
    /// The partition's number.
    pub partition: i32,
    /// The offset in it.
    pub offset: i64,
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.partition, self.offset)
    }
}

impl FromStr for LetterId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('@').and_then(|(partition, offset)| {
            Some(Self { partition: partition.parse().ok()?, offset: offset.parse().ok()? })
        });
        let sound = parsed.filter(|id| id.partition >= 0 && id.offset >= 0);
        sound.ok_or_else(|| {
            "not the name of a letter; they are written PARTITION@OFFSET, like 0@17".to_owned()
        })
    }
}

impl Serialize for LetterId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A letter as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Its name, which it keeps where it is said again.
    pub id: LetterId,
    /// What it tells.
    pub story: Story,
    /// What was done with it; nothing while it is open.
    pub done: Option<Deed>,
    /// As it is in the log: key, value and headers of the original, and its own headers.
    pub record: Record,
}

impl Letter {
    /// Reads a record of the topic; nothing when it is no letter. Whether it is marked is not said
    /// by itself.
    pub fn of(record: Record) -> Option<Self> {
        if record.headers.get(MARK).is_some() {
            return None;
        }
        let story = Story::of(&record.headers)?;
        Some(Self { id: name_of(&record), story, done: None, record })
    }

    /// The `ce_type` of what was given up, where it has one.
    pub fn kind(&self) -> Option<&str> {
        self.record.headers.text(TYPE)
    }

    /// The key, as text.
    pub fn key(&self) -> Option<Cow<'_, str>> {
        self.record.key.as_deref().map(String::from_utf8_lossy)
    }

    /// The topic that it came from; nothing when it never was in the log.
    pub fn topic(&self) -> Option<&str> {
        self.story.origin.as_ref().map(|origin| &*origin.topic)
    }

    /// The letter that its record was redriven from: it has failed again.
    pub fn again(&self) -> Option<LetterId> {
        self.record.headers.text(REDRIVE)?.parse().ok()
    }

    /// Whether it holds less than the original, which was too large with it.
    pub fn is_cut(&self) -> bool {
        self.record.headers.get(CUT).is_some()
    }

    /// The original record, with the letter that it is redriven from, for `topic`.
    pub fn restored(&self, topic: &str, original: &Record) -> Outgoing {
        let outgoing = Outgoing {
            topic: topic.into(),
            key: original.key.clone(),
            value: original.value.clone(),
            headers: original.headers.clone(),
        };
        self.redriven(outgoing)
    }

    /// `outgoing`, telling that it is redriven from this letter.
    pub(super) fn redriven(&self, mut outgoing: Outgoing) -> Outgoing {
        outgoing.headers.retain(|name| !name.starts_with(OURS));
        outgoing.headers.set(REDRIVE, self.id.to_string());
        outgoing
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Mark, of_record, of_source};
    use super::*;

    fn record(headers: Headers) -> Record {
        Record {
            position: Position { topic: "dead-letters".into(), partition: 1, offset: 7 },
            appended: Timestamp::UNIX_EPOCH,
            key: Some("1534".into()),
            value: Some("{}".into()),
            headers,
        }
    }

    fn why() -> Reason {
        Reason {
            reason: "payload".to_owned(),
            error: "no text".to_owned(),
            group: "bowerbird-posts".to_owned(),
            attempts: 1,
        }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        let id = LetterId { partition: 2, offset: 17 };
        assert_eq!((id.to_string().as_str(), "2@17".parse()), ("2@17", Ok(id)));
        for text in ["", "2", "2@", "@17", "-1@3", "2@-3", "2@3@4", "a@b"] {
            assert!(text.parse::<LetterId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_record_of_the_topic_is_a_letter_a_mark_or_neither() {
        let origin = Record {
            position: Position { topic: "posts".into(), partition: 3, offset: 42 },
            ..record([("ce_type", "post.received"), (REDRIVE, "0@5")].into_iter().collect())
        };
        let written = of_record(origin, &why(), Timestamp::UNIX_EPOCH);
        let letter = Letter::of(record(written.headers)).unwrap();
        assert_eq!(letter.id, LetterId { partition: 1, offset: 7 });
        assert_eq!((letter.kind(), letter.topic()), (Some("post.received"), Some("posts")));
        assert_eq!(letter.again(), Some(LetterId { partition: 0, offset: 5 }));

        // Sent back, it tells of this letter and of no other, and keeps nothing of the story.
        let sent = letter.restored("posts", &letter.record);
        let headers: Vec<_> = sent.headers.iter().collect();
        assert_eq!(headers, [("ce_type", &b"post.received"[..]), (REDRIVE, b"1@7")]);
        assert_eq!((sent.key, sent.value), (letter.record.key.clone(), letter.record.value));

        let outgoing =
            Outgoing { topic: "posts".into(), key: None, value: None, headers: Headers::new() };
        let source = of_source(outgoing, &why(), Timestamp::UNIX_EPOCH);
        let letter = Letter::of(record(source.headers)).unwrap();
        assert_eq!((letter.topic(), letter.kind(), letter.again()), (None, None, None));

        let of = LetterId { partition: 1, offset: 7 };
        let by = "ada".to_owned();
        let mark = Mark { of, deed: Deed::Dropped, time: Timestamp::UNIX_EPOCH, by };
        let written = mark.record("dead-letters", None);
        assert_eq!(Mark::of(&written.headers), Some(mark));
        assert_eq!(Letter::of(record(written.headers)), None);

        let broken: Headers = [(MARK, "eaten"), ("dl_of", "1@7")].into_iter().collect();
        assert_eq!((Mark::of(&broken), Letter::of(record(broken))), (None, None));
        assert_eq!(Letter::of(record(Headers::new())), None);
    }
}
