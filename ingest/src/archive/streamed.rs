//! The members of a container that comes as a stream: under a compression, through a pipe, or a zip
//! whose end is missing.
//!
//! A zip is meant to be read from the directory at its end. Its members also say themselves what
//! they are, which is enough to read it from its beginning.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};

use rawzip::CompressionMethod;

use super::entry::Kind;
use super::members::{Check, Checked, Failed, Headers, Method};

const BUFFER_BYTES: usize = 128 << 10;

/// A member as it comes.
pub enum Streamed<'r> {
    /// Its bytes.
    Read(&'r mut dyn Read),
    /// They can't be read, and why.
    Unread(String),
    /// It has none of its own: it names another file.
    Link,
}

/// Hands out each file of a tar. What is left unread of one is passed over.
///
/// # Errors
/// When a header is damaged or missing, or `take` fails.
pub fn of_tar<E>(
    reader: &mut dyn Read,
    mut take: impl FnMut(&[u8], Streamed<'_>) -> Result<(), E>,
) -> Result<(), Failed<E>> {
    let headers = Headers::default();
    let mut archive = headers.archive(reader);
    let mut entries = archive.entries()?;
    while let Some(mut entry) = headers.next(&mut entries)? {
        let kind = Kind::of(&mut entry)?;
        let path = entry.path_bytes().into_owned();
        let size = entry.size();
        let mut member = Exact::new(entry, size);
        let streamed = match kind {
            Kind::File | Kind::Sparse => Some(Streamed::Read(&mut member)),
            Kind::Unread(why) => Some(Streamed::Unread(why.to_owned())),
            Kind::Link => Some(Streamed::Link),
            Kind::Empty => None,
        };
        if let Some(streamed) = streamed {
            take(&path, streamed).map_err(Failed::Taker)?;
        }
        io::copy(&mut member, &mut io::sink())?;
    }
    Ok(())
}

/// Hands out each file of a zip, up to its directory.
///
/// # Errors
/// When the next member can't be found, or `take` fails.
pub fn of_zip<E>(
    reader: &mut dyn Read,
    window_log_max: u32,
    mut take: impl FnMut(&[u8], Streamed<'_>) -> Result<(), E>,
) -> Result<(), Failed<E>> {
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, reader);
    loop {
        let Some(header) = Header::read(&mut reader)? else {
            // A compression has its sum at its end, and whoever writes a pipe wants to finish.
            io::copy(&mut reader, &mut io::sink())?;
            return Ok(());
        };
        if header.name.ends_with(b"/") {
            header.pass_folder(&mut reader, window_log_max)?;
            continue;
        }
        match (header.method(), header.length_follows) {
            (Ok(method), false) => {
                let mut part = Exact::new(&mut reader, header.packed);
                let check = Some(Check { crc: header.crc, size: header.size });
                let mut member = Checked::new(method.decoder(&mut part, window_log_max)?, check);
                take(&header.name, Streamed::Read(&mut member)).map_err(Failed::Taker)?;
                drop(member);
                io::copy(&mut part, &mut io::sink())?;
            }
            (Ok(method), true) => {
                let mut member =
                    Checked::new(header.delimited(method, &mut reader, window_log_max)?, None);
                take(&header.name, Streamed::Read(&mut member)).map_err(Failed::Taker)?;
                io::copy(&mut member, &mut io::sink())?;
                let seen = member.seen();
                drop(member);
                if let Err(error) = header.descriptor(&mut reader)?.holds(seen) {
                    let why = Streamed::Unread(error.to_string());
                    take(&header.name, why).map_err(Failed::Taker)?;
                }
            }
            (Err(why), false) => {
                take(&header.name, Streamed::Unread(why)).map_err(Failed::Taker)?;
                skip(&mut reader, header.packed)?;
            }
            (Err(why), true) => {
                take(&header.name, Streamed::Unread(why)).map_err(Failed::Taker)?;
                return Err(endless(&header.name).into());
            }
        }
    }
}

fn skip(reader: &mut impl Read, bytes: u64) -> io::Result<()> {
    io::copy(&mut Exact::new(reader, bytes), &mut io::sink()).map(|_| ())
}

fn endless(name: &[u8]) -> io::Error {
    let name = super::name::printable(name);
    let text = format!(
        "where its member {name} ends is told only in the directory at its end; import the zip \
         itself from a file, so that it can be read from there"
    );
    io::Error::new(ErrorKind::InvalidData, text)
}

/// What stands before a member of a zip.
///
/// Source: APPNOTE.TXT of PKWARE, 4.3.7 (local file header), 4.4.4 (flags), 4.5.3 (Zip64).
#[derive(Debug, Default, PartialEq, Eq)]
struct Header {
    name: Vec<u8>,
    method: u16,
    encrypted: bool,
    /// Sizes and checksum follow the member.
    length_follows: bool,
    /// They take 8 bytes each.
    zip64: bool,
    crc: u32,
    packed: u64,
    size: u64,
}

const FIXED_BYTES: usize = 26;
const DESCRIPTOR: [u8; 4] = *b"PK\x07\x08";

impl Header {
    /// The next header; nothing where the members end.
    fn read(reader: &mut impl Read) -> io::Result<Option<Self>> {
        let mut signature = [0; 4];
        loop {
            reader.read_exact(&mut signature)?;
            match &signature {
                b"PK\x03\x04" => break,
                // The mark of a zip that was to be split, and needed not to be.
                b"PK\x07\x08" | b"PK00" => {}
                // The directory, or what follows it.
                b"PK\x01\x02" | b"PK\x05\x06" | b"PK\x06\x06" | b"PK\x06\x08" => return Ok(None),
                _ => {
                    let text = "where the next member should begin, there is something else";
                    return Err(io::Error::new(ErrorKind::InvalidData, text));
                }
            }
        }
        let mut fixed = [0; FIXED_BYTES];
        reader.read_exact(&mut fixed)?;
        let short = |at: usize| u16::from_le_bytes([fixed[at], fixed[at + 1]]);
        let long = |at: usize| u32::from(short(at)) | (u32::from(short(at + 2)) << 16);
        let mut name = vec![0; usize::from(short(22))];
        reader.read_exact(&mut name)?;
        let mut extra = vec![0; usize::from(short(24))];
        reader.read_exact(&mut extra)?;
        let flags = short(2);
        let (packed, size) = (u64::from(long(14)), u64::from(long(18)));
        let header = Self {
            name,
            method: short(4),
            encrypted: flags & 1 != 0,
            length_follows: flags & 8 != 0,
            zip64: false,
            crc: long(10),
            packed,
            size,
        };
        // Some tell the length before the member and after it.
        Ok(Some(header.with_extra(&extra)))
    }

    /// Reads the field of Zip64: what does not fit its place stands there, in this order.
    fn with_extra(mut self, mut extra: &[u8]) -> Self {
        const ELSEWHERE: u64 = u32::MAX as u64;
        while let Some((head, rest)) = extra.split_at_checked(4) {
            let length = usize::from(u16::from_le_bytes([head[2], head[3]]));
            let Some((field, rest)) = rest.split_at_checked(length) else { break };
            if head[..2] == [1, 0] {
                self.zip64 = true;
                let (numbers, _) = field.as_chunks::<8>();
                let mut numbers = numbers.iter().map(|number| u64::from_le_bytes(*number));
                for size in [&mut self.size, &mut self.packed] {
                    if *size == ELSEWHERE {
                        *size = numbers.next().unwrap_or(*size);
                    }
                }
            }
            extra = rest;
        }
        self
    }

    fn method(&self) -> Result<Method, String> {
        Method::of(CompressionMethod::new(self.method), self.encrypted)
    }

    /// Decompresses what tells its end itself, and takes no byte more.
    fn delimited<'r>(
        &self,
        method: Method,
        reader: &'r mut impl BufRead,
        window_log_max: u32,
    ) -> io::Result<Box<dyn Read + 'r>> {
        Ok(match method {
            Method::Stored if self.packed > 0 => Box::new(Exact::new(reader, self.packed)),
            Method::Stored => return Err(endless(&self.name)),
            Method::Deflate => Box::new(flate2::bufread::DeflateDecoder::new(reader)),
            Method::Bzip2 => Box::new(bzip2::bufread::BzDecoder::new(reader)),
            Method::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(reader)?;
                let mut decoder = decoder.single_frame();
                decoder.window_log_max(window_log_max)?;
                Box::new(decoder)
            }
        })
    }

    /// Passes over a folder. Whoever writes a stream may say of it too, behind it, that it is empty.
    fn pass_folder(&self, reader: &mut impl BufRead, window_log_max: u32) -> io::Result<()> {
        match self.method() {
            Ok(method) if self.length_follows && method != Method::Stored => {
                io::copy(&mut self.delimited(method, reader, window_log_max)?, &mut io::sink())?;
            }
            _ => skip(reader, self.packed)?,
        }
        if self.length_follows { self.descriptor(reader).map(|_| ()) } else { Ok(()) }
    }

    /// What follows a member whose sizes were not known before (APPNOTE.TXT 4.3.9).
    fn descriptor(&self, reader: &mut impl Read) -> io::Result<Check> {
        let mut crc = [0; 4];
        reader.read_exact(&mut crc)?;
        if crc == DESCRIPTOR {
            reader.read_exact(&mut crc)?;
        }
        let mut number = || -> io::Result<u64> {
            let mut bytes = [0; 8];
            reader.read_exact(&mut bytes[..if self.zip64 { 8 } else { 4 }])?;
            Ok(u64::from_le_bytes(bytes))
        };
        let (_packed, size) = (number()?, number()?);
        Ok(Check { crc: u32::from_le_bytes(crc), size })
    }
}

/// So many bytes, and an error where they are fewer.
pub struct Exact<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Exact<R> {
    /// The next `left` bytes.
    pub fn new(inner: R, left: u64) -> Self {
        Self { inner, left }
    }
}

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let read = self.inner.read(&mut buffer[..wanted])?;
        if read == 0 {
            let text = format!("it ends {} bytes too early", self.left);
            return Err(io::Error::new(ErrorKind::UnexpectedEof, text));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn member(name: &[u8], method: u16, packed: &[u8], crc: u32, size: u32) -> Vec<u8> {
        let mut bytes = b"PK\x03\x04\x14\0\x08\0".to_vec();
        bytes.extend(method.to_le_bytes());
        bytes.extend([0; 16]);
        bytes.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        bytes.extend([0; 2]);
        bytes.extend(name);
        bytes.extend(packed);
        bytes.extend(DESCRIPTOR);
        bytes.extend(crc.to_le_bytes());
        bytes.extend(u32::try_from(packed.len()).unwrap().to_le_bytes());
        bytes.extend(size.to_le_bytes());
        bytes
    }

    #[test]
    fn folders_of_a_zip_that_was_written_as_a_stream_are_passed_over() {
        // As Python's zipfile and Java's ZipOutputStream write them; both then a member: "{}".
        let deflated = [0x01, 2, 0, 0xfd, 0xff, b'{', b'}'];
        let zip = [
            member(b"a/", 0, b"", 0, 0),
            member(b"a/b/", 8, &[3, 0], 0, 0),
            member(b"a/b/c.json", 8, &deflated, 0xa3a6_bf43, 2),
            b"PK\x01\x02".to_vec(),
        ]
        .concat();
        let mut read = Vec::new();
        let took = of_zip(&mut &zip[..], 27, |name, what| {
            let mut text = String::new();
            if let Streamed::Read(bytes) = what {
                bytes.read_to_string(&mut text).unwrap();
                read.push((name.to_vec(), text));
            }
            Ok::<(), Infallible>(())
        });
        assert!(took.is_ok());
        assert_eq!(read, [(b"a/b/c.json".to_vec(), "{}".to_owned())]);
    }
}
