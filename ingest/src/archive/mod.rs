//! Importing archives: line-delimited X data as people have it.
//!
//! ```text
//! file ─ read, decompress, cut into lines ─► blocks ─ tell apart ─► batches ─ publish ─► log
//!        a thread                                     a thread              several in flight
//! ```
//! Every queue between is bounded, so memory does not grow with the file nor with its lines.
//! Whatever can't become an event becomes a dead letter, with its file, line and reason. A
//! A checkpoint says how far everything is acknowledged.

mod blocks;
mod checkpoint;
mod config;
mod file;
mod input;
mod parse;
mod pipeline;
mod progress;
mod summary;

use std::sync::Arc;

use bowerbird_stream::EventLog;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

pub use config::{ArchiveConfig, Input};
pub use progress::{Progress, Snapshot};
pub use summary::{Counts, FileSummary, Outcome, Summary};

use crate::publish::{OnTrouble, Publisher};

/// Imports all inputs, one after the other. A file that can't be read does not keep the others
/// from being imported; a log that refuses for good ends it. While the log can't be reached the
/// import waits ([`Snapshot::trouble`]). On `cancel` it stops reading, waits for what the log has
/// been given, and keeps its checkpoint.
pub async fn import<L: EventLog>(
    log: L,
    config: ArchiveConfig,
    progress: Arc<Progress>,
    cancel: CancellationToken,
) -> Summary {
    let trouble = Arc::clone(&progress);
    let on_trouble: OnTrouble = Arc::new(move |error| {
        if let Some(error) = error {
            tracing::warn!(%error, "the import waits for the event log");
        } else {
            tracing::info!("the event log is well again");
        }
        trouble.set_trouble(error.map(ToString::to_string));
    });
    let publisher = Publisher::new(log, parse::GROUP, config.drain_timeout, on_trouble);
    let started = Timestamp::now();
    let mut candidates = Vec::new();
    for input in &config.inputs {
        let candidate = file::Candidate::look_at(input.clone()).await;
        progress.add_total(candidate.size());
        candidates.push(candidate);
    }
    let mut summary = Summary::default();
    for candidate in candidates {
        let importing = file::Import {
            publisher: &publisher,
            config: &config,
            progress: &progress,
            cancel: &cancel,
            started,
        };
        let (file, go_on) = importing.run(candidate).await;
        if let Some(error) = &file.error {
            tracing::error!(file = file.file, error, "archive not imported completely");
        }
        summary.push(file);
        if !go_on {
            break;
        }
    }
    summary
}
