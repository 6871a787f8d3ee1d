//! Where replayed records go: settled into a database as the sink does, or published again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bowerbird_store::DocumentStore;
use bowerbird_stream::log::Outgoing;
use bowerbird_stream::retry::{RetryPolicy, Verdict, retry};
use bowerbird_stream::status::Reporter;
use bowerbird_stream::{EventLog, LogError, Position, Record};

use super::{
    Counts, Place, REPLAY_OFFSET, REPLAY_PARTITION, REPLAY_TOPIC, ReplayConfig, ReplayRefusal,
};
use crate::batch::Batch;
use crate::config::{Projection, SinkConfig};
use crate::error::SinkError;
use crate::projections::{Generations, Pointer};
use crate::worker::writer::Writer;

/// The group that dead letters of a replay name.
const GROUP: &str = "bowerbird-replay";

/// What became of some records.
#[derive(Debug)]
pub(super) struct Settled {
    pub positions: Vec<Position>,
    pub counts: Counts,
}

/// Where the records go.
#[derive(Debug)]
pub(super) enum Target<L, S> {
    Documents(Arc<Writer<L, S>>),
    Topic { log: L, topic: Arc<str>, config: SinkConfig, reporter: Reporter },
}

impl<L: EventLog, S: DocumentStore> Target<L, S> {
    /// The target of a replay that is at `place`.
    pub(super) async fn new(
        log: &L,
        generations: &Generations<S>,
        place: &Place,
        config: &ReplayConfig,
        reporter: &Reporter,
    ) -> Result<Self, SinkError> {
        let (log, reporter) = (log.clone(), reporter.clone());
        let store = generations.meta().store().clone();
        let Place::Database { database, projection: name, mapping, generation } = place else {
            let Place::Topic { topic } = place else { return Err(SinkError::Interrupted) };
            let (topic, config) = (topic.as_str().into(), config.sink.clone());
            return Ok(Self::Topic { log, topic, config, reporter });
        };
        let base = Projection::all().into_iter().find(|base| base.name == name);
        let base = base.ok_or_else(|| ReplayRefusal::NoProjection(name.clone()))?;
        // The same generation as when it began, also when another one went live since: its group
        // fills that one from the whole log.
        let number = generation.unwrap_or(1);
        let mut pointer = Pointer::first(&base);
        if let Some(first) = pointer.generations.get_mut(&1) {
            first.mapping = *mapping;
        }
        if generation.is_some() {
            pointer = generations.pointer(&base).await?;
        }
        let projection = generations.projection(&base, &pointer, number)?;
        let projection =
            Projection { database: database.clone(), group: GROUP.to_owned(), ..projection };
        let may_create = config.sink.create_databases && number == 1;
        if generation.is_none() && may_create {
            store.create_database(database).await?;
        }
        let config =
            SinkConfig { create_databases: may_create, once: false, ..config.sink.clone() };
        let writer = Writer::new(log, store, projection, config, reporter).quiet();
        // Most of it is there, and what somebody has spoilt is to be mended.
        Ok(Self::Documents(Arc::new(match generation {
            Some(_) => writer.thorough(),
            None => writer,
        })))
    }

    /// How many batches may be under way: records that are published again keep their order.
    pub(super) fn width(&self) -> usize {
        match self {
            Self::Documents(writer) => writer.config.writers,
            Self::Topic { .. } => 1,
        }
    }

    /// Takes records; when it returns, each is durable.
    pub(super) async fn settle(
        self: Arc<Self>,
        records: Vec<Record>,
    ) -> Result<Settled, SinkError> {
        match &*self {
            Self::Documents(writer) => {
                let replayed = records.len() as u64;
                let mut batch = Batch::default();
                records.into_iter().for_each(|record| batch.add(record));
                let settled = writer.clone().settle(batch).await?;
                let counts = Counts {
                    replayed,
                    written: settled.written,
                    unchanged: settled.unchanged,
                    dead_letters: settled.dead_letters,
                    ..Counts::default()
                };
                Ok(Settled { positions: settled.positions, counts })
            }
            Self::Topic { log, topic, config, reporter } => {
                let positions: Vec<_> = records.iter().map(|one| one.position.clone()).collect();
                let count = records.len() as u64;
                let records = records.into_iter().map(|record| again(record, topic)).collect();
                publish(log, topic, records, config, reporter).await?;
                let counts = Counts { replayed: count, published: count, ..Counts::default() };
                Ok(Settled { positions, counts })
            }
        }
    }
}

/// The record as it stands, with headers that tell where.
fn again(record: Record, topic: &Arc<str>) -> Outgoing {
    let Record { position, key, value, mut headers, .. } = record;
    // Of a record that was replayed before, the first position is kept.
    if headers.get(REPLAY_TOPIC).is_none() {
        headers.push(REPLAY_TOPIC, position.topic.as_bytes());
        headers.push(REPLAY_PARTITION, position.partition.to_string());
        headers.push(REPLAY_OFFSET, position.offset.to_string());
    }
    Outgoing { topic: Arc::clone(topic), key, value, headers }
}

/// Publishes all of them; what passes or can be mended is waited out, visibly.
async fn publish<L: EventLog>(
    log: &L,
    topic: &str,
    records: Vec<Outgoing>,
    config: &SinkConfig,
    reporter: &Reporter,
) -> Result<(), SinkError> {
    let policy = RetryPolicy { max: config.max_backoff, ..RetryPolicy::default() };
    let judge = |error: &LogError| match error.is_transient() || error.pauses() {
        true => Verdict::Again { after: None },
        false => Verdict::GiveUp,
    };
    let mut pause = None;
    let notify = |error: &LogError, _| reporter.pausing(&mut pause, error.to_string());
    // What is still to be published; an attempt takes it and puts back what failed.
    let left = Mutex::new(records);
    let attempt = || async {
        let records = std::mem::take(&mut *lock(&left));
        let answers = log.publish(records.clone()).await;
        let answered = records.into_iter().zip(answers);
        let (failed, mut errors): (Vec<_>, Vec<_>) =
            answered.filter_map(|(record, answer)| Some((record, answer.err()?))).unzip();
        *lock(&left) = failed;
        errors.drain(..).next().map_or(Ok(()), Err)
    };
    let outcome = retry(&policy, judge, notify, attempt).await;
    outcome.map_err(|error| ReplayRefusal::Target { topic: topic.to_owned(), error }.into())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
