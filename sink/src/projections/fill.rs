//! Filling a generation by its own group until it is level with the log.

use std::collections::BTreeMap;
use std::time::Duration;

use bowerbird_store::DocumentStore;
use bowerbird_stream::status::Reporter;
use bowerbird_stream::{EventLog, LogError, Partition};
use tokio_util::sync::CancellationToken;

use crate::config::{Projection, SinkConfig};
use crate::error::SinkError;
use crate::worker::{SinkReport, run_into};

/// How often is looked how far it is.
const LOOKED_AT_EVERY: Duration = Duration::from_millis(200);

/// How far a group is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Records committed, of those that the log still holds.
    pub done: u64,
    /// Records that it holds.
    pub total: u64,
}

impl Standing {
    /// How many are still to be done.
    pub fn behind(self) -> u64 {
        self.total.saturating_sub(self.done)
    }
}

/// How far a projection's group is.
///
/// # Errors
/// When the log can't be asked.
pub async fn standing<L: EventLog>(log: &L, projection: &Projection) -> Result<Standing, LogError> {
    let mut standing = Standing::default();
    for topic in &projection.topics {
        // Committed first: what is appended later is only more to do.
        let committed = log.committed(&projection.group, topic).await?;
        for (number, extent) in log.extents(topic).await? {
            let at = committed.get(&number).copied().unwrap_or(extent.earliest);
            let at = at.clamp(extent.earliest, extent.end);
            standing.done += u64::try_from(at - extent.earliest).unwrap_or_default();
            standing.total += u64::try_from(extent.end - extent.earliest).unwrap_or_default();
        }
    }
    Ok(standing)
}

/// The ends of a projection's topics now.
pub(crate) async fn ends<L: EventLog>(
    log: &L,
    projection: &Projection,
) -> Result<BTreeMap<Partition, i64>, LogError> {
    let mut ends = BTreeMap::new();
    for topic in &projection.topics {
        for (number, extent) in log.extents(topic).await? {
            if extent.earliest < extent.end {
                ends.insert(Partition::new(*topic, number), extent.end);
            }
        }
    }
    Ok(ends)
}

/// Whether the group has committed up to these ends.
pub(crate) async fn reached<L: EventLog>(
    log: &L,
    projection: &Projection,
    ends: &BTreeMap<Partition, i64>,
) -> Result<bool, LogError> {
    for topic in &projection.topics {
        let committed = log.committed(&projection.group, topic).await?;
        let mut ends = ends.iter().filter(|(partition, _)| *partition.topic == **topic);
        let open = |(partition, end): (&Partition, &i64)| {
            committed.get(&partition.partition).is_none_or(|at| at < end)
        };
        if ends.any(open) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The settings for a fill: the same care as live, in bigger batches. What is a bound of memory
/// when live is one here too, four times as wide.
#[must_use]
pub fn bulk(live: &SinkConfig) -> SinkConfig {
    SinkConfig {
        batch_documents: live.batch_documents.max(1_000),
        batch_bytes: live.batch_bytes.max(4 << 20),
        flush_interval: live.flush_interval.max(Duration::from_millis(200)),
        writers: live.writers.max(4),
        max_pending_bytes: live.max_pending_bytes.saturating_mul(4),
        // Who fills a generation has made its database; where it is gone, it was dropped.
        create_databases: false,
        instance: None,
        once: false,
        ..live.clone()
    }
}

/// What is to be filled, and how.
#[derive(Debug)]
pub struct Fill<'a, L, S> {
    /// The log.
    pub log: &'a L,
    /// The store.
    pub store: &'a S,
    /// The generation.
    pub projection: &'a Projection,
    /// How: see [`bulk`].
    pub config: &'a SinkConfig,
    /// Is told when it must wait for something to be mended.
    pub reporter: &'a Reporter,
    /// Ends it before it is level.
    pub cancel: &'a CancellationToken,
}

impl<L: EventLog, S: DocumentStore> Fill<'_, L, S> {
    /// Fills until it has all that the log held a moment ago. `meanwhile` is called now and then
    /// with how far it is, while the filling goes on; its error ends it.
    ///
    /// # Errors
    /// [`SinkError::Interrupted`] when it was cancelled; else what ended the sink.
    pub async fn to_level(
        &self,
        done: &mut SinkReport,
        mut meanwhile: impl AsyncFnMut(Standing) -> Result<(), SinkError>,
    ) -> Result<(), SinkError> {
        let stop = self.cancel.child_token();
        let Self { log, store, projection, config, reporter, .. } = self;
        let sink = async {
            let sink = run_into(done, *log, *store, projection, config, reporter, stop.clone());
            let sunk = sink.await;
            stop.cancel();
            sunk
        };
        let watch = async {
            let watched = tokio::select! {
                watched = self.watch(&mut meanwhile) => watched,
                () = stop.cancelled() => Ok(false),
            };
            stop.cancel();
            watched
        };
        // Both are awaited to their ends: a sink that is dropped in the middle commits nothing.
        let (sunk, watched) = futures::join!(Box::pin(sink), Box::pin(watch));
        let level = watched?;
        sunk?;
        if level { Ok(()) } else { Err(SinkError::Interrupted) }
    }

    async fn watch(
        &self,
        meanwhile: &mut impl AsyncFnMut(Standing) -> Result<(), SinkError>,
    ) -> Result<bool, SinkError> {
        loop {
            let ends = ends(self.log, self.projection).await?;
            loop {
                meanwhile(standing(self.log, self.projection).await?).await?;
                if reached(self.log, self.projection, &ends).await? {
                    break;
                }
                tokio::time::sleep(LOOKED_AT_EVERY).await;
            }
            // Level with what was there when this round began; a round that found nothing new
            // to do, or was short, is as level as a live log lets anyone be.
            if standing(self.log, self.projection).await?.behind() <= self.near() {
                return Ok(true);
            }
        }
    }

    /// How many records may be open when it counts as level: two batches.
    fn near(&self) -> u64 {
        2 * self.config.batch_documents as u64
    }
}
