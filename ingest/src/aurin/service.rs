//! Polls the data sets, once or by the clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bowerbird_stream::EventLog;
use bowerbird_stream::status::Reporter;
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::config::{AurinConfig, DatasetConfig};
use super::poll::{GROUP, Known, Outcome, Poll, PollReport};
use super::wfs::Wfs;
use crate::error::IngestError;
use crate::outbox::Outbox;
use crate::publish::{Publisher, Unpublished};
use crate::standing::Standing;

/// A poll that failed is tried again no sooner than this.
const SOONEST_RETRY: Duration = Duration::from_secs(60);

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
    let publisher = Publisher::new(log, GROUP, config.drain_timeout, standing.on_trouble());
    let mut poller = Poller::new(publisher, config, standing, cancel)?;
    poller.standing.source(None);
    for index in 0..poller.config.datasets.len() {
        if poller.poll(index).await.is_err() {
            break;
        }
    }
    Ok(poller.end().await)
}

/// Polls each data set by its interval until `cancel`. Whatever goes wrong is told by `reporter`,
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
        Publisher::new(log, GROUP, config.drain_timeout, standing.on_trouble()).patient();
    let mut poller = Poller::new(publisher, config, standing, cancel)?;
    poller.standing.source(None);
    let now = Instant::now();
    let mut due: Vec<Instant> = vec![now; poller.config.datasets.len()];
    // Without data sets there is nothing to do but to wait for the end.
    while let Some((index, at)) = first(&due) {
        let waiting = tokio::time::sleep_until(at);
        if poller.outbox.meanwhile(waiting).await.is_err() {
            break;
        }
        let begun = Instant::now();
        let Ok(whole) = poller.poll(index).await else { break };
        due[index] = begun + wait(poller.config.datasets[index].interval, whole);
    }
    poller.cancel.cancelled().await;
    Ok(poller.end().await)
}

/// The data set that is due first.
fn first(due: &[Instant]) -> Option<(usize, Instant)> {
    due.iter().copied().enumerate().min_by_key(|(_, at)| *at)
}

/// From the beginning of a poll to that of the next: sooner when it was not whole.
fn wait(interval: Duration, whole: bool) -> Duration {
    if whole { interval } else { (interval / 8).max(SOONEST_RETRY).min(interval) }
}

struct Poller<L> {
    wfs: Wfs,
    config: AurinConfig,
    outbox: Outbox<L>,
    standing: Arc<Standing>,
    cancel: CancellationToken,
    known: Vec<Known>,
    summary: AurinSummary,
}

impl<L: EventLog> Poller<L> {
    fn new(
        publisher: Publisher<L>,
        config: AurinConfig,
        standing: Arc<Standing>,
        cancel: CancellationToken,
    ) -> Result<Self, IngestError> {
        Ok(Self {
            wfs: Wfs::new(&config)?,
            outbox: Outbox::new(publisher, config.outbox, cancel.clone()),
            known: config.datasets.iter().map(|_| Known::default()).collect(),
            summary: AurinSummary::default(),
            config,
            standing,
            cancel,
        })
    }

    /// Polls one data set; whether the poll was complete.
    async fn poll(&mut self, index: usize) -> Result<bool, Unpublished> {
        let poll = Poll {
            wfs: &self.wfs,
            dataset: &self.config.datasets[index],
            known: &mut self.known[index],
            outbox: &mut self.outbox,
        };
        let report = match Box::pin(poll.run()).await {
            Ok(report) => report,
            Err(error) => {
                if let Unpublished::Log(error) = &error {
                    self.summary.error = Some(error.to_string());
                }
                return Err(error);
            }
        };
        let PollReport { dataset, received, published, outcome, reason, .. } = &report;
        tracing::info!(dataset, received, published, ?outcome, reason, "poll finished");
        let whole = report.outcome == Outcome::Complete;
        self.summary.add(report);
        let troubles: Vec<String> = self
            .summary
            .polls
            .values()
            .filter_map(|poll| Some(format!("{}: {}", poll.dataset, poll.reason.as_ref()?)))
            .collect();
        self.standing.source((!troubles.is_empty()).then(|| troubles.join("; ")));
        Ok(whole)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_that_failed_is_tried_sooner() {
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3_600));
        for (interval, whole, expected) in [
            (hour * 24, true, hour * 24),
            (hour * 24, false, hour * 3),
            (minute * 4, false, minute),
            (minute / 2, false, minute / 2),
        ] {
            assert_eq!(wait(interval, whole), expected);
        }
    }
}
