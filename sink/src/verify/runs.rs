//! What is expected of each document, in sorted runs on disk: gathering costs the same memory for
//! any log, and reading it back in the order of ids is one merge.
//!
//! Runs of a level are merged into one of the next when there are many, so that neither the files
//! that are open nor the times that an entry is written grow with more than the logarithm.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bowerbird_stream::Position;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::merge::{Content, Observation, PayloadHash, Stamp, State};

/// So many runs of a level become one of the next.
const FAN: usize = 32;
/// What one entry costs in memory besides its text: about.
const OVERHEAD: usize = 160;

/// What the judged events say of one document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Expected {
    /// Merged from the events that have no dead letter; a summary stands for the content.
    pub state: State,
    /// Some event about it has a dead letter, so it may say more.
    pub lettered: bool,
}

impl Expected {
    fn absorb(&mut self, other: Self) {
        self.lettered |= other.lettered;
        self.state = std::mem::take(&mut self.state).merge(other.state);
    }
}

type Entry = (String, Expected);

/// Entries in memory, and the runs that they became.
#[derive(Debug)]
pub(super) struct Runs {
    folder: PathBuf,
    held: usize,
    pending: Vec<Entry>,
    bytes: usize,
    files: Files,
}

/// The runs by level, and how many were ever made: what is needed to go on with them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Files {
    levels: Vec<Vec<String>>,
    made: u64,
}

impl Runs {
    /// In `folder`, holding about `held` bytes in memory. `files` are runs that lie there already.
    pub(super) fn new(folder: &Path, held: usize, files: Files) -> Self {
        Self { folder: folder.to_owned(), held, pending: Vec::new(), bytes: 0, files }
    }

    /// Adds what an event says.
    pub(super) fn add(&mut self, id: String, expected: Expected) {
        self.bytes += OVERHEAD + id.len();
        if let Some(seen) = &expected.state.observed {
            self.bytes += seen.content.0.len();
        }
        self.pending.push((id, expected));
    }

    /// Whether it holds more than it should.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= self.held
    }

    /// Goes on with runs that lie in the folder; `false` when they are not all there.
    pub(super) fn go_on_with(&mut self, files: Files) -> bool {
        let there = files.levels.iter().flatten().all(|name| self.folder.join(name).is_file());
        if there {
            self.files = files;
        }
        there
    }

    /// Writes out what is in memory.
    pub(super) fn spill(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.bytes = 0;
        let mut pending = std::mem::take(&mut self.pending);
        pending.sort_by(|(one, _), (two, _)| one.cmp(two));
        let mut run = self.create()?;
        let mut held: Option<Entry> = None;
        for (id, expected) in pending {
            match &mut held {
                Some((last, sum)) if *last == id => sum.absorb(expected),
                _ => {
                    if let Some((id, expected)) = held.replace((id, expected)) {
                        write(&mut run.out, &id, &expected)?;
                    }
                }
            }
        }
        if let Some((id, expected)) = held {
            write(&mut run.out, &id, &expected)?;
        }
        run.out.flush()?;
        self.keep(0, run.name)
    }

    /// The runs that lie in the folder.
    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    /// All entries in the order of their ids' bytes, each id once, those up to `after` left out.
    pub(super) fn merged(&mut self, after: Option<&str>) -> io::Result<Merged> {
        self.spill()?;
        let all = self.files.levels.iter().flatten().map(|name| self.folder.join(name));
        let mut merged = Merged::open(all)?;
        if let Some(after) = after {
            while merged.heads.peek().is_some_and(|Reverse(head)| head.id.as_str() <= after) {
                merged.next_entry()?;
            }
        }
        Ok(merged)
    }

    fn create(&mut self) -> io::Result<Run> {
        let name = format!("{}.run", self.files.made);
        self.files.made += 1;
        let out = BufWriter::with_capacity(1 << 16, File::create(self.folder.join(&name))?);
        Ok(Run { name, out })
    }

    /// Notes a finished run, and merges its level if that is full.
    fn keep(&mut self, level: usize, name: String) -> io::Result<()> {
        if self.files.levels.len() == level {
            self.files.levels.push(Vec::new());
        }
        self.files.levels[level].push(name);
        if self.files.levels[level].len() < FAN {
            return Ok(());
        }
        let names = std::mem::take(&mut self.files.levels[level]);
        let paths: Vec<PathBuf> = names.iter().map(|name| self.folder.join(name)).collect();
        let mut merged = Merged::open(paths.iter().cloned())?;
        let mut run = self.create()?;
        while let Some((id, expected)) = merged.next_entry()? {
            write(&mut run.out, &id, &expected)?;
        }
        run.out.flush()?;
        drop(merged);
        // Those that stay behind after a crash are not named by any checkpoint.
        paths.iter().for_each(|path| drop(std::fs::remove_file(path)));
        self.keep(level + 1, run.name)
    }
}

struct Run {
    name: String,
    out: BufWriter<File>,
}

/// Entries of several runs, as one.
pub(super) struct Merged {
    heads: BinaryHeap<Reverse<Head>>,
}

struct Head {
    id: String,
    expected: Expected,
    rest: BufReader<File>,
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.id.cmp(&other.id)
    }
}

impl Merged {
    fn open(paths: impl Iterator<Item = PathBuf>) -> io::Result<Self> {
        let mut heads = BinaryHeap::new();
        for path in paths {
            let mut rest = BufReader::with_capacity(1 << 15, File::open(path)?);
            if let Some((id, expected)) = read(&mut rest)? {
                heads.push(Reverse(Head { id, expected, rest }));
            }
        }
        Ok(Self { heads })
    }

    fn next_one(&mut self) -> io::Result<Option<Entry>> {
        let Some(mut head) = self.heads.peek_mut() else { return Ok(None) };
        let next = read(&mut head.0.rest)?;
        Ok(Some(match next {
            Some((id, expected)) => {
                let id = std::mem::replace(&mut head.0.id, id);
                (id, std::mem::replace(&mut head.0.expected, expected))
            }
            None => {
                let Reverse(Head { id, expected, .. }) =
                    std::collections::binary_heap::PeekMut::pop(head);
                (id, expected)
            }
        }))
    }

    /// The next id with all that is said of it.
    pub(super) fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        let Some((id, mut expected)) = self.next_one()? else { return Ok(None) };
        while self.heads.peek().is_some_and(|Reverse(head)| head.id == id) {
            if let Some((_, more)) = self.next_one()? {
                expected.absorb(more);
            }
        }
        Ok(Some((id, expected)))
    }
}

const LETTERED: u8 = 1;
const OBSERVED: u8 = 2;
const NOTICED: u8 = 4;

fn write(out: &mut impl Write, id: &str, expected: &Expected) -> io::Result<()> {
    let Expected { state: State { observed, notices }, lettered } = expected;
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let flags = flag(*lettered, LETTERED)
        | flag(observed.is_some(), OBSERVED)
        | flag(!notices.is_empty(), NOTICED);
    write_text(out, id)?;
    out.write_all(&[flags])?;
    if let Some(Observation { stamp, content }) = observed {
        out.write_all(&stamp.time.as_second().to_le_bytes())?;
        out.write_all(&stamp.time.subsec_nanosecond().to_le_bytes())?;
        out.write_all(&u128::from(stamp.hash).to_le_bytes())?;
        out.write_all(&stamp.mapping.to_le_bytes())?;
        out.write_all(&stamp.position.partition.to_le_bytes())?;
        out.write_all(&stamp.position.offset.to_le_bytes())?;
        write_text(out, &stamp.position.topic)?;
        write_text(out, &content.0)?;
    }
    if !notices.is_empty() {
        write_text(out, &serde_json::to_string(notices)?)?;
    }
    Ok(())
}

/// The next entry; nothing at the end.
fn read(input: &mut impl Read) -> io::Result<Option<Entry>> {
    let Some(id) = read_text(input)? else { return Ok(None) };
    let [flags] = bytes(input)?;
    let observed = if flags & OBSERVED == 0 {
        None
    } else {
        let (second, nanosecond) =
            (i64::from_le_bytes(bytes(input)?), i32::from_le_bytes(bytes(input)?));
        let time = Timestamp::new(second, nanosecond).map_err(broken)?;
        let hash = PayloadHash::from(u128::from_le_bytes(bytes(input)?));
        let mapping = u32::from_le_bytes(bytes(input)?);
        let partition = i32::from_le_bytes(bytes(input)?);
        let offset = i64::from_le_bytes(bytes(input)?);
        let topic: Arc<str> = text(input)?.into();
        let position = Position { topic, partition, offset };
        let stamp = Stamp { time, hash, mapping, position };
        Some(Observation { stamp, content: Content(text(input)?) })
    };
    let notices = match flags & NOTICED {
        0 => Default::default(),
        _ => serde_json::from_str(&text(input)?)?,
    };
    let state = State { observed, notices };
    Ok(Some((id, Expected { state, lettered: flags & LETTERED != 0 })))
}

fn broken(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error.to_string())
}

fn bytes<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn write_text(out: &mut impl Write, text: &str) -> io::Result<()> {
    let length = u32::try_from(text.len()).map_err(broken)?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(text.as_bytes())
}

fn text(input: &mut impl Read) -> io::Result<String> {
    read_text(input)?.ok_or_else(|| ErrorKind::UnexpectedEof.into())
}

/// A text; nothing when the input ends before it begins.
fn read_text(input: &mut impl Read) -> io::Result<Option<String>> {
    let mut length = [0; 4];
    if input.read(&mut length[..1])? == 0 {
        return Ok(None);
    }
    input.read_exact(&mut length[1..])?;
    let mut text = vec![0; u32::from_le_bytes(length) as usize];
    input.read_exact(&mut text)?;
    String::from_utf8(text).map(Some).map_err(broken)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::merge::{Notice, NoticeKind};

    fn expected() -> impl Strategy<Value = Expected> {
        let seen = (0_i64..5, any::<u64>(), 0_i64..9).prop_map(|(second, hash, offset)| {
            let position = Position { topic: "posts".into(), partition: 1, offset };
            let time = Timestamp::from_second(second).unwrap();
            let hash = PayloadHash::from(u128::from(hash));
            let stamp = Stamp { time, hash, mapping: 1, position };
            State::observation(stamp, Content(r#"{"rest":7}"#.to_owned()))
        });
        let noticed = (0_i64..5).prop_map(|second| {
            let time = Timestamp::from_second(second).unwrap();
            let (event, action) = ("e".to_owned(), "delete".to_owned());
            let notice = Notice { time, event, action, reason: None, up_to: None };
            State::notice(NoticeKind::Removal, notice)
        });
        (prop_oneof![4 => seen, 1 => noticed], any::<bool>())
            .prop_map(|(state, lettered)| Expected { state, lettered })
    }

    proptest! {
        #[test]
        fn entries_come_back_merged_and_in_order(
            entries in prop::collection::vec(("[a-e]{0,2}", expected()), 0..300),
            after in prop::option::of("[a-e]{0,2}"),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut model: BTreeMap<String, Expected> = BTreeMap::new();
            let mut runs = Runs::new(folder.path(), 3 * OVERHEAD, Files::default());
            for (number, (id, expected)) in entries.into_iter().enumerate() {
                model.entry(id.clone()).or_default().absorb(expected.clone());
                runs.add(id, expected);
                if runs.is_full() {
                    runs.spill().unwrap();
                    if number % 7 == 0 {
                        // As after a crash: what was written out is gone on with.
                        let files = runs.files().clone();
                        runs = Runs::new(folder.path(), 3 * OVERHEAD, Files::default());
                        prop_assert!(runs.go_on_with(files));
                    }
                }
            }
            let mut merged = runs.merged(after.as_deref()).unwrap();
            let mut read = Vec::new();
            while let Some(entry) = merged.next_entry().unwrap() {
                read.push(entry);
            }
            model.retain(|id, _| after.as_deref().is_none_or(|after| id.as_str() > after));
            prop_assert_eq!(read, model.into_iter().collect::<Vec<_>>());
        }
    }
}
