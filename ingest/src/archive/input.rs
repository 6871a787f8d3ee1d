//! Opening an archive: what it is, how it is compressed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_128;

use super::config::Input;
use super::progress::Progress;

/// What identifies a file, wherever it lies and whatever it is called: its size and the hash of
/// its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its size in bytes, compressed as it lies there.
    pub size: u64,
    /// XXH3-128 of its first 64 KiB, in hexadecimal digits.
    pub head: String,
    /// When it was last written, if the system knows.
    pub written: Option<Timestamp>,
    /// It is not compressed, so that any offset can be read at once.
    pub plain: bool,
}

/// Why an archive can't be opened. The text says what to do.
#[derive(Debug, Error)]
pub enum OpenError {
    /// A folder.
    #[error("{0} is a folder; name the files in it, for example {0}/*.jsonl.gz")]
    Folder(String),
    /// The system refuses, or it is not there.
    #[error("{name} can't be read: {error}")]
    Io {
        /// The file.
        name: String,
        /// What the system said.
        error: io::Error,
    },
    /// A container of files, or a compression that is not read.
    #[error("{name} is a {format}, which is not read; unpack it first, and import what is in it")]
    Format {
        /// The file.
        name: String,
        /// What it is.
        format: &'static str,
    },
}

/// How much of a file its identity covers.
const HEAD_BYTES: u64 = 64 << 10;
const BUFFER_BYTES: usize = 128 << 10;

/// Identifies a regular file; nothing for pipes and the like, which can't be read twice.
///
/// # Errors
/// When it is a folder, or can't be read.
pub fn identify(path: &Path) -> Result<Option<Identity>, OpenError> {
    let name = path.display().to_string();
    let failed = |error| OpenError::Io { name: name.clone(), error };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        return Err(OpenError::Folder(name));
    }
    if !metadata.is_file() {
        return Ok(None);
    }
    let mut head = Vec::new();
    File::open(path)
        .and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head))
        .map_err(failed)?;
    let written = metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
    let plain = Format::of(&head) == Format::Plain;
    let head = format!("{:032x}", xxh3_128(&head));
    Ok(Some(Identity { size: metadata.len(), head, written, plain }))
}

/// The lines of an archive as bytes, decompressed.
pub struct Opened {
    /// Positioned at the offset that was asked for.
    pub reader: Box<dyn Read>,
    /// It may give bytes as they come, with pauses: what there is should be passed on.
    pub live: bool,
}

/// Opens an archive at an offset into its decompressed bytes; `plain` when it is known that they
/// are the file's own.
///
/// # Errors
/// When it can't be read, or is nothing that is read here.
pub fn open(
    input: &Input,
    offset: u64,
    plain: bool,
    window_log_max: u32,
    progress: &Arc<Progress>,
) -> Result<Opened, OpenError> {
    let name = match input {
        Input::Path(path) => path.display().to_string(),
        Input::Stdin => "standard input".to_owned(),
    };
    let failed = |error| OpenError::Io { name: name.clone(), error };
    let seeks = plain && offset > 0;
    let (file, live): (Box<dyn Read>, bool) = match input {
        Input::Stdin => (Box::new(io::stdin().lock()), true),
        Input::Path(path) => {
            let mut file = File::open(path).map_err(failed)?;
            let live = !file.metadata().map_err(failed)?.is_file();
            if seeks {
                file.seek(SeekFrom::Start(offset)).map_err(failed)?;
                progress.add_bytes(offset);
            }
            (Box::new(file), live)
        }
    };
    let counted = Counted { inner: file, progress: Arc::clone(progress) };
    let mut input = BufReader::with_capacity(BUFFER_BYTES, counted);
    if seeks {
        return Ok(Opened { reader: Box::new(input), live });
    }
    let format = Format::of(input.fill_buf().map_err(failed)?);
    let mut reader = format.decoder(input, window_log_max, &name)?;
    skip(&mut reader, offset).map_err(failed)?;
    Ok(Opened { reader, live })
}

fn skip(reader: &mut impl Read, bytes: u64) -> io::Result<()> {
    let skipped = io::copy(&mut reader.take(bytes), &mut io::sink())?;
    if skipped < bytes {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("it ends after {skipped} bytes, before the checkpoint at {bytes}"),
        ));
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Plain,
    Gzip,
    Bzip2,
    Zstd,
    Other(&'static str),
}

impl Format {
    /// Told by the first bytes, never by the name.
    ///
    /// Sources: RFC 1952 2.3.1, RFC 8878 3.1, the bzip2 and xz formats, POSIX ustar, APPNOTE.TXT.
    fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'P', b'K', 3, 4, ..] => Self::Other("zip archive"),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Other("xz file"),
            _ if head.get(257..262) == Some(b"ustar") => Self::Other("tar archive"),
            _ => Self::Plain,
        }
    }

    fn decoder(
        self,
        input: impl BufRead + 'static,
        window_log_max: u32,
        name: &str,
    ) -> Result<Box<dyn Read>, OpenError> {
        let decoder: Box<dyn Read> = match self {
            Self::Plain => return Ok(Box::new(input)),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
            Self::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
            Self::Zstd => {
                let failed = |error| OpenError::Io { name: name.to_owned(), error };
                let mut decoder =
                    zstd::stream::read::Decoder::with_buffer(input).map_err(failed)?;
                decoder.window_log_max(window_log_max).map_err(failed)?;
                Box::new(decoder)
            }
            Self::Other(format) => return Err(OpenError::Format { name: name.to_owned(), format }),
        };
        // A container may hide under the compression.
        let mut decoder = BufReader::with_capacity(BUFFER_BYTES, decoder);
        match decoder.fill_buf().map(Self::of) {
            Ok(Self::Other(format)) => Err(OpenError::Format { name: name.to_owned(), format }),
            Ok(_) => Ok(Box::new(decoder)),
            Err(error) => Ok(Box::new(Broken(Some(error)))),
        }
    }
}

/// Gives an error that was met early, where it would have been met late.
struct Broken(Option<io::Error>);

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// Counts the bytes as they lie in the file.
struct Counted<R> {
    inner: R,
    progress: Arc<Progress>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.progress.add_bytes(read as u64);
        Ok(read)
    }
}
