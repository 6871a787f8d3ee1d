//! Compressed streams one after the other, as one: files that were appended to, shards put together.
//!
//! Zeros between and after them are passed over, as by gzip itself: tapes fill up their blocks so.

use std::io::{self, BufRead, ErrorKind, Read};

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;

/// All of them, decompressed; each by a decoder of its own.
#[derive(Debug)]
pub struct Streams<R, D> {
    /// The one under way.
    stream: Option<D>,
    kind: Kind<R, D>,
}

/// A compression that tells where a stream of it ends.
#[derive(Debug)]
struct Kind<R, D> {
    name: &'static str,
    first_byte: u8,
    begin: fn(R) -> D,
    /// What was behind it.
    end: fn(D) -> R,
}

impl<R: BufRead> Streams<R, GzDecoder<R>> {
    /// Members of gzip.
    pub fn gzip(input: R) -> Self {
        let (begin, end) = (GzDecoder::new, GzDecoder::into_inner);
        Self::new(input, Kind { name: "gzip", first_byte: 0x1f, begin, end })
    }
}

impl<R: BufRead> Streams<R, BzDecoder<R>> {
    /// Streams of bzip2.
    pub fn bzip2(input: R) -> Self {
        let (begin, end) = (BzDecoder::new, BzDecoder::into_inner);
        Self::new(input, Kind { name: "bzip2", first_byte: b'B', begin, end })
    }
}

impl<R: BufRead, D: Read> Streams<R, D> {
    fn new(input: R, kind: Kind<R, D>) -> Self {
        Self { stream: Some((kind.begin)(input)), kind }
    }
}

impl<R: BufRead, D: Read> Read for Streams<R, D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(stream) = &mut self.stream else { return Ok(0) };
            let read = stream.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let Some(stream) = self.stream.take() else { return Ok(0) };
            let mut input = (self.kind.end)(stream);
            match after_zeros(&mut input)? {
                None => return Ok(0),
                Some(byte) if byte == self.kind.first_byte => {
                    self.stream = Some((self.kind.begin)(input));
                }
                Some(_) => {
                    let text = format!("what follows its end is no {}", self.kind.name);
                    return Err(io::Error::new(ErrorKind::InvalidData, text));
                }
            }
        }
    }
}

/// The next byte that is not zero, which stays there; nothing at the end.
fn after_zeros(input: &mut impl BufRead) -> io::Result<Option<u8>> {
    loop {
        let buffer = match input.fill_buf() {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            buffer => buffer?,
        };
        if buffer.is_empty() {
            return Ok(None);
        }
        let zeros = buffer.iter().take_while(|byte| **byte == 0).count();
        let next = buffer.get(zeros).copied();
        input.consume(zeros);
        if next.is_some() {
            return Ok(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write as _};

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn bzip2(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn zeros_are_passed_over_and_what_else_follows_is_told() {
        let zeros = [0; 700];
        type Compress = fn(&[u8]) -> Vec<u8>;
        for (name, compress) in [("gzip", gzip as Compress), ("bzip2", bzip2)] {
            let (one, two, none) = (compress(b"one "), compress(b"two"), compress(b""));
            let cut = &two[..two.len() - 3];
            for (parts, text, fails) in [
                (vec![&one[..], &two], "one two", false),
                (vec![&one, &none, &zeros, &two, &zeros], "one two", false),
                (vec![&none], "", false),
                (vec![&one, &zeros, b"x"], "one ", true),
                (vec![&one, b"\x1fB", b"xxxxxxxxxxxxxxxxxxxx"], "one ", true),
                (vec![&one, cut], "one two", true),
                (vec![&one, &two[..1]], "one ", true),
            ] {
                // However the bytes come.
                for capacity in [1, 7, 4096] {
                    let bytes = parts.concat();
                    let input = BufReader::with_capacity(capacity, &bytes[..]);
                    let mut found = Vec::new();
                    let read = match name {
                        "gzip" => Streams::gzip(input).read_to_end(&mut found),
                        _ => Streams::bzip2(input).read_to_end(&mut found),
                    };
                    assert_eq!(read.is_err(), fails, "{name}: {text}: {read:?}");
                    let found = String::from_utf8(found).unwrap();
                    assert!(text.starts_with(&found), "{name}: {found}");
                    assert!(fails || found == text, "{name}: {found}");
                    assert!(found.starts_with("one ") || text.is_empty(), "{name}: {found}");
                }
            }
        }
    }
}
