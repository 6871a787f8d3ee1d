//! From blocks of lines to batches of records, on a thread of its own.

use std::collections::BTreeMap;

use bowerbird_stream::log::Outgoing;
use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::mpsc::Sender;

use super::blocks::{Block, Broken};
use super::summary::Counts;
use crate::post::{Found, Place, Reader, Refusal};
use crate::record::{LINE_REFUSED, Refused};

/// Records that go to the log together.
#[derive(Debug, Default)]
pub struct Batch {
    /// The records.
    pub records: Vec<Outgoing>,
    /// Their size.
    pub bytes: usize,
    /// What the lines that end in this batch held.
    pub counts: Counts,
    /// Decompressed bytes up to the end of the last of these lines.
    pub end: u64,
}

/// What the parser hands on.
#[derive(Debug)]
pub enum Parsed {
    /// Records, in order.
    Batch(Batch),
    /// The input has ended, and where it is broken, why.
    End(Option<String>),
}

/// Who gives up lines that are not understood, as dead letters name it.
pub const GROUP: &str = "ingest-archive";
const MAX_BATCH_RECORDS: usize = 4096;

/// Turns blocks into batches.
pub struct Parser {
    reader: Reader,
    name: String,
    source: String,
    started: Timestamp,
    max_line_bytes: usize,
    out: Output,
    /// Lines up to here are behind us.
    line: u64,
}

/// Batches on their way out.
struct Output {
    batch_bytes: usize,
    sender: Sender<Parsed>,
    batch: Batch,
    /// What the line under way held so far: it counts when it ends.
    current: Counts,
    stopped: bool,
}

/// How the lines of a file are read.
pub struct ParserConfig {
    /// Reads the lines.
    pub reader: Reader,
    /// The file's name.
    pub name: String,
    /// `ce_source` of its events.
    pub source: String,
    /// When the import began.
    pub started: Timestamp,
    /// See [`super::ArchiveConfig::max_line_bytes`].
    pub max_line_bytes: usize,
    /// See [`super::ArchiveConfig::batch_bytes`].
    pub batch_bytes: usize,
    /// Where reading begins: the bytes and lines before.
    pub offset: u64,
    /// Lines before.
    pub line: u64,
}

impl Parser {
    /// A parser that hands its batches to `sender`.
    pub fn new(config: ParserConfig, sender: Sender<Parsed>) -> Self {
        let ParserConfig { reader, name, source, started, .. } = config;
        Self {
            reader,
            name,
            source,
            started,
            max_line_bytes: config.max_line_bytes,
            line: config.line,
            out: Output {
                batch_bytes: config.batch_bytes,
                sender,
                batch: Batch { end: config.offset, ..Batch::default() },
                current: Counts::default(),
                stopped: false,
            },
        }
    }

    /// Takes one block; `false` when nobody wants the records any more.
    pub fn block(&mut self, block: Block, live: bool) -> bool {
        match block {
            Block::Lines(lines) => self.lines(&lines),
            Block::TooLong { head, length, consumed } => {
                self.line += 1;
                let error = too_long(length, self.max_line_bytes);
                self.refuse(&Refusal { reason: "line-too-long", error }, head, Some(length));
                self.out.end_line(consumed);
            }
        }
        if live {
            self.out.send();
        }
        !self.out.stopped
    }

    /// The input has ended.
    pub fn finish(mut self, broken: Option<Broken>) {
        let error = broken.map(|broken| self.broken(broken));
        self.out.send();
        if !self.out.stopped {
            // Nobody there: nobody to tell.
            self.out.sender.blocking_send(Parsed::End(error)).ok();
        }
    }

    fn broken(&mut self, broken: Broken) -> String {
        let Broken { error, tail } = broken;
        let error = format!(
            "the file is damaged or cut off after line {} ({error}); everything before is imported",
            self.line
        );
        // A line feed may be all that is missing.
        let whole = !tail.is_empty() && {
            let mut posts = 0;
            self.reader.read(&tail, Place::Line(self.line + 1), &mut |found| {
                posts += u64::from(matches!(found, Found::Post { .. } | Found::Notice { .. }));
            });
            posts > 0
        };
        let consumed = tail.len() as u64;
        if whole {
            self.lines(&tail);
        }
        self.line += u64::from(!whole);
        let kept = if whole { Bytes::new() } else { tail };
        self.refuse(&Refusal { reason: "truncated", error: error.clone() }, kept, None);
        // The line counts if there was any of it; the fact that it is cut counts in any case.
        if whole || consumed == 0 {
            self.out.add_current();
        } else {
            self.out.end_line(consumed);
        }
        error
    }

    fn lines(&mut self, lines: &Bytes) {
        let mut start = 0;
        while start < lines.len() && !self.out.stopped {
            let feed = memchr::memchr(b'\n', &lines[start..]);
            let next = feed.map_or(lines.len(), |feed| start + feed + 1);
            let end = feed.map_or(lines.len(), |feed| start + feed);
            self.line += 1;
            self.one_line(lines.slice(start..end));
            self.out.end_line((next - start) as u64);
            start = next;
        }
    }

    fn one_line(&mut self, mut line: Bytes) {
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        if self.line == 1 && line.starts_with(BYTE_ORDER_MARK) {
            line = line.slice(BYTE_ORDER_MARK.len()..);
        }
        if line.len() > self.max_line_bytes {
            let error = too_long(line.len() as u64, self.max_line_bytes);
            let length = line.len() as u64;
            line.truncate(super::blocks::KEPT_BYTES);
            return self.refuse(&Refusal { reason: "line-too-long", error }, line, Some(length));
        }
        let Self { reader, out, name, source, started, line: number, .. } = self;
        reader.read(&line, Place::Line(*number), &mut |found| match found {
            Found::Post { record, created } => {
                out.current.add_post(created);
                out.push(record);
            }
            Found::Notice { record } => {
                out.current.notices += 1;
                out.push(record);
            }
            Found::Control(_) => out.current.control_lines += 1,
            Found::Blank => out.current.blank_lines += 1,
            Found::Problems { problems, bytes } => {
                let texts: Vec<String> = problems.iter().map(crate::post::Problem::text).collect();
                let error = format!("errors and no post: {}", texts.join("; "));
                let refusal = Refusal { reason: crate::post::reason::ERRORS, error };
                out.refuse(&refusal, refused(name, source, *number, *started, bytes, None));
            }
            Found::Refused { refusal, bytes } => {
                out.refuse(&refusal, refused(name, source, *number, *started, bytes, None));
            }
        });
    }

    fn refuse(&mut self, refusal: &Refusal, value: Bytes, length: Option<u64>) {
        let refused = refused(&self.name, &self.source, self.line, self.started, value, length);
        self.out.refuse(refusal, refused);
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

fn too_long(length: u64, bound: usize) -> String {
    format!(
        "the line has {length} bytes, more than archive.max_line_bytes = {bound}; only its \
         beginning is kept here"
    )
}

/// A line that never became an event: where it stands, and its bytes.
fn refused<'a>(
    name: &str,
    source: &'a str,
    line: u64,
    started: Timestamp,
    value: Bytes,
    length: Option<u64>,
) -> Refused<'a> {
    let mut extensions = BTreeMap::from([
        ("file".to_owned(), name.to_owned()),
        ("line".to_owned(), line.to_string()),
    ]);
    if let Some(length) = length {
        extensions.insert("bytes".to_owned(), length.to_string());
    }
    let key = format!("{name}:{line}");
    Refused { kind: LINE_REFUSED, source, key, time: started, value, extensions }
}

impl Output {
    fn push(&mut self, record: Outgoing) {
        self.batch.bytes += record.size();
        self.batch.records.push(record);
        if self.batch.bytes >= self.batch_bytes || self.batch.records.len() >= MAX_BATCH_RECORDS {
            self.send();
        }
    }

    fn refuse(&mut self, refusal: &Refusal, refused: Refused<'_>) {
        self.current.add_dead_letters(refusal.reason, 1);
        self.push(refused.letter(refusal, GROUP));
    }

    fn end_line(&mut self, consumed: u64) {
        self.current.lines = 1;
        self.batch.end += consumed;
        self.add_current();
    }

    fn add_current(&mut self) {
        let current = std::mem::take(&mut self.current);
        self.batch.counts.add(&current);
    }

    fn send(&mut self) {
        if self.stopped || (self.batch.records.is_empty() && self.batch.counts.lines == 0) {
            return;
        }
        let next = Batch { end: self.batch.end, ..Batch::default() };
        let batch = std::mem::replace(&mut self.batch, next);
        self.stopped = self.sender.blocking_send(Parsed::Batch(batch)).is_err();
    }
}
