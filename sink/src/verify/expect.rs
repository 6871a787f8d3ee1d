//! Reads the log up to what the projection's group has committed, and notes what it says.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bowerbird_stream::dead_letter;
use bowerbird_stream::log::{ConsumerConfig, Delivery};
use bowerbird_stream::{EventConsumer, EventLog, LogError, Partition, Position, Record, topic};

use super::Run;
use super::compare::Young;
use super::scratch::{Page, Scratch};
use crate::config::Projection;
use crate::error::SinkError;
use crate::mapping;
use crate::merge::Content;

/// Records taken at a time.
const TAKE: usize = 2_000;
/// How long the log may be silent before the end of a range: compaction keeps the last record of
/// a partition, so there is always one at or past it.
const SILENCE: Duration = Duration::from_secs(10);

/// Fills `scratch`, and says up to where the log was judged.
pub(super) async fn from_log<L: EventLog>(
    log: &L,
    projection: &Projection,
    scratch: &Scratch,
    run: &mut Run<'_>,
    progress: &mut (impl FnMut(u64) + Send),
) -> Result<Young, SinkError> {
    let mut young = Young::default();
    let mut ranges = BTreeMap::new();
    for topic in &projection.topics {
        // Committed first: what is committed later is only younger.
        let committed = log.committed(&projection.group, topic).await?;
        for (number, extent) in log.extents(topic).await? {
            let partition = Partition::new(*topic, number);
            let bound = committed.get(&number).copied().unwrap_or(extent.earliest);
            let bound = bound.clamp(extent.earliest, extent.end);
            run.counts.not_judged += u64::try_from(extent.end - bound).unwrap_or_default();
            young.any |= bound < extent.end;
            young.bounds.insert(partition.clone(), bound);
            ranges.insert(partition, (extent.earliest, bound));
        }
    }
    read_letters(log, projection, scratch).await?;
    let reader = ConsumerConfig::new("bowerbird-verify");
    let mut reader = Reader::new(log, ranges, reader).await?;
    while let Some(records) = reader.next().await? {
        run.counts.events += records.len() as u64;
        let added = scratch.add(page(&records)).await?;
        run.counts.dead_letters += added.lettered;
        for (position, why) in added.unlettered {
            run.unlettered(&position, &why);
        }
        progress(run.counts.events);
    }
    Ok(young)
}

fn page(records: &[Record]) -> Page {
    let mut page = Page::default();
    for record in records {
        let position = record.position.clone();
        match record.view() {
            Ok(event) => match mapping::map(&event, &position) {
                Ok(mut mapped) => {
                    if let Some(seen) = &mut mapped.state.observed {
                        seen.content = Content(String::new());
                    }
                    page.expected.push((mapped.id, position, mapped.state));
                }
                Err(error) => page.unmappable.push((position, error.to_string())),
            },
            Err(error) => page.unmappable.push((position, error.to_string())),
        }
    }
    page
}

/// Notes which records the projection's group has given up.
async fn read_letters<L: EventLog>(
    log: &L,
    projection: &Projection,
    scratch: &Scratch,
) -> Result<(), SinkError> {
    let extents = log.extents(topic::DEAD_LETTERS).await?;
    let ranges = extents
        .into_iter()
        .map(|(number, extent)| {
            (Partition::new(topic::DEAD_LETTERS, number), (extent.earliest, extent.end))
        })
        .collect();
    let mut reader = Reader::new(log, ranges, ConsumerConfig::new("bowerbird-verify")).await?;
    while let Some(records) = reader.next().await? {
        let origins = records.iter().filter_map(|letter| origin(letter, &projection.group));
        scratch.letters(origins.collect()).await?;
    }
    Ok(())
}

fn origin(letter: &Record, group: &str) -> Option<Position> {
    let headers: HashMap<&str, &str> = letter
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name, std::str::from_utf8(value).ok()?)))
        .collect();
    (*headers.get(dead_letter::GROUP)? == group).then_some(())?;
    Some(Position {
        topic: (*headers.get(dead_letter::TOPIC)?).into(),
        partition: headers.get(dead_letter::PARTITION)?.parse().ok()?,
        offset: headers.get(dead_letter::OFFSET)?.parse().ok()?,
    })
}

/// Reads ranges of partitions and ends with them.
struct Reader<C> {
    address: String,
    consumer: Option<C>,
    /// The partitions still to be read, and where each range ends.
    open: BTreeMap<Partition, i64>,
    silent: Duration,
}

impl<C: EventConsumer> Reader<C> {
    async fn new<L: EventLog<Consumer = C>>(
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
        Ok(Self { address: log.address(), consumer, open, silent: Duration::ZERO })
    }

    /// The next records of the ranges; nothing at their end.
    async fn next(&mut self) -> Result<Option<Vec<Record>>, SinkError> {
        let wait = Duration::from_secs(1);
        loop {
            let Some(consumer) = &mut self.consumer else { return Ok(None) };
            if self.open.is_empty() {
                if let Some(consumer) = self.consumer.take() {
                    consumer.close().await?;
                }
                return Ok(None);
            }
            match consumer.next(TAKE, wait).await? {
                Delivery::Records(mut records) => {
                    self.silent = Duration::ZERO;
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
                Delivery::Trouble(error) => return Err(error.into()),
                Delivery::Idle => {
                    self.silent += wait;
                    if self.silent >= SILENCE {
                        let open: Vec<_> = self.open.keys().map(ToString::to_string).collect();
                        let reason = format!("it is silent before the end of {}", open.join(", "));
                        let address = self.address.clone();
                        return Err(LogError::Transient { address, reason }.into());
                    }
                }
                Delivery::Assigned(_) | Delivery::Revoked(_) => {}
            }
        }
    }
}
