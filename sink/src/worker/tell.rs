//! Tells the journal of holes, beside the loop: the log may refuse it for long.

use std::sync::Arc;

use bowerbird_store::DocumentStore;
use bowerbird_stream::log::Outgoing;
use bowerbird_stream::{EventLog, Partition, journal};
use jiff::Timestamp;
use tokio::task::{JoinError, JoinSet};

use super::gaps::Gap;
use super::writer::Writer;
use crate::config::Projection;
use crate::error::SinkError;

/// Those that tell; at most one a partition.
#[derive(Debug, Default)]
pub(super) struct Tellers(JoinSet<(Partition, Result<(), SinkError>)>);

/// How one has ended: of which partition, unless it was cut off.
pub(super) type Told = Option<(Partition, Result<(), SinkError>)>;

impl Tellers {
    pub(super) fn tell<L, S>(&mut self, writer: &Arc<Writer<L, S>>, gaps: Vec<Gap>)
    where
        L: EventLog,
        S: DocumentStore,
    {
        let Some(partition) = gaps.first().map(|gap| gap.partition.clone()) else { return };
        let now = Timestamp::now();
        let facts = gaps.iter().map(|gap| fact(&writer.projection, gap, now)).collect();
        let writer = Arc::clone(writer);
        self.0.spawn(async move { (partition, writer.publish(facts).await) });
    }

    /// The next that ends; nothing when there is none.
    pub(super) async fn next(&mut self) -> Option<Told> {
        let ended: Result<_, JoinError> = self.0.join_next().await?;
        match ended {
            Ok(told) => Some(Some(told)),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Some(None),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn abort(&mut self) {
        self.0.abort_all();
    }
}

/// The same hole told again, after a crash, is the same fact.
fn fact(projection: &Projection, gap: &Gap, now: Timestamp) -> Outgoing {
    let Gap { partition: Partition { topic, partition }, from, to } = gap;
    let group = &projection.group;
    let told = serde_json::json!({
        "reason": "retention", "group": group, "topic": topic, "partition": partition,
        "from": from, "to": to,
    });
    let kind = "stream.gap";
    let id = format!("{kind}-{group}-{topic}-{partition}-{from}-{to}");
    journal::named(kind, id, &format!("sink:{}", projection.name), now, &told)
}
