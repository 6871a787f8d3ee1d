//! Filling a new generation beside the live one, step by step. Every step can be done again, so
//! after `kill -9` the same command goes on with the generation that was begun.

use std::time::Duration;

use bowerbird_store::{DocumentStore, StoreError};
use bowerbird_stream::EventLog;
use bowerbird_stream::status::Reporter;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Generations;
use super::compare::{self, Comparison};
use super::fill::{self, Fill, Standing};
use crate::config::{Projection, SinkConfig};
use crate::error::SinkError;
use crate::journal;
use crate::mapping::Mapping;
use crate::meta::job::{Job, Worker};
use crate::verify::{VerifyConfig, VerifyReport, verify};
use crate::worker::SinkReport;

/// How often documents that differ from the live ones are looked at again, and how long is waited
/// before: the live pipeline may be ahead or behind by what it is just writing.
const LOOKS: u32 = 5;
const BETWEEN_LOOKS: Duration = Duration::from_millis(400);

/// The job's note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The generation that is filled; nothing before it was begun.
    pub generation: Option<u32>,
    /// When the job was begun.
    pub started: Timestamp,
    /// Records that its group has settled.
    pub done: u64,
    /// Records that the log holds.
    pub total: u64,
}

/// What a rebuild works with.
#[derive(Debug)]
pub struct With<'a, L, S> {
    /// The log.
    pub log: &'a L,
    /// The generations, in their store.
    pub generations: &'a Generations<S>,
    /// The projection, in its first generation.
    pub base: &'a Projection,
    /// The mapping of the new generation.
    pub mapping: &'a Mapping,
    /// How a live sink works.
    pub config: &'a SinkConfig,
    /// Is told when it must wait for something to be mended.
    pub reporter: &'a Reporter,
    /// Ends it; the same command goes on.
    pub cancel: &'a CancellationToken,
}

/// What the new generation was found to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Against the log: this decides.
    pub log: VerifyReport,
    /// Against the live generation: what a new mapping or a mended mistake changes shows here.
    pub live: Comparison,
}

/// A rebuild under way.
#[derive(Debug)]
pub struct Rebuild<'a, L, S> {
    with: With<'a, L, S>,
    job: Job<S, Note>,
    number: u32,
    projection: Projection,
}

/// The id of the job's note.
fn note(base: &Projection) -> String {
    format!("rebuild:{}", base.name)
}

impl<'a, L: EventLog, S: DocumentStore> Rebuild<'a, L, S> {
    /// Begins a generation with its database, or goes on with the one that was begun.
    ///
    /// # Errors
    /// When somebody else is at it, a generation with another mapping was begun, or the store
    /// fails.
    pub async fn begin(with: With<'a, L, S>, worker: &Worker) -> Result<Self, SinkError> {
        let With { log, generations, base, mapping, .. } = with;
        let meta = generations.meta();
        let begin = async |before: Option<Note>| {
            let started = Timestamp::now();
            Ok(before.unwrap_or(Note { generation: None, started, done: 0, total: 0 }))
        };
        let mut job = Job::claim(meta, note(base), worker, begin).await?;
        let known = highest_known(log, base).await?;
        let noted = job.work.generation;
        let begun =
            generations.change(base, |now, time| now.begin(base, mapping, known, noted, time));
        let (pointer, number) = begun.await?;
        job.work.generation = Some(number);
        job.save().await?;
        let projection = generations.projection(base, &pointer, number)?;
        let (store, database) = (meta.store(), &projection.database);
        if with.config.create_databases {
            store.create_database(database).await?;
        } else if store.database(database).await?.is_none() {
            let (address, database) = (store.address(), database.clone());
            return Err(StoreError::MissingDatabase { address, database }.into());
        }
        Ok(Self { with, job, number, projection })
    }

    /// The generation's number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The generation.
    pub fn projection(&self) -> &Projection {
        &self.projection
    }

    /// Fills it until it is level with the log; again, it takes what came since.
    ///
    /// # Errors
    /// [`SinkError::Interrupted`] when it was cancelled; what ends a sink; or when somebody else
    /// has taken the job over.
    pub async fn fill(
        &mut self,
        done: &mut SinkReport,
        mut progress: impl FnMut(Standing),
    ) -> Result<(), SinkError> {
        let config = fill::bulk(self.with.config);
        let With { log, generations, reporter, cancel, .. } = self.with;
        let store = generations.meta().store();
        let projection = &self.projection;
        let fill = Fill { log, store, projection, config: &config, reporter, cancel };
        let job = &mut self.job;
        let filled = fill.to_level(done, async |standing: Standing| {
            progress(standing);
            (job.work.done, job.work.total) = (standing.done, standing.total);
            job.keep().await
        });
        filled.await
    }

    /// Does other work on it, such as building indexes, and keeps the job meanwhile.
    ///
    /// # Errors
    /// When somebody else has taken the job over.
    pub async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Result<T, SinkError> {
        self.job.keep_while(work).await
    }

    /// Compares it with the log and with the live generation. `progress` is told how many events
    /// and documents were looked at.
    ///
    /// # Errors
    /// When log or store can't be used, or somebody else has taken the job over; differences are
    /// no error but the report.
    pub async fn check(
        &mut self,
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<Checked, SinkError> {
        let With { log, generations, base, .. } = self.with;
        let store = generations.meta().store();
        let config =
            VerifyConfig { projections: vec![self.projection.clone()], ..VerifyConfig::default() };
        let verified = self.job.keep_while(verify(log, store, &config, &mut progress)).await??;
        let pointer = generations.pointer(base).await?;
        let live = pointer.get(base, pointer.live)?.clone();
        let content = live.mapping == self.projection.mapping.version();
        let (ours, theirs) = (&*live.database, &*self.projection.database.clone());
        let seen = verified.projections.iter().map(|one| one.events + one.documents).sum::<u64>();
        let comparing =
            compare::compare(store, ours, theirs, content, |count| progress(seen + count));
        let mut compared = self.job.keep_while(comparing).await??;
        for _ in 0..LOOKS {
            if compared.differences() == 0 {
                break;
            }
            // What one of them has and the other is about to get.
            tokio::time::sleep(BETWEEN_LOOKS).await;
            self.fill(&mut SinkReport::default(), |_| {}).await?;
            compared = compare::again(store, ours, theirs, compared).await?;
        }
        Ok(Checked { log: verified, live: compared })
    }

    /// Marks it ready, notes that in the journal, and ends the job.
    ///
    /// # Errors
    /// When somebody else has taken the job over, or log or store fail.
    pub async fn finish(mut self, checked: &Checked) -> Result<u32, SinkError> {
        let With { log, generations, base, .. } = self.with;
        // The lease is still ours, or this fails.
        self.job.save().await?;
        let number = self.number;
        let ready = generations.change(base, |now, time| Ok((now.ready(base, number, time)?, ())));
        let (pointer, ()) = ready.await?;
        let since = pointer.get(base, number)?.since.unwrap_or(self.job.work.started);
        let counts = checked.log.projections.first();
        let fact = json!({
            "projection": base.name,
            "generation": number,
            "mapping": self.projection.mapping.version(),
            "started": self.job.work.started,
            "finished": since,
            "events": counts.map(|counts| counts.events),
            "documents": counts.map(|counts| counts.documents),
            "differs_from_live": checked.live.differences(),
        });
        let source = format!("projection:{}", base.name);
        let id = format!("rebuild.finished-{}-{}", base.name, since.as_nanosecond());
        let fact = journal::Fact { kind: "rebuild.finished", id, source, time: since, fact };
        journal::publish(log, fact).await?;
        self.job.forget().await?;
        Ok(number)
    }

    /// Lets the job go, so that it can be gone on with at once.
    ///
    /// # Errors
    /// When the store fails, or somebody else has taken it over.
    pub async fn leave(self) -> Result<(), SinkError> {
        self.job.release().await.map(|_| ())
    }
}

/// The highest number of a generation whose group the log knows.
async fn highest_known<L: EventLog>(log: &L, base: &Projection) -> Result<u32, SinkError> {
    let groups = log.groups().await?;
    let number = |name: &str| {
        let rest = name.strip_prefix(base.group.as_str())?.strip_prefix('-')?;
        rest.parse::<u32>().ok()
    };
    Ok(groups.iter().filter_map(|group| number(&group.name)).max().unwrap_or(0))
}
