//! Settles a batch: writes what is new, merges with what is there, gives up what can't be
//! written, and answers only when every record of it is durable somewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bowerbird_store::{Document, DocumentStore, Revision, StoreError, WriteOutcome};
use bowerbird_stream::dead_letter::{self, Reason};
use bowerbird_stream::log::Outgoing;
use bowerbird_stream::retry::{RetryPolicy, Verdict, retry};
use bowerbird_stream::status::{Reporter, State as Role};
use bowerbird_stream::{EventLog, LogError, Position, Record};
use jiff::Timestamp;

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
    /// See [`thorough`](Self::thorough).
    pub thorough: bool,
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
}

impl<L: EventLog, S: DocumentStore> Writer<L, S> {
    pub(crate) fn new(
        log: L,
        store: S,
        projection: Projection,
        config: SinkConfig,
        reporter: Reporter,
    ) -> Self {
        let expects_existing = AtomicBool::new(false);
        Self { log, store, projection, config, reporter, expects_existing, thorough: false }
    }

    /// Looks at contents too: a document of the right event that says something else is written
    /// over.
    pub(crate) fn thorough(self) -> Self {
        Self { expects_existing: AtomicBool::new(true), thorough: true, ..self }
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
        let units: Vec<Unit> = entities
            .into_iter()
            .map(|(id, Entity { state, records })| Unit {
                id,
                state,
                revision: None,
                records,
                attempts: 0,
            })
            .collect();
        let total = units.len();
        let mut met = 0;
        let units = if self.expects_existing.load(Ordering::Relaxed) {
            self.reconcile(units, &mut settled, &mut met).await?
        } else {
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
        for (mut unit, row) in chunk.into_iter().zip(rows) {
            match row {
                WriteOutcome::Written(_) => {
                    settled.written += 1;
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
                    halves.push(vec![Unit {
                        id: id.clone(),
                        state: mapped.state,
                        revision: None,
                        records: vec![record],
                        attempts: 0,
                    }]);
                }
            }
            return Ok(());
        }
        let why = self.why(error, reason, attempts + 1);
        let rejects = records.into_iter().map(|record| (record, why.clone())).collect();
        self.give_up(rejects, settled).await
    }

    /// Reads what is there and merges: what is left needs a write, over the revision that was
    /// read; what the store already says is done.
    async fn reconcile(
        &self,
        units: Vec<Unit>,
        settled: &mut Settled,
        met: &mut usize,
    ) -> Result<Vec<Unit>, SinkError> {
        if units.is_empty() {
            return Ok(units);
        }
        let ids: Vec<String> = units.iter().map(|unit| unit.id.clone()).collect();
        let database = &self.projection.database;
        let fetch = || self.store.fetch(database, &ids);
        let stored = self.patiently(&mut settled.sample, |_| false, fetch).await?;
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
                    let merged = unit.state.merge(there.clone());
                    let same = |two: &State| match (&there.observed, &two.observed) {
                        (Some(one), Some(two)) => {
                            summarised(&one.content) == summarised(&two.content)
                        }
                        _ => true,
                    };
                    if there.says_as_much_as(&merged) && (!self.thorough || same(&merged)) {
                        settled.unchanged += 1;
                        settled.done(unit.records);
                    } else {
                        left.push(Unit { state: merged, revision: document.revision, ..unit });
                    }
                }
                Err(error) => {
                    let why = self.why("occupied", error.to_string(), 1);
                    foreign.extend(unit.records.into_iter().map(|record| (record, why.clone())));
                }
            }
        }
        self.give_up(foreign, settled).await?;
        Ok(left)
    }

    /// Publishes dead letters; they are acknowledged when this returns.
    async fn give_up(
        &self,
        rejects: Vec<(Record, Reason)>,
        settled: &mut Settled,
    ) -> Result<(), SinkError> {
        if rejects.is_empty() {
            return Ok(());
        }
        let now = Timestamp::now();
        let mut letters = Vec::with_capacity(rejects.len());
        let mut records = Vec::with_capacity(rejects.len());
        for (record, why) in rejects {
            tracing::warn!(position = %record.position, reason = why.reason, error = why.error, "dead letter");
            letters.push(dead_letter::of_record(record.clone(), &why, now));
            records.push(record);
        }
        settled.dead_letters += records.len() as u64;
        self.publish(letters).await?;
        settled.done(records);
        Ok(())
    }

    /// Publishes, and returns when the log has all of them.
    pub(super) async fn publish(&self, mut records: Vec<Outgoing>) -> Result<(), SinkError> {
        while !records.is_empty() {
            let answers = self.log.publish(records.clone()).await;
            let mut failed = Vec::new();
            let mut trouble = None;
            for (record, answer) in records.into_iter().zip(answers) {
                match answer {
                    Ok(_) => {}
                    // A letter with its own headers may be over the limit that the record met.
                    Err(error @ LogError::TooLarge { .. }) => {
                        failed.push(dead_letter::shortened(record).ok_or(error)?);
                    }
                    Err(error) if mends(&error) => {
                        failed.push(record);
                        trouble = Some(error);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            records = failed;
            if let Some(error) = trouble {
                if self.config.once {
                    return Err(error.into());
                }
                self.reporter.set(Role::Paused { reason: error.to_string() });
                tokio::time::sleep(self.config.max_backoff.min(Duration::from_secs(2))).await;
            }
        }
        self.reporter.mended();
        Ok(())
    }

    fn why(&self, reason: &str, error: String, attempts: u32) -> Reason {
        let group = self.projection.group.clone();
        Reason { reason: reason.to_owned(), error, group, attempts }
    }

    /// Asks the store, and waits out what passes or what an operator can mend, visibly; unless
    /// `hopeless` says that the same request will not go through.
    async fn patiently<T, F, R>(
        &self,
        sample: &mut Sample,
        hopeless: impl Fn(&StoreError) -> bool,
        ask: F,
    ) -> Result<T, StoreError>
    where
        F: Fn() -> R,
        R: Future<Output = Result<T, StoreError>>,
    {
        let judge = |error: &StoreError| match error {
            error if hopeless(error) => Verdict::GiveUp,
            error if self.config.once && (error.pauses() || error.is_transient()) => {
                Verdict::GiveUp
            }
            StoreError::Busy { retry_after, .. } => Verdict::Again { after: *retry_after },
            error if error.is_transient() || error.pauses() => Verdict::Again { after: None },
            _ => Verdict::GiveUp,
        };
        let notify = |error: &StoreError, wait: Duration| {
            metrics::counter!(names::RETRIES, "projection" => self.projection.name).increment(1);
            if error.is_transient() {
                sample.failures += 1;
            }
            // A hiccup is not worth an alarm; what an operator must mend is, at once.
            if error.pauses() || wait >= Duration::from_secs(1) {
                self.reporter.set(Role::Paused { reason: error.to_string() });
            }
        };
        let database = &self.projection.database;
        let attempt = || async {
            match ask().await {
                Err(StoreError::MissingDatabase { .. }) if self.config.create_databases => {
                    self.store.create_database(database).await?;
                    ask().await
                }
                answer => answer,
            }
        };
        let answer = retry(&policy(&self.config), judge, notify, attempt).await;
        if answer.is_ok() {
            self.reporter.mended();
        }
        answer
    }
}

/// Whether the log may take it later: by itself, or when an operator has mended what is wrong.
fn mends(error: &LogError) -> bool {
    let missing = matches!(error, LogError::MissingTopic { .. });
    missing || error.is_transient() || error.pauses()
}

fn policy(config: &SinkConfig) -> RetryPolicy {
    RetryPolicy {
        initial: Duration::from_millis(100),
        max: config.max_backoff,
        ..RetryPolicy::default()
    }
}

fn render(unit: &Unit) -> Result<Document, SinkError> {
    let document = document::render(&unit.id, &unit.state)
        .map_err(|error| SinkError::Render { id: unit.id.clone(), error: error.to_string() })?;
    Ok(Document { revision: unit.revision.clone(), ..document })
}
