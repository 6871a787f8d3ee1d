//! Cutting bytes into JSON values that do not stand on a line each: one list of them, or objects
//! that are spread over lines. In bounded memory whatever the bytes are.

use std::io::{self, ErrorKind, Read};

use bytes::Bytes;

use super::blocks::{Block, Broken, KEPT_BYTES};
use crate::BYTE_ORDER_MARK;

const CHUNK_BYTES: usize = 256 << 10;

/// A value, in order.
#[derive(Debug, PartialEq, Eq)]
pub struct Value {
    /// Its bytes as they came; of one over the bound only the first.
    pub bytes: Bytes,
    /// How many it has.
    pub length: u64,
    /// With what stands before it: how far the input has moved.
    pub consumed: u64,
}

/// Where in a value the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not in any.
    Between,
    /// In an object, so deep.
    Object(u64),
    /// In something else, which is told as what it is.
    Other,
}

/// What a byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Separates,
    Inside,
    Last,
    /// It is none of the value, which ends before it.
    Behind,
}

/// Tells values apart by their brackets and quotes. Whether each is JSON is for its reader.
#[derive(Debug)]
struct Scan {
    state: State,
    quoted: bool,
    escaped: bool,
    /// Lists around the values that are not closed.
    lists: u64,
}

impl Scan {
    fn step(&mut self, byte: u8) -> Step {
        match (self.state, byte) {
            (_, b'\n') if self.quoted => {
                // No string of JSON goes over a line: it is broken, and what follows may not be.
                *self = Self { state: State::Between, quoted: false, escaped: false, ..*self };
                Step::Last
            }
            _ if self.quoted => {
                let ends = byte == b'"' && !self.escaped;
                self.escaped = byte == b'\\' && !self.escaped;
                self.quoted = !ends;
                if ends && self.state == State::Other {
                    self.state = State::Between;
                    return Step::Last;
                }
                Step::Inside
            }
            (State::Between, b' ' | b'\t' | b'\r' | b'\n' | b',') => Step::Separates,
            (State::Between, byte) if BYTE_ORDER_MARK.contains(&byte) => Step::Separates,
            (State::Between, b'[') => {
                self.lists += 1;
                Step::Separates
            }
            (State::Between, b']') => {
                self.lists = self.lists.saturating_sub(1);
                Step::Separates
            }
            (State::Between, byte) => {
                self.state = if byte == b'{' { State::Object(1) } else { State::Other };
                self.quoted = byte == b'"';
                Step::Inside
            }
            (State::Object(_), b'"') => {
                self.quoted = true;
                Step::Inside
            }
            (State::Object(depth), b'{' | b'[') => {
                self.state = State::Object(depth + 1);
                Step::Inside
            }
            (State::Object(1), b'}' | b']') => {
                self.state = State::Between;
                Step::Last
            }
            (State::Object(depth), b'}' | b']') => {
                self.state = State::Object(depth - 1);
                Step::Inside
            }
            (State::Object(_), _) => Step::Inside,
            (State::Other, b' ' | b'\t' | b'\r' | b'\n' | b',' | b'[' | b']' | b'{') => {
                self.state = State::Between;
                Step::Behind
            }
            (State::Other, _) => Step::Inside,
        }
    }
}

/// Reads values.
pub struct Values<R> {
    input: R,
    max_bytes: usize,
    scan: Scan,
    /// Read, and looked at up to `at`.
    chunk: Vec<u8>,
    at: usize,
    /// What is kept of the value under way.
    value: Vec<u8>,
    length: u64,
    /// Bytes since the last value.
    consumed: u64,
    ended: Option<io::Result<()>>,
}

impl<R: Read> Values<R> {
    /// Values of `input`, which stands within so many lists.
    pub fn new(input: R, max_bytes: usize, lists: u64) -> Self {
        let scan = Scan { state: State::Between, quoted: false, escaped: false, lists };
        let (chunk, value) = (Vec::new(), Vec::new());
        let (at, length, consumed) = (0, 0, 0);
        Self { input, max_bytes, scan, chunk, at, value, length, consumed, ended: None }
    }

    /// The next values; nothing at the end.
    ///
    /// # Errors
    /// Once, after all whole values before it, when the input is broken or ends within one.
    pub fn next(&mut self) -> Result<Option<Block>, Broken> {
        loop {
            let values = self.cut();
            if !values.is_empty() {
                return Ok(Some(Block::Values(values)));
            }
            match self.ended.take() {
                None => self.fill(),
                Some(ended) => {
                    self.ended = Some(Ok(()));
                    let open = self.scan.state != State::Between || self.scan.lists > 0;
                    let early = || io::Error::new(ErrorKind::UnexpectedEof, "it is not closed");
                    let ended = ended.and_then(|()| if open { Err(early()) } else { Ok(()) });
                    self.scan = Scan { state: State::Between, lists: 0, ..self.scan };
                    let tail = Bytes::from(std::mem::take(&mut self.value));
                    return match ended {
                        Ok(()) => Ok(None),
                        Err(error) => Err(Broken { error, tail }),
                    };
                }
            }
        }
    }

    /// What ends in what was read.
    fn cut(&mut self) -> Vec<Value> {
        let mut values = Vec::new();
        while let Some(&byte) = self.chunk.get(self.at) {
            let step = self.scan.step(byte);
            if matches!(step, Step::Inside | Step::Last) {
                self.length += 1;
                let bound = if self.length > self.max_bytes as u64 {
                    self.value.truncate(KEPT_BYTES);
                    KEPT_BYTES.min(self.max_bytes)
                } else {
                    self.max_bytes
                };
                if self.value.len() < bound {
                    self.value.push(byte);
                }
            }
            if step != Step::Behind {
                self.at += 1;
                self.consumed += 1;
            }
            if matches!(step, Step::Last | Step::Behind) {
                values.push(self.taken());
            }
        }
        // A word at the very end has nothing behind it.
        if self.ended.is_some() && self.scan.state == State::Other && !self.scan.quoted {
            self.scan.state = State::Between;
            values.push(self.taken());
        }
        values
    }

    fn taken(&mut self) -> Value {
        let (length, consumed) = (self.length, self.consumed);
        (self.length, self.consumed) = (0, 0);
        Value { bytes: Bytes::from(std::mem::take(&mut self.value)), length, consumed }
    }

    fn fill(&mut self) {
        self.chunk.resize(CHUNK_BYTES, 0);
        self.at = 0;
        let read = self.input.read(&mut self.chunk);
        self.chunk.truncate(*read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => self.ended = Some(Ok(())),
            Err(error) if error.kind() != ErrorKind::Interrupted => self.ended = Some(Err(error)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What comes out of bytes that come in parts, and whether they end well.
    fn cut(bytes: &[u8], part: usize, max: usize) -> (Vec<Value>, Option<Vec<u8>>) {
        struct Parts<'a>(&'a [u8], usize);
        impl Read for Parts<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let part = self.1.min(buffer.len());
                (&mut self.0).take(part as u64).read(buffer)
            }
        }
        let mut values = Values::new(Parts(bytes, part), max, 0);
        let mut all = Vec::new();
        loop {
            match values.next() {
                Ok(None) => return (all, None),
                Ok(Some(Block::Values(values))) => all.extend(values),
                Ok(Some(other)) => panic!("{other:?}"),
                Err(broken) => return (all, Some(broken.tail.to_vec())),
            }
        }
    }

    #[test]
    fn values_are_told_apart_by_brackets_and_quotes() {
        for (text, expected, tail) in [
            ("[]", &[][..], None),
            ("\u{feff}[{\"a\":1},\r\n{\"b\":[{}]}]\n", &["{\"a\":1}", "{\"b\":[{}]}"], None),
            ("{\n \"a\": \"}\\\"]\"\n}\n{\n}", &["{\n \"a\": \"}\\\"]\"\n}", "{\n}"], None),
            ("[{\"a\\\\\":\"\\\\\"}]", &["{\"a\\\\\":\"\\\\\"}"], None),
            ("[1, null,\"x, y\" ,[{}]]", &["1", "null", "\"x, y\"", "{}"], None),
            ("{} word", &["{}", "word"], None),
            // Cut off: in a value, between two, in a string.
            ("[{\"a\":1}, {\"b\":", &["{\"a\":1}"], Some("{\"b\":")),
            ("[{\"a\":1},", &["{\"a\":1}"], Some("")),
            ("{\"a", &[], Some("{\"a")),
            // A string without an end spoils no more than its line and what it was in.
            ("[{\"a\": \"b\n},\n{\"c\":1}]", &["{\"a\": \"b\n", "}", "{\"c\":1}"], None),
        ] {
            for part in [1, 3, 1000] {
                let (values, left) = cut(text.as_bytes(), part, 1000);
                let found: Vec<&[u8]> = values.iter().map(|value| &value.bytes[..]).collect();
                let wanted: Vec<&[u8]> = expected.iter().map(|one| one.as_bytes()).collect();
                assert_eq!(found, wanted, "{text}");
                assert_eq!(left.as_deref(), tail.map(str::as_bytes), "{text}");
            }
        }
    }

    #[test]
    fn an_endless_value_takes_no_memory() {
        let bytes = [b"[{\"a\":\"", &[b'x'; 200_000][..], b"\"},{}]"].concat();
        let (values, left) = cut(&bytes, 1000, 100_000);
        assert_eq!((values[0].bytes.len(), values[0].length), (KEPT_BYTES, 200_008));
        assert_eq!((&values[1].bytes[..], left), (&b"{}"[..], None));
        let (_, left) = cut(&bytes[..150_000], 1000, 100_000);
        assert_eq!(left.unwrap().len(), KEPT_BYTES);
    }

    proptest! {
        /// Any bytes: each value is where the bytes say, and it goes on behind any of them.
        #[test]
        fn every_value_stands_where_it_says_and_it_goes_on_behind_any(
            text in "[\\[\\]{}\",:\\\\ \na1]{0,60}",
            part in 1_usize..20,
        ) {
            let bytes = text.as_bytes();
            let (values, left) = cut(bytes, part, 1000);
            let mut at = 0;
            let mut lists = 0_u64;
            for (number, value) in values.iter().enumerate() {
                let end = at + value.consumed as usize;
                prop_assert_eq!(&bytes[end - value.length as usize..end], &value.bytes[..]);
                for byte in &bytes[at..end - value.length as usize] {
                    match byte {
                        b'[' => lists += 1,
                        b']' => lists = lists.saturating_sub(1),
                        _ => {}
                    }
                }
                at = end;
                let mut rest = Values::new(&bytes[at..], 1000, lists);
                let mut again = Vec::new();
                let broken = loop {
                    match rest.next() {
                        Ok(Some(Block::Values(more))) => again.extend(more),
                        Ok(_) => break None,
                        Err(broken) => break Some(broken.tail.to_vec()),
                    }
                };
                prop_assert_eq!(&again[..], &values[number + 1..]);
                prop_assert_eq!(&broken, &left);
            }
        }
    }
}
