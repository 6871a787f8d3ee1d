//! The letters of a log, in memory that hardly grows with them: the topic is read twice, once for
//! its marks, of which two bits a letter are kept, and once for the letters themselves, of which
//! one bit tells that a letter was seen: what comes again under its name is a copy of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::bits::Bits;
use super::deliver::deliver;
use super::filter::Filter;
use super::mark::{Deed, Mark, Marks};
use super::rewrite::name_of;
use super::story::{Letter, LetterId};
use crate::error::LogError;
use crate::log::{ConsumerConfig, EventLog, Extent, Outgoing, Partition, Record};
use crate::range::RangeReader;
use crate::topic::DEAD_LETTERS;

/// Records taken at a time.
pub(super) const TAKE: usize = 500;
/// Bytes fetched ahead.
const PREFETCH_BYTES: usize = 4 << 20;
/// Marks that are published together.
const MARKED_AT_ONCE: usize = 500;

/// The dead letters of a log.
#[derive(Clone, Debug)]
pub struct DeadLetters<L> {
    pub(super) log: L,
    pub(super) topic: Arc<str>,
}

/// What dropping letters did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Discarded {
    /// Letters that were dropped, or, in a dry run, would be.
    pub letters: u64,
    /// It was stopped before it came to the end.
    pub stopped: bool,
}

impl<L: EventLog> DeadLetters<L> {
    /// Those of the topic [`DEAD_LETTERS`].
    pub fn new(log: L) -> Self {
        Self::in_topic(log, DEAD_LETTERS)
    }

    /// Those of a topic of another name.
    pub fn in_topic(log: L, topic: impl Into<Arc<str>>) -> Self {
        Self { log, topic: topic.into() }
    }

    /// What the topic holds now.
    ///
    /// # Errors
    /// When the topic is not there, or the log can't be asked.
    pub async fn extents(&self) -> Result<BTreeMap<i32, Extent>, LogError> {
        self.log.extents(&self.topic).await
    }

    /// What was done with the letters so far.
    ///
    /// # Errors
    /// When the topic is not there, or can't be read; also when letters were said again elsewhere
    /// meanwhile, so that it no longer holds these extents.
    pub async fn marks(&self, extents: &BTreeMap<i32, Extent>) -> Result<Marks, LogError> {
        let mut marks = Marks::new(extents);
        let mut reader = self.reader(extents, |_, from, to| (from, to)).await?;
        while let Some(records) = self.taken(&mut reader).await? {
            for mark in records.iter().filter_map(|record| Mark::of(&record.headers)) {
                marks.add(mark.of, mark.deed);
            }
        }
        self.unmoved(extents).await?;
        Ok(marks)
    }

    /// The marks of these letters, in the order in which they were made.
    ///
    /// # Errors
    /// As [`marks`](Self::marks).
    pub async fn history(&self, ids: &[LetterId]) -> Result<Vec<Mark>, LogError> {
        let (extents, mut marks) = (self.extents().await?, Vec::new());
        let mut seen = Bits::new(&extents);
        let mut reader = self.reader(&extents, |_, from, to| (from, to)).await?;
        while let Some(records) = self.taken(&mut reader).await? {
            for record in records {
                let mark = Mark::of(&record.headers).filter(|mark| ids.contains(&mark.of));
                marks.extend(mark.filter(|_| seen.set(name_of(&record))));
            }
        }
        self.unmoved(&extents).await?;
        marks.sort_by_key(|mark| mark.time);
        Ok(marks)
    }

    /// Reads the letters that fit, up to the end of the topic as it is now.
    ///
    /// # Errors
    /// When the topic is not there, or can't be read.
    pub async fn read(&self, filter: Filter) -> Result<Letters<L>, LogError> {
        let extents = self.extents().await?;
        let marks = self.marks(&extents).await?;
        self.between(&extents, filter, marks).await
    }

    /// Reads the letters that fit and stand in these extents.
    pub(super) async fn between(
        &self,
        extents: &BTreeMap<i32, Extent>,
        filter: Filter,
        marks: Marks,
    ) -> Result<Letters<L>, LogError> {
        let named = filter.are_held(extents);
        let reader = self.reader(extents, |number, from, to| match named {
            true => filter.range(number, from, to),
            false => (from, to),
        });
        let (reader, seen) = (reader.await?, Bits::new(extents));
        let (letters, began) = (self.clone(), extents.clone());
        Ok(Letters { letters, began, reader, marks, seen, filter, strangers: 0 })
    }

    pub(super) async fn reader(
        &self,
        extents: &BTreeMap<i32, Extent>,
        part: impl Fn(i32, i64, i64) -> (i64, i64),
    ) -> Result<RangeReader<L::Consumer>, LogError> {
        let ranges = extents.iter().map(|(number, extent)| {
            let partition = Partition::new(Arc::clone(&self.topic), *number);
            (partition, part(*number, extent.earliest, extent.end))
        });
        let reader = RangeReader::new(&self.log, ranges.collect(), reader_config()).await;
        reader.map_err(|error| self.unless_moved(error))
    }

    async fn taken(
        &self,
        reader: &mut RangeReader<L::Consumer>,
    ) -> Result<Option<Vec<Record>>, LogError> {
        reader.next(TAKE).await.map_err(|error| self.unless_moved(error))
    }

    /// Refuses what was read of these extents if they are not held any more: who comes to where
    /// nothing stands is led on without a word.
    async fn unmoved(&self, began: &BTreeMap<i32, Extent>) -> Result<(), LogError> {
        let now = self.extents().await?;
        let held = began.iter().all(|(number, extent)| {
            now.get(number).is_none_or(|now| now.earliest <= extent.earliest)
        });
        held.then_some(()).ok_or_else(|| self.moved())
    }

    /// What is no longer where it stood was said again behind: whoever reads once more gets it.
    fn unless_moved(&self, error: LogError) -> LogError {
        match error {
            LogError::OutOfRange { .. } => self.moved(),
            error => error,
        }
    }

    fn moved(&self) -> LogError {
        let reason = "letters were said again without what had to be removed while they were read; \
                      read them once more";
        LogError::Transient { address: self.log.address(), reason: reason.to_owned() }
    }

    /// Drops the open letters that fit: marks them, so that they are listed and redriven no more.
    /// They stay in the log. What was done is in `done`, also when an error has ended it;
    /// `progress` is told how many letters were dropped so far.
    ///
    /// # Errors
    /// When the log can't be read, or does not take the marks.
    pub async fn discard(
        &self,
        done: &mut Discarded,
        filter: Filter,
        by: &str,
        dry_run: bool,
        mut progress: impl FnMut(u64) + Send,
        cancel: &CancellationToken,
    ) -> Result<(), LogError> {
        let mut letters = self.read(Filter { done: false, ..filter }).await?;
        while let Some(page) = letters.next().await? {
            for some in page.chunks(MARKED_AT_ONCE) {
                if cancel.is_cancelled() {
                    done.stopped = true;
                    return Ok(());
                }
                if !dry_run {
                    self.mark(some.iter(), Deed::Dropped, by).await?;
                }
                done.letters += some.len() as u64;
                progress(done.letters);
            }
        }
        Ok(())
    }

    /// Marks letters; the marks are acknowledged when this returns.
    pub(super) async fn mark(
        &self,
        letters: impl Iterator<Item = &Letter>,
        deed: Deed,
        by: &str,
    ) -> Result<(), LogError> {
        let time = Timestamp::now();
        let marks: Vec<Outgoing> = letters
            .map(|letter| {
                let mark = Mark { of: letter.id, deed, time, by: by.to_owned() };
                mark.record(&self.topic, letter.record.key.clone())
            })
            .collect();
        deliver(&self.log, marks).await?.into_iter().try_for_each(|answer| answer.map(|_| ()))
    }
}

/// As a member of no group.
pub(super) fn reader_config() -> ConsumerConfig {
    ConsumerConfig {
        prefetch_bytes: PREFETCH_BYTES,
        ..ConsumerConfig::new("bowerbird-dead-letters")
    }
}

/// Letters under way, each partition's in order.
pub struct Letters<L: EventLog> {
    letters: DeadLetters<L>,
    /// What the topic held when the reading began.
    began: BTreeMap<i32, Extent>,
    reader: RangeReader<L::Consumer>,
    marks: Marks,
    seen: Bits,
    filter: Filter,
    strangers: u64,
}

impl<L: EventLog> fmt::Debug for Letters<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Letters").field("filter", &self.filter).finish_non_exhaustive()
    }
}

impl<L: EventLog> Letters<L> {
    /// The next letters, never none; nothing at the end.
    ///
    /// # Errors
    /// When the log can't be read; also when letters were said again elsewhere meanwhile, so that
    /// some may not have come.
    pub async fn next(&mut self) -> Result<Option<Vec<Letter>>, LogError> {
        loop {
            let Some(records) = self.letters.taken(&mut self.reader).await? else { break };
            let mut letters = Vec::new();
            for record in records {
                if Mark::of(&record.headers).is_some() || !self.seen.set(name_of(&record)) {
                    continue;
                }
                let Some(mut letter) = Letter::of(record) else {
                    self.strangers += 1;
                    continue;
                };
                let erased = || letter.is_erased().then_some(Deed::Dropped);
                letter.done = self.marks.of(letter.id).or_else(erased);
                letters.extend(self.filter.fits(&letter).then_some(letter));
            }
            if !letters.is_empty() {
                return Ok(Some(letters));
            }
        }
        self.letters.unmoved(&self.began).await?;
        Ok(None)
    }

    /// How many records so far were neither letters nor marks.
    pub fn strangers(&self) -> u64 {
        self.strangers
    }
}
