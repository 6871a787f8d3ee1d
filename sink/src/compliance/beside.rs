//! Notices reach the generations of posts that are beside the live one.
//!
//! A generation that is kept to go back to, ready to go live, or half filled is read on by its own
//! group only when somebody moves it. A removal would leave the content in its database until then.
//! So running sinks settle in each of them the notices that came since. A notice may come before
//! what it is about, and twice, so its group meets them once more without harm.
//! `docs/adr/0003-generations.md` tells what a generation is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bowerbird_store::DocumentStore;
use bowerbird_stream::log::{ConsumerConfig, Extent};
use bowerbird_stream::range::RangeReader;
use bowerbird_stream::status::status;
use bowerbird_stream::{EventLog, Partition, Record, topic};
use serde::{Deserialize, Serialize};

use super::unless_held;
use crate::batch::Batch;
use crate::config::{Projection, SinkConfig};
use crate::error::SinkError;
use crate::meta::Meta;
use crate::meta::job::{Job, Note, Worker};
use crate::projections::{Generations, Refusal, Standing};
use crate::worker::writer::Writer;

/// The note that says which notices are known to which database.
const NOTE: &str = "compliance:generations";
/// Notices that are settled together.
const BATCH: usize = 500;

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// Notices that were settled, once for each generation.
    pub notices: u64,
    /// Documents that were written for them.
    pub written: u64,
    /// Up to where the notices of each partition are known, by database.
    pub known: BTreeMap<String, BTreeMap<i32, i64>>,
}

type Ranges = BTreeMap<Partition, (i64, i64)>;

/// How many notices the generations that are not live do not know yet, all together.
///
/// # Errors
/// When log or store can't be asked.
pub async fn waiting<L: EventLog, S: DocumentStore>(
    log: &L,
    generations: &Generations<S>,
) -> Result<u64, SinkError> {
    let before = last(generations.meta()).await?;
    let mut waiting = 0;
    for projection in others(generations).await? {
        let ranges = unknown(log, &projection, &before).await?;
        waiting += ranges.values().map(|(from, end)| end.abs_diff(*from)).sum::<u64>();
    }
    Ok(waiting)
}

/// Settles them while nobody else does, and notes that.
///
/// # Errors
/// [`SinkError::Held`] when somebody else does; or when log or store fail: then the rest is done the
/// next time.
pub async fn apply<L: EventLog, S: DocumentStore>(
    log: &L,
    generations: &Generations<S>,
    worker: &Worker,
) -> Result<Carried, SinkError> {
    let carrying = Box::pin(carry(log, generations));
    Job::alone_noting(generations.meta(), NOTE, worker, carrying).await
}

/// The same, if some wait and nobody else is at it.
pub(super) async fn due<L: EventLog, S: DocumentStore>(
    log: &L,
    generations: &Generations<S>,
    worker: &Worker,
) -> Result<Option<Carried>, SinkError> {
    if waiting(log, generations).await? == 0 {
        return Ok(None);
    }
    unless_held(apply(log, generations, worker).await)
}

async fn last<S: DocumentStore>(meta: &Meta<S>) -> Result<Carried, SinkError> {
    let note = meta.read::<Note<Carried>>(NOTE).await?;
    Ok(note.map(|note| note.value.work).unwrap_or_default())
}

/// The generations of posts that have a database and are not live.
async fn others<S: DocumentStore>(
    generations: &Generations<S>,
) -> Result<Vec<Projection>, SinkError> {
    let (base, store) = (Projection::posts(), generations.meta().store());
    let pointer = generations.pointer(&base).await?;
    let mut others = Vec::new();
    for (number, generation) in &pointer.generations {
        if matches!(generation.state, Standing::Live | Standing::Dropping) {
            continue;
        }
        match generations.projection(&base, &pointer, *number) {
            Ok(projection) if store.database(&projection.database).await?.is_some() => {
                others.push(projection);
            }
            Ok(_) => {}
            // Only the version that made it can read and write it.
            Err(SinkError::Generation(refusal @ Refusal::UnknownMapping { .. })) => {
                tracing::warn!(%refusal, "notices do not reach this generation");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(others)
}

/// The notices that neither the generation's group nor an earlier run has settled in it.
async fn unknown<L: EventLog>(
    log: &L,
    projection: &Projection,
    before: &Carried,
) -> Result<Ranges, SinkError> {
    let known = before.known.get(&*projection.database);
    let committed = log.committed(&projection.group, topic::NOTICES).await?;
    let extents = log.extents(topic::NOTICES).await?.into_iter();
    let ranges = extents.map(|(number, Extent { earliest, end })| {
        let known = known.and_then(|known| known.get(&number));
        let from = known.max(committed.get(&number)).copied().unwrap_or(earliest);
        (Partition::new(topic::NOTICES, number), (from.clamp(earliest, end), end))
    });
    Ok(ranges.filter(|(_, (from, end))| from < end).collect())
}

async fn carry<L: EventLog, S: DocumentStore>(
    log: &L,
    generations: &Generations<S>,
) -> Result<Carried, SinkError> {
    let before = last(generations.meta()).await?;
    let mut carried = Carried::default();
    for projection in others(generations).await? {
        let ranges = unknown(log, &projection, &before).await?;
        let mut known = before.known.get(&*projection.database).cloned().unwrap_or_default();
        known.extend(ranges.iter().map(|(at, (_, end))| (at.partition, *end)));
        let database = projection.database.to_string();
        if !ranges.is_empty() {
            settle(&mut carried, log, generations.meta().store(), projection, ranges).await?;
        }
        carried.known.insert(database, known);
    }
    Ok(carried)
}

/// As the generation's own sink would: where that takes content from the documents, the log is told
/// to erase it first.
async fn settle<L: EventLog, S: DocumentStore>(
    carried: &mut Carried,
    log: &L,
    store: &S,
    projection: Projection,
    ranges: Ranges,
) -> Result<(), SinkError> {
    // Where its database is gone, it was dropped meanwhile.
    let config = SinkConfig { create_databases: false, once: true, ..SinkConfig::default() };
    let (reporter, _status) = status("compliance");
    let (log, store, mapping) = (log.clone(), store.clone(), projection.mapping);
    let writer = Arc::new(Writer::new(log.clone(), store, projection, config, reporter));
    // A removal is mostly about something that is there.
    writer.expects_existing.store(true, Ordering::Relaxed);
    let mut reader =
        RangeReader::new(&log, ranges, ConsumerConfig::new("bowerbird-beside")).await?;
    while let Some(records) = reader.next(BATCH).await? {
        carried.notices += records.len() as u64;
        let mut batch = Batch::default();
        // What can't be read became a letter of the live generation's sink.
        let is_read = |record: &Record| {
            record.view().is_ok_and(|event| mapping.map(&event, &record.position).is_ok())
        };
        records.into_iter().filter(is_read).for_each(|record| batch.add(record));
        if !batch.is_empty() {
            carried.written += Arc::clone(&writer).settle(batch).await?.written;
        }
    }
    Ok(())
}
