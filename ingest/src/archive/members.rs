//! The members of a container that lies in a file: listed from its headers, and not read.
//!
//! A member is a part of the file, so each can be read by itself, also while others are, and those
//! that need not be read cost nothing. Only one header is in memory at a time.

use std::cell::Cell;
use std::error::Error;
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::rc::Rc;

use rawzip::{CompressionMethod, ZipArchive, ZipLocator};

use super::entry::{HOLES, Kind};
use super::format::Format;
use super::range::Range;

const BUFFER_BYTES: usize = 128 << 10;

/// Where the bytes of a member are.
#[derive(Clone, Debug)]
pub enum Member {
    /// They lie there as they are; in a zip with what they must add up to.
    Plain(Range, Option<Check>),
    /// They are compressed by the container.
    Packed(Range, Method, Check),
    /// They can't be read, and why.
    Unread(String),
    /// It has none of its own: it names another file.
    Link,
}

/// What a zip tells of a member's bytes as they were before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// CRC-32.
    pub crc: u32,
    /// How many they are.
    pub size: u64,
}

/// How a zip compresses a member (APPNOTE.TXT 4.4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Method 0.
    Stored,
    /// Method 8.
    Deflate,
    /// Method 12.
    Bzip2,
    /// Method 93.
    Zstd,
}

/// Why not all members were taken.
#[derive(Debug)]
pub enum Failed<E> {
    /// Whoever takes them said so.
    Taker(E),
    /// The container is damaged, or can't be read.
    Container(io::Error),
}

impl<E> From<io::Error> for Failed<E> {
    fn from(error: io::Error) -> Self {
        Self::Container(error)
    }
}

/// What is told of a container that is damaged; for people.
pub fn cut_container(error: &io::Error) -> String {
    format!("it is damaged or cut off ({error}); its members before that are imported")
}

/// Whether the system failed to read, which may pass, and not the bytes themselves, which stay.
pub fn may_pass(error: &io::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|error| error.raw_os_error().is_some()) {
            return true;
        }
        cause = match io.and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

impl Method {
    /// The method of this number, or why members of it can't be read.
    pub fn of(method: CompressionMethod, encrypted: bool) -> Result<Self, String> {
        if encrypted {
            return Err("it is encrypted; unpack it first, and import what comes out".to_owned());
        }
        match method {
            CompressionMethod::STORE => Ok(Self::Stored),
            CompressionMethod::DEFLATE => Ok(Self::Deflate),
            CompressionMethod::BZIP2 => Ok(Self::Bzip2),
            CompressionMethod::ZSTD => Ok(Self::Zstd),
            other => Err(format!(
                "it is compressed by {} (method {}), which is not read; unpack it first, and \
                 import what comes out",
                other.name().unwrap_or("an unknown method"),
                other.as_u16()
            )),
        }
    }

    /// Decompresses.
    ///
    /// # Errors
    /// When a decoder can't be made.
    pub fn decoder<'r>(
        self,
        input: impl Read + 'r,
        window_log_max: u32,
    ) -> io::Result<Box<dyn Read + 'r>> {
        match self {
            Self::Stored => Ok(Box::new(input)),
            Self::Deflate => {
                let input = BufReader::with_capacity(BUFFER_BYTES, input);
                Ok(Box::new(flate2::bufread::DeflateDecoder::new(input)))
            }
            Self::Bzip2 => Format::Bzip2.decoder(input, window_log_max),
            Self::Zstd => Format::Zstd.decoder(input, window_log_max),
        }
    }
}

/// Hands out the path and place of each file in a tar.
///
/// # Errors
/// When a header is damaged (what is before it was handed out), or `take` fails.
pub fn of_tar<E>(
    range: &Range,
    mut take: impl FnMut(&[u8], Member) -> Result<(), E>,
) -> Result<(), Failed<E>> {
    let headers = Headers::default();
    let mut archive = headers.archive(range.part(0, range.len()));
    let mut entries = archive.entries_with_seek()?;
    while let Some(mut entry) = headers.next(&mut entries)? {
        let member = match Kind::of(&mut entry)? {
            Kind::File => Member::Plain(range.part(entry.raw_file_position(), entry.size()), None),
            Kind::Sparse => Member::Unread(HOLES.to_owned()),
            Kind::Unread(why) => Member::Unread(why.to_owned()),
            Kind::Link => Member::Link,
            Kind::Empty => continue,
        };
        take(&entry.path_bytes(), member).map_err(Failed::Taker)?;
    }
    Ok(())
}

/// How much may stand before a member of a tar: what fills up a block, its header, and others that
/// tell a longer name. Such a name is read into memory, and may claim to be of any length.
const MAX_HEADER_BYTES: u64 = 16 << 20;

/// Bounds what is read of a tar before each of its members.
#[derive(Debug, Default)]
pub struct Headers {
    left: Rc<Cell<Option<u64>>>,
}

impl Headers {
    /// A tar whose headers are bounded. It is read up to its end and not only up to its mark of
    /// one: others may follow, and a compression has its sum at its end.
    pub fn archive<R: Read>(&self, inner: R) -> tar::Archive<Bounded<R>> {
        let mut archive = tar::Archive::new(Bounded { inner, left: Rc::clone(&self.left) });
        archive.set_ignore_zeros(true);
        archive
    }

    /// The next member. Nothing may be left unread of the one before, but where it is sought over.
    ///
    /// # Errors
    /// When its header can't be read.
    pub fn next<T>(
        &self,
        entries: &mut impl Iterator<Item = io::Result<T>>,
    ) -> io::Result<Option<T>> {
        self.left.set(Some(MAX_HEADER_BYTES));
        let next = entries.next().transpose();
        self.left.set(None);
        next
    }
}

/// Something of which only so much is read at times.
#[derive(Debug)]
pub struct Bounded<R> {
    inner: R,
    left: Rc<Cell<Option<u64>>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        if let Some(left) = self.left.get() {
            let left = left.checked_sub(read as u64).ok_or_else(|| {
                let text = format!("before a member there are more than {MAX_HEADER_BYTES} bytes");
                io::Error::new(ErrorKind::InvalidData, text)
            })?;
            self.left.set(Some(left));
        }
        Ok(read)
    }
}

impl<R: Seek> Seek for Bounded<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

/// A zip whose directory can be read.
pub struct Directory {
    archive: ZipArchive<Range>,
    range: Range,
}

impl Directory {
    /// Finds the directory at the end of a zip.
    ///
    /// # Errors
    /// When there is none: the zip is cut or damaged, and may still be read from its beginning.
    pub fn find(range: &Range) -> io::Result<Self> {
        let mut buffer = vec![0; rawzip::RECOMMENDED_BUFFER_SIZE];
        let end = range.len();
        let located = ZipLocator::new().locate_in_reader(range.clone(), &mut buffer, end);
        let archive = located.map_err(|(_, error)| zip_error(error))?;
        Ok(Self { archive, range: range.clone() })
    }

    /// Hands out the path and place of each file.
    ///
    /// # Errors
    /// When the directory is damaged (what is before was handed out), or `take` fails.
    pub fn members<E>(
        &self,
        mut take: impl FnMut(&[u8], Member) -> Result<(), E>,
    ) -> Result<(), Failed<E>> {
        let mut buffer = vec![0; rawzip::MAX_CENTRAL_DIRECTORY_RECORD_SIZE];
        let mut entries = self.archive.entries(&mut buffer);
        while let Some(header) = entries.next_entry().map_err(zip_error)? {
            if header.is_dir() {
                continue;
            }
            if header.mode().is_symlink() {
                take(header.file_path().as_bytes(), Member::Link).map_err(Failed::Taker)?;
                continue;
            }
            let check = Check { crc: header.crc32(), size: header.uncompressed_size_hint() };
            let method = Method::of(header.compression_method(), header.flags().is_encrypted());
            let member = match (method, self.archive.get_entry(header.wayfinder())) {
                (Err(why), _) => Member::Unread(why),
                (_, Err(error)) => Member::Unread(format!("its header is damaged ({error})")),
                (Ok(method), Ok(entry)) => {
                    let (start, end) = entry.compressed_data_range();
                    let part = self.range.part(start, end.saturating_sub(start));
                    match method {
                        Method::Stored => Member::Plain(part, Some(check)),
                        method => Member::Packed(part, method, check),
                    }
                }
            };
            take(header.file_path().as_bytes(), member).map_err(Failed::Taker)?;
        }
        Ok(())
    }
}

fn zip_error(error: rawzip::Error) -> io::Error {
    match error.into_kind() {
        rawzip::ErrorKind::IO(error) => error,
        kind => io::Error::new(ErrorKind::InvalidData, kind.to_string()),
    }
}

/// Adds up what is read, and fails at its end when that is not what it must be.
pub struct Checked<R> {
    inner: R,
    seen: flate2::Crc,
    size: u64,
    check: Option<Check>,
}

impl<R: Read> Checked<R> {
    /// Of which nothing was read yet; without a check, it only adds up.
    pub fn new(inner: R, check: Option<Check>) -> Self {
        Self { inner, seen: flate2::Crc::new(), size: 0, check }
    }

    /// What there was so far.
    pub fn seen(&self) -> Check {
        Check { crc: self.seen.sum(), size: self.size }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.seen.update(&buffer[..read]);
        self.size += read as u64;
        if read == 0
            && !buffer.is_empty()
            && let Some(check) = self.check.take()
        {
            check.holds(self.seen())?;
        }
        Ok(read)
    }
}

impl Check {
    /// Whether these are the bytes.
    ///
    /// # Errors
    /// With what is wrong.
    pub fn holds(self, seen: Self) -> io::Result<()> {
        let wrong = if seen.size != self.size {
            format!("it has {} bytes, and should have {}", seen.size, self.size)
        } else if seen.crc != self.crc {
            format!("its checksum is {:08x}, and should be {:08x}", seen.crc, self.crc)
        } else {
            return Ok(());
        };
        Err(io::Error::new(ErrorKind::InvalidData, wrong))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_may_pass_however_it_is_wrapped() {
        let system = || io::Error::from_raw_os_error(5);
        assert!(may_pass(&system()));
        assert!(may_pass(&io::Error::other(system())));
        assert!(!may_pass(&io::Error::new(ErrorKind::InvalidData, "corrupt")));
        assert!(!may_pass(&ErrorKind::UnexpectedEof.into()));
    }

    #[test]
    fn a_wrong_sum_is_told_at_the_end() {
        for (check, part) in [
            (Check { crc: 0x352441c2, size: 3 }, None),
            (Check { crc: 0x352441c2, size: 4 }, Some("3 bytes, and should have 4")),
            (Check { crc: 1, size: 3 }, Some("should be 00000001")),
        ] {
            let mut text = String::new();
            let read = Checked::new(&b"abc"[..], Some(check)).read_to_string(&mut text);
            assert_eq!(text, "abc");
            let told = read.map(|_| ()).map_err(|error| error.to_string());
            match part {
                None => told.unwrap(),
                Some(part) => assert!(told.unwrap_err().contains(part)),
            }
        }
    }
}
