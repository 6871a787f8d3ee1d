//! A replay at work: one half reads, at its pace, the other settles and notes how far it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bowerbird_store::DocumentStore;
use bowerbird_stream::log::ConsumerConfig;
use bowerbird_stream::range::RangeReader;
use bowerbird_stream::status::Reporter;
use bowerbird_stream::{EventLog, LogError, Partition, Record};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::xxh3_64;

use super::pace::Pace;
use super::target::{Settled, Target};
use super::{Asked, Counts, Into, PREFIX, ReplayConfig, ReplayRefusal, Work, partition_of, plan};
use crate::error::SinkError;
use crate::journal;
use crate::meta::job::{Job, Worker};
use crate::projections::Generations;
use crate::watermark::Watermarks;

/// How often it is noted how far it is.
const NOTED_EVERY: Duration = Duration::from_secs(1);
/// Pages that may wait between the halves.
const WAITING: usize = 2;

/// What a replay works with.
#[derive(Debug)]
pub struct Parts<'a, L, S> {
    /// The log.
    pub log: &'a L,
    /// The generations, in their store.
    pub generations: &'a Generations<S>,
    /// Is told when it must wait for something to be mended.
    pub reporter: &'a Reporter,
    /// Ends it; the same command goes on.
    pub cancel: &'a CancellationToken,
}

/// How a replay ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ran {
    /// Its note's id.
    pub id: String,
    /// What it was, and how far it came.
    pub work: Work,
    /// Whether it went on with what an earlier run had begun.
    pub resumed: bool,
}

/// The id of the note of a replay: the same command is the same replay.
fn note(asked: &Asked) -> Result<String, SinkError> {
    let text = serde_json::to_string(asked)
        .map_err(|error| SinkError::Render { id: PREFIX.to_owned(), error: error.to_string() })?;
    Ok(format!("{PREFIX}{:016x}", xxh3_64(text.as_bytes())))
}

/// Replays until the end that was fixed when it began, and notes that in the journal. `progress`
/// is told of offsets done, all of them, and of what was done.
///
/// # Errors
/// [`SinkError::Interrupted`] when it was cancelled; [`SinkError::Held`] when the same replay is
/// under way; or when log or store fail.
pub async fn replay<L: EventLog, S: DocumentStore>(
    parts: &Parts<'_, L, S>,
    config: &ReplayConfig,
    worker: &Worker,
    mut progress: impl FnMut((u64, u64), &Counts),
) -> Result<Ran, SinkError> {
    let Parts { log, generations, reporter, cancel } = parts;
    let id = note(&config.asked)?;
    let mut resumed = false;
    let begin = async |before: Option<Work>| match before {
        Some(work) if !work.is_over() && !config.anew => {
            resumed = true;
            Ok(work)
        }
        _ => {
            has_target(*log, &config.asked.into).await?;
            plan(*log, generations, &config.asked, Timestamp::now()).await
        }
    };
    let mut job = Job::claim(generations.meta(), id.clone(), worker, begin).await?;
    let (done, offsets) = job.work.progress();
    tracing::info!(replay = id, resumed, done, offsets, "replay begins");
    if job.work.finished.is_none() {
        let target = Target::new(*log, generations, &job.work.place, config, reporter).await?;
        let moved = Moving { log: *log, config, target: Arc::new(target), cancel };
        let outcome = moved.run(&mut job, &mut progress).await;
        if let Err(error) = outcome {
            // Somebody else may go on at once; where that can't be noted, the lease runs out.
            if let Err(error) = job.release().await {
                tracing::debug!(%error, "the replay's note was not let go");
            }
            return Err(error);
        }
        // All of it was read and settled, also where compaction has taken the last records.
        let ends = job.work.slices.iter().map(|(name, slice)| (name.clone(), slice.to));
        job.work.next = ends.collect();
        job.work.finished = Some(Timestamp::now());
        progress(job.work.progress(), &job.work.counts);
        job.save().await?;
    }
    tell(*log, &id, &job.work).await?;
    job.work.told = true;
    let work = job.release().await?;
    Ok(Ran { id, work, resumed })
}

/// Refuses a topic that is not there, before anything is begun.
async fn has_target<L: EventLog>(log: &L, into: &Into) -> Result<(), SinkError> {
    let Into::Topic(topic) = into else { return Ok(()) };
    match log.extents(topic).await {
        Ok(_) => Ok(()),
        Err(LogError::MissingTopic { .. }) => Err(ReplayRefusal::NoTarget(topic.clone()).into()),
        Err(error) => Err(ReplayRefusal::Target { topic: topic.clone(), error }.into()),
    }
}

/// Notes it in the journal. Told twice it is told once: the event's id and content are the same.
async fn tell<L: EventLog>(log: &L, id: &str, work: &Work) -> Result<(), SinkError> {
    let finished = work.finished.unwrap_or(work.started);
    let fact = json!({
        "replay": id,
        "asked": work.asked,
        "place": work.place,
        "slices": work.slices,
        "counts": work.counts,
        "started": work.started,
        "finished": finished,
    });
    let name = id.trim_start_matches(PREFIX);
    let id = format!("replay.finished-{name}-{}", work.started.as_nanosecond());
    let source = format!("{PREFIX}{name}");
    journal::publish(
        log,
        journal::Fact { kind: "replay.finished", id, source, time: finished, fact },
    )
    .await
}

/// Records as they were read, and whether each is replayed.
type Page = Vec<(Record, bool)>;

/// A replay between its beginning and its end.
struct Moving<'a, L, S> {
    log: &'a L,
    config: &'a ReplayConfig,
    target: Arc<Target<L, S>>,
    cancel: &'a CancellationToken,
}

impl<L: EventLog, S: DocumentStore> Moving<'_, L, S> {
    async fn run(
        &self,
        job: &mut Job<S, Work>,
        progress: &mut impl FnMut((u64, u64), &Counts),
    ) -> Result<(), SinkError> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let reading = self.read(job.work.clone(), sender);
        let settling = self.settle(job, receiver, progress);
        // When one half ends, its end of the channel does, and the other half with it.
        let (read, settled) = futures::join!(Box::pin(reading), Box::pin(settling));
        settled.and(read)
    }

    /// Reads what is left, at the pace that is asked for.
    async fn read(&self, work: Work, pages: mpsc::Sender<Page>) -> Result<(), SinkError> {
        let mut ranges = BTreeMap::new();
        for (name, slice) in &work.slices {
            let next = work.next.get(name).copied().unwrap_or(slice.from);
            if let Some(partition) = partition_of(name) {
                ranges.insert(partition, (next.max(slice.from), slice.to));
            }
        }
        let config = ConsumerConfig {
            prefetch_bytes: self.config.sink.max_pending_bytes / 2,
            ..ConsumerConfig::new("bowerbird-replay")
        };
        let mut reader = RangeReader::new(self.log, ranges, config).await?;
        let mut pace = Pace::new(self.config.rate, Instant::now());
        let most = self.config.sink.batch_documents.max(1);
        loop {
            let allowed = match pace.take(most, Instant::now()) {
                Ok(allowed) => allowed,
                Err(wait) => {
                    tokio::select! {
                        () = tokio::time::sleep(wait) => continue,
                        () = pages.closed() => return Ok(()),
                    }
                }
            };
            let read = tokio::select! {
                read = reader.next(allowed) => read?,
                () = pages.closed() => return Ok(()),
            };
            let Some(records) = read else { return Ok(()) };
            let judged = records.into_iter().map(|record| {
                let takes = work.takes(&record);
                (record, takes)
            });
            let page: Page = judged.collect();
            // What is passed over costs nothing of the rate.
            pace.give_back(allowed - page.iter().filter(|(_, takes)| *takes).count());
            if pages.send(page).await.is_err() {
                return Ok(());
            }
        }
    }

    /// Settles what was read, and notes how far it is.
    async fn settle(
        &self,
        job: &mut Job<S, Work>,
        mut pages: mpsc::Receiver<Page>,
        progress: &mut impl FnMut((u64, u64), &Counts),
    ) -> Result<(), SinkError> {
        let mut marks = Watermarks::default();
        let mut under_way = JoinSet::new();
        let mut ticks = tokio::time::interval(NOTED_EVERY);
        let mut ended = false;
        while !ended || !under_way.is_empty() {
            let room = !ended && under_way.len() < self.target.width() && job.holds();
            tokio::select! {
                () = self.cancel.cancelled() => break,
                Some(done) = under_way.join_next() => settle_marks(done, &mut marks, &mut job.work)?,
                page = pages.recv(), if room => match page {
                    None => ended = true,
                    Some(page) => {
                        let records = taken(page, &mut marks, &mut job.work.counts);
                        if !records.is_empty() {
                            under_way.spawn(Arc::clone(&self.target).settle(records));
                        }
                    }
                },
                _ = ticks.tick() => {
                    mark(&marks, &mut job.work);
                    job.save().await?;
                    progress(job.work.progress(), &job.work.counts);
                }
            }
        }
        // What was begun is finished, inside the time for that.
        drop(pages);
        let deadline = tokio::time::Instant::now() + self.config.sink.drain_timeout;
        while let Ok(Some(settled)) = tokio::time::timeout_at(deadline, under_way.join_next()).await
        {
            settle_marks(settled, &mut marks, &mut job.work)?;
        }
        mark(&marks, &mut job.work);
        if !ended || !under_way.is_empty() {
            return Err(SinkError::Interrupted);
        }
        Ok(())
    }
}

/// Takes a page in, and gives back what is to be settled of it.
fn taken(page: Page, marks: &mut Watermarks, counts: &mut Counts) -> Vec<Record> {
    counts.read += page.len() as u64;
    let mut records = Vec::with_capacity(page.len());
    for (record, takes) in page {
        let partition: Partition = record.position.in_partition();
        marks.take(&partition, record.position.offset);
        match takes {
            true => records.push(record),
            false => marks.settle(&record.position),
        }
    }
    records
}

fn settle_marks(
    settled: Result<Result<Settled, SinkError>, JoinError>,
    marks: &mut Watermarks,
    work: &mut Work,
) -> Result<(), SinkError> {
    let Settled { positions, counts } = match settled {
        Ok(settled) => settled?,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => return Ok(()),
    };
    for position in &positions {
        marks.settle(position);
    }
    work.counts += counts;
    Ok(())
}

/// Writes down up to where everything is durable.
fn mark(marks: &Watermarks, work: &mut Work) {
    for (partition, next) in marks.due() {
        work.next.insert(partition.to_string(), next);
    }
}
