//! From blocks of lines to batches of records, on a thread of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use bowerbird_stream::log::Outgoing;
use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::mpsc::Sender;

use super::blocks::{Block, Broken, KEPT_BYTES};
use super::checkpoint::Mark;
use super::file::File;
use super::list::News;
use super::seen::Seen;
use super::summary::{Counts, Findings};
use super::values::Value;
use super::walk::Piece;
use crate::BYTE_ORDER_MARK;
use crate::post::{About, Found, Place, Problem, Reader, Refusal, reason};
use crate::record::{LINE_REFUSED, Refused};

/// Records that go to the log together.
#[derive(Debug, Default)]
pub struct Batch {
    /// The records.
    pub records: Vec<Outgoing>,
    /// Their size; where they are small parts of their blocks, the size of these.
    pub bytes: usize,
    /// What was found in what ends in this batch.
    pub found: Findings,
    /// Up to where that is.
    pub end: Mark,
}

/// What is told of a member of a file, in order.
#[derive(Debug)]
pub enum Report {
    /// Records.
    Batch(Box<Batch>),
    /// Everything in it was told.
    Done,
    /// The system can't read the rest, and why.
    Unreadable(String),
}

/// Who gives up lines that are not understood, as dead letters name it.
pub const GROUP: &str = "ingest-archive";
/// The reason of a dead letter for what ends too early.
const TRUNCATED: &str = "truncated";
/// The reason of a dead letter for a member that is not read.
const UNREAD: &str = "member-unread";
const MAX_BATCH_RECORDS: usize = 4096;

/// What all parsers of an import share.
#[derive(Debug)]
pub struct ParserConfig {
    /// When the import began.
    pub started: Timestamp,
    /// See [`super::ArchiveConfig::max_line_bytes`].
    pub max_line_bytes: usize,
    /// See [`super::ArchiveConfig::batch_bytes`].
    pub batch_bytes: usize,
    /// See [`super::ArchiveConfig::results`].
    pub results: Option<About>,
    /// See [`super::ArchiveConfig::as_of`].
    pub as_of: Option<Timestamp>,
    /// The posts of this import.
    pub seen: Seen,
}

/// Turns the pieces of one member of a file into batches.
pub struct Parser<'a> {
    config: &'a ParserConfig,
    file: Arc<File>,
    /// The lines that are read.
    leaf: Option<Leaf>,
    /// They are passed on as they come.
    live: bool,
    /// Why the rest can't be read.
    unreadable: Option<String>,
    out: Output<'a>,
}

/// One file with lines.
struct Leaf {
    reader: Reader,
    name: String,
    /// Lines up to here are behind us.
    line: u64,
}

/// Batches on their way out.
struct Output<'a> {
    batch_bytes: usize,
    file: u64,
    member: u64,
    sender: &'a Sender<News>,
    batch: Batch,
    /// The size of the records of the block under way.
    of_block: usize,
    /// What the line under way held so far: it counts when it ends.
    current: Counts,
    stopped: bool,
}

impl<'a> Parser<'a> {
    /// A parser of a member, from `from` on, that hands its batches to `sender`.
    pub fn new(
        config: &'a ParserConfig,
        file: Arc<File>,
        member: u64,
        from: Mark,
        sender: &'a Sender<News>,
    ) -> Self {
        let out = Output {
            batch_bytes: config.batch_bytes,
            file: file.number,
            member,
            sender,
            batch: Batch { end: from, ..Batch::default() },
            of_block: 0,
            current: Counts::default(),
            stopped: false,
        };
        Self { config, live: file.live, file, leaf: None, unreadable: None, out }
    }

    /// Takes one piece; `false` when nobody wants the records any more.
    pub fn piece(&mut self, piece: Piece) -> bool {
        match piece {
            Piece::Begin { name, from } => self.begin(name, from),
            Piece::Block(block) => {
                self.block(block);
                if self.live {
                    self.out.send();
                }
            }
            Piece::End(broken) => self.end(broken),
            Piece::Unreadable(error) => self.unreadable = Some(error),
            Piece::Unread { name, leaf, error } => self.unread(name, leaf, error),
            Piece::Foreign { name, leaf } => {
                tracing::info!(file = name, "no JSON object in it, passed over");
                self.out.batch.found.pass_over(&name);
                self.out.end_leaf(leaf);
            }
            Piece::Link { name, leaf } => {
                tracing::info!(file = name, "a link to another file, passed over");
                self.out.batch.found.link(&name);
                self.out.end_leaf(leaf);
            }
        }
        !self.out.stopped
    }

    /// There are no more pieces.
    pub fn finish(mut self) {
        self.out.send();
        self.out.tell(self.unreadable.map_or(Report::Done, Report::Unreadable));
    }

    fn begin(&mut self, name: String, from: Mark) {
        let ParserConfig { started, as_of, results, .. } = *self.config;
        let written = as_of.or(self.file.written);
        let reader = Reader::archive(self.file.source.clone(), name.clone(), written, started);
        let reader = match results {
            Some(About::Either) => reader.with_results(About::of_file(&name)),
            Some(about) => reader.with_results(about),
            None => reader,
        };
        self.leaf = Some(Leaf { reader, name, line: from.line });
        self.out.batch.end = from;
    }

    fn block(&mut self, block: Block) {
        match block {
            Block::Lines(lines) => self.lines(&lines),
            Block::TooLong { head, length, consumed } => {
                let Some(leaf) = &mut self.leaf else { return };
                leaf.line += 1;
                self.too_long(head, length);
                self.out.end_line(consumed);
            }
            Block::Values(values) => {
                for Value { bytes, length, consumed } in values {
                    if self.out.stopped {
                        return;
                    }
                    self.one_line(bytes, length);
                    self.out.end_line(consumed);
                }
            }
        }
    }

    fn too_long(&mut self, head: Bytes, length: u64) {
        let bound = self.config.max_line_bytes;
        let error = format!(
            "it has {length} bytes, more than archive.max_line_bytes = {bound}; only its beginning \
             is kept here"
        );
        self.refuse(&Refusal { reason: LINE_TOO_LONG, error }, head, Some(length));
    }

    fn end(&mut self, broken: Option<Broken>) {
        if let Some(broken) = broken {
            self.broken(broken);
        }
        self.leaf = None;
        self.out.batch.found.members += 1;
        self.out.end_leaf(self.out.batch.end.leaf);
    }

    fn broken(&mut self, broken: Broken) {
        let Broken { error, tail } = broken;
        let Some(leaf) = &mut self.leaf else { return };
        let error = format!(
            "the file is damaged or cut off after line {} ({error}); everything before is imported",
            leaf.line
        );
        self.out.batch.found.problem(&leaf.name, &error);
        // A line feed may be all that is missing.
        let whole = !tail.is_empty() && {
            let mut posts = 0;
            leaf.reader.read(&tail, Place::Line(leaf.line + 1), &mut |found| {
                posts += u64::from(matches!(found, Found::Post { .. } | Found::Notice { .. }));
            });
            posts > 0
        };
        leaf.line += u64::from(!whole);
        let consumed = tail.len() as u64;
        if whole {
            self.lines(&tail);
        }
        let kept = if whole { Bytes::new() } else { tail };
        self.refuse(&Refusal { reason: TRUNCATED, error }, kept, None);
        // The line counts if there was any of it; the fact that it is cut counts in any case.
        if whole || consumed == 0 {
            self.out.add_current();
        } else {
            self.out.end_line(consumed);
        }
    }

    /// A member that is not read. Where it is the file itself there is nothing more to tell of
    /// than the file.
    fn unread(&mut self, name: String, leaf: u64, error: String) {
        self.out.batch.found.problem(&name, &error);
        if self.out.member > 0 || leaf > 0 || name != self.file.name {
            let File { source, .. } = &*self.file;
            let refused = refused(&name, source, None, self.config.started, Bytes::new(), None);
            self.out.refuse(&Refusal { reason: UNREAD, error }, refused);
            self.out.add_current();
        }
        self.out.end_leaf(leaf);
    }

    fn lines(&mut self, lines: &Bytes) {
        let mut start = 0;
        self.out.of_block = 0;
        while start < lines.len() && !self.out.stopped {
            let feed = memchr::memchr(b'\n', &lines[start..]);
            let next = feed.map_or(lines.len(), |feed| start + feed + 1);
            let end = feed.map_or(lines.len(), |feed| start + feed);
            self.one_line(lines.slice(start..end), (end - start) as u64);
            self.out.end_line((next - start) as u64);
            start = next;
        }
        self.out.end_block(lines.len());
    }

    /// Takes a line, or a value, of this length; of one that is too long there may be less.
    fn one_line(&mut self, mut line: Bytes, mut length: u64) {
        let Self { config, out, file, leaf: Some(leaf), .. } = self else { return };
        leaf.line += 1;
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
            length -= 1;
        }
        // Files with one that were put together have it in the middle, too.
        if line.starts_with(BYTE_ORDER_MARK) {
            line = line.slice(BYTE_ORDER_MARK.len()..);
            length -= BYTE_ORDER_MARK.len() as u64;
        }
        if length > config.max_line_bytes as u64 {
            line.truncate(KEPT_BYTES);
            return self.too_long(line, length);
        }
        let Leaf { reader, name, line: number } = leaf;
        let letter =
            |bytes| refused(name, &file.source, Some(*number), config.started, bytes, None);
        reader.read(&line, Place::Line(*number), &mut |found| match found {
            Found::Post { record, created } => {
                let again = record.key.as_ref().is_some_and(|key| config.seen.again(key));
                out.current.add_post(created, again);
                out.push(record);
            }
            Found::Notice { record } => {
                // The second is that of v2 streams, for users.
                let delete =
                    matches!(record.headers.text("ce_action"), Some("delete" | "user_delete"));
                out.current.notices += 1;
                out.current.deletes += u64::from(delete);
                out.push(record);
            }
            Found::Control(_) => out.current.control_lines += 1,
            Found::Blank => out.current.blank_lines += 1,
            Found::Problems { problems, bytes } => {
                let texts: Vec<String> = problems.iter().map(Problem::text).collect();
                let error = format!("errors and no post: {}", texts.join("; "));
                out.refuse(&Refusal { reason: reason::ERRORS, error }, letter(bytes));
            }
            Found::Refused { refusal, bytes } => out.refuse(&refusal, letter(bytes)),
        });
    }

    fn refuse(&mut self, refusal: &Refusal, value: Bytes, length: Option<u64>) {
        let Some(Leaf { name, line, .. }) = &self.leaf else { return };
        let File { source, .. } = &*self.file;
        let refused = refused(name, source, Some(*line), self.config.started, value, length);
        self.out.refuse(refusal, refused);
    }
}

/// The reason of a dead letter for a line that is too long.
const LINE_TOO_LONG: &str = "line-too-long";

/// A line, or a whole member, that never became an event: where it stands, and its bytes.
fn refused<'a>(
    name: &str,
    source: &'a str,
    line: Option<u64>,
    started: Timestamp,
    value: Bytes,
    length: Option<u64>,
) -> Refused<'a> {
    let mut extensions = BTreeMap::from([("file".to_owned(), name.to_owned())]);
    if let Some(line) = line {
        extensions.insert("line".to_owned(), line.to_string());
    }
    if let Some(length) = length {
        extensions.insert("bytes".to_owned(), length.to_string());
    }
    let key = line.map_or_else(|| name.to_owned(), |line| format!("{name}:{line}"));
    Refused { kind: LINE_REFUSED, source, key, time: started, value, extensions }
}

impl Output<'_> {
    fn push(&mut self, record: Outgoing) {
        self.of_block += record.size();
        self.batch.bytes += record.size();
        self.batch.records.push(record);
        self.send_full();
    }

    /// A block has ended. Each record keeps all of its block in memory, also the lines that gave
    /// none: where these are most of it, they count, so that what is under way stays bounded.
    fn end_block(&mut self, bytes: usize) {
        if self.of_block > 0 && self.of_block < bytes / 4 {
            self.batch.bytes += bytes - self.of_block;
            self.send_full();
        }
    }

    fn send_full(&mut self) {
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
        self.batch.end.offset += consumed;
        self.batch.end.line += 1;
        self.add_current();
    }

    /// A file with lines has ended, or one that is passed over: the next begins.
    fn end_leaf(&mut self, leaf: u64) {
        self.batch.end = Mark { leaf: leaf + 1, ..Mark::default() };
    }

    fn add_current(&mut self) {
        let current = std::mem::take(&mut self.current);
        self.batch.found.counts.add(&current);
    }

    fn send(&mut self) {
        if self.batch.records.is_empty() && self.batch.found == Findings::default() {
            return;
        }
        let next = Batch { end: self.batch.end, ..Batch::default() };
        let batch = std::mem::replace(&mut self.batch, next);
        self.tell(Report::Batch(Box::new(batch)));
    }

    fn tell(&mut self, report: Report) {
        if !self.stopped {
            let (file, member) = (self.file, self.member);
            let told = self.sender.blocking_send(News::Member { file, member, report });
            self.stopped = told.is_err();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::progress::Progress;
    use super::super::range::Counter;
    use super::*;

    #[test]
    fn what_records_keep_in_memory_counts_where_it_is_more_than_they_are() {
        let post = b"{\"id\":\"11\",\"text\":\"a\"}\n";
        let sparse = [&b"\n".repeat(100 << 10)[..], post].concat();
        let dense = post.repeat(1_000);
        let controls = b"{\"limit\":{\"track\":1}}\n".repeat(10_000);
        let config = ParserConfig {
            started: Timestamp::UNIX_EPOCH,
            max_line_bytes: 1 << 20,
            batch_bytes: 512 << 10,
            results: None,
            as_of: None,
            seen: Seen::default(),
        };
        for (block, batches) in [(sparse, 2), (dense, 4), (controls, 1)] {
            let (sender, mut news) = tokio::sync::mpsc::channel(100);
            let counter = Counter::new(Arc::new(Progress::default()));
            let file = Arc::new(File::new(0, "a".to_owned(), None, counter));
            let mut parser = Parser::new(&config, file, 0, Mark::default(), &sender);
            // A pipe's lines go on as they come, and those of a file in batches.
            parser.live = false;
            parser.piece(Piece::Begin { name: "a".to_owned(), from: Mark::default() });
            for _ in 0..10 {
                parser.piece(Piece::Block(Block::Lines(Bytes::from(block.clone()))));
            }
            parser.finish();
            let mut sizes = Vec::new();
            while let Ok(News::Member { report: Report::Batch(batch), .. }) = news.try_recv() {
                sizes.push(batch.bytes);
            }
            assert_eq!(sizes.len(), batches, "{sizes:?}");
        }
    }
}
