//! What is asked of the file, each question on a blocking thread.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};

use super::error::Failure;
use super::schema::{self, Purpose, records_table};
use super::writer::data_version;
use crate::blocks::Blocks;
use crate::error::LogError;
use crate::event::Headers;
use crate::log::{Extent, Partition, Position, Record};

/// One connection for reading.
#[derive(Clone)]
pub(super) struct Reader {
    connection: Arc<Mutex<Connection>>,
    address: Arc<str>,
}

impl Reader {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let connection = schema::open(path, Purpose::Read)?;
        let address = super::address(path).into();
        Ok(Self { connection: Arc::new(Mutex::new(connection)), address })
    }

    /// Asks away from the async threads.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, LogError> {
        let reader = self.clone();
        super::off_thread(&self.address, move || reader.ask_here(question)).await?
    }

    /// Asks on this thread, which may block.
    pub(super) fn ask_here<T>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, LogError> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        question(&connection).map_err(|failure| failure.at(&self.address))
    }
}

/// A partition as it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) id: i64,
    pub(super) extent: Extent,
}

/// The partitions of a topic, by number; none where it does not exist.
pub(super) fn partitions(
    connection: &Connection,
    topic: &str,
) -> Result<BTreeMap<i32, Standing>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT p.number, p.id, p.earliest, p.next FROM partitions p
         JOIN topics t ON t.id = p.topic WHERE t.name = ?1",
    )?;
    let rows = statement.query_map([topic], |row| {
        let extent = Extent { earliest: row.get(2)?, end: row.get(3)? };
        Ok((row.get(0)?, Standing { id: row.get(1)?, extent }))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The first offset of a partition that was appended at `millis` or after; its end if none was.
/// The times of a partition never go backwards, so halving finds it.
pub(super) fn offset_at(
    connection: &Connection,
    at: Standing,
    millis: i64,
) -> Result<i64, Failure> {
    let table = records_table(at.id);
    let mut probe = connection.prepare_cached(&format!(
        "SELECT offset, appended FROM {table} WHERE offset >= ?1 ORDER BY offset LIMIT 1"
    ))?;
    let (mut low, mut high) = (at.extent.earliest, at.extent.end);
    while low < high {
        let middle = low + (high - low) / 2;
        let found: Option<(i64, i64)> =
            probe.query_row([middle], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        match found {
            Some((offset, appended)) if offset < high && appended < millis => low = offset + 1,
            // Nothing is held between the middle and this one, or it is late enough itself.
            _ => high = middle,
        }
    }
    let first: Option<i64> = probe.query_row([low], |row| row.get(0)).optional()?;
    Ok(first.unwrap_or(at.extent.end).min(at.extent.end))
}

/// A group's committed offsets by partition id.
pub(super) fn committed(
    connection: &Connection,
    group: &str,
) -> Result<HashMap<i64, i64>, Failure> {
    let mut statement = connection
        .prepare_cached("SELECT partition, next FROM commits WHERE consumer_group = ?1")?;
    let rows = statement.query_map([group], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The names of all groups.
pub(super) fn groups(connection: &Connection) -> Result<Vec<String>, Failure> {
    let mut statement =
        connection.prepare_cached("SELECT name FROM consumer_groups ORDER BY name")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What a consumer wants of a partition.
#[derive(Clone, Debug)]
pub(super) struct Want {
    pub(super) partition: Partition,
    pub(super) id: i64,
    pub(super) next: i64,
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) records: Vec<Record>,
    pub(super) bytes: usize,
    /// Where each partition goes on.
    pub(super) next: Vec<(Partition, i64)>,
    /// Partitions whose records were deleted before they were read.
    pub(super) overtaken: Vec<LogError>,
    /// Whether there is more than was read.
    pub(super) more: bool,
    /// `PRAGMA data_version` from before the reading.
    pub(super) version: i64,
}

/// Reads on from where each partition is wanted, some `budget` bytes, one record at least.
pub(super) fn read(
    connection: &Connection,
    wants: &[Want],
    budget: usize,
) -> Result<Chunk, Failure> {
    // One look at the file: what goes between two would pass for a gap that compaction left.
    let connection = connection.unchecked_transaction()?;
    let mut chunk = Chunk { version: data_version(&connection)?, ..Chunk::default() };
    let mut statement = connection.prepare_cached("SELECT id, earliest, next FROM partitions")?;
    let extents: HashMap<i64, Extent> = statement
        .query_map([], |row| Ok((row.get(0)?, Extent { earliest: row.get(1)?, end: row.get(2)? })))?
        .collect::<Result<_, _>>()?;
    let waiting: Vec<_> = wants
        .iter()
        .filter_map(|want| extents.get(&want.id).map(|extent| (want, *extent)))
        .filter(|(want, extent)| want.next < extent.end)
        .collect();
    // Equal shares, so that a long partition does not hold up the others.
    let share = budget / waiting.len().max(1);
    for (want, extent) in waiting {
        if chunk.bytes >= budget {
            chunk.more = true;
            break;
        }
        let mut from = want.next;
        if from < extent.earliest {
            chunk.overtaken.push(LogError::OutOfRange {
                topic: want.partition.topic.to_string(),
                partition: want.partition.partition,
                offset: from,
                earliest: extent.earliest,
                end: extent.end,
            });
            from = extent.earliest;
        }
        let next = read_partition(&connection, want, from, extent.end, share, &mut chunk)?;
        chunk.more |= next < extent.end;
        chunk.next.push((want.partition.clone(), next));
    }
    Ok(chunk)
}

/// Appends a partition's records to the chunk, and returns where it goes on.
fn read_partition(
    connection: &Connection,
    want: &Want,
    from: i64,
    end: i64,
    share: usize,
    chunk: &mut Chunk,
) -> Result<i64, Failure> {
    let table = records_table(want.id);
    let mut statement = connection.prepare_cached(&format!(
        "SELECT offset, appended, key, headers, value FROM {table}
         WHERE offset >= ?1 AND offset < ?2 ORDER BY offset"
    ))?;
    let mut rows = statement.query([from, end])?;
    let mut blocks = Blocks::default();
    let full = chunk.bytes.saturating_add(share);
    while let Some(row) = rows.next()? {
        let record = record(row, &want.partition, &mut blocks)?;
        let next = record.position.offset + 1;
        chunk.bytes += record.size();
        chunk.records.push(record);
        if chunk.bytes >= full {
            return Ok(next);
        }
    }
    // Records missing before the end were overwritten and cleaned away.
    Ok(end)
}

fn record(row: &Row<'_>, partition: &Partition, blocks: &mut Blocks) -> Result<Record, Failure> {
    let blob = |index| row.get_ref(index).map(|value| value.as_blob_or_null().ok().flatten());
    let (offset, appended): (i64, i64) = (row.get(0)?, row.get(1)?);
    let parts = blocks.copy(blob(2)?, blob(3)?.unwrap_or_default(), blob(4)?);
    let broken = |what: &str| Failure::Broken(format!("{partition} offset {offset} has {what}"));
    Ok(Record {
        key: parts.key,
        headers: Headers::from_encoded(parts.headers).ok_or_else(|| broken("broken headers"))?,
        value: parts.value,
        appended: Timestamp::from_millisecond(appended).map_err(|_| broken("no valid time"))?,
        position: Position {
            topic: Arc::clone(&partition.topic),
            partition: partition.partition,
            offset,
        },
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Retention between the look at what is held and the reading must not pass for a gap that
    /// compaction left.
    #[test]
    fn what_goes_while_it_is_read_is_told() {
        const RECORDS: i64 = 3_000;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.sqlite");
        let writer = schema::create(&path).unwrap();
        writer.pragma_update(None, "synchronous", "OFF").unwrap();
        let table = records_table(1);
        schema::create_table(&writer, &table).unwrap();
        let insert = format!("INSERT INTO {table} VALUES (?1, 0, NULL, x'', NULL)");
        writer.execute_batch("BEGIN").unwrap();
        (0..RECORDS).for_each(|offset| _ = writer.execute(&insert, [offset]).unwrap());
        let partition = "INSERT INTO partitions (id, topic, number, next) VALUES (1, 1, 0, ?1)";
        writer.execute("INSERT INTO topics VALUES (1, 'posts', '')", []).unwrap();
        writer.execute(partition, [RECORDS]).unwrap();
        writer.execute_batch("COMMIT").unwrap();
        let reader = schema::open(&path, Purpose::Read).unwrap();
        let earliest = || -> i64 {
            reader.query_row("SELECT earliest FROM partitions", [], |row| row.get(0)).unwrap()
        };
        let done = &AtomicBool::new(false);
        std::thread::scope(|scope| {
            let table = &table;
            scope.spawn(move || {
                for keep in 1..RECORDS {
                    let retain = format!(
                        "BEGIN IMMEDIATE; DELETE FROM {table} WHERE offset < {keep};
                         UPDATE partitions SET earliest = {keep}; COMMIT"
                    );
                    writer.execute_batch(&retain).unwrap();
                }
                done.store(true, Ordering::Relaxed);
            });
            while !done.load(Ordering::Relaxed) {
                let next = earliest();
                let want = Want { partition: Partition::new("posts", 0), id: 1, next };
                let chunk = read(&reader, &[want], 1).unwrap();
                let first = chunk.records.first().map(|record| record.position.offset);
                assert!(first == Some(next) || !chunk.overtaken.is_empty(), "{next}: {chunk:?}");
            }
        });
    }
}
