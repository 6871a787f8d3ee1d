//! Waiting out what passes, and what an operator can mend.

use std::time::Duration;

use bowerbird_store::{DocumentStore, StoreError};
use bowerbird_stream::retry::{RetryPolicy, Verdict, retry};
use bowerbird_stream::status::Pause;
use bowerbird_stream::{EventLog, LogError};

use super::Writer;
use crate::config::{Projection, SinkConfig};
use crate::metrics as names;
use crate::worker::pace::Sample;

impl<L: EventLog, S: DocumentStore> Writer<L, S> {
    /// Asks the store, and waits out what passes or what an operator can mend, visibly; unless
    /// `hopeless` says that the same request will not go through.
    pub(super) async fn patiently<T, F, R>(
        &self,
        sample: &mut Sample,
        hopeless: impl Fn(&StoreError) -> bool,
        ask: F,
    ) -> Result<T, StoreError>
    where
        F: Fn() -> R,
        R: Future<Output = Result<T, StoreError>>,
    {
        let judge = |error: &StoreError| match error {
            error if hopeless(error) => Verdict::GiveUp,
            error if self.config.once && (error.pauses() || error.is_transient()) => {
                Verdict::GiveUp
            }
            StoreError::Busy { retry_after, .. } => Verdict::Again { after: *retry_after },
            error if error.is_transient() || error.pauses() => Verdict::Again { after: None },
            _ => Verdict::GiveUp,
        };
        let mut pause = None;
        let notify = |error: &StoreError, wait: Duration| {
            metrics::counter!(names::RETRIES, "projection" => self.projection.name).increment(1);
            if error.is_transient() {
                sample.failures += 1;
            }
            self.tell(&mut pause, error, error.pauses(), wait);
        };
        let database = &self.projection.database;
        let attempt = || async {
            match ask().await {
                Err(StoreError::MissingDatabase { .. }) if self.config.create_databases => {
                    if self.store.create_database(database).await? {
                        self.tell_of_loss().await;
                    }
                    ask().await
                }
                answer => answer,
            }
        };
        retry(&policy(&self.config), judge, notify, attempt).await
    }

    /// Tells of a database that was just made though its group has read before: what that became is
    /// gone, and nothing else would say so.
    async fn tell_of_loss(&self) {
        let Projection { name, database, group, topics, .. } = &self.projection;
        let mut read = 0;
        for topic in topics {
            // Who can't be asked now will show that in other ways.
            let committed = self.log.committed(group, topic).await.unwrap_or_default();
            read += committed.into_values().sum::<i64>();
        }
        if read > 0 {
            metrics::counter!(names::REMADE, "projection" => *name).increment(1);
            tracing::error!(
                database,
                group,
                "the database was gone and is made anew: documents of events that were read before are \
                 missing; `bowerbird verify --repair` writes them again, or `bowerbird projections \
                 rebuild {name}` does"
            );
        }
    }

    /// Asks the log, with the same patience.
    pub(super) async fn patiently_of_log<T, R>(&self, ask: impl Fn() -> R) -> Result<T, LogError>
    where
        R: Future<Output = Result<T, LogError>>,
    {
        let judge = |error: &LogError| match mends(error) && !self.config.once {
            true => Verdict::Again { after: None },
            false => Verdict::GiveUp,
        };
        let mut pause = None;
        let notify = |error: &LogError, wait: Duration| {
            self.tell(&mut pause, error, error.pauses(), wait);
        };
        retry(&policy(&self.config), judge, notify, ask).await
    }

    /// A hiccup is not worth an alarm; what an operator must mend is, at once.
    fn tell(
        &self,
        pause: &mut Option<Pause>,
        error: &dyn std::error::Error,
        pauses: bool,
        wait: Duration,
    ) {
        if pauses || wait >= Duration::from_secs(1) {
            self.reporter.pausing(pause, error.to_string());
        }
    }
}

/// Whether the log may take it later: by itself, or when an operator has mended what is wrong.
pub(super) fn mends(error: &LogError) -> bool {
    let missing = matches!(error, LogError::MissingTopic { .. });
    missing || error.is_transient() || error.pauses()
}

pub(super) fn policy(config: &SinkConfig) -> RetryPolicy {
    RetryPolicy {
        initial: Duration::from_millis(100),
        max: config.max_backoff,
        ..RetryPolicy::default()
    }
}
