//! Compares the log with the store: every event has its document or its dead letter, and every
//! document its event. By the same mapping and the same merging as the sink, so that there is one
//! truth; in memory that does not grow with the log, since what is expected lies in a scratch file.
//!
//! It runs beside a live pipeline: what the projection's group has not committed yet is not
//! judged, only counted.

mod compare;
mod expect;
mod scratch;

use std::collections::BTreeMap;
use std::path::PathBuf;

use bowerbird_store::DocumentStore;
use bowerbird_stream::{EventLog, Position};
use serde::Serialize;

use crate::config::Projection;
use crate::document;
use crate::error::SinkError;
use compare::{Judged, Young, judge};
use scratch::Scratch;

/// How many documents or expectations are compared at a time.
const PAGE: usize = 1_000;

/// What to compare.
#[derive(Clone, Debug)]
pub struct VerifyConfig {
    /// Which projections.
    pub projections: Vec<Projection>,
    /// Where the scratch file goes; the system's folder for temporary files without.
    pub scratch: Option<PathBuf>,
    /// How many expectations are held in memory before they go to the scratch file.
    pub held: usize,
    /// The most differences that the report names; all are counted.
    pub listed: usize,
}

impl Default for VerifyConfig {
    fn default() -> Self {
        Self { projections: Projection::all(), scratch: None, held: 20_000, listed: 1_000 }
    }
}

/// How a document differs from what the log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An event has neither document nor dead letter.
    Missing,
    /// A document is older than the events say.
    Stale,
    /// A document holds an observation or a notice that the log does not.
    Ahead,
    /// A document has no event.
    Unexpected,
    /// An event that can't become a document has no dead letter.
    Unlettered,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The projection.
    pub projection: &'static str,
    /// How it differs.
    pub kind: Kind,
    /// The document's id, or the event's position where there is no id.
    pub id: String,
    /// More, for whoever looks into it.
    pub detail: String,
}

/// The comparison of one projection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProjectionReport {
    /// Its name.
    pub projection: &'static str,
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
    /// Differences, by kind.
    pub differences: BTreeMap<Kind, u64>,
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
}

/// Compares log and store. `progress` is told how many events and documents were looked at so far.
///
/// # Errors
/// When log, store or scratch file can't be used; differences are no error but the report.
pub async fn verify<L: EventLog, S: DocumentStore>(
    log: &L,
    store: &S,
    config: &VerifyConfig,
    mut progress: impl FnMut(u64) + Send,
) -> Result<VerifyReport, SinkError> {
    let mut report = VerifyReport::default();
    for projection in &config.projections {
        let mut run = Run {
            projection: projection.name,
            listed: config.listed,
            counts: ProjectionReport { projection: projection.name, ..ProjectionReport::default() },
            differences: &mut report.differences,
        };
        let scratch = Scratch::new(config.scratch.as_deref(), config.held)?;
        let young = expect::from_log(log, projection, &scratch, &mut run, &mut progress).await?;
        compare_store(store, projection, &scratch, &young, &mut run, &mut progress).await?;
        report.projections.push(run.counts);
    }
    Ok(report)
}

/// The comparison of one projection, under way.
struct Run<'a> {
    projection: &'static str,
    listed: usize,
    counts: ProjectionReport,
    differences: &'a mut Vec<Difference>,
}

impl Run<'_> {
    fn differs(&mut self, kind: Kind, id: String, detail: String) {
        *self.counts.differences.entry(kind).or_default() += 1;
        if self.differences.len() < self.listed {
            self.differences.push(Difference { projection: self.projection, kind, id, detail });
        }
    }

    fn unlettered(&mut self, position: &Position, why: &str) {
        self.differs(Kind::Unlettered, position.to_string(), why.to_owned());
    }
}

/// Walks expectations and documents side by side, both in the order of their ids' bytes.
async fn compare_store<S: DocumentStore>(
    store: &S,
    projection: &Projection,
    scratch: &Scratch,
    young: &Young,
    run: &mut Run<'_>,
    progress: &mut (impl FnMut(u64) + Send),
) -> Result<(), SinkError> {
    let database = &projection.database;
    let exists = store.database(database).await?.is_some();
    let mut expected = scratch.after(None, PAGE).await?.into_iter().peekable();
    let mut after: Option<String> = None;
    let mut done = !exists;
    loop {
        let page =
            if done { Vec::new() } else { store.scan(database, after.as_deref(), PAGE).await? };
        done = page.is_empty();
        after = page.last().map(|document| document.id.clone());
        for document in &page {
            run.counts.documents += 1;
            // Everything expected before this document has none.
            while let Some((id, want)) =
                next_if(&mut expected, scratch, |id| id < document.id.as_str()).await?
            {
                absent(id, &want, run);
            }
            let want = next_if(&mut expected, scratch, |id| id == document.id)
                .await?
                .map(|(_, want)| want);
            let there = document::read(document).map_err(|foreign| foreign.to_string());
            if let Judged::Differs(kind, detail) = judge(&there, want.as_ref(), young) {
                run.differs(kind, document.id.clone(), detail);
            }
        }
        progress(run.counts.events + run.counts.documents);
        if done {
            break;
        }
    }
    while let Some((id, want)) = next_if(&mut expected, scratch, |_| true).await? {
        absent(id, &want, run);
    }
    Ok(())
}

type Expectations = std::iter::Peekable<std::vec::IntoIter<(String, scratch::Expected)>>;

/// The next expectation if its id is as asked, fetching another page when this one is used up.
async fn next_if(
    page: &mut Expectations,
    scratch: &Scratch,
    asked: impl Fn(&str) -> bool,
) -> Result<Option<(String, scratch::Expected)>, SinkError> {
    let Some((id, want)) = page.next_if(|(id, _)| asked(id)) else { return Ok(None) };
    if page.peek().is_none() {
        *page = scratch.after(Some(&id), PAGE).await?.into_iter().peekable();
    }
    Ok(Some((id, want)))
}

fn absent(id: String, want: &scratch::Expected, run: &mut Run<'_>) {
    if let Some(detail) = compare::missing(want) {
        run.differs(Kind::Missing, id, detail);
    }
}
