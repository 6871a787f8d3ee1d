//! The loop of a sink: takes records from the log, hands batches to writers, commits what is
//! settled. It waits neither for the store nor for the journal, so revokes, time and shutdown are always heard.
//! What to do next is decided by [`core`], which is pure.

pub mod core;
mod ends;
pub mod gaps;
pub mod pace;
mod report;
mod tell;
pub mod window;
pub(crate) mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bowerbird_store::DocumentStore;
use bowerbird_stream::log::{ConsumerConfig, Delivery, Revocation};
use bowerbird_stream::retry::{RetryPolicy, Verdict, retry};
use bowerbird_stream::status::{Pause, Reporter, State as Role};
use bowerbird_stream::{EventConsumer, EventLog, LogError, Partition};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{Projection, SinkConfig};
use crate::error::SinkError;
use crate::metrics as names;
pub use report::SinkReport;

use self::core::{Action, Core, Input, Settings};
use ends::Ends;
use gaps::Gap;
use pace::Bounds;
use tell::{Tellers, Told};
use writer::{Settled, Writer};

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
        session_timeout: config.session_timeout,
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
    let writer = Arc::new(Writer::new(
        log.clone(),
        store.clone(),
        projection.clone(),
        config.clone(),
        reporter.clone(),
    ));
    let settings = Settings {
        bounds: Bounds {
            documents: config.batch_documents,
            bytes: config.batch_bytes,
            writers: config.writers,
        },
        flush_interval: config.flush_interval,
        max_pending_bytes: config.max_pending_bytes,
        commit_interval: config.commit_interval,
        drain_timeout: config.drain_timeout,
    };
    let mut worker = Worker {
        core: Core::new(settings, Instant::now()),
        writer,
        consumer,
        ends,
        writers: JoinSet::new(),
        tellers: Tellers::default(),
        revocation: None,
        trouble: None,
        report: SinkReport::default(),
    };
    let outcome = worker.work(&cancel).await;
    worker.trouble = None;
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

/// Carries out what its [`Core`] decides.
struct Worker<L: EventLog, S> {
    core: Core,
    writer: Arc<Writer<L, S>>,
    consumer: L::Consumer,
    ends: Option<Ends>,
    writers: JoinSet<Result<Settled, SinkError>>,
    tellers: Tellers,
    /// Dropping it lets the revoked partitions go.
    revocation: Option<Revocation>,
    /// The log can't be read just now.
    trouble: Option<Pause>,
    report: SinkReport,
}

type Joined = Result<Result<Settled, SinkError>, tokio::task::JoinError>;

impl<L: EventLog, S: DocumentStore> Worker<L, S> {
    /// Until it is cancelled, fails, or has reached the ends.
    async fn work(&mut self, cancel: &CancellationToken) -> Result<(), SinkError> {
        // Shorter than the time between two commits, each of which ends a wait: else it would never
        // be heard that nothing new has come.
        let wait = WAIT.min(self.writer.config.commit_interval / 2);
        loop {
            let (wake, room) = (self.core.wake_at(), self.core.room());
            let input = tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                Some(joined) = self.writers.join_next() => match self.settled(joined) {
                    Ok(input) => input,
                    Err(error) => {
                        self.carry_out(Input::Failed).await?;
                        return Err(error);
                    }
                },
                Some(told) = self.tellers.next() => self.told(told)?,
                delivery = self.consumer.next(room, wait), if self.core.listens() => {
                    match self.delivered(delivery?).await? {
                        Some(input) => input,
                        None => return Ok(()),
                    }
                }
                () = tokio::time::sleep_until(wake.into()) => Input::Tick,
            };
            self.carry_out(input).await?;
        }
    }

    async fn carry_out(&mut self, input: Input) -> Result<(), SinkError> {
        for action in self.core.apply(input, Instant::now()) {
            match action {
                Action::Write(batch) => {
                    self.writers.spawn(Arc::clone(&self.writer).settle(batch));
                }
                Action::Commit(offsets) => self.commit(offsets).await?,
                Action::Release(offsets) => self.release(offsets).await,
                Action::Tell(gaps) => self.tellers.tell(&self.writer, gaps),
                Action::Abandon => {
                    self.writers.abort_all();
                    self.tellers.abort();
                }
            }
        }
        self.show_pending();
        Ok(())
    }

    /// What a delivery means; nothing when a run with ends has reached them.
    async fn delivered(&mut self, delivery: Delivery) -> Result<Option<Input>, SinkError> {
        let projection = self.name();
        if matches!(delivery, Delivery::Records(_) | Delivery::Idle) {
            self.trouble = None;
        }
        Ok(Some(match delivery {
            Delivery::Records(records) => Input::Taken(records),
            Delivery::Assigned(partitions) => {
                tracing::info!(projection, partitions = partitions.len(), "partitions assigned");
                Input::Assigned(partitions)
            }
            Delivery::Revoked(revocation) if revocation.lost => {
                let partitions = revocation.partitions.len();
                tracing::warn!(projection, partitions, "partitions lost");
                Input::Lost(revocation.partitions)
            }
            Delivery::Revoked(revocation) => {
                let partitions = revocation.partitions.clone();
                tracing::info!(projection, partitions = partitions.len(), "partitions revoked");
                self.revocation = Some(revocation);
                Input::Revoked(partitions)
            }
            Delivery::Trouble(error) => self.trouble(error)?,
            Delivery::Idle => return self.idle().await,
        }))
    }

    fn trouble(&mut self, error: LogError) -> Result<Input, SinkError> {
        if let LogError::OutOfRange { topic, partition, offset, earliest, .. } = &error {
            let group = &self.writer.projection.group;
            metrics::counter!(names::OVERTAKEN, "projection" => self.name()).increment(1);
            tracing::error!(%error, group, "retention has overtaken this group, records are gone unread");
            let partition = Partition::new(topic.as_str(), *partition);
            return Ok(Input::Overtaken(Gap { partition, from: *offset, to: *earliest }));
        }
        if self.writer.config.once {
            return Err(error.into());
        }
        self.writer.reporter.pausing(&mut self.trouble, error.to_string());
        Ok(Input::Tick)
    }

    /// Takes in how telling of holes ended. What could not be told is found again, by the offsets.
    fn told(&self, told: Told) -> Result<Input, SinkError> {
        match told {
            Some((partition, Ok(()))) => Ok(Input::Told(partition)),
            Some((partition, Err(error))) => {
                tracing::error!(%partition, %error, "the journal does not take what retention took");
                Err(error)
            }
            // Only a drain past its deadline aborts them.
            None => Ok(Input::Tick),
        }
    }

    /// Nothing new: what waits need not wait for more. Nothing when the ends are reached.
    async fn idle(&mut self) -> Result<Option<Input>, SinkError> {
        if self.ends.is_some() && !self.core.is_idle() {
            return Ok(Some(Input::Hurry));
        }
        if self.ends.is_some() {
            self.commit(self.core.committable()).await?;
        }
        let Some(ends) = &self.ends else { return Ok(Some(Input::Tick)) };
        let reached = ends.reached(&self.writer.log, &self.writer.projection).await?;
        Ok((!reached).then_some(Input::Tick))
    }

    /// Takes in how a writer ended.
    fn settled(&mut self, joined: Joined) -> Result<Input, SinkError> {
        let settled = match joined {
            Ok(settled) => settled?,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // Only a drain past its deadline aborts writers.
            Err(_) => return Ok(Input::Failed),
        };
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
        self.report.add(&settled);
        let Settled { positions, bytes, sample, .. } = settled;
        Ok(Input::Settled { positions, bytes, sample })
    }

    fn show_pending(&self) {
        // Gauges are floats; a bound of memory is far below their 53 bits.
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let gauge = |name: &'static str, value: usize| {
            metrics::gauge!(name, "projection" => self.name()).set(value as f64);
        };
        let Bounds { documents, writers, .. } = self.core.pace();
        gauge(names::PENDING_BYTES, self.core.pending_bytes());
        gauge(names::BATCH_DOCUMENTS, documents);
        gauge(names::WRITERS, writers);
    }

    fn name(&self) -> &'static str {
        self.writer.projection.name
    }

    /// Commits what is settled. A passing fault is no reason to stop: the next tick tries again.
    async fn commit(&mut self, offsets: BTreeMap<Partition, i64>) -> Result<(), SinkError> {
        if offsets.is_empty() {
            return Ok(());
        }
        match self.consumer.commit(&offsets).await {
            Ok(()) => self.core.committed(&offsets),
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

    /// Commits what was settled of revoked partitions, and lets them go.
    async fn release(&mut self, offsets: BTreeMap<Partition, i64>) {
        if !offsets.is_empty()
            && let Err(error) = self.consumer.commit(&offsets).await
        {
            // The next owner reads these records again, which changes nothing.
            tracing::warn!(projection = self.name(), %error, "last commit of revoked partitions failed");
        }
        self.revocation = None;
    }

    /// Settles and commits what was begun, inside the deadline. After a failure nothing more is
    /// begun.
    async fn drain(&mut self, healthy: bool) -> Result<(), SinkError> {
        let mut outcome = self.carry_out(Input::Stop { flush: healthy }).await;
        while !self.writers.is_empty() || !self.tellers.is_empty() || !self.core.is_idle() {
            let wake = self.core.wake_at();
            let input = tokio::select! {
                Some(joined) = self.writers.join_next() => match self.settled(joined) {
                    Ok(Input::Failed) => {
                        outcome = outcome.and(Err(SinkError::Unsettled(self.core.unsettled())));
                        Input::Failed
                    }
                    Ok(input) => input,
                    Err(error) => {
                        outcome = outcome.and(Err(error));
                        let stopped = self.carry_out(Input::Stop { flush: false }).await;
                        outcome = outcome.and(stopped);
                        Input::Failed
                    }
                },
                Some(told) = self.tellers.next() => self.told(told).unwrap_or_else(|error| {
                    outcome = std::mem::replace(&mut outcome, Ok(())).and(Err(error));
                    Input::Tick
                }),
                () = tokio::time::sleep_until(wake.into()) => Input::Tick,
            };
            let carried_out = self.carry_out(input).await;
            outcome = outcome.and(carried_out);
        }
        let committed = self.commit(self.core.committable()).await;
        self.revocation = None;
        outcome.and(committed)
    }
}
