//! A part of a file: the whole of it, or a member that lies in it uncompressed.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::progress::Progress;

/// Bytes of a file from one offset on, of a given length. Clones have positions of their own, so
/// that several members of a file can be read at once.
#[derive(Clone, Debug)]
pub struct Range {
    file: Arc<File>,
    start: u64,
    length: u64,
    /// How much of it can be there, because what it is a part of ends.
    there: u64,
    /// From the beginning of the part.
    at: u64,
    counter: Option<Arc<Counter>>,
}

/// Counts what is read of a file.
#[derive(Debug)]
pub struct Counter {
    progress: Arc<Progress>,
    read: AtomicU64,
}

impl Counter {
    /// Counts nothing yet.
    pub fn new(progress: Arc<Progress>) -> Arc<Self> {
        Arc::new(Self { progress, read: AtomicU64::new(0) })
    }

    /// Counts these bytes.
    pub fn add(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
        self.progress.add_bytes(bytes);
    }

    /// Counts what is missing to `size`: what lies between members, and what was passed over.
    pub fn fill(&self, size: u64) {
        self.add(size.saturating_sub(self.read.load(Ordering::Relaxed)));
    }
}

impl Range {
    /// All of a file, which is so long.
    pub fn new(file: File, length: u64) -> Self {
        Self { file: Arc::new(file), start: 0, length, there: length, at: 0, counter: None }
    }

    /// What is read of it is counted.
    #[must_use]
    pub fn counted(self, counter: &Arc<Counter>) -> Self {
        Self { counter: Some(Arc::clone(counter)), ..self }
    }

    /// A part of it. One that goes beyond the end can be named; reading it fails there.
    pub fn part(&self, start: u64, length: u64) -> Self {
        let there = self.there.saturating_sub(start).min(length);
        Self { start: self.start.saturating_add(start), length, there, at: 0, ..self.clone() }
    }

    /// How long it is.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Its first bytes, at most so many.
    ///
    /// # Errors
    /// As reading it.
    pub fn head(&self, bytes: u64) -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        let uncounted = Self { counter: None, ..self.part(0, self.length.min(bytes)) };
        uncounted.take(bytes).read_to_end(&mut head)?;
        Ok(head)
    }

    fn at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = self.length.saturating_sub(offset);
        if left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let there = usize::try_from(self.there.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = there.min(buffer.len());
        let read = loop {
            let place = self.start.saturating_add(offset);
            match self.file.read_at(&mut buffer[..wanted], place) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        if read == 0 {
            return Err(io::Error::new(
                ErrorKind::UnexpectedEof,
                format!("the file ends {left} bytes too early"),
            ));
        }
        Ok(read)
    }
}

impl Read for Range {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.at(buffer, self.at)?;
        self.at += read as u64;
        if let Some(counter) = &self.counter {
            counter.add(read as u64);
        }
        Ok(read)
    }
}

impl Seek for Range {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = to.ok_or(ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

impl rawzip::ReaderAt for Range {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.at(buffer, offset)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn parts_are_read_by_themselves_and_their_end_is_told() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let whole = Range::new(file, 10);
        let progress = Arc::new(Progress::default());
        let counter = Counter::new(Arc::clone(&progress));
        let mut part = whole.clone().counted(&counter).part(2, 5);
        assert_eq!(part.head(3).unwrap(), b"234");
        let mut text = String::new();
        part.read_to_string(&mut text).unwrap();
        assert_eq!(text, "23456");
        part.seek(SeekFrom::End(-1)).unwrap();
        part.seek(SeekFrom::Current(-1)).unwrap();
        text.clear();
        part.read_to_string(&mut text).unwrap();
        assert_eq!(text, "56");
        assert!(part.seek(SeekFrom::Current(-9)).is_err());
        // Never into what follows the part that it is a part of.
        text.clear();
        let error = part.part(4, 9).read_to_string(&mut text).unwrap_err();
        assert_eq!((error.kind(), &*text), (ErrorKind::UnexpectedEof, "6"));
        let mut left = Vec::new();
        assert!(part.part(4, 2).read_to_end(&mut left).is_err());
        assert_eq!(left, b"6");
        counter.fill(20);
        assert_eq!(progress.snapshot().bytes_read, 20);
    }
}
