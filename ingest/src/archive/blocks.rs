//! Cutting bytes into blocks of whole lines, in bounded memory whatever the bytes are.

use std::io::{self, ErrorKind, Read};

use bytes::Bytes;

use super::values::Value;

/// How much is kept of a line that is too long.
pub const KEPT_BYTES: usize = 64 << 10;
const BLOCK_BYTES: usize = 256 << 10;
/// With room for the line that goes on behind a block.
const BUFFER_BYTES: usize = BLOCK_BYTES + BLOCK_BYTES / 4;
/// What is read first: most members of some archives have no more than a line.
const FIRST_BYTES: usize = 8 << 10;

/// A part of the input, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Block {
    /// Whole lines, each with its line feed, but for the last one of the input.
    Lines(Bytes),
    /// One line over the bound, of which only the beginning is kept.
    TooLong {
        /// Its first bytes.
        head: Bytes,
        /// Its length without the line feed.
        length: u64,
        /// Its length with it: how far the input has moved.
        consumed: u64,
    },
    /// What does not stand on a line each.
    Values(Vec<Value>),
}

/// The input ends too early: damaged, cut, or unreadable.
#[derive(Debug)]
pub struct Broken {
    /// What the system or the decoder said.
    pub error: io::Error,
    /// What there is of the line that was under way.
    pub tail: Bytes,
}

/// Reads blocks.
pub struct Blocks<R> {
    input: R,
    max_line_bytes: usize,
    live: bool,
    /// Read, and not yet handed out.
    buffer: Vec<u8>,
    /// How much of the buffer is known to hold no line feed.
    searched: usize,
    ended: Option<io::Result<()>>,
}

impl<R: Read> Blocks<R> {
    /// Blocks of `input`. A `live` one is handed on as it comes.
    pub fn new(input: R, max_line_bytes: usize, live: bool) -> Self {
        Self { input, max_line_bytes, live, buffer: Vec::new(), searched: 0, ended: None }
    }

    /// The next block; nothing at the end.
    ///
    /// # Errors
    /// Once, after all whole lines before it, when the input is broken.
    pub fn next(&mut self) -> Result<Option<Block>, Broken> {
        loop {
            let full = self.buffer.len() >= BLOCK_BYTES.min(self.max_line_bytes + 1);
            if (full || self.live || self.ended.is_some())
                && let Some(block) = self.cut()
            {
                return Ok(Some(block));
            }
            if self.buffer.len() > self.max_line_bytes {
                return Ok(Some(self.too_long()));
            }
            match self.ended.take() {
                None => self.fill(),
                Some(Err(error)) => {
                    self.ended = Some(Ok(()));
                    let tail = self.rest();
                    return Err(Broken { error, tail });
                }
                Some(Ok(())) => {
                    self.ended = Some(Ok(()));
                    let rest = self.rest();
                    return Ok((!rest.is_empty()).then_some(Block::Lines(rest)));
                }
            }
        }
    }

    /// Everything up to the last line feed.
    fn cut(&mut self) -> Option<Block> {
        let found = memchr::memrchr(b'\n', &self.buffer[self.searched..]);
        let Some(found) = found else {
            self.searched = self.buffer.len();
            return None;
        };
        let end = self.searched + found + 1;
        let lines = self.taken(end);
        self.searched = self.buffer.len();
        Some(Block::Lines(lines))
    }

    /// What is left at the end.
    fn rest(&mut self) -> Bytes {
        self.searched = 0;
        self.taken(self.buffer.len())
    }

    /// Takes so much from the buffer. A record is a part of its block, and keeps all of it: so what
    /// fills less than half of the buffer is copied, and the buffer stays here.
    fn taken(&mut self, end: usize) -> Bytes {
        if end < self.buffer.capacity() / 2 {
            let part = Bytes::copy_from_slice(&self.buffer[..end]);
            self.buffer.drain(..end);
            // It may have held a line of any length.
            self.buffer.shrink_to(BUFFER_BYTES);
            return part;
        }
        let rest = &self.buffer[end..];
        let mut next = Vec::new();
        // At the end of the input there is no next one.
        if self.ended.is_none() {
            next.reserve_exact(BUFFER_BYTES);
        }
        next.extend_from_slice(rest);
        let mut part = std::mem::replace(&mut self.buffer, next);
        part.truncate(end);
        Bytes::from(part)
    }

    /// Passes over a line without keeping it.
    fn too_long(&mut self) -> Block {
        let head = Bytes::copy_from_slice(&self.buffer[..KEPT_BYTES.min(self.buffer.len())]);
        let mut length = 0;
        loop {
            let feed = memchr::memchr(b'\n', &self.buffer);
            let part = feed.unwrap_or(self.buffer.len());
            length += part as u64;
            self.buffer.drain(..feed.map_or(part, |feed| feed + 1));
            self.searched = 0;
            if feed.is_some() {
                return Block::TooLong { head, length, consumed: length + 1 };
            }
            if self.ended.is_some() {
                return Block::TooLong { head, length, consumed: length };
            }
            self.fill();
        }
    }

    fn fill(&mut self) {
        let filled = self.buffer.len();
        // A block at once where it is shorter, a quarter of one for the end of a longer line; but
        // no more than as much again as there was, which may be all.
        let wanted = BLOCK_BYTES.saturating_sub(filled).max(BLOCK_BYTES / 4);
        let room = self.buffer.capacity().max(FIRST_BYTES) - filled;
        let bound = if room > 0 { room } else { filled };
        self.buffer.resize(filled + wanted.min(bound), 0);
        let read = loop {
            match self.input.read(&mut self.buffer[filled..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(filled + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => self.ended = Some(Ok(())),
            Ok(_) => {}
            Err(error) => self.ended = Some(Err(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives its parts one by one, then ends or fails.
    struct Parts(Vec<Vec<u8>>, bool);

    impl Read for Parts {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some(part) = self.0.first_mut() else {
                return if self.1 { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(0) };
            };
            let length = part.len().min(buffer.len());
            buffer[..length].copy_from_slice(&part[..length]);
            part.drain(..length);
            if part.is_empty() {
                self.0.remove(0);
            }
            Ok(length)
        }
    }

    const MAX: usize = 20;

    proptest! {
        #[test]
        fn every_line_comes_out_once(
            lines in prop::collection::vec("[a-z\r ]{0,30}", 0..40),
            sizes in prop::collection::vec(1_usize..50, 1..40),
            live in any::<bool>(),
            fails in any::<bool>(),
        ) {
            let bytes = lines.join("\n").into_bytes();
            let mut parts = Vec::new();
            let mut rest = &bytes[..];
            for size in sizes {
                let (part, tail) = rest.split_at(size.min(rest.len()));
                if !part.is_empty() {
                    parts.push(part.to_vec());
                }
                rest = tail;
            }
            if !rest.is_empty() {
                parts.push(rest.to_vec());
            }
            let mut blocks = Blocks::new(Parts(parts, fails), MAX, live);
            let mut consumed = 0;
            let failed = loop {
                let (part, moved) = match blocks.next() {
                    Ok(None) => break false,
                    Ok(Some(Block::Lines(lines))) => {
                        let moved = lines.len();
                        (lines, moved)
                    }
                    Ok(Some(Block::TooLong { head, length, consumed })) => {
                        prop_assert!(length as usize > MAX && head.len() > MAX);
                        (head, consumed as usize)
                    }
                    Ok(Some(Block::Values(_))) => unreachable!(),
                    Err(broken) => {
                        prop_assert_eq!(&bytes[consumed..], &broken.tail[..]);
                        consumed = bytes.len();
                        break true;
                    }
                };
                prop_assert!(bytes[consumed..].starts_with(&part));
                consumed += moved;
            };
            prop_assert_eq!(failed, fails);
            prop_assert_eq!(consumed, bytes.len());
        }
    }

    #[test]
    fn a_block_keeps_hardly_more_memory_than_it_has() {
        for (length, part) in [
            (1, 1),
            (300, 1_000),
            (FIRST_BYTES, FIRST_BYTES),
            (FIRST_BYTES + 1, 100),
            (100_000, 1 << 20),
            (BLOCK_BYTES + 300, 1 << 20),
            (3 * BLOCK_BYTES, 5_000),
        ] {
            for live in [false, true] {
                for bytes in [b"0123456\n".repeat(length / 8 + 1), vec![b'x'; length]] {
                    let parts = bytes.chunks(part).map(<[u8]>::to_vec).collect();
                    let mut blocks = Blocks::new(Parts(parts, false), 16 << 20, live);
                    let mut all = Vec::new();
                    while let Some(block) = blocks.next().unwrap() {
                        let Block::Lines(lines) = block else { panic!("{block:?}") };
                        all.extend_from_slice(&lines);
                        let (held, kept) = (lines.len(), lines.try_into_mut().unwrap().capacity());
                        assert!(kept <= 2 * held + 1, "{length}: {kept} for {held}");
                    }
                    assert_eq!(all, bytes);
                }
            }
        }
    }

    #[test]
    fn an_endless_line_takes_no_memory() {
        let input = io::repeat(b'x').take(64 << 20);
        let mut blocks = Blocks::new(input.chain(&b"\n{}\n"[..]), 1 << 20, false);
        let Ok(Some(Block::TooLong { head, length, .. })) = blocks.next() else { panic!() };
        assert_eq!((head.len(), length), (KEPT_BYTES, 64 << 20));
        assert!(blocks.buffer.capacity() < 4 << 20);
        assert_eq!(blocks.next().unwrap(), Some(Block::Lines(Bytes::from_static(b"{}\n"))));
        assert_eq!(blocks.next().unwrap(), None);
    }
}
