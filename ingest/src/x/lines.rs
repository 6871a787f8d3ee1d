//! Lines out of pieces: items end with a line feed, wherever the pieces end.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use serde::de::IgnoredAny;

use crate::post::{Object, Refusal, reason};

/// How much is kept of an item that is too large.
const KEPT_BYTES: usize = 64 << 10;
/// An item that can't be handed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Why.
    pub refusal: Refusal,
    /// Its bytes, or the first of them.
    pub bytes: Bytes,
    /// Its size.
    pub size: usize,
}

/// Puts lines together again.
#[derive(Debug)]
pub struct Lines {
    max_item_bytes: usize,
    /// The beginning of the line under way.
    line: BytesMut,
    /// Of a line over the bound, how much of it went by.
    passed: usize,
}

impl Lines {
    /// Lines of at most so many bytes.
    pub fn new(max_item_bytes: usize) -> Self {
        Self { max_item_bytes, line: BytesMut::new(), passed: 0 }
    }

    /// Takes a piece; gives the lines that it completes, each ended by CRLF, empty ones left out.
    pub fn take(&mut self, piece: &[u8], rejected: &mut VecDeque<Rejected>) -> Bytes {
        let mut whole = BytesMut::new();
        let mut rest = piece;
        while let Some(feed) = memchr::memchr(b'\n', rest) {
            self.add(&rest[..feed]);
            rest = &rest[feed + 1..];
            let mut line = self.line.split();
            if let Some(refusal) = self.refusal(&line) {
                let size = std::mem::take(&mut self.passed).max(line.len());
                line.truncate(KEPT_BYTES);
                rejected.push_back(Rejected { refusal, bytes: line.freeze(), size });
                continue;
            }
            if line.last() == Some(&b'\r') {
                line.truncate(line.len() - 1);
            }
            if !line.is_empty() {
                whole.extend_from_slice(&line);
                whole.extend_from_slice(b"\r\n");
            }
        }
        self.add(rest);
        whole.freeze()
    }

    fn refusal(&self, line: &[u8]) -> Option<Refusal> {
        if self.passed > 0 {
            let (size, bound) = (self.passed, self.max_item_bytes);
            let error = format!("the item has {size} bytes, more than the bound of {bound}");
            return Some(Refusal { reason: "item-too-long", error });
        }
        let error = std::str::from_utf8(line).err()?.to_string();
        Some(Refusal { reason: reason::NOT_UTF8, error })
    }

    fn add(&mut self, part: &[u8]) {
        if self.passed > 0 || self.line.len() + part.len() > self.max_item_bytes {
            self.passed = self.passed.max(self.line.len()) + part.len();
            let room = KEPT_BYTES.saturating_sub(self.line.len()).min(part.len());
            self.line.extend_from_slice(&part[..room]);
        } else {
            self.line.extend_from_slice(part);
        }
    }

    /// The line under way, if it is whole but for its end: an object that is closed.
    pub fn take_whole(&mut self) -> Option<Bytes> {
        let closed =
            self.passed == 0 && serde_json::from_slice::<Object<IgnoredAny>>(&self.line).is_ok();
        let mut line = closed.then(|| self.line.split())?;
        line.extend_from_slice(b"\r\n");
        Some(line.freeze())
    }

    /// The size of the line under way.
    pub fn left(&self) -> usize {
        self.passed.max(self.line.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lines_come_out_whole_however_they_are_cut(
            lines in prop::collection::vec("[a-z]{0,14}", 0..20),
            feeds in prop::collection::vec(prop::sample::select(vec!["\n", "\r\n"]), 20),
            cut in 1_usize..9,
        ) {
            let text: String = lines.iter().zip(&feeds).map(|(l, f)| format!("{l}{f}")).collect();
            let (mut reader, mut rejected, mut out) = (Lines::new(10), VecDeque::new(), Vec::new());
            for piece in text.as_bytes().chunks(cut) {
                out.extend_from_slice(&reader.take(piece, &mut rejected));
            }
            // A carriage return counts until it is known for a part of the feed.
            let fits = |(line, feed): &(&String, &&str)| line.len() + feed.len() - 1 <= 10;
            let pairs = || lines.iter().zip(&feeds);
            let expected: String = pairs()
                .filter(|pair| fits(pair) && !pair.0.is_empty())
                .map(|(line, _)| format!("{line}\r\n"))
                .collect();
            prop_assert_eq!(out, expected.as_bytes());
            prop_assert_eq!(rejected.len(), pairs().filter(|pair| !fits(pair)).count());
            prop_assert_eq!(reader.left(), 0);
        }
    }

    #[test]
    fn a_line_without_an_end_is_whole_when_its_object_is_closed() {
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(30));
        for (text, whole) in [
            ("{\"a\":1}", true),
            ("{\"a\":1} \r", true),
            ("{\"a\":1", false),
            ("7", false),
            ("", false),
            (&long, false),
        ] {
            let (mut reader, mut rejected) = (Lines::new(20), VecDeque::new());
            assert!(reader.take(text.as_bytes(), &mut rejected).is_empty());
            let expected = whole.then(|| Bytes::from(format!("{text}\r\n")));
            assert_eq!(reader.take_whole(), expected, "{text}");
            assert_eq!(reader.left(), if whole { 0 } else { text.len() });
        }
    }

    #[test]
    fn as_much_of_a_long_line_is_kept_however_it_is_cut() {
        let text = format!("{}\n", "x".repeat(100));
        for cut in [1, 7, 200] {
            let (mut reader, mut rejected) = (Lines::new(10), VecDeque::new());
            for piece in text.as_bytes().chunks(cut) {
                assert!(reader.take(piece, &mut rejected).is_empty());
            }
            assert_eq!((rejected[0].bytes.len(), rejected[0].size), (100, 100), "{cut}");
        }
    }

    #[test]
    fn what_is_not_utf8_is_kept_for_the_dead_letters() {
        let (mut reader, mut rejected) = (Lines::new(10), VecDeque::new());
        assert_eq!(reader.take(b"a\n\xff\nb\n", &mut rejected), "a\r\nb\r\n");
        assert_eq!((&rejected[0].bytes[..], rejected[0].size), (&b"\xff"[..], 1));
        assert_eq!(rejected[0].refusal.reason, reason::NOT_UTF8);
    }
}
