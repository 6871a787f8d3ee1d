//! Settles a batch: writes what is new, merges with what is there, gives up what can't be
//! written, and answers only when every record of it is durable somewhere.

mod affirm;
mod erase;
mod heed;
mod insist;
mod letters;
mod patience;
#[cfg(test)]
mod races;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

use bowerbird_store::{Document, DocumentStore, Revision, StoreError, WriteOutcome};
use bowerbird_stream::status::Reporter;
use bowerbird_stream::{EventLog, Position, Record};

pub(crate) use self::erase::tombstone;
use self::insist::LastWord;
use self::patience::policy;
use super::pace::Sample;
use crate::batch::{Batch, Entity, Gathered, Reject};
use crate::config::{Projection, SinkConfig};
use crate::document;
use crate::error::SinkError;
use crate::merge::State;
use crate::metrics as names;
use crate::summary::summarised;

/// So often a request may end without an answer in time before it is halved.
const TIMEOUTS_BEFORE_SPLIT: u32 = 2;

/// What became of a batch.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// Every record of it.
    pub positions: Vec<Position>,
    pub bytes: usize,
    pub written: u64,
    pub unchanged: u64,
    pub dead_letters: u64,
    /// What it has taught of the store.
    pub sample: Sample,
}

impl Settled {
    fn done(&mut self, records: Vec<Record>) {
        self.positions.extend(records.into_iter().map(|record| record.position));
    }
}

/// Writes batches for one projection; several at once.
#[derive(Debug)]
pub(crate) struct Writer<L, S> {
    pub log: L,
    pub store: S,
    pub projection: Projection,
    pub config: SinkConfig,
    pub reporter: Reporter,
    /// The last batch met mostly documents that were there already (an import done again, a
    /// replay): then reading first spares a write that would only conflict.
    pub expects_existing: AtomicBool,
    /// There are notices about users.
    pub has_users: AtomicBool,
    /// See [`thorough`](Self::thorough).
    pub thorough: bool,
    /// See [`quiet`](Self::quiet).
    pub affirms: bool,
}

/// An entity on its way into the store.
#[derive(Debug)]
struct Unit {
    id: String,
    /// What the records say, and, once it was read, what was there.
    state: State,
    revision: Option<Revision>,
    records: Vec<Record>,
    attempts: u32,
    /// The store says all of it already.
    said: bool,
    /// Where content of it stands in the log that none of its records is.
    stood: Option<Stood>,
    /// What was published of it here that no content may stand behind.
    last_word: Option<LastWord>,
}

/// The place of the content that the store had, or of a copy that was said again here: whichever
/// is later.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stood {
    position: Position,
    /// Whether what stands there, or behind it, is known to tell no place that a geo scrub takes.
    scrubbed: bool,
}

impl Unit {
    fn new(id: String, state: State, records: Vec<Record>) -> Self {
        Self {
            id,
            state,
            revision: None,
            records,
            attempts: 0,
            said: false,
            stood: None,
            last_word: None,
        }
    }

    /// What the store has of it, and what that has become with what the records say.
    fn merged(self, there: State, revision: Option<Revision>) -> Self {
        let seen = there.observed.as_ref().map(|seen| seen.stamp.position.clone());
        let scrubbed = there.is_scrubbed();
        let stood = seen.map(|position| Stood { position, scrubbed });
        Self { state: self.state.merge(there), revision, stood: stood.max(self.stood), ..self }
    }

    /// Its newest observation was said again here, which the store does not know.
    fn stands_at(&mut self, position: Position, scrubbed: bool) {
        if let Some(seen) = &mut self.state.observed {
            seen.stamp.position = position.clone();
        }
        self.said = false;
        self.stood = Some(Stood { position, scrubbed });
    }
}

impl<L: EventLog, S: DocumentStore> Writer<L, S> {
    pub(crate) fn new(
        log: L,
        store: S,
        projection: Projection,
        config: SinkConfig,
        reporter: Reporter,
    ) -> Self {
        Self {
            log,
            store,
            projection,
            config,
            reporter,
            expects_existing: AtomicBool::new(false),
            has_users: AtomicBool::new(false),
            thorough: false,
            affirms: true,
        }
    }

    /// Settles once more what a sink has settled, or shall: what compaction would take, or must, is
    /// left to that sink.
    pub(crate) fn quiet(self) -> Self {
        Self { affirms: false, ..self }
    }

    /// Looks at contents too: a document of the right event that says something else is written
    /// over.
    pub(crate) fn thorough(self) -> Self {
        Self { expects_existing: AtomicBool::new(true), thorough: true, ..self }
    }

    /// Whether it sees to what compaction keeps of a unit. A quiet one does where it takes from a
    /// sink's documents what would tell the sink that something must go.
    fn minds(&self, unit: &Unit) -> bool {
        self.affirms || self.thorough && unit.stood.is_some()
    }

    pub(crate) async fn settle(self: Arc<Self>, batch: Batch) -> Result<Settled, SinkError> {
        let begun = Instant::now();
        let mut settled = Settled { bytes: batch.bytes(), ..Settled::default() };
        let Gathered { entities, rejects } = batch.gather(&self.projection.mapping);
        let rejects = rejects
            .into_iter()
            .map(|Reject { record, reason, error }| (record, self.why(reason, error, 1)))
            .collect();
        self.give_up(rejects, &mut settled).await?;
        let mut units: Vec<Unit> = entities
            .into_iter()
            .map(|(id, Entity { state, records })| Unit::new(id, state, records))
            .collect();
        self.heed(&mut units, &mut settled.sample).await?;
        let total = units.len();
        let mut met = 0;
        let units = if self.expects_existing.load(Ordering::Relaxed) {
            self.reconcile(units, &mut settled, &mut met).await?
        } else {
            let mut units = units;
            self.affirm(&mut units).await?;
            self.erase(&mut units).await?;
            units
        };
        // Chunks still to be written; a refused request is halved until its culprit is alone.
        let mut chunks = vec![units];
        while let Some(chunk) = chunks.pop() {
            if chunk.is_empty() {
                continue;
            }
            let (again, conflicts) = self.write(chunk, &mut chunks, &mut settled).await?;
            met += conflicts.len();
            let merged = self.reconcile(conflicts, &mut settled, &mut 0).await?;
            chunks.push(again);
            chunks.push(merged);
        }
        self.expects_existing.store(met * 2 > total, Ordering::Relaxed);
        metrics::histogram!(names::BATCH_SECONDS, "projection" => self.projection.name)
            .record(begun.elapsed().as_secs_f64());
        Ok(settled)
    }

    /// Writes a chunk: what is to be tried again, and what met another revision.
    async fn write(
        &self,
        chunk: Vec<Unit>,
        halves: &mut Vec<Vec<Unit>>,
        settled: &mut Settled,
    ) -> Result<(Vec<Unit>, Vec<Unit>), SinkError> {
        let documents = chunk.iter().map(render).collect::<Result<Vec<_>, _>>()?;
        let database = &self.projection.database;
        let timeouts = AtomicU32::new(0);
        let ask = || async {
            let asked = Instant::now();
            let answer = self.store.write(database, &documents).await;
            if let Err(StoreError::TimedOut { .. }) = &answer {
                timeouts.fetch_add(1, Ordering::Relaxed);
            }
            answer.map(|rows| (rows, asked.elapsed()))
        };
        // A request that never ends in time may do so by halves.
        let splits = |error: &StoreError| {
            matches!(error, StoreError::TimedOut { .. })
                && documents.len() > 1
                && timeouts.load(Ordering::Relaxed) >= TIMEOUTS_BEFORE_SPLIT
        };
        let rows = match self.patiently(&mut settled.sample, splits, ask).await {
            Ok((rows, took)) => {
                settled.sample.slowest = settled.sample.slowest.max(took);
                rows
            }
            Err(error) => {
                let reason = match error {
                    StoreError::TooLarge { bytes, reason, .. } => {
                        let smallest =
                            settled.sample.too_large.map_or(bytes, |known| known.min(bytes));
                        settled.sample.too_large = Some(smallest);
                        reason
                    }
                    StoreError::Rejected { reason, .. } => reason,
                    error if splits(&error) => error.to_string(),
                    error => return Err(error.into()),
                };
                self.bisect(chunk, reason, halves, settled).await?;
                return Ok(Default::default());
            }
        };
        let (mut again, mut conflicts, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        let mut last_words = Vec::new();
        for (mut unit, row) in chunk.into_iter().zip(rows) {
            match row {
                WriteOutcome::Written(_) => {
                    settled.written += 1;
                    last_words.extend(self.last_word(&unit));
                    settled.done(unit.records);
                }
                WriteOutcome::Conflict => {
                    unit.attempts += 1;
                    if unit.attempts < self.config.max_attempts {
                        conflicts.push(unit);
                    } else {
                        let reason = "it conflicts again and again with what can't be read";
                        refused.push((unit, "conflict".to_owned(), reason.to_owned()));
                    }
                }
                WriteOutcome::Failed { error, reason } => {
                    unit.attempts += 1;
                    if unit.attempts < self.config.max_attempts {
                        again.push(unit);
                    } else {
                        refused.push((unit, error, reason));
                    }
                }
                WriteOutcome::Refused { error, reason } => refused.push((unit, error, reason)),
            }
        }
        self.insist(last_words).await?;
        for (unit, error, reason) in refused {
            self.refuse(unit, &error, reason, halves, settled).await?;
        }
        // The first conflict is the ordinary way to meet what is there; later ones are a race.
        let tries = again.iter().map(|unit| unit.attempts);
        let races = conflicts.iter().map(|unit| unit.attempts - 1);
        if let Some(attempts) = tries.chain(races).max().filter(|attempts| *attempts > 0) {
            tokio::time::sleep(policy(&self.config).delay(attempts)).await;
        }
        Ok((again, conflicts))
    }

    /// Halves a chunk that was refused as a whole; one unit alone is the culprit.
    async fn bisect(
        &self,
        mut chunk: Vec<Unit>,
        reason: String,
        halves: &mut Vec<Vec<Unit>>,
        settled: &mut Settled,
    ) -> Result<(), SinkError> {
        let half = chunk.split_off(chunk.len() / 2);
        if !chunk.is_empty() {
            tracing::debug!(
                reason,
                units = chunk.len() + half.len(),
                "a request was refused, halving it"
            );
            halves.extend([half, chunk]);
            return Ok(());
        }
        for unit in half {
            self.refuse(unit, "rejected", reason.clone(), halves, settled).await?;
        }
        Ok(())
    }

    /// Gives a unit up that the store will never take. If several records made it, each is tried
    /// alone first: it may be one of them that spoils the others.
    async fn refuse(
        &self,
        unit: Unit,
        error: &str,
        reason: String,
        halves: &mut Vec<Vec<Unit>>,
        settled: &mut Settled,
    ) -> Result<(), SinkError> {
        let Unit { id, records, attempts, .. } = unit;
        if records.len() > 1 {
            for record in records {
                // It was mapped before, so it can be mapped again.
                let mapped = record
                    .view()
                    .ok()
                    .and_then(|event| self.projection.mapping.map(&event, &record.position).ok());
                if let Some(mapped) = mapped {
                    halves.push(vec![Unit::new(id.clone(), mapped.state, vec![record])]);
                }
            }
            return Ok(());
        }
        let why = self.why(error, reason, attempts + 1);
        let rejects = records.into_iter().map(|record| (record, why.clone())).collect();
        self.give_up(rejects, settled).await
    }

    /// Reads what is there and merges: what is left needs a write, over the revision that was
    /// read; what the store already says is done, unless it must be said again in the log.
    async fn reconcile(
        &self,
        units: Vec<Unit>,
        settled: &mut Settled,
        met: &mut usize,
    ) -> Result<Vec<Unit>, SinkError> {
        let ids = units.iter().map(|unit| unit.id.clone()).collect();
        let stored = self.read(ids, &mut settled.sample).await?;
        let mut left = Vec::new();
        let mut foreign = Vec::new();
        for (mut unit, document) in units.into_iter().zip(stored) {
            let Some(document) = document else {
                unit.revision = None;
                left.push(unit);
                continue;
            };
            *met += 1;
            match document::read(&document) {
                Ok(there) => {
                    let mut unit = unit.merged(there.clone(), document.revision);
                    unit.said = self.is_said(&there, &unit);
                    left.push(unit);
                }
                Err(error) => {
                    let why = self.why("occupied", error.to_string(), 1);
                    foreign.extend(unit.records.into_iter().map(|record| (record, why.clone())));
                }
            }
        }
        self.give_up(foreign, settled).await?;
        self.affirm(&mut left).await?;
        self.erase(&mut left).await?;
        let (said, open): (Vec<_>, Vec<_>) = left.into_iter().partition(|unit| unit.said);
        for unit in said {
            settled.unchanged += 1;
            settled.done(unit.records);
        }
        Ok(open)
    }

    /// The documents of these ids.
    async fn read(
        &self,
        ids: Vec<String>,
        sample: &mut Sample,
    ) -> Result<Vec<Option<Document>>, SinkError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let fetch = || self.store.fetch(&self.projection.database, &ids);
        Ok(self.patiently(sample, |_| false, fetch).await?)
    }

    /// Whether the store's `there`, which was merged into `unit`, says all that it does.
    fn is_said(&self, there: &State, unit: &Unit) -> bool {
        let content = |state: &State| state.observed.as_ref().map(|seen| summarised(&seen.content));
        there.says_as_much_as(&unit.state)
            && !unit.brings_scrub(there)
            && (!self.thorough || content(there) == content(&unit.state))
    }
}

fn render(unit: &Unit) -> Result<Document, SinkError> {
    let document = document::render(&unit.id, &unit.state)
        .map_err(|error| SinkError::Render { id: unit.id.clone(), error: error.to_string() })?;
    Ok(Document { revision: unit.revision.clone(), ..document })
}
