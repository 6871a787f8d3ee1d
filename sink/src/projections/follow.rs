//! A sink that fills whichever generation is live.

use std::time::Duration;

use bowerbird_store::DocumentStore;
use bowerbird_stream::EventLog;
use bowerbird_stream::retry::{RetryPolicy, Verdict, retry};
use bowerbird_stream::status::{Reporter, State};
use tokio_util::sync::CancellationToken;

use super::{Generations, Pointer};
use crate::config::{Projection, SinkConfig};
use crate::error::SinkError;
use crate::worker::{SinkReport, run_into};

/// How often is looked whether another generation went live.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(1);

/// As [`run_into`], for the live generation of `base`: when another one goes live, the work in
/// hand is settled and committed inside the drain time-out, and goes on there.
///
/// Sinks may see the pointer move at different moments: each group writes to its own database.
///
/// # Errors
/// As [`run_into`]; or when this program does not have the mapping of the live generation.
#[expect(clippy::too_many_arguments, reason = "as run_into, and the generations")]
pub async fn follow<L: EventLog, S: DocumentStore>(
    done: &mut SinkReport,
    log: &L,
    store: &S,
    generations: &Generations<S>,
    base: &Projection,
    config: &SinkConfig,
    reporter: &Reporter,
    cancel: CancellationToken,
) -> Result<(), SinkError> {
    loop {
        let Some(pointer) =
            cancel.run_until_cancelled(ask(generations, base, config, reporter)).await
        else {
            reporter.set(State::Stopped);
            return Ok(());
        };
        let pointer = pointer?;
        let live = pointer.live;
        let projection = generations.projection(base, &pointer, live)?;
        tracing::debug!(projection = base.name, database = projection.database, "live generation");
        let config = SinkConfig {
            // Later ones are made by a rebuild: one that is missing was dropped.
            create_databases: config.create_databases && live == 1,
            ..config.clone()
        };
        let turn = cancel.child_token();
        let sink = run_into(done, log, store, &projection, &config, reporter, turn.clone());
        let mut sink = std::pin::pin!(sink);
        let ended = tokio::select! {
            ended = &mut sink => Some(ended),
            () = moved(generations, base, live), if !config.once => None,
        };
        if let Some(ended) = ended {
            return ended;
        }
        tracing::info!(projection = base.name, from = live, "another generation is live now");
        turn.cancel();
        match sink.await {
            Ok(()) => {}
            // They were not committed: its group reads them again if it ever goes live again.
            Err(error @ SinkError::Unsettled(_)) => {
                tracing::warn!(projection = base.name, %error, "the former generation did not drain");
            }
            Err(error) => return Err(error),
        }
        reporter.set(State::Starting);
    }
}

/// The pointer; a service waits until the store can be asked, visibly.
async fn ask<S: DocumentStore>(
    generations: &Generations<S>,
    base: &Projection,
    config: &SinkConfig,
    reporter: &Reporter,
) -> Result<Pointer, SinkError> {
    let judge = |error: &SinkError| match error {
        SinkError::Store(error) if !config.once && (error.is_transient() || error.pauses()) => {
            Verdict::Again { after: None }
        }
        _ => Verdict::GiveUp,
    };
    let notify = |error: &SinkError, _: Duration| {
        reporter.set(State::Paused { reason: error.to_string() });
    };
    let policy = RetryPolicy { max: config.max_backoff, ..RetryPolicy::default() };
    retry(&policy, judge, notify, || generations.look(base)).await
}

/// Returns when another generation than `live` is.
async fn moved<S: DocumentStore>(generations: &Generations<S>, base: &Projection, live: u32) {
    loop {
        tokio::time::sleep(LOOKED_AT_EVERY).await;
        match generations.look(base).await {
            Ok(pointer) if pointer.live != live => return,
            Ok(_) => {}
            // What is wrong with the store is told by the sink, which works on it.
            Err(error) => tracing::debug!(projection = base.name, %error, "pointer not read"),
        }
    }
}
