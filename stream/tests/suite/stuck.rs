//! A log that takes records of every topic but one.

use std::sync::Arc;

use bowerbird_stream::log::EventLog;
use bowerbird_stream::{LogError, Outgoing, Position};
use bowerbird_testbed::log::Between;
use tokio::sync::Notify;

/// Publishing to `topic` tells `reached`, and never returns: whoever does it can be killed there.
#[derive(Clone)]
pub struct Stuck {
    pub topic: String,
    pub reached: Arc<Notify>,
}

impl Between for Stuck {
    async fn publish<L: EventLog>(
        &self,
        log: &L,
        records: Vec<Outgoing>,
    ) -> Vec<Result<Position, LogError>> {
        if records.iter().any(|record| *record.topic == *self.topic) {
            self.reached.notify_one();
            std::future::pending::<()>().await;
        }
        log.publish(records).await
    }
}
