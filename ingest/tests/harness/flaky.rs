//! A log that can't be reached now and then.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bowerbird_stream::log::{Outgoing, Position};
use bowerbird_stream::sqlite::SqliteLog;
use bowerbird_stream::{EventLog, LogError};
use bowerbird_testbed::log::{Between, Tapped};

/// The first publications fail; everything else goes through.
#[derive(Clone)]
pub struct Failing {
    /// So many publications fail, in turn wholly and every second record.
    pub failing: Arc<AtomicUsize>,
    pub error: LogError,
}

pub type Flaky = Tapped<SqliteLog, Failing>;

/// A log whose first publications find no broker.
pub fn flaky(log: SqliteLog, failing: usize) -> Flaky {
    let address = "kafka://nowhere:9092".to_owned();
    failing_by(log, failing, LogError::Unreachable { address, reason: "no broker".to_owned() })
}

/// A log whose first publications fail by this.
pub fn failing_by(log: SqliteLog, failing: usize, error: LogError) -> Flaky {
    Tapped { log, between: Failing { failing: Arc::new(AtomicUsize::new(failing)), error } }
}

impl Between for Failing {
    async fn publish<L: EventLog>(
        &self,
        log: &L,
        records: Vec<Outgoing>,
    ) -> Vec<Result<Position, LogError>> {
        let left = self
            .failing
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        let Ok(left) = left else { return log.publish(records).await };
        let mut answers = Vec::new();
        for (index, record) in records.into_iter().enumerate() {
            answers.push(if left % 2 == 0 || index % 2 == 0 {
                Err(self.error.clone())
            } else {
                log.publish(vec![record]).await.remove(0)
            });
        }
        answers
    }
}
