//! Polls the data sets, once or by the clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bowerbird_stream::retry::{RetryPolicy, Verdict, retry};
use bowerbird_stream::status::Reporter;
use bowerbird_stream::{EventLog, LogError};
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::config::{AurinConfig, DatasetConfig};
use super::memory::Memory;
use super::poll::{GROUP, Poll};
use super::report::{Outcome, PollReport};
use super::wfs::Wfs;
use crate::error::IngestError;
use crate::outbox::Outbox;
use crate::publish::{Publisher, Unpublished};
use crate::standing::Standing;

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AurinSummary {
    /// The last poll of each data set, by type name.
    pub polls: BTreeMap<String, PollReport>,
    /// Features published.
    pub published: u64,
    /// Why it ended early, if it did; for people.
    pub error: Option<String>,
}

impl AurinSummary {
    /// Whether the last poll of each of `datasets` was complete.
    pub fn is_complete(&self, datasets: &[DatasetConfig]) -> bool {
        self.error.is_none()
            && datasets.iter().all(|dataset| {
                let poll = self.polls.get(&dataset.type_name);
                poll.is_some_and(|poll| poll.outcome == Outcome::Complete)
            })
    }

    fn add(&mut self, report: PollReport) {
        self.published += report.published;
        self.polls.insert(report.dataset.clone(), report);
    }
}

/// Polls each data set once.
///
/// # Errors
/// When the configuration makes no sense, or no HTTP client can be made. What the WFS and the log
/// do wrong is in the summary.
pub async fn once<L: EventLog>(
    log: L,
    config: AurinConfig,
    reporter: Reporter,
    cancel: CancellationToken,
) -> Result<AurinSummary, IngestError> {
    let standing = Standing::new(reporter);
    let publisher = Publisher::new(log.clone(), GROUP, config.drain_timeout, standing.on_trouble());
    let mut poller = Poller::new(log, publisher, config, standing, cancel)?;
    poller.standing.source(None);
    for index in 0..poller.config.datasets.len() {
        if poller.poll(index).await.is_err() {
            break;
        }
    }
    Ok(poller.end().await)
}

/// Polls each data set by its schedule until `cancel`. Whatever goes wrong is told by `reporter`,
/// and tried again.
///
/// # Errors
/// When the configuration makes no sense, or no HTTP client can be made.
pub async fn run<L: EventLog>(
    log: L,
    config: AurinConfig,
    reporter: Reporter,
    cancel: CancellationToken,
) -> Result<AurinSummary, IngestError> {
    let standing = Standing::new(reporter);
    let publisher =
        Publisher::new(log.clone(), GROUP, config.drain_timeout, standing.on_trouble()).patient();
    let mut poller = Poller::new(log, publisher, config, standing, cancel)?;
    poller.standing.source(None);
    poller.patient = true;
    let (now, clock) = (Instant::now(), Timestamp::now());
    let first_of = |dataset: &DatasetConfig| now + dataset.schedule.first(clock);
    let mut due: Vec<Instant> = poller.config.datasets.iter().map(first_of).collect();
    // Without data sets there is nothing to do but to wait for the end.
    while let Some((index, at)) = first(&due) {
        let waiting = tokio::time::sleep_until(at);
        if poller.outbox.meanwhile(waiting).await.is_err() {
            break;
        }
        let (begun, clock) = (Instant::now(), Timestamp::now());
        let Ok(whole) = poller.poll(index).await else { break };
        let DatasetConfig { type_name, schedule, .. } = &poller.config.datasets[index];
        due[index] = begun + schedule.wait(type_name, clock, whole);
    }
    poller.cancel.cancelled().await;
    Ok(poller.end().await)
}

/// The data set that is due first.
fn first(due: &[Instant]) -> Option<(usize, Instant)> {
    due.iter().copied().enumerate().min_by_key(|(_, at)| *at)
}

struct Poller<L> {
    log: L,
    /// Waits also for what only an operator can mend in the log.
    patient: bool,
    wfs: Wfs,
    config: AurinConfig,
    outbox: Outbox<L>,
    standing: Arc<Standing>,
    cancel: CancellationToken,
    memory: Memory,
    summary: AurinSummary,
}

impl<L: EventLog> Poller<L> {
    fn new(
        log: L,
        publisher: Publisher<L>,
        config: AurinConfig,
        standing: Arc<Standing>,
        cancel: CancellationToken,
    ) -> Result<Self, IngestError> {
        Ok(Self {
            wfs: Wfs::new(&config)?,
            outbox: Outbox::new(publisher, config.outbox, cancel.clone()),
            log,
            patient: false,
            memory: Memory::new(config.datasets.iter().map(|dataset| &*dataset.type_name)),
            summary: AurinSummary::default(),
            config,
            standing,
            cancel,
        })
    }

    /// Polls one data set; whether the poll was complete.
    async fn poll(&mut self, index: usize) -> Result<bool, Unpublished> {
        self.wfs.renew();
        let polled = match self.remember().await {
            Ok(()) => {
                let dataset = &self.config.datasets[index];
                let known = self.memory.of(&dataset.type_name);
                Box::pin(Poll::new(&self.wfs, dataset, known, &mut self.outbox).run()).await
            }
            Err(error) => Err(error),
        };
        let report = match polled {
            Ok(report) => report,
            Err(error) => {
                if let Unpublished::Log(error) = &error {
                    self.summary.error = Some(error.to_string());
                }
                return Err(error);
            }
        };
        let PollReport { dataset, received, published, vanished, outcome, reason, .. } = &report;
        let outcome = outcome.name();
        tracing::info!(dataset, received, published, vanished, outcome, reason, "poll finished");
        let whole = report.outcome == Outcome::Complete;
        self.summary.add(report);
        let troubles: Vec<String> = self
            .summary
            .polls
            .values()
            .filter(|poll| poll.outcome != Outcome::Complete)
            .filter_map(|poll| Some(format!("{}: {}", poll.dataset, poll.reason.as_ref()?)))
            .collect();
        self.standing.source((!troubles.is_empty()).then(|| troubles.join("; ")));
        Ok(whole)
    }

    /// Reads what the log has by now.
    async fn remember(&mut self) -> Result<(), Unpublished> {
        let trouble = self.standing.on_trouble();
        let notify = |error: &LogError, _: Duration| trouble(Some(error));
        let patient = self.patient;
        let judge = |error: &LogError| match patient || error.is_transient() || error.pauses() {
            true => Verdict::Again { after: None },
            false => Verdict::GiveUp,
        };
        let (policy, log) = (RetryPolicy::default(), &self.log);
        // One attempt at a time has it; the lock is never waited for.
        let memory = Mutex::new(&mut self.memory);
        let reading =
            retry(&policy, judge, notify, || async { memory.lock().await.catch_up(log).await });
        self.outbox.meanwhile(reading).await??;
        trouble(None);
        Ok(())
    }

    async fn end(mut self) -> AurinSummary {
        self.standing.draining();
        if let Err(error) = self.outbox.drain().await {
            tracing::error!(%error, "features are not in the log; the next poll brings them again");
            self.summary.error.get_or_insert_with(|| error.to_string());
        }
        self.standing.stopped();
        self.summary
    }
}
