//! What reads bytes that others wrote, each as a function of any bytes that panics when a promise
//! is broken. `tests/fuzz/run` feeds them by libFuzzer; the tests feed them the corpus.

#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a broken promise is a panic")]

pub mod archive_line;
pub mod envelope;
pub mod mapping;
pub mod stream_items;
pub mod wfs_page;
pub mod wfs_xml;

use bowerbird_stream::{Outgoing, Position, Record};
use jiff::Timestamp;

/// A target: it takes any bytes.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also that of its folder in `corpus/`.
pub const TARGETS: [(&str, Target); 6] = [
    ("archive_line", archive_line::run),
    ("stream_items", stream_items::run),
    ("wfs_xml", wfs_xml::run),
    ("wfs_page", wfs_page::run),
    ("mapping", mapping::run),
    ("envelope", envelope::run),
];

/// As it would stand in the log.
fn appended(outgoing: Outgoing) -> Record {
    Record {
        position: Position { topic: outgoing.topic, partition: 0, offset: 0 },
        appended: Timestamp::UNIX_EPOCH,
        key: outgoing.key,
        value: outgoing.value,
        headers: outgoing.headers,
    }
}

/// The first byte as a number from 1, and what follows it.
fn split_number(data: &[u8]) -> (usize, &[u8]) {
    data.split_first().map_or((1, data), |(first, rest)| (usize::from(*first) + 1, rest))
}
