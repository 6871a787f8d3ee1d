//! The classifier of archive lines.

use bowerbird_ingest::post::{Found, Place, Reader};
use bytes::Bytes;
use jiff::Timestamp;

use crate::{appended, mapping};

/// Any line is told apart: what is taken is an event that the mapping knows, and carved posts are
/// read as the same posts again.
pub fn run(data: &[u8]) {
    let line = Bytes::copy_from_slice(data);
    let reader =
        Reader::archive("archive:a".to_owned(), "a".to_owned(), None, Timestamp::UNIX_EPOCH);
    check(&reader, &line, Place::Line(1));
}

/// What holds of a line or an item.
pub(crate) fn check(reader: &Reader, line: &Bytes, place: Place) {
    for found in read(reader, line, place) {
        let record = match found {
            Found::Post { record, .. } | Found::Notice { record } => appended(record),
            Found::Refused { bytes, refusal } => {
                assert!(!refusal.error.is_empty());
                assert!(bytes.len() <= line.len());
                continue;
            }
            _ => continue,
        };
        let event = record.event().unwrap();
        assert!(!event.key.is_empty() && event.key.bytes().all(|byte| byte.is_ascii_digit()));
        mapping::check(&event);
        let payload = event.value.unwrap();
        let keys: Vec<_> = read(reader, &payload, place).into_iter().map(key).collect();
        assert_eq!(keys, [Some(event.key)], "{payload:?}");
    }
}

fn read(reader: &Reader, line: &Bytes, place: Place) -> Vec<Found> {
    let mut all = Vec::new();
    reader.read(line, place, &mut |found| all.push(found));
    assert!(!all.is_empty(), "a line is never passed over in silence");
    all
}

fn key(found: Found) -> Option<String> {
    match found {
        Found::Post { record, .. } | Found::Notice { record } => {
            record.key.and_then(|key| String::from_utf8(key.to_vec()).ok())
        }
        _ => None,
    }
}
