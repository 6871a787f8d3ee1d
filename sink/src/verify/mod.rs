//! Compares the log with the store: every event has its document or its dead letter, and every
//! document its event and its content. By the same mapping and the same merging as the sink, so
//! that there is one truth; in memory that does not grow with the log, since what is expected lies
//! in sorted runs on disk.
//!
//! It runs beside a live pipeline: what the projection's group has not committed yet is not
//! judged, only counted.

mod compare;
mod expect;
mod repair;
mod runs;
mod scratch;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bowerbird_store::DocumentStore;
use bowerbird_stream::{EventLog, Position};
use serde::{Deserialize, Serialize};

use crate::config::{Projection, SinkConfig};
use crate::error::SinkError;
use expect::Judging;
use scratch::Scratch;

/// The most documents that one run repairs.
const MOST_REPAIRED: usize = 100_000;

/// What to compare.
#[derive(Clone, Debug)]
pub struct VerifyConfig {
    /// Which projections.
    pub projections: Vec<Projection>,
    /// A folder where an interrupted verification is found again and gone on with; without one it
    /// lies among the temporary files and ends with the process.
    pub scratch: Option<PathBuf>,
    /// Begin anew, whatever an earlier run has left.
    pub fresh: bool,
    /// The share of documents that is compared, from 0 to 1; the same ones each time.
    pub sample: f64,
    /// About how many bytes of expectations are held in memory before they go to disk.
    pub held: usize,
    /// The most differences that the report names; all are counted.
    pub listed: usize,
    /// Settle the events of documents that differ once more, in this way.
    pub repair: Option<SinkConfig>,
}

impl Default for VerifyConfig {
    fn default() -> Self {
        Self {
            projections: Projection::all(),
            scratch: None,
            fresh: false,
            sample: 1.0,
            held: 16 << 20,
            listed: 1_000,
            repair: None,
        }
    }
}

/// How a document differs from what the log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An event has neither document nor dead letter.
    Missing,
    /// A document is older than the events say.
    Stale,
    /// A document is of the right event, and says something else.
    Different,
    /// A document holds an observation or a notice that the log does not.
    Ahead,
    /// A document has no event.
    Unexpected,
    /// An event that can't become a document has no dead letter.
    Unlettered,
}

impl Kind {
    /// Whether settling its events again mends it.
    fn is_repairable(self) -> bool {
        matches!(self, Self::Missing | Self::Stale | Self::Different)
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The projection.
    pub projection: String,
    /// How it differs.
    pub kind: Kind,
    /// The document's id, or the event's position where there is no id.
    pub id: String,
    /// More, for whoever looks into it.
    pub detail: String,
}

/// The comparison of one projection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectionReport {
    /// Its name.
    pub projection: String,
    /// Events compared.
    pub events: u64,
    /// Events that the group has not committed yet; not compared.
    pub not_judged: u64,
    /// Documents compared.
    pub documents: u64,
    /// Events accounted for by a dead letter that is open.
    pub dead_letters: u64,
    /// Events accounted for by a dead letter that was redriven: what was sent again is an event of
    /// its own, and judged as such.
    pub redriven: u64,
    /// Events accounted for by a dead letter that was dropped.
    pub dropped: u64,
    /// Differences, by kind, as they were found.
    pub differences: BTreeMap<Kind, u64>,
    /// Documents that were written to mend them.
    pub repaired: u64,
}

/// The whole comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// One for each projection.
    pub projections: Vec<ProjectionReport>,
    /// The first differences; `VerifyConfig::listed` bounds them.
    pub differences: Vec<Difference>,
}

impl VerifyReport {
    /// Whether nothing differs.
    pub fn is_clean(&self) -> bool {
        self.projections.iter().all(|projection| projection.differences.is_empty())
    }

    /// Whether nothing differs any more: whatever did was mended.
    pub fn is_level(&self) -> bool {
        self.projections.iter().all(|projection| {
            let found = projection.differences.iter();
            let (mendable, rest): (Vec<_>, Vec<_>) =
                found.partition(|(kind, _)| kind.is_repairable());
            let mendable: u64 = mendable.into_iter().map(|(_, count)| count).sum();
            rest.is_empty() && mendable <= projection.repaired
        })
    }
}

/// Compares log and store. `progress` is told how many events and documents were looked at so far.
///
/// # Errors
/// When log, store or scratch files can't be used; differences are no error but the report.
pub async fn verify<L: EventLog, S: DocumentStore>(
    log: &L,
    store: &S,
    config: &VerifyConfig,
    mut progress: impl FnMut(u64) + Send,
) -> Result<VerifyReport, SinkError> {
    let mut report = VerifyReport::default();
    for projection in &config.projections {
        let mut run = Run {
            listed: config.listed,
            counts: ProjectionReport {
                projection: projection.name.to_owned(),
                ..ProjectionReport::default()
            },
            differences: Vec::new(),
            repairs: BTreeSet::new(),
            repairing: config.repair.is_some(),
        };
        let kept = config.scratch.as_ref().map(|folder| folder.join(&projection.database));
        let scratch = Scratch::new(kept.as_deref(), config.held)?;
        let mut judging = Judging::begin(log, projection, config, &scratch, &mut run).await?;
        // Boxed, since a command holds them among others and they are large.
        Box::pin(judging.read(log, &scratch, &mut run, &mut progress)).await?;
        Box::pin(walk::compare(store, &mut judging, &scratch, &mut run, &mut progress)).await?;
        scratch.clear()?;
        if let Some(sink) = &config.repair {
            let repairs = std::mem::take(&mut run.repairs);
            let resending = repair::resend(log, store, projection, &judging, repairs, sink);
            run.counts.repaired = Box::pin(resending).await?;
        }
        report.projections.push(run.counts);
        let room = config.listed.saturating_sub(report.differences.len());
        report.differences.extend(run.differences.into_iter().take(room));
    }
    Ok(report)
}

/// The comparison of one projection, under way.
struct Run {
    listed: usize,
    counts: ProjectionReport,
    differences: Vec<Difference>,
    /// Documents whose events shall be settled again.
    repairs: BTreeSet<String>,
    repairing: bool,
}

impl Run {
    fn differs(&mut self, kind: Kind, id: String, detail: String) {
        *self.counts.differences.entry(kind).or_default() += 1;
        if self.repairing && kind.is_repairable() && self.repairs.len() < MOST_REPAIRED {
            self.repairs.insert(id.clone());
        }
        if self.differences.len() < self.listed {
            let projection = self.counts.projection.clone();
            self.differences.push(Difference { projection, kind, id, detail });
        }
    }

    fn unlettered(&mut self, position: &Position, why: &str) {
        self.differs(Kind::Unlettered, position.to_string(), why.to_owned());
    }
}
