//! What bytes are, told by the first of them, never by a name.

use std::io::{self, BufReader, Read};

use super::streams::Streams;
use super::text::Text;
use crate::BYTE_ORDER_MARK;

/// What a file, a member, or what comes out of a decoder can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Lines, or nothing that is known here.
    Lines,
    /// One or more gzip members.
    Gzip,
    /// One or more bzip2 streams.
    Bzip2,
    /// One or more zstd frames.
    Zstd,
    /// A tar of members.
    Tar,
    /// A zip of members.
    Zip,
    /// Known, and not read here.
    Unread(&'static str),
}

/// How much a format can be told by.
pub const HEAD_BYTES: usize = 512;
const BUFFER_BYTES: usize = 128 << 10;
/// In how much of something there must be the beginning of an object.
const OBJECT_WITHIN: usize = 64 << 10;

impl Format {
    /// The format of what begins so.
    ///
    /// Sources: RFC 1952 2.3.1, RFC 8878 3.1, the formats of bzip2, xz, 7z, rar, lzip, lz4 and
    /// compress, POSIX ustar, APPNOTE.TXT 4.3 of PKWARE.
    pub fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            // A member, the end of one without any, or the mark of one that was to be split.
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] | [b'P', b'K', 7, 8, ..] => Self::Zip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Unread("an xz file"),
            [b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c, ..] => Self::Unread("a 7z archive"),
            [b'R', b'a', b'r', b'!', 0x1a, 7, ..] => Self::Unread("a rar archive"),
            [b'L', b'Z', b'I', b'P', ..] => Self::Unread("an lzip file"),
            [0x04, 0x22, 0x4d, 0x18, ..] => Self::Unread("an lz4 file"),
            [0x1f, 0x9d, ..] => Self::Unread("a compress (.Z) file"),
            _ if is_tar(head) => Self::Tar,
            _ => Self::Lines,
        }
    }

    /// Decompresses; what is not compressed comes out as it is.
    ///
    /// # Errors
    /// When a decoder can't be made.
    pub fn decoder<'r>(
        self,
        input: impl Read + 'r,
        window_log_max: u32,
    ) -> io::Result<Box<dyn Read + 'r>> {
        let input = BufReader::with_capacity(BUFFER_BYTES, input);
        Ok(match self {
            Self::Gzip => Box::new(Streams::gzip(input)),
            Self::Bzip2 => Box::new(Streams::bzip2(input)),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
                decoder.window_log_max(window_log_max)?;
                Box::new(decoder)
            }
            _ => Box::new(input),
        })
    }
}

/// A tar begins with a header that is right, also one from before there was a mark for it.
fn is_tar(head: &[u8]) -> bool {
    let Some(header) = head.first_chunk::<HEAD_BYTES>() else { return false };
    let header = tar::Header::from_byte_slice(header);
    if header.as_ustar().is_some() || header.as_gnu().is_some() {
        return true;
    }
    let bytes = header.as_bytes();
    let sum: u32 = bytes[..148].iter().chain(&bytes[156..]).map(|byte| u32::from(*byte)).sum();
    // The sum is taken with spaces in its own place.
    bytes[0] != 0 && header.cksum().is_ok_and(|told| told == sum + 8 * u32::from(b' '))
}

/// Whether these bytes begin with an object, after what may stand before it.
pub fn begins_with_object(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    bytes.trim_ascii_start().first() == Some(&b'{')
}

/// Whether a line begins so that it must be meant as an object: of bytes at random, as damage may
/// make them, one in 65,536 begins a line with a brace.
fn is_of_object(line: &[u8]) -> bool {
    let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line).trim_ascii_start();
    let Some((b'{', rest)) = line.split_first() else { return false };
    let begins = matches!(rest.trim_ascii_start().first(), Some(b'"' | b'}'));
    // The last one may be cut within a letter.
    begins && std::str::from_utf8(line).map_or_else(|error| error.error_len().is_none(), |_| true)
}

/// Whether these bytes end before another line begins than the first, and that is blank or may be
/// the end of an object: archives are cut into pieces of a size, wherever that is in a line.
fn ends_within_first_line(bytes: &[u8]) -> bool {
    let (first, rest) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(feed) => bytes.split_at(feed),
        None => (bytes, &[][..]),
    };
    let may_be_json = || first.windows(2).any(|two| two == b"\":") && !first.contains(&0);
    rest.trim_ascii_start().is_empty() && (first.trim_ascii().is_empty() || may_be_json())
}

/// Something with its first bytes looked at.
pub struct Peeked<'r> {
    head: Vec<u8>,
    given: usize,
    ended: Option<io::Result<()>>,
    rest: &'r mut dyn Read,
}

impl<'r> Peeked<'r> {
    /// Looks at as much as tells the format, and no more: what is read live may pause.
    pub fn new(rest: &'r mut dyn Read) -> Self {
        let mut peeked = Self { head: Vec::new(), given: 0, ended: None, rest };
        peeked.look(|head| {
            // Other beginnings may be the name of a tar's first member.
            let told = match Text::of(head, false) {
                Some(Text::Lines) => begins_with_object(head),
                Some(Text::Values { .. }) => true,
                _ => false,
            };
            head.len() >= HEAD_BYTES || told
        });
        peeked
    }

    /// The format.
    pub fn format(&self) -> Format {
        Format::of(&self.head)
    }

    /// What it is as a text.
    pub fn text(&self) -> Text {
        Text::of(&self.head, true).unwrap_or(Text::Lines)
    }

    /// Whether a line near its beginning begins an object, or it can't be told. Other files lie
    /// beside archives: pictures, notes, what a system leaves behind. What is empty or can't be
    /// read is none of these.
    pub fn may_hold_objects(&mut self) -> bool {
        self.may_have_line(begins_with_object)
    }

    /// Whether it may be JSON although it should be something else: like [`Self::may_hold_objects`],
    /// and not taken in by bytes at random, nor by a page of HTML that says why there is nothing.
    pub fn may_be_json(&mut self) -> bool {
        let may = self.may_have_line(is_of_object);
        let is_markup = self.head.trim_ascii_start().first() == Some(&b'<');
        may && (!is_markup || matches!(self.ended, Some(Err(_))))
    }

    /// Whether a line near its beginning begins an object, or it can't be told.
    fn may_have_line(&mut self, begins_object: impl Fn(&[u8]) -> bool) -> bool {
        let found = |head: &[u8]| head.split(|byte| *byte == b'\n').any(&begins_object);
        self.look(|head| head.len() >= OBJECT_WITHIN || found(head));
        self.head.is_empty()
            || matches!(self.ended, Some(Err(_)))
            || found(&self.head)
            || (self.ended.is_none() && ends_within_first_line(&self.head))
    }

    fn look(&mut self, enough: impl Fn(&[u8]) -> bool) {
        while self.ended.is_none() && !enough(&self.head) {
            let filled = self.head.len();
            self.head.resize(filled.max(HEAD_BYTES) * 2, 0);
            let read = self.rest.read(&mut self.head[filled..]);
            self.head.truncate(filled + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => self.ended = Some(Ok(())),
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    self.ended = Some(Err(error));
                }
                _ => {}
            }
        }
    }
}

impl Read for Peeked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given < self.head.len() {
            let read = (&self.head[self.given..]).read(buffer)?;
            self.given += read;
            return Ok(read);
        }
        match &mut self.ended {
            None => self.rest.read(buffer),
            Some(ended) => std::mem::replace(ended, Ok(())).map(|()| 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_their_first_bytes() {
        let mut old_tar = tar::Header::new_old();
        old_tar.set_path("a.json").unwrap();
        old_tar.set_size(3);
        old_tar.set_cksum();
        let mut no_tar = *old_tar.as_bytes();
        no_tar[5] ^= 1;
        for (head, format) in [
            (&b"{\"id\":1}"[..], Format::Lines),
            (b"", Format::Lines),
            (b"BZh0", Format::Lines),
            (b"BZh9", Format::Bzip2),
            (b"PK\x03\x04", Format::Zip),
            (b"PK\x05\x06", Format::Zip),
            (b"\xfd7zXZ\0", Format::Unread("an xz file")),
            (old_tar.as_bytes(), Format::Tar),
            (&no_tar, Format::Lines),
            (&[0; 512], Format::Lines),
            (tar::Header::new_gnu().as_bytes(), Format::Tar),
            (tar::Header::new_ustar().as_bytes(), Format::Tar),
        ] {
            assert_eq!(Format::of(head), format, "{head:?}");
        }
    }

    #[test]
    fn what_was_looked_at_is_read_all_the_same() {
        for (bytes, objects) in [
            (&b"\xef\xbb\xbf \n{}"[..], true),
            (b"broken\n  {\"id\":1}\n", true),
            (b"a,b\n1,2\n", false),
            (b"", true),
        ] {
            let mut rest = bytes;
            let mut peeked = Peeked::new(&mut rest);
            assert_eq!(peeked.may_hold_objects(), objects, "{bytes:?}");
            let mut all = Vec::new();
            peeked.read_to_end(&mut all).unwrap();
            assert_eq!(all, bytes);
        }
    }

    #[test]
    fn damage_and_pages_of_html_are_not_taken_for_json() {
        let script = b"<html>\n<script>\n{\"@context\":\"a\"}\n</script>\n";
        let long = [b"{\"a\":\"".to_vec(), vec![b'x'; 70_000]].concat();
        let within = [vec![b'x'; 70_000], b"\",\"a\":1}\n{}\n".to_vec()].concat();
        for (bytes, json) in [
            (&b"{\"id\":1}"[..], true),
            (b"\xef\xbb\xbf \n{}", true),
            (b"", true),
            (b"broken\n  { \"id\":1}\n", true),
            (b"{\"text\":\"cut \xf0\x9f", true),
            (&long, true),
            (b"\x80\n{\xff\x10\n", false),
            (b"\x80\n{\"\xff\x10\n", false),
            (&[0; 100], false),
            (&[0; 100_000], false),
            (b"busy\n", false),
            (b"\n", false),
            (script, false),
            (&within, false),
        ] {
            let mut rest = bytes;
            let mut peeked = Peeked::new(&mut rest);
            assert_eq!(peeked.may_be_json(), json, "{:?}", &bytes[..bytes.len().min(60)]);
            let mut all = Vec::new();
            peeked.read_to_end(&mut all).unwrap();
            assert_eq!(all, bytes);
        }
    }

    #[test]
    fn looking_stops_where_a_pipe_pauses() {
        struct Pauses(bool);
        impl Read for Pauses {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                assert!(!std::mem::replace(&mut self.0, true), "it would wait");
                buffer[..2].copy_from_slice(b"{\"");
                Ok(2)
            }
        }
        assert_eq!(Peeked::new(&mut Pauses(false)).format(), Format::Lines);
    }
}
