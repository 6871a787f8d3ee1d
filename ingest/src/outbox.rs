//! Small batches on their way to the log, one after the other, within bounds.
//!
//! One at a time: of two, the later could be taken and the earlier not when the process is killed,
//! and whoever goes on from the newest record would never know that something before it is missing.
//! What comes in meanwhile makes the next batch larger, so that a slow log is no bottleneck for it.
//! Within a batch a log of several partitions can take this record and not that one: so each says
//! before which time nothing is missing, and facts travel apart from what they tell of.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::time::Duration;

use bowerbird_stream::log::Outgoing;
use bowerbird_stream::{EventLog, topic};
use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::publish::{Published, Publisher, Unpublished};

/// The extension of an event that travelled with earlier ones: all that came before this time is in
/// the log. Without it that is so of the event's own time.
pub const WHOLE_BEFORE: &str = "wholebefore";
const WHOLE_BEFORE_HEADER: &str = "ce_wholebefore";

/// How an outbox is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxConfig {
    /// A batch leaves when it has this many bytes.
    pub batch_bytes: usize,
    /// A batch leaves when its first record is this old.
    pub linger: Duration,
    /// The most bytes on their way and not acknowledged.
    pub max_in_flight_bytes: usize,
}

impl Default for OutboxConfig {
    fn default() -> Self {
        Self {
            batch_bytes: 256 << 10,
            linger: Duration::from_millis(5),
            max_in_flight_bytes: 8 << 20,
        }
    }
}

type Sending = Pin<Box<dyn Future<Output = Result<Published, Unpublished>> + Send>>;

/// Records that leave together.
#[derive(Default)]
struct Batch {
    records: Vec<Outgoing>,
    bytes: usize,
    /// Whether it is one of facts.
    facts: bool,
    /// When the first of it came in that has a time.
    since: Option<Timestamp>,
}

/// Records that wait to fill a batch, and a batch that waits to be acknowledged.
pub struct Outbox<L> {
    publisher: Publisher<L>,
    cancel: CancellationToken,
    config: OutboxConfig,
    /// In the order in which they leave; only the last still grows.
    waiting: VecDeque<Batch>,
    waiting_bytes: usize,
    leaves_at: Option<Instant>,
    under_way: Option<Sending>,
    in_flight: usize,
    too_large: u64,
}

impl<L: EventLog> Outbox<L> {
    /// An empty outbox.
    pub fn new(publisher: Publisher<L>, config: OutboxConfig, cancel: CancellationToken) -> Self {
        Self {
            publisher,
            cancel,
            config,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            leaves_at: None,
            under_way: None,
            in_flight: 0,
            too_large: 0,
        }
    }

    /// Whether there is room. Whoever pushes waits for it, so that a slow log slows its sources.
    pub fn has_room(&self) -> bool {
        self.in_flight + self.waiting_bytes < self.config.max_in_flight_bytes
    }

    /// Of the records acknowledged so far, how many became dead letters for their size.
    pub fn too_large(&self) -> u64 {
        self.too_large
    }

    /// Takes a record.
    pub fn push(&mut self, record: Outgoing) {
        let facts = &*record.topic == topic::JOURNAL;
        if self.waiting.back().is_none_or(|last| last.facts != facts) {
            self.waiting.push_back(Batch { facts, ..Batch::default() });
        }
        let size = record.size();
        self.waiting_bytes += size;
        if let Some(batch) = self.waiting.back_mut() {
            batch.bytes += size;
            batch.records.push(record);
        }
        self.leaves_at.get_or_insert_with(|| Instant::now() + self.config.linger);
        if self.is_due() {
            self.send();
        }
    }

    /// Takes a record that came in at `at`, and has it say before which time nothing is missing: of
    /// what its source gave before `behind` all has come, if that is told.
    pub fn push_from(&mut self, mut record: Outgoing, at: Timestamp, behind: Option<Timestamp>) {
        let batch = self.waiting.back().filter(|batch| !batch.facts);
        let since = batch.and_then(|batch| batch.since).into_iter().chain(behind).min();
        if let Some(since) = since.filter(|since| *since < at) {
            record.headers.push(WHOLE_BEFORE_HEADER, since.to_string());
        }
        self.push(record);
        // If it has left, nothing more travels with it.
        if let Some(batch) = self.waiting.back_mut() {
            batch.since.get_or_insert(at);
        }
    }

    /// Works until something changes: a batch leaves or arrives. Waits for ever when there is
    /// nothing to do. Cancel safe.
    ///
    /// # Errors
    /// When the log refuses for good, or did not take everything before the shutdown's deadline.
    pub async fn turn(&mut self) -> Result<(), Unpublished> {
        if let Some(under_way) = &mut self.under_way {
            let result = under_way.await;
            self.under_way = None;
            self.in_flight = 0;
            if self.is_due() {
                self.send();
            }
            return result.map(|published| self.too_large += published.too_large);
        }
        match self.leaves_at {
            Some(at) => sleep_until(at).await,
            None => pending().await,
        }
        self.send();
        Ok(())
    }

    /// Waits for `future`, while what is on its way goes on.
    ///
    /// # Errors
    /// [`Unpublished::Stopped`] as soon as the shutdown begins, and as [`turn`](Self::turn).
    pub async fn meanwhile<F: Future>(&mut self, future: F) -> Result<F::Output, Unpublished> {
        let mut future = pin!(future);
        let cancel = self.cancel.clone();
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(Unpublished::Stopped),
                done = &mut future => return Ok(done),
                sent = self.turn() => sent?,
            }
        }
    }

    /// Sends everything and waits until it is acknowledged.
    ///
    /// # Errors
    /// As [`turn`](Self::turn).
    pub async fn drain(&mut self) -> Result<(), Unpublished> {
        loop {
            self.send();
            if self.under_way.is_none() {
                return Ok(());
            }
            self.turn().await?;
        }
    }

    /// Whether the next batch has no reason to wait.
    fn is_due(&self) -> bool {
        let full = |batch: &Batch| batch.bytes >= self.config.batch_bytes;
        self.waiting.len() > 1 || self.waiting.front().is_some_and(full)
    }

    fn send(&mut self) {
        if self.under_way.is_some() {
            return;
        }
        let Some(Batch { records, bytes, .. }) = self.waiting.pop_front() else { return };
        self.waiting_bytes -= bytes;
        self.in_flight = bytes;
        self.leaves_at = (!self.waiting.is_empty()).then(|| Instant::now() + self.config.linger);
        let (publisher, cancel) = (self.publisher.clone(), self.cancel.clone());
        self.under_way = Some(Box::pin(async move { publisher.publish(records, &cancel).await }));
    }
}
