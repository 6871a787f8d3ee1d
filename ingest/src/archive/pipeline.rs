//! What the threads read goes to the log, and what the log acknowledges moves the files on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bowerbird_stream::EventLog;
use bowerbird_stream::log::Outgoing;
use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::FuturesOrdered;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::checkpoint::{Checkpoint, Store};
use super::config::ArchiveConfig;
use super::file::{File, Open, is_finished};
use super::gate::Gate;
use super::list::News;
use super::parse::{Batch, Report};
use super::progress::Progress;
use super::summary::{FileSummary, Outcome, Summary};
use super::tracker::{MAX_UNREADABLE, Tracker};
use crate::publish::{Published, Publisher, Unpublished};

/// How often the checkpoint of a file is written.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
/// How much may be under way, however small it is.
const MAX_UNDER_WAY: usize = 256;

/// One import.
pub struct Pipeline<'a, L> {
    /// The way to the log.
    pub publisher: &'a Publisher<L>,
    /// How.
    pub config: &'a ArchiveConfig,
    /// Counts.
    pub progress: &'a Arc<Progress>,
    /// The shutdown.
    pub cancel: &'a CancellationToken,
    /// How far the listing may go.
    pub gate: &'a Gate,
    /// When it began.
    pub started: Timestamp,
    /// Files under way.
    pub open: BTreeMap<u64, Open>,
    /// Of files of which nothing has come yet, the fact that something will.
    pub untold: BTreeMap<u64, Outgoing>,
    /// What became of the others.
    pub summary: Summary,
}

/// What is under way to the log, or waits for what is before it.
enum Sent {
    News(News),
    Batch { file: u64, member: u64, batch: Box<Batch>, result: Result<u64, Unpublished> },
    Fact { summary: Box<FileSummary>, result: Result<(), Unpublished> },
}

type UnderWay<'a> = FuturesOrdered<BoxFuture<'a, Sent>>;

impl<L: EventLog> Pipeline<'_, L> {
    /// Takes the news until there are no more, several batches at a time, and settles them in
    /// order. Gives whether it came to the end, and was not interrupted.
    pub async fn run(&mut self, news: mpsc::Receiver<News>) -> bool {
        let refused = self.take(news).await;
        self.gate.close();
        let whole = refused.is_none() && !self.cancel.is_cancelled();
        // Whatever is not over now was interrupted, or what read it is gone.
        for (_, mut open) in std::mem::take(&mut self.open) {
            let lost = whole.then(|| "what reads it has failed".to_owned());
            open.unreadable = refused.clone().or(open.unreadable).or(lost);
            save(&mut open).await;
            self.push(open.summary());
        }
        self.summary.files.sort_by_key(|file| file.number);
        self.summary.interrupted = !whole;
        whole
    }

    /// Gives why the log refuses, if it does.
    async fn take(&mut self, mut news: mpsc::Receiver<News>) -> Option<String> {
        let (publisher, cancel) = (self.publisher, self.cancel);
        let mut under_way: UnderWay<'_> = FuturesOrdered::new();
        let (mut in_flight, mut ended) = (0, false);
        loop {
            let room =
                in_flight < self.config.max_in_flight_bytes && under_way.len() < MAX_UNDER_WAY;
            let settled = tokio::select! {
                biased;
                Some(sent) = under_way.next() => sent,
                () = cancel.cancelled(), if !ended => {
                    ended = true;
                    continue;
                }
                next = news.recv(), if !ended && room => {
                    let Some(next) = next else {
                        ended = true;
                        continue;
                    };
                    if let News::Begun { file, .. } = &next {
                        self.untold.insert(file.number, file.begun(self.started));
                    }
                    under_way.push_back(match next {
                        News::Member { file, member, report: Report::Batch(mut batch) } => {
                            in_flight += batch.bytes;
                            let records = std::mem::take(&mut batch.records);
                            let begun = match records.is_empty() {
                                true => None,
                                false => self.untold.remove(&file),
                            };
                            async move {
                                let publishing = publish_behind(publisher, begun, records, cancel);
                                let result = publishing.await.map(|published| published.too_large);
                                Sent::Batch { file, member, batch, result }
                            }
                            .boxed()
                        }
                        news => std::future::ready(Sent::News(news)).boxed(),
                    });
                    continue;
                }
                else => return None,
            };
            let over = match settled {
                Sent::News(news) => self.news(news),
                Sent::Batch { file, member, batch, result } => {
                    in_flight -= batch.bytes;
                    match result {
                        Ok(too_large) => self.acknowledged(file, member, batch, too_large).await,
                        Err(Unpublished::Stopped) => return None,
                        Err(Unpublished::Log(error)) => return Some(error.to_string()),
                    }
                    None
                }
                Sent::Fact { summary, result } => match result {
                    Ok(()) => {
                        self.finish(summary).await;
                        None
                    }
                    Err(Unpublished::Stopped) => return None,
                    Err(Unpublished::Log(error)) => return Some(error.to_string()),
                },
            };
            if let Some(file) = over
                && let Some((summary, record)) = self.conclude(file).await
            {
                let publishing = async move {
                    let published = publisher.publish(vec![record], cancel).await;
                    Sent::Fact { summary, result: published.map(|_| ()) }
                };
                under_way.push_back(publishing.boxed());
            }
        }
    }

    /// Gives the file that is over now, if one is.
    fn news(&mut self, news: News) -> Option<u64> {
        match news {
            News::Begun { file, checkpoint, store } => {
                self.begin(file, *checkpoint, store);
                None
            }
            News::Ended(summary) => {
                self.push(*summary);
                None
            }
            News::Listed { file, members, unreadable } => {
                let open = self.open.get_mut(&file)?;
                open.tracker.listed(members);
                open.unreadable = open.unreadable.take().or(unreadable);
                open.tracker.is_over().then_some(file)
            }
            News::Member { file, member, report } => {
                let open = self.open.get_mut(&file)?;
                match report {
                    // Batches go to the log before they come here.
                    Report::Batch(_) | Report::Done => open.tracker.done(member),
                    Report::Unreadable(error) => {
                        open.tracker.unreadable(member);
                        open.unreadable.get_or_insert(error);
                        if open.tracker.unreadables() >= MAX_UNREADABLE {
                            self.gate.give_up(file);
                        }
                    }
                }
                self.gate.advance(file, open.tracker.first());
                open.tracker.is_over().then_some(file)
            }
        }
    }

    fn begin(&mut self, file: Arc<File>, checkpoint: Checkpoint, store: Option<Store>) {
        self.progress.set_file(&file.name);
        let found = checkpoint.all();
        let resumed = checkpoint.before > 0 || !checkpoint.parts.is_empty();
        if resumed {
            let lines = found.counts.lines;
            self.progress.add_counts(&found.counts);
            tracing::info!(file = file.name, lines, "import goes on");
        }
        // Two files with the same content keep one checkpoint: the first does.
        let taken = self.open.values().any(|open| store.is_some() && open.store == store);
        let now = Instant::now();
        let open = Open {
            tracker: Tracker::new(checkpoint),
            store: store.filter(|_| !taken && self.config.keep_checkpoints),
            begun: now,
            saved: now,
            resumed_after_line: resumed.then_some(found.counts.lines),
            unreadable: None,
            file,
        };
        self.open.insert(open.file.number, open);
    }

    async fn acknowledged(&mut self, file: u64, member: u64, batch: Box<Batch>, too_large: u64) {
        let Some(open) = self.open.get_mut(&file) else { return };
        let Batch { mut found, end, .. } = *batch;
        if too_large > 0 {
            // They were counted as what they were read as, most likely posts.
            found.counts.posts = found.counts.posts.saturating_sub(too_large);
            found.counts.add_dead_letters("too-large", too_large);
        }
        self.progress.add_counts(&found.counts);
        open.tracker.acknowledged(member, end, &found);
        if open.saved.elapsed() >= CHECKPOINT_INTERVAL {
            open.saved = Instant::now();
            save(open).await;
        }
    }

    /// A file is over: what is to be told of it, if anything.
    async fn conclude(&mut self, file: u64) -> Option<(Box<FileSummary>, Outgoing)> {
        // What nothing came of is no hole.
        let has_begun = self.untold.remove(&file).is_none();
        let open = self.open.get(&file)?;
        open.file.counter.fill(open.file.size());
        let summary = Box::new(open.summary());
        let record = match summary.outcome {
            Outcome::Failed => has_begun.then(|| open.failed(&summary, self.started)),
            outcome => is_finished(outcome).then(|| open.fact(&summary, self.started)),
        };
        if let Some(record) = record {
            return Some((summary, record));
        }
        let mut open = self.open.remove(&file)?;
        if summary.outcome != Outcome::PassedOver {
            save(&mut open).await;
        }
        self.push(*summary);
        None
    }

    /// What is told of a file is in the log.
    async fn finish(&mut self, summary: Box<FileSummary>) {
        let Some(mut open) = self.open.remove(&summary.number) else { return };
        if is_finished(summary.outcome) {
            open.tracker.finish();
        }
        save(&mut open).await;
        self.push(*summary);
    }

    fn push(&mut self, file: FileSummary) {
        match (&file.error, file.outcome) {
            (Some(why), Outcome::PassedOver) => {
                tracing::warn!(file = file.file, why, "passed over");
            }
            (Some(error), _) => {
                tracing::error!(file = file.file, error, "archive not imported completely");
            }
            (None, _) => {}
        }
        self.summary.push(file);
    }
}

/// Publishes records, those of a file's first batch behind the fact that they come: who is killed
/// between the two has told of the hole that is left.
async fn publish_behind<L: EventLog>(
    publisher: &Publisher<L>,
    begun: Option<Outgoing>,
    records: Vec<Outgoing>,
    cancel: &CancellationToken,
) -> Result<Published, Unpublished> {
    if let Some(begun) = begun {
        publisher.publish(vec![begun], cancel).await?;
    }
    publisher.publish(records, cancel).await
}

/// Keeps the checkpoint of a file. A folder that can't be written to is no reason to stop
/// importing.
async fn save(open: &mut Open) {
    let Some(store) = open.store.clone() else { return };
    let checkpoint = open.tracker.checkpoint().clone();
    let saving = tokio::task::spawn_blocking(move || store.save(&checkpoint));
    if let Ok(Err(error)) = saving.await {
        tracing::warn!(%error, "checkpoint not written; a resumption begins further back");
    }
}
