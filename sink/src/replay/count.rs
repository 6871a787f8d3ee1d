//! Counting what a replay would take, without taking it.

use std::collections::BTreeMap;

use bowerbird_stream::EventLog;
use bowerbird_stream::log::ConsumerConfig;
use bowerbird_stream::range::RangeReader;
use serde::Serialize;

use super::{Work, partition_of};
use crate::error::SinkError;

/// Records read at a time.
const TAKE: usize = 2_000;

/// What one partition holds of a replay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The first offset,
    pub from: i64,
    /// and the one behind the last.
    pub to: i64,
    /// Offsets at the beginning that the log no longer holds.
    pub cut: i64,
    /// Records between them; fewer than offsets where compaction has taken some.
    pub records: u64,
    /// Of these, those that pass the filter.
    pub matching: u64,
}

/// Counts, by partition. `looked_at` is told how many records were read.
///
/// # Errors
/// When the log can't be read.
pub async fn count<L: EventLog>(
    log: &L,
    work: &Work,
    mut looked_at: impl FnMut(u64),
) -> Result<Vec<Counted>, SinkError> {
    let mut counted = BTreeMap::new();
    let mut ranges = BTreeMap::new();
    for (name, slice) in &work.slices {
        let Some(partition) = partition_of(name) else { continue };
        ranges.insert(partition.clone(), (slice.from, slice.to));
        let row = Counted {
            topic: partition.topic.to_string(),
            partition: partition.partition,
            from: slice.from,
            to: slice.to,
            cut: slice.cut,
            records: 0,
            matching: 0,
        };
        counted.insert(partition, row);
    }
    let mut reader = RangeReader::new(log, ranges, ConsumerConfig::new("bowerbird-replay")).await?;
    let mut seen = 0;
    while let Some(records) = reader.next(TAKE).await? {
        seen += records.len() as u64;
        for record in records {
            let Some(row) = counted.get_mut(&record.position.in_partition()) else { continue };
            row.records += 1;
            row.matching += u64::from(work.takes(&record));
        }
        looked_at(seen);
    }
    Ok(counted.into_values().collect())
}
