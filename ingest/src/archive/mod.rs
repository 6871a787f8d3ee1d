//! Importing archives: line-delimited X data as people have it, in folders, tars and zips.
//!
//! ```text
//! paths ─ list ─► files, members ─ read, decompress, cut ─► blocks ─ tell apart ─► batches ─► log
//!         a thread                 a thread for each worker         another        several in flight
//! ```
//! Every queue between is bounded, so memory does not grow with the number of files and members,
//! nor with their size or their lines. Nothing is unpacked to disk.
//! Whatever can't become an event becomes a dead letter, with its file, line and reason. A
//! checkpoint says how far everything of a file is acknowledged, member by member.

mod blocks;
mod checkpoint;
mod claim;
mod config;
mod entry;
mod file;
mod find;
mod format;
mod gate;
mod list;
mod members;
mod name;
mod parse;
mod pattern;
mod pipeline;
mod progress;
mod range;
mod seen;
mod streamed;
mod streams;
mod summary;
mod text;
mod tracker;
mod values;
mod walk;
mod work;

use std::collections::BTreeMap;
use std::sync::Arc;

use bowerbird_stream::EventLog;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use config::{ArchiveConfig, Input, usual_workers};
pub use progress::{Progress, Snapshot};
pub(crate) use summary::{BEGUN, FAILED, IMPORTED};
pub use summary::{Counts, FileSummary, Findings, Outcome, Problem, Summary};

use crate::publish::{OnTrouble, Publisher};

/// Batches that wait to be published, for each worker.
const QUEUE: usize = 1;

/// Imports all inputs, several files or members at once. A file that can't be read does not keep
/// the others from being imported; a log that refuses for good ends it. While the log can't be
/// reached the import waits ([`Snapshot::trouble`]). On `cancel` it stops reading, waits for what
/// the log has been given, and keeps its checkpoints.
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
    let (config, gate) = (Arc::new(config), Arc::new(gate::Gate::default()));
    let parsing = Arc::new(parse::ParserConfig {
        started,
        max_line_bytes: config.max_line_bytes,
        batch_bytes: config.batch_bytes,
        results: config.results,
        as_of: config.as_of,
        seen: seen::Seen::default(),
    });
    let (sender, news) = mpsc::channel(QUEUE * config.workers.get());
    let lister = |jobs| list::Lister {
        config: Arc::clone(&config),
        news: sender.clone(),
        jobs,
        gate: Arc::clone(&gate),
        progress: Arc::clone(&progress),
        number: 0,
    };
    let mut pipeline = pipeline::Pipeline {
        publisher: &publisher,
        config: &config,
        progress: &progress,
        cancel: &cancel,
        gate: &gate,
        started,
        open: BTreeMap::new(),
        untold: BTreeMap::new(),
        summary: Summary::default(),
    };
    let threads = match work::start(lister, &config, &parsing, &sender) {
        Ok(threads) => threads,
        Err(error) => {
            gate.close();
            return Summary::failed(format!("the system has no thread to read with: {error}"));
        }
    };
    drop(sender);
    let whole = pipeline.run(news).await;
    // A thread that waits for the next line of a pipe can't be woken; it ends with the process.
    if whole || !config.inputs.iter().any(input_may_wait) {
        let joining = move || threads.into_iter().for_each(|one| drop(one.join()));
        tokio::task::spawn_blocking(joining).await.ok();
    }
    pipeline.summary
}

/// Whether reading it may take for ever.
fn input_may_wait(input: &Input) -> bool {
    match input {
        Input::Stdin => true,
        Input::Path(path) => path.metadata().is_ok_and(|it| !it.is_file() && !it.is_dir()),
    }
}
