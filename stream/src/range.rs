//! Reading a part of the log that has an end: for replays, verification, dead letters.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::LogError;
use crate::log::{ConsumerConfig, Delivery, EventConsumer, EventLog, Partition, Record};

/// How long the log may be silent before the end of a range: compaction keeps the last record of
/// a partition, so there is always one at or past it.
const SILENCE: Duration = Duration::from_secs(10);
/// How long it may be in trouble that can pass, such as a broker that is started anew.
const OUTAGE: Duration = Duration::from_secs(30);

/// Reads ranges of partitions, as a member of no group, and ends with them.
#[derive(Debug)]
pub struct RangeReader<C> {
    address: String,
    consumer: Option<C>,
    /// The partitions still to be read, and where each range ends.
    open: BTreeMap<Partition, i64>,
}

impl<C: EventConsumer> RangeReader<C> {
    /// Reads each partition from its first offset up to but not including the second; what
    /// retention has cut at the beginning is not there any more.
    ///
    /// # Errors
    /// As [`EventLog::assign`].
    pub async fn new<L: EventLog<Consumer = C>>(
        log: &L,
        mut ranges: BTreeMap<Partition, (i64, i64)>,
        config: ConsumerConfig,
    ) -> Result<Self, LogError> {
        ranges.retain(|_, (from, to)| from < to);
        let from = ranges.iter().map(|(partition, (from, _))| (partition.clone(), *from)).collect();
        let consumer = match ranges.is_empty() {
            true => None,
            false => Some(log.assign(&from, config).await?),
        };
        let open = ranges.into_iter().map(|(partition, (_, to))| (partition, to)).collect();
        Ok(Self { address: log.address(), consumer, open })
    }

    /// Reads all that a topic holds now.
    ///
    /// # Errors
    /// As [`EventLog::extents`] and [`EventLog::assign`].
    pub async fn whole<L: EventLog<Consumer = C>>(
        log: &L,
        topic: &str,
        config: ConsumerConfig,
    ) -> Result<Self, LogError> {
        let extents = log.extents(topic).await?.into_iter();
        let ranges = extents
            .map(|(number, extent)| (Partition::new(topic, number), (extent.earliest, extent.end)));
        Self::new(log, ranges.collect(), config).await
    }

    /// The next records of the ranges, at most `max` and each partition's in order; nothing at
    /// the end of all.
    ///
    /// # Errors
    /// When the log can't be read, for half a minute where that may pass, or is silent before the
    /// end.
    pub async fn next(&mut self, max: usize) -> Result<Option<Vec<Record>>, LogError> {
        let wait = Duration::from_secs(1);
        // When the log last had records for us, and when it last said anything at all.
        let (mut well, mut heard) = (Instant::now(), Instant::now());
        loop {
            let Some(consumer) = &mut self.consumer else { return Ok(None) };
            if self.open.is_empty() {
                if let Some(consumer) = self.consumer.take() {
                    consumer.close().await?;
                }
                return Ok(None);
            }
            match consumer.next(max, wait).await? {
                Delivery::Records(mut records) => {
                    (well, heard) = (Instant::now(), Instant::now());
                    let mut ended = Vec::new();
                    records.retain(|record| {
                        let offset = record.position.offset;
                        let partition = record.position.in_partition();
                        let Some(end) = self.open.get(&partition) else { return false };
                        let inside = offset < *end;
                        if offset + 1 >= *end {
                            self.open.remove(&partition);
                            ended.push(partition);
                        }
                        inside
                    });
                    consumer.pause(&ended)?;
                    if !records.is_empty() {
                        return Ok(Some(records));
                    }
                }
                Delivery::Trouble(error) if error.is_transient() && well.elapsed() < OUTAGE => {
                    heard = Instant::now();
                }
                Delivery::Trouble(error) => return Err(error),
                Delivery::Idle => {
                    if heard.elapsed() >= SILENCE {
                        let open: Vec<_> = self.open.keys().map(ToString::to_string).collect();
                        let reason = format!("it is silent before the end of {}", open.join(", "));
                        let address = self.address.clone();
                        return Err(LogError::Transient { address, reason });
                    }
                }
                Delivery::Assigned(_) | Delivery::Revoked(_) => {}
            }
        }
    }
}
