//! What the log holds, read as it grows.

use std::collections::{BTreeMap, BTreeSet};

use bowerbird_stream::log::ConsumerConfig;
use bowerbird_stream::range::RangeReader;
use bowerbird_stream::{AnyLog, EventLog, LogError, Partition, Position, Record, topic};

/// The groups that have given up the record at a place.
pub type Letters = BTreeMap<Position, BTreeSet<String>>;

/// A copy of every record that the log has acknowledged.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By partition, in order.
    pub records: BTreeMap<Partition, Vec<Record>>,
    read: BTreeMap<Partition, i64>,
}

impl Ledger {
    /// Reads on to the end.
    pub async fn read_on(&mut self, log: &AnyLog) -> Result<(), LogError> {
        let mut ranges = BTreeMap::new();
        for topic in topic::ALL {
            for (number, extent) in log.extents(topic).await? {
                let partition = Partition::new(topic, number);
                let from = self.read.get(&partition).copied().unwrap_or(extent.earliest);
                ranges.insert(partition, (from, extent.end));
            }
        }
        let mut reader = RangeReader::new(log, ranges, ConsumerConfig::new("")).await?;
        while let Some(records) = reader.next(1_000).await? {
            for record in records {
                let partition = record.position.in_partition();
                self.read.insert(partition.clone(), record.position.offset + 1);
                self.records.entry(partition).or_default().push(record);
            }
        }
        Ok(())
    }

    /// The records of a topic.
    pub fn of<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = &'a Record> {
        let partitions = self.records.iter().filter(move |(known, _)| &*known.topic == topic);
        partitions.flat_map(|(_, records)| records)
    }

    /// The record at a place.
    pub fn at(&self, position: &Position) -> Option<&Record> {
        let records = self.records.get(&position.in_partition())?;
        let at = records.binary_search_by_key(&position.offset, |record| record.position.offset);
        records.get(at.ok()?)
    }

    /// The places in the log that dead letters name, and the groups that wrote them. A letter of a
    /// group may be there more than once, when the sink died between its acknowledgement and the
    /// commit: they are folded by origin.
    pub fn letters(&self) -> (Letters, u64) {
        let (mut letters, mut repeated) = (Letters::new(), 0);
        for record in self.of(topic::DEAD_LETTERS) {
            let Some(origin) = origin(record) else { continue };
            let group = record.headers.text("dl_group").unwrap_or_default().to_owned();
            repeated += u64::from(!letters.entry(origin).or_default().insert(group));
        }
        (letters, repeated)
    }

    /// The archive lines that dead letters name: file and line.
    pub fn lines(&self) -> BTreeSet<(String, u64)> {
        let line = |record: &Record| {
            let text = |name| record.headers.text(name);
            text("dl_topic").is_none().then_some(())?;
            Some((text("ce_file")?.to_owned(), text("ce_line")?.parse().ok()?))
        };
        self.of(topic::DEAD_LETTERS).filter_map(line).collect()
    }
}

fn origin(letter: &Record) -> Option<Position> {
    let text = |name| letter.headers.text(name);
    Some(Position {
        topic: text("dl_topic")?.into(),
        partition: text("dl_partition")?.parse().ok()?,
        offset: text("dl_offset")?.parse().ok()?,
    })
}
