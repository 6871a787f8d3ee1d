//! Writing letters.

use jiff::Timestamp;

use super::rewrite::Gone;
use super::story::Reason;
use super::{
    ATTEMPTS, CUT, ERASED, ERROR, GROUP, OFFSET, OURS, PARTITION, REASON, REDRIVE, TIME, TOPIC,
    TYPE,
};
use crate::event::Headers;
use crate::log::{Outgoing, Position, Record};
use crate::topic::DEAD_LETTERS;

/// The most that is kept of an error's text, in bytes: some errors quote what they are about.
const MAX_ERROR_BYTES: usize = 4 << 10;

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

/// The letter with less in it, when it was larger than the log takes: without its value, and if
/// that is not enough, without the record's own key and headers. Where the record stands in the
/// log, the letter leads to it. Nothing when there is no more to leave out.
pub fn shortened(mut letter: Outgoing) -> Option<Outgoing> {
    let whole = letter.size();
    if letter.headers.get(CUT).is_none() {
        letter.headers.push(CUT, whole.to_string());
    }
    if letter.value.take().is_some() {
        return Some(letter);
    }
    letter.key = None;
    letter.headers.retain(|name| name.starts_with(OURS));
    (letter.size() < whole).then_some(letter)
}

/// What is left of a letter whose content must go: its key and story, without what its record was
/// made of. Also an error may quote that.
pub(super) fn erased(mut letter: Outgoing, gone: &Gone) -> Outgoing {
    letter.value = None;
    letter.headers.retain(|name| {
        let of_record = !name.starts_with(OURS) && ![TYPE, REDRIVE].contains(&name);
        !of_record && name != CUT
    });
    letter.headers.set(ERROR, &gone.why);
    letter.headers.set(ERASED, &gone.event);
    letter
}

fn push_reason(headers: &mut Headers, why: &Reason, now: Timestamp) {
    // A redriven letter that fails again keeps only its latest story.
    headers.retain(|name| !name.starts_with(OURS));
    headers.push(REASON, &why.reason);
    headers.push(ERROR, &why.error[..why.error.floor_char_boundary(MAX_ERROR_BYTES)]);
    headers.push(GROUP, &why.group);
    headers.push(ATTEMPTS, why.attempts.to_string());
    headers.push(TIME, now.to_string());
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::Story;
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

    #[test]
    fn a_letter_that_is_too_large_loses_what_is_not_its_story() {
        let record = Record {
            position: Position { topic: "posts".into(), partition: 3, offset: 42 },
            appended: Timestamp::UNIX_EPOCH,
            key: Some(Bytes::from("key")),
            value: Some(Bytes::from("value")),
            headers: [("ce_id", "7")].into_iter().collect(),
        };
        let long = Reason { error: "ä".repeat(MAX_ERROR_BYTES), ..why("mapping") };
        let letter = of_record(record, &long, Timestamp::UNIX_EPOCH);
        assert_eq!(letter.headers.get(ERROR).map(<[u8]>::len), Some(MAX_ERROR_BYTES));
        let size = letter.size();
        let without_value = shortened(letter).unwrap();
        assert_eq!((&without_value.value, without_value.headers.text("ce_id")), (&None, Some("7")));
        assert_eq!(without_value.headers.text(CUT), Some(size.to_string().as_str()));
        let story = shortened(without_value).unwrap();
        assert_eq!((&story.key, story.headers.text("ce_id")), (&None, None));
        assert_eq!(story.headers.text(CUT), Some(size.to_string().as_str()));
        assert_eq!(Story::of(&story.headers).unwrap().origin.unwrap().offset, 42);
        assert_eq!(shortened(story), None);
    }
}
