//! The loop of a sink: takes records from the log, hands batches to writers, commits what is
//! settled. It never waits for the store itself, so revokes, time and shutdown are always heard.

mod ends;
mod report;
mod writer;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bowerbird_store::DocumentStore;
use bowerbird_stream::log::{ConsumerConfig, Delivery, Revocation};
use bowerbird_stream::retry::{RetryPolicy, Verdict, retry};
use bowerbird_stream::status::{Reporter, State as Role};
use bowerbird_stream::{EventConsumer, EventLog, LogError, Record};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::batch::{Batch, Limits};
use crate::config::{Projection, SinkConfig};
use crate::error::SinkError;
use crate::metrics as names;
use crate::watermark::Watermarks;
pub use report::SinkReport;

use ends::Ends;
use writer::{Settled, Writer};

/// The most records taken from the consumer at a time.
const TAKE: usize = 1_000;
/// How long the consumer is listened to before time is looked at again.
const WAIT: Duration = Duration::from_millis(500);

/// Fills one projection until `cancel`, or, with `config.once`, until the ends seen at start.
/// Then it takes nothing new, settles what it has within `config.drain_timeout`, commits, and
/// leaves the group.
///
/// # Errors
/// What ends it: see [`SinkError`]. Faults that pass, or that an operator can mend, pause it and
/// are shown by `reporter`; with `config.once` they end it.
pub async fn run<L: EventLog, S: DocumentStore>(
    log: &L,
    store: &S,
    projection: &Projection,
    config: &SinkConfig,
    reporter: &Reporter,
    cancel: CancellationToken,
) -> Result<SinkReport, SinkError> {
    let mut done = SinkReport::default();
    run_into(&mut done, log, store, projection, config, reporter, cancel).await?;
    Ok(done)
}

/// As [`run`], with what was done in `done`, also when an error has ended it.
///
/// # Errors
/// As [`run`].
pub async fn run_into<L: EventLog, S: DocumentStore>(
    done: &mut SinkReport,
    log: &L,
    store: &S,
    projection: &Projection,
    config: &SinkConfig,
    reporter: &Reporter,
    cancel: CancellationToken,
) -> Result<(), SinkError> {
    let consumer = ConsumerConfig {
        instance: config.instance.clone(),
        drain_timeout: config.drain_timeout,
        // Together with what is pending: what the configuration allows, and half of it again.
        prefetch_bytes: config.max_pending_bytes / 2,
        ..ConsumerConfig::new(projection.group.clone())
    };
    let ends = match config.once {
        true => Some(Ends::now(log, projection).await?),
        false => None,
    };
    let Some(consumer) = join(log, projection, config, consumer, reporter, &cancel).await? else {
        reporter.set(Role::Stopped);
        return Ok(());
    };
    reporter.set(Role::Running);
    let writer = Arc::new(Writer {
        log: log.clone(),
        store: store.clone(),
        projection: projection.clone(),
        config: config.clone(),
        reporter: reporter.clone(),
        expects_existing: AtomicBool::new(false),
    });
    let mut worker = Worker {
        limits: Limits {
            records: config.batch_documents,
            bytes: config.batch_bytes,
            age: config.flush_interval,
        },
        writer,
        consumer,
        ends,
        marks: Watermarks::default(),
        open: Batch::default(),
        writers: JoinSet::new(),
        pending_bytes: 0,
        next_commit: Instant::now() + config.commit_interval,
        revoking: None,
        report: SinkReport::default(),
    };
    let outcome = worker.work(&cancel).await;
    reporter.set(Role::Draining);
    let drained = worker.drain(outcome.is_ok()).await;
    *done += worker.report;
    let closed = worker.consumer.close().await;
    reporter.set(Role::Stopped);
    // The first of them is what ended it.
    outcome.and(drained).and(closed.map_err(SinkError::from))
}

/// Joins the group. A service waits until the log is there and its topics are, visibly; nothing
/// when it was cancelled meanwhile.
async fn join<L: EventLog>(
    log: &L,
    projection: &Projection,
    config: &SinkConfig,
    consumer: ConsumerConfig,
    reporter: &Reporter,
    cancel: &CancellationToken,
) -> Result<Option<L::Consumer>, LogError> {
    let judge = |error: &LogError| match error {
        _ if config.once => Verdict::GiveUp,
        LogError::MissingTopic { .. } => Verdict::Again { after: None },
        error if error.is_transient() || error.pauses() => Verdict::Again { after: None },
        _ => Verdict::GiveUp,
    };
    let policy = RetryPolicy { max: config.max_backoff, ..RetryPolicy::default() };
    let notify = |error: &LogError, _: Duration| {
        reporter.set(Role::Paused { reason: error.to_string() });
    };
    let subscribing =
        retry(&policy, judge, notify, || log.subscribe(&projection.topics, consumer.clone()));
    tokio::select! {
        () = cancel.cancelled() => Ok(None),
        consumer = subscribing => consumer.map(Some),
    }
}

struct Worker<L: EventLog, S> {
    limits: Limits,
    writer: Arc<Writer<L, S>>,
    consumer: L::Consumer,
    ends: Option<Ends>,
    marks: Watermarks,
    open: Batch,
    writers: JoinSet<Result<Settled, SinkError>>,
    pending_bytes: usize,
    next_commit: Instant,
    revoking: Option<Revoking>,
    report: SinkReport,
}

/// Partitions that are being let go, and until when they may drain.
struct Revoking {
    revocation: Revocation,
    deadline: Instant,
}

impl<L: EventLog, S: DocumentStore> Worker<L, S> {
    async fn work(&mut self, cancel: &CancellationToken) -> Result<(), SinkError> {
        loop {
            self.start_writers(Instant::now());
            let wake = self.wake_at();
            let room = if self.has_room() { TAKE } else { 0 };
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                Some(settled) = self.writers.join_next() => self.settled(settled)?,
                delivery = self.consumer.next(room, WAIT), if self.revoking.is_none() => {
                    if self.delivered(delivery?).await? {
                        return Ok(());
                    }
                }
                () = tokio::time::sleep_until(wake.into()) => {}
            }
            self.release_drained().await;
            if Instant::now() >= self.next_commit {
                self.commit().await?;
            }
        }
    }

    /// Whether there is room for more records. Without it, revocations are still heard.
    fn has_room(&self) -> bool {
        self.pending_bytes < self.writer.config.max_pending_bytes
            && !self.open.is_full(&self.limits)
    }

    fn wake_at(&self) -> Instant {
        let due = self.open.due_at(&self.limits).filter(|_| self.has_free_writer());
        let revoking = self.revoking.as_ref().map(|revoking| revoking.deadline);
        [due, revoking].into_iter().flatten().fold(self.next_commit, Instant::min)
    }

    fn has_free_writer(&self) -> bool {
        self.writers.len() < self.writer.config.writers
    }

    /// Hands the open batch to a writer when it is full, old enough, or waited for.
    fn start_writers(&mut self, now: Instant) {
        let due = self.open.is_full(&self.limits)
            || self.open.due_at(&self.limits).is_some_and(|due| due <= now)
            || self.revoking.is_some();
        if due && self.has_free_writer() {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if !self.open.is_empty() {
            let batch = std::mem::take(&mut self.open);
            self.writers.spawn(self.writer.clone().settle(batch));
        }
    }

    /// Takes a delivery in; `true` when a run with ends has reached them.
    async fn delivered(&mut self, delivery: Delivery) -> Result<bool, SinkError> {
        match delivery {
            Delivery::Records(records) => {
                let now = Instant::now();
                for record in records {
                    self.take(record, now);
                }
                self.show_pending();
            }
            Delivery::Assigned(partitions) => {
                tracing::info!(
                    projection = self.name(),
                    partitions = partitions.len(),
                    "partitions assigned"
                );
                self.marks.forget(&partitions);
            }
            Delivery::Revoked(revocation) if revocation.lost => {
                tracing::warn!(
                    projection = self.name(),
                    partitions = revocation.partitions.len(),
                    "partitions lost"
                );
                self.marks.forget(&revocation.partitions);
            }
            Delivery::Revoked(revocation) => {
                tracing::info!(
                    projection = self.name(),
                    partitions = revocation.partitions.len(),
                    "partitions revoked"
                );
                let deadline = Instant::now() + self.writer.config.drain_timeout;
                self.revoking = Some(Revoking { revocation, deadline });
            }
            Delivery::Trouble(error) => self.trouble(error)?,
            Delivery::Idle => return self.idle().await,
        }
        Ok(false)
    }

    fn take(&mut self, record: Record, now: Instant) {
        let partition = record.position.in_partition();
        self.marks.take(&partition, record.position.offset);
        self.pending_bytes += record.size();
        self.open.add(record, now);
    }

    fn trouble(&self, error: LogError) -> Result<(), SinkError> {
        if let LogError::OutOfRange { .. } = error {
            metrics::counter!(names::OVERTAKEN, "projection" => self.name()).increment(1);
            tracing::error!(%error, "retention has overtaken this group, records are gone unread");
            return Ok(());
        }
        if self.writer.config.once {
            return Err(error.into());
        }
        self.writer.reporter.set(Role::Paused { reason: error.to_string() });
        Ok(())
    }

    /// Nothing new: what waits need not wait for more. `true` when the ends are reached.
    async fn idle(&mut self) -> Result<bool, SinkError> {
        if self.writers.is_empty() {
            self.writer.reporter.mended();
        }
        if self.ends.is_some() {
            self.flush();
        }
        if !self.open.is_empty() || !self.writers.is_empty() {
            return Ok(false);
        }
        if self.ends.is_some() {
            self.commit().await?;
        }
        match &self.ends {
            Some(ends) => Ok(ends.reached(&self.writer.log, &self.writer.projection).await?),
            None => Ok(false),
        }
    }

    fn settled(
        &mut self,
        joined: Result<Result<Settled, SinkError>, tokio::task::JoinError>,
    ) -> Result<(), SinkError> {
        let settled = match joined {
            Ok(settled) => settled?,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // Only a drain past its deadline aborts writers, and it asks for no result.
            Err(_) => return Ok(()),
        };
        for position in &settled.positions {
            self.marks.settle(position);
        }
        self.pending_bytes -= settled.bytes;
        for (outcome, count) in [
            ("written", settled.written),
            ("unchanged", settled.unchanged),
            ("dead_letter", settled.dead_letters),
        ] {
            metrics::counter!(names::OUTCOMES, "projection" => self.name(), "outcome" => outcome)
                .increment(count);
        }
        metrics::counter!(names::RECORDS, "projection" => self.name())
            .increment(settled.positions.len() as u64);
        metrics::counter!(names::DOCUMENTS, "projection" => self.name()).increment(settled.written);
        self.show_pending();
        self.report.add(&settled);
        Ok(())
    }

    fn show_pending(&self) {
        // Gauges are floats; a bound of memory is far below their 53 bits.
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        metrics::gauge!(names::PENDING_BYTES, "projection" => self.name())
            .set(self.pending_bytes as f64);
    }

    fn name(&self) -> &'static str {
        self.writer.projection.name
    }

    /// Commits what is settled. A passing fault is no reason to stop: the next tick tries again.
    async fn commit(&mut self) -> Result<(), SinkError> {
        self.next_commit = Instant::now() + self.writer.config.commit_interval;
        let offsets = self.marks.due();
        if offsets.is_empty() {
            return Ok(());
        }
        match self.consumer.commit(&offsets).await {
            Ok(()) => self.marks.committed(&offsets),
            // Partitions that were just taken away will be heard of in a moment.
            Err(error @ LogError::NotAssigned { .. }) => {
                tracing::debug!(projection = self.name(), %error, "not committed");
            }
            Err(error) if error.is_transient() || error.pauses() => {
                tracing::warn!(projection = self.name(), %error, "commit failed, trying again");
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Lets revoked partitions go once they are settled and committed, or out of time.
    async fn release_drained(&mut self) {
        let Some(revoking) = &self.revoking else { return };
        let partitions = &revoking.revocation.partitions;
        let left = self.marks.unsettled(partitions);
        if left > 0 && Instant::now() < revoking.deadline {
            return;
        }
        if left > 0 {
            tracing::warn!(
                projection = self.name(),
                left,
                "revoked partitions did not drain in time"
            );
        }
        let mut offsets = self.marks.due();
        offsets.retain(|partition, _| partitions.contains(partition));
        if !offsets.is_empty()
            && let Err(error) = self.consumer.commit(&offsets).await
        {
            // The next owner reads these records again, which changes nothing.
            tracing::warn!(projection = self.name(), %error, "last commit of revoked partitions failed");
        }
        if let Some(Revoking { revocation, .. }) = self.revoking.take() {
            self.marks.forget(&revocation.partitions);
        }
    }

    /// Settles and commits what was begun, inside the deadline. After a failure nothing more is
    /// begun.
    async fn drain(&mut self, healthy: bool) -> Result<(), SinkError> {
        let deadline = Instant::now() + self.writer.config.drain_timeout;
        let mut outcome = Ok(());
        if healthy {
            self.flush();
        }
        while !self.writers.is_empty() {
            match tokio::time::timeout_at(deadline.into(), self.writers.join_next()).await {
                Ok(Some(settled)) => {
                    if let Err(error) = self.settled(settled) {
                        outcome = Err(error);
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    self.writers.shutdown().await;
                    outcome = Err(SinkError::Unsettled(self.marks.all_unsettled()));
                }
            }
        }
        let committed = self.commit().await;
        self.revoking = None;
        outcome.and(committed)
    }
}
