//! The decoder of X's stream: pieces to lines to items.

use std::collections::VecDeque;

use bowerbird_ingest::post::{Place, Reader};
use bowerbird_ingest::x::lines::Lines;
use bytes::Bytes;
use jiff::Timestamp;

use crate::{archive_line, split_number};

const MAX_ITEM_BYTES: usize = 1_024;

/// Lines come out the same however the connection cuts them, and each is an item that is told
/// apart. The first byte says how large the pieces are.
pub fn run(data: &[u8]) {
    let (size, body) = split_number(data);
    let (whole, rejected, left) = lines(body, body.len().max(1));
    assert_eq!(lines(body, size), (whole.clone(), rejected, left));
    let reader = Reader::stream("x:stream".to_owned(), Timestamp::UNIX_EPOCH);
    let items = whole.split(|byte| *byte == b'\n');
    for item in items.filter(|item| !item.is_empty()) {
        let item = item.strip_suffix(b"\r").unwrap();
        assert!(item.len() <= MAX_ITEM_BYTES && std::str::from_utf8(item).is_ok());
        let item = Bytes::copy_from_slice(item);
        archive_line::check(&reader, &item, Place::Arrival(Timestamp::UNIX_EPOCH));
    }
}

fn lines(body: &[u8], size: usize) -> (Vec<u8>, VecDeque<(Bytes, usize)>, usize) {
    let (mut lines, mut rejected, mut whole) =
        (Lines::new(MAX_ITEM_BYTES), VecDeque::new(), Vec::new());
    for piece in body.chunks(size) {
        whole.extend_from_slice(&lines.take(piece, &mut rejected));
    }
    let rejected = rejected.into_iter().map(|rejected| (rejected.bytes, rejected.size));
    (whole, rejected.collect(), lines.left())
}
