//! Settles the events of documents that differ once more, through the sink's own path: what is
//! missing or stale is merged in, and what says something else is written over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bowerbird_store::DocumentStore;
use bowerbird_stream::EventLog;
use bowerbird_stream::log::ConsumerConfig;
use bowerbird_stream::range::RangeReader;
use bowerbird_stream::status::status;

use super::expect::Judging;
use crate::batch::Batch;
use crate::config::{Projection, SinkConfig};
use crate::error::SinkError;
use crate::worker::writer::Writer;

/// Records taken at a time.
const TAKE: usize = 2_000;

/// Settles every judged event about `ids` again; returns how many documents were written.
pub(super) async fn resend<L: EventLog, S: DocumentStore>(
    log: &L,
    store: &S,
    projection: &Projection,
    judging: &Judging,
    ids: BTreeSet<String>,
    config: &SinkConfig,
) -> Result<u64, SinkError> {
    if ids.is_empty() {
        return Ok(0);
    }
    let (reporter, _status) = status("verify");
    let writer =
        Writer::new(log.clone(), store.clone(), projection.clone(), config.clone(), reporter);
    let writer = Arc::new(writer.thorough().quiet());
    let mut ranges = BTreeMap::new();
    for topic in &projection.topics {
        for (number, extent) in log.extents(topic).await? {
            let partition = bowerbird_stream::Partition::new(*topic, number);
            if let Some(bound) = judging.young.bounds.get(&partition) {
                ranges.insert(partition, (extent.earliest, *bound));
            }
        }
    }
    let mut reader = RangeReader::new(log, ranges, ConsumerConfig::new("bowerbird-verify")).await?;
    let mut written = 0;
    while let Some(records) = reader.next(TAKE).await? {
        let mut batch = Batch::default();
        for record in records {
            let concerned = record
                .view()
                .ok()
                .and_then(|event| projection.mapping.map(&event, &record.position).ok())
                .is_some_and(|mapped| ids.contains(&mapped.id));
            if concerned {
                batch.add(record);
            }
        }
        if !batch.is_empty() {
            written += Arc::clone(&writer).settle(batch).await?.written;
        }
    }
    Ok(written)
}
