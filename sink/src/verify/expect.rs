//! Reads the log up to what the projection's group has committed, and notes what it says.

use std::collections::BTreeMap;

use bowerbird_stream::dead_letter::{DeadLetters, Filter};
use bowerbird_stream::log::ConsumerConfig;
use bowerbird_stream::range::RangeReader;
use bowerbird_stream::retry::{RetryPolicy, Verdict, retry};
use bowerbird_stream::{EventLog, Partition, Record};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::compare::Young;
use super::runs::Files;
use super::scratch::{Page, Scratch};
use super::{Difference, ProjectionReport, Run, VerifyConfig};
use crate::config::Projection;
use crate::error::SinkError;
use crate::mapping::Mapping;
use crate::summary::summarised;

/// Records taken at a time.
const TAKE: usize = 2_000;

/// What is judged, and how far that has come.
pub(super) struct Judging {
    pub projection: Projection,
    pub young: Young,
    /// The next offset to be read of each partition, and where its range ends.
    pub ranges: BTreeMap<Partition, (i64, i64)>,
    pub sample: Sample,
    /// The last document that was compared.
    pub compared: Option<String>,
    files: Files,
}

/// What is written down of it, so that another run can go on.
#[derive(Debug, Serialize, Deserialize)]
struct Checkpoint {
    database: String,
    group: String,
    mapping: u32,
    sample: f64,
    ranges: Vec<(Partition, (i64, i64))>,
    any_young: bool,
    files: Files,
    compared: Option<String>,
    counts: ProjectionReport,
    differences: Vec<Difference>,
    repairs: std::collections::BTreeSet<String>,
}

/// Which documents are compared: always the same ones of a share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample(f64);

impl Sample {
    /// Whether this document is one of them.
    pub(super) fn has(self, id: &str) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "a share of 2^64, as near as a double is")]
        let place = xxh3_64(id.as_bytes()) as f64 / u64::MAX as f64;
        self.0 >= 1.0 || place < self.0
    }
}

impl Judging {
    /// Goes on where an earlier run has stopped, or says anew up to where the log is judged.
    pub(super) async fn begin<L: EventLog>(
        log: &L,
        projection: &Projection,
        config: &VerifyConfig,
        scratch: &Scratch,
        run: &mut Run,
    ) -> Result<Self, SinkError> {
        let mut judging = Self {
            projection: projection.clone(),
            young: Young::default(),
            ranges: BTreeMap::new(),
            sample: Sample(config.sample),
            compared: None,
            files: Files::default(),
        };
        if !config.fresh && judging.resume(scratch, run).await? {
            return Ok(judging);
        }
        scratch.clear()?;
        for topic in &projection.topics {
            // Committed first: what is committed later is only younger.
            let committed = log.committed(&projection.group, topic).await?;
            for (number, extent) in log.extents(topic).await? {
                let partition = Partition::new(*topic, number);
                let bound = committed.get(&number).copied().unwrap_or(extent.earliest);
                let bound = bound.clamp(extent.earliest, extent.end);
                run.counts.not_judged += u64::try_from(extent.end - bound).unwrap_or_default();
                judging.young.any |= bound < extent.end;
                judging.young.bounds.insert(partition.clone(), bound);
                judging.ranges.insert(partition, (extent.earliest, bound));
            }
        }
        Ok(judging)
    }

    async fn resume(&mut self, scratch: &Scratch, run: &mut Run) -> Result<bool, SinkError> {
        let Some(checkpoint) = scratch.checkpoint::<Checkpoint>() else { return Ok(false) };
        let Projection { database, group, mapping, .. } = &self.projection;
        let same = checkpoint.database == *database
            && checkpoint.group == *group
            && checkpoint.mapping == mapping.version()
            && checkpoint.sample.to_bits() == self.sample.0.to_bits();
        if !same || !scratch.go_on_with(checkpoint.files.clone()).await? {
            return Ok(false);
        }
        tracing::info!(
            database,
            events = checkpoint.counts.events,
            documents = checkpoint.counts.documents,
            "going on with an interrupted verification"
        );
        self.young.any = checkpoint.any_young;
        self.ranges = checkpoint.ranges.into_iter().collect();
        let bounds = self.ranges.iter().map(|(partition, (_, end))| (partition.clone(), *end));
        self.young.bounds = bounds.collect();
        self.compared = checkpoint.compared;
        self.files = checkpoint.files;
        run.counts = checkpoint.counts;
        run.differences = checkpoint.differences;
        run.repairs = checkpoint.repairs;
        Ok(true)
    }

    /// Notes how far it has come.
    pub(super) fn note(&self, scratch: &Scratch, run: &Run) -> Result<(), SinkError> {
        scratch.note(&Checkpoint {
            database: self.projection.database.clone(),
            group: self.projection.group.clone(),
            mapping: self.projection.mapping.version(),
            sample: self.sample.0,
            ranges: self.ranges.clone().into_iter().collect(),
            any_young: self.young.any,
            files: self.files.clone(),
            compared: self.compared.clone(),
            counts: run.counts.clone(),
            differences: run.differences.clone(),
            repairs: run.repairs.clone(),
        })
    }

    /// Fills `scratch` with what the log says.
    pub(super) async fn read<L: EventLog>(
        &mut self,
        log: &L,
        scratch: &Scratch,
        run: &mut Run,
        progress: &mut (impl FnMut(u64) + Send),
    ) -> Result<(), SinkError> {
        if self.compared.is_some() {
            return Ok(());
        }
        read_letters(log, &self.projection, scratch).await?;
        let reader = ConsumerConfig::new("bowerbird-verify");
        let mut reader = RangeReader::new(log, self.ranges.clone(), reader).await?;
        // One page is mapped while the next one is read.
        let mut mapping = None;
        loop {
            let records = reader.next(TAKE).await?;
            let next = records.map(|records| {
                let (by, sample) = (self.projection.mapping, self.sample);
                tokio::task::spawn_blocking(move || {
                    let page = page(&records, &by, sample);
                    (records, page)
                })
            });
            let is_last = next.is_none();
            if let Some(mapped) = std::mem::replace(&mut mapping, next) {
                let (records, page) = joined(mapped.await)?;
                let full = self.add(records, page, scratch, run).await?;
                progress(run.counts.events);
                if full {
                    self.files = scratch.spill().await?;
                    self.note(scratch, run)?;
                }
            }
            if is_last {
                break;
            }
        }
        self.files = scratch.spill().await?;
        self.note(scratch, run)
    }

    async fn add(
        &mut self,
        records: Vec<Record>,
        page: Page,
        scratch: &Scratch,
        run: &mut Run,
    ) -> Result<bool, SinkError> {
        run.counts.events += records.len() as u64;
        for record in records {
            if let Some((next, _)) = self.ranges.get_mut(&record.position.in_partition()) {
                *next = record.position.offset + 1;
            }
        }
        let added = scratch.add(page).await?;
        run.counts.dead_letters += added.lettered.open;
        run.counts.redriven += added.lettered.redriven;
        run.counts.dropped += added.lettered.dropped;
        for (position, why) in added.unlettered {
            run.unlettered(&position, &why);
        }
        Ok(added.full)
    }
}

/// What a task of ours ended with; it panics only where this program is wrong.
pub(super) fn joined<T>(result: Result<T, tokio::task::JoinError>) -> Result<T, SinkError> {
    result.map_err(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => SinkError::Interrupted,
    })
}

fn page(records: &[Record], mapping: &Mapping, sample: Sample) -> Page {
    let mut page = Page::default();
    for record in records {
        let position = record.position.clone();
        match record.view() {
            Ok(event) => match mapping.map(&event, &position) {
                Ok(mapped) if !sample.has(&mapped.id) => {}
                Ok(mut mapped) => {
                    if let Some(seen) = &mut mapped.state.observed {
                        seen.content = summarised(&seen.content);
                    }
                    page.expected.push((mapped.id, position, mapped.state));
                }
                Err(error) => page.unmappable.push((position, error.to_string())),
            },
            Err(error) => page.unmappable.push((position, error.to_string())),
        }
    }
    page
}

/// How often letters are read that are said again elsewhere meanwhile.
const READ_AT_MOST: u32 = 3;

/// Notes which records the projection's group has given up, and what became of them.
async fn read_letters<L: EventLog>(
    log: &L,
    projection: &Projection,
    scratch: &Scratch,
) -> Result<(), SinkError> {
    let policy = RetryPolicy { max_attempts: Some(READ_AT_MOST), ..RetryPolicy::default() };
    let judge = |error: &SinkError| match error {
        SinkError::Log(error) if error.is_transient() => Verdict::Again { after: None },
        _ => Verdict::GiveUp,
    };
    retry(&policy, judge, |_, _| {}, || note_letters(log, projection, scratch)).await
}

async fn note_letters<L: EventLog>(
    log: &L,
    projection: &Projection,
    scratch: &Scratch,
) -> Result<(), SinkError> {
    let groups = vec![projection.group.clone()];
    let filter = Filter { groups, done: true, ..Filter::default() };
    let mut letters = DeadLetters::new(log.clone()).read(filter).await?;
    while let Some(page) = letters.next().await? {
        let origins =
            page.into_iter().filter_map(|letter| Some((letter.story.origin?, letter.done)));
        scratch.letters(origins.collect()).await?;
    }
    Ok(())
}
