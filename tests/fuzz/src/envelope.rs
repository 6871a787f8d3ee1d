//! The envelope: headers, events, dead letters.

use bowerbird_stream::dead_letter::{self, Letter, Mark, Reason, Story};
use bowerbird_stream::{Event, Headers};
use bytes::Bytes;
use jiff::Timestamp;

use crate::{appended, split_number};

/// Any headers are read or refused, an event comes back from its own, and so does the story of a
/// letter about it. The first byte says how long the key is.
pub fn run(data: &[u8]) {
    let (size, rest) = split_number(data);
    let (key, encoded) = rest.split_at(size.min(rest.len()));
    let Some(headers) = Headers::from_encoded(Bytes::copy_from_slice(encoded)) else { return };
    let mut again = Headers::new();
    headers.entries().for_each(|(name, value)| again.push_entry(name, value));
    assert!(again.entries().eq(headers.entries()));

    let key = Bytes::copy_from_slice(key);
    if let Ok(event) = Event::from_parts(Some(&key), None, &headers) {
        let back = Event::from_parts(Some(&key), None, &event.headers());
        assert_eq!(back.as_ref(), Ok(&event));
    }
    let outgoing = bowerbird_stream::Outgoing {
        topic: "posts".into(),
        key: Some(key),
        value: None,
        headers: headers.clone(),
    };
    let record = appended(outgoing);
    assert!(Mark::of(&headers).is_none() || Letter::of(record.clone()).is_none());
    let why = Reason {
        reason: "test".to_owned(),
        error: String::from_utf8_lossy(encoded).into_owned(),
        group: "g".to_owned(),
        attempts: 1,
    };
    let origin = record.position.clone();
    let letter = appended(dead_letter::of_record(record, &why, Timestamp::UNIX_EPOCH));
    let story = Story::of(&letter.headers).unwrap();
    assert!(why.error.starts_with(&story.why.error));
    assert_eq!((story.origin, story.time), (Some(origin), Timestamp::UNIX_EPOCH));
    assert!(Letter::of(letter).is_some());
}
