//! What running sinks do by themselves for the promises about removals: they look now and then
//! whether a sweep is due, whether notices wait for other generations or dead letters must lose
//! content, and whether the log needs a record to go on compacting.

use std::time::Duration;

use bowerbird_store::DocumentStore;
use bowerbird_stream::EventLog;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::beside::{self, Carried};
use super::letters::Looked;
use super::{Swept, close, letters, outstanding, sweep, unless_held};
use crate::config::Projection;
use crate::error::SinkError;
use crate::meta::Meta;
use crate::meta::job::{Job, Note, Worker};
use crate::projections::Generations;

/// The note that says how far notices about users have been carried to posts.
const NOTE: &str = "compliance:posts";

/// How often what is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// How often it is looked whether something is outstanding.
    pub look_every: Duration,
    /// Posts that no other way has found are found by a sweep so often.
    pub again_every: SignedDuration,
    /// Dead letters are looked through at most so often: what must go from them is carried out by
    /// writing a good part of them anew.
    pub letters_every: SignedDuration,
    /// How long a sink may take to get to the log's end.
    pub patience: Duration,
    /// A partition that is silent for so long gets a record, where its log waits for one; one of
    /// dead letters after five times as long.
    pub quiet_for: SignedDuration,
}

impl Default for Keeping {
    fn default() -> Self {
        Self {
            look_every: Duration::from_secs(600),
            again_every: SignedDuration::from_hours(6),
            letters_every: SignedDuration::from_hours(1),
            patience: Duration::from_secs(3600),
            quiet_for: SignedDuration::from_hours(2),
        }
    }
}

/// Keeps at it until `cancel`. What fails is told of and done the next time.
pub async fn keep<L: EventLog, S: DocumentStore>(
    log: &L,
    generations: &Generations<S>,
    worker: &Worker,
    config: &Keeping,
    cancel: CancellationToken,
) {
    let rounds = async {
        loop {
            tokio::time::sleep(config.look_every).await;
            match due(log, generations, worker, config).await {
                Ok(Some(Swept { users, removed, scrubbed, .. })) => {
                    tracing::info!(
                        users,
                        removed,
                        scrubbed,
                        "notices about users carried to posts"
                    );
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "notices about users wait"),
            }
            match beside::due(log, generations, worker).await {
                Ok(Some(Carried { notices, written, .. })) => {
                    tracing::info!(notices, written, "notices settled in other generations");
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "notices wait for other generations"),
            }
            let every = config.letters_every;
            match letters::due(log, generations, worker, every, config.patience).await {
                Ok(Some(Looked { records, erased, .. })) => {
                    tracing::debug!(records, erased, "dead letters looked through");
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "dead letters wait to be looked through for removals");
                }
            }
            if let Err(error) = close::segments(log, config.quiet_for, Timestamp::now()).await {
                tracing::warn!(%error, "what was erased may stay in the log for longer");
            }
        }
    };
    cancel.run_until_cancelled(rounds).await;
}

/// Sweeps if something is outstanding, or the last sweep is long ago.
async fn due<L: EventLog, S: DocumentStore>(
    log: &L,
    generations: &Generations<S>,
    worker: &Worker,
    config: &Keeping,
) -> Result<Option<Swept>, SinkError> {
    let before = last(generations.meta()).await?.unwrap_or_default();
    let long_ago = before.users > 0
        && before.began.is_some_and(|at| Timestamp::now().duration_since(at) > config.again_every);
    if !long_ago && outstanding(log, &before).await?.notices == 0 {
        return Ok(None);
    }
    unless_held(apply(log, generations, worker, config.patience, |_| {}).await)
}

/// Sweeps while nobody else does, and notes what was done.
///
/// # Errors
/// [`SinkError::Held`] when somebody else does; else as [`sweep`].
pub async fn apply<L: EventLog, S: DocumentStore>(
    log: &L,
    generations: &Generations<S>,
    worker: &Worker,
    patience: Duration,
    looked_at: impl Fn(u64),
) -> Result<Swept, SinkError> {
    let live = generations.live(&Projection::posts()).await?;
    let (meta, store) = (generations.meta(), generations.meta().store());
    let sweeping = Box::pin(sweep(log, store, &live, patience, false, looked_at));
    Job::alone_noting(meta, NOTE, worker, sweeping).await
}

/// What the last sweep did.
///
/// # Errors
/// When the store can't be asked.
pub async fn last<S: DocumentStore>(meta: &Meta<S>) -> Result<Option<Swept>, SinkError> {
    let note = meta.read::<Note<Swept>>(NOTE).await?;
    Ok(note.map(|note| note.value.work).filter(|swept| swept.began.is_some()))
}
