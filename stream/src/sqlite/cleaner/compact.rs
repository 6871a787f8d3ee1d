//! Compaction keeps the last record of each key.
//!
//! As in Kafka, a partition is rewritten: first it is marked what must go, then the rest is copied
//! to a new table, which takes the old one's place in one transaction; the old table is emptied
//! last. Deleting the records in place would be less work, but would leave bits of them in the
//! unused space of pages; pages that are freed as a whole are overwritten with zeros
//! (`PRAGMA secure_delete`). Killed at any moment, the next pass finishes or forgets what was begun.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::STEP;
use crate::sqlite::error::Failure;
use crate::sqlite::reader::{Standing, offset_at};
use crate::sqlite::schema::{create_table, records_table};
use crate::topic::Cleanup;

/// How many new keys are in memory at a time.
const KEYS: usize = 100_000;
/// Tables that a pass has begun to fill, and such as it has replaced.
const COPY: &str = "copy_of_records_";
const OLD: &str = "old_records_";

/// Whether a partition must be compacted: three quarters of the time that an overwritten record
/// may stay are over for the first record that no pass has seen yet. The last quarter is for the
/// pass, and what is younger than half of the time stays as it is.
fn due(appended: i64, max_lag_ms: u64, now: i64) -> bool {
    let wait = max_lag_ms - max_lag_ms / 4;
    now.saturating_sub(appended) >= i64::try_from(wait).unwrap_or(i64::MAX)
}

/// Compacts a partition if it is due; returns how many records were erased.
pub(super) fn compact(
    connection: &mut Connection,
    at: Standing,
    max_lag_ms: u64,
    now: i64,
) -> Result<usize, Failure> {
    let table = records_table(at.id);
    let mut clean: i64 = connection
        .prepare_cached("SELECT clean FROM partitions WHERE id = ?1")?
        .query_row([at.id], |row| row.get(0))?;
    let first: Option<i64> = connection
        .prepare_cached(&format!(
            "SELECT appended FROM {table} WHERE offset >= ?1 ORDER BY offset LIMIT 1"
        ))?
        .query_row([clean], |row| row.get(0))
        .optional()?;
    if !first.is_some_and(|appended| due(appended, max_lag_ms, now)) {
        return Ok(0);
    }
    connection.execute_batch(
        "CREATE TEMP TABLE IF NOT EXISTS doomed (offset INTEGER PRIMARY KEY);
         DELETE FROM temp.doomed;",
    )?;
    let young = now.saturating_sub_unsigned(Cleanup::min_lag_ms(max_lag_ms)).saturating_add(1);
    let end = offset_at(connection, at, young)?;
    while clean < end {
        let (newest, upto) = newest_of_each(connection, &table, clean, end)?;
        mark(connection, &table, upto, |offset, key| {
            newest.get(key).is_some_and(|&newer| newer > offset)
        })?;
        clean = upto;
    }
    let doomed: i64 =
        connection.query_row("SELECT count(*) FROM temp.doomed", [], |row| row.get(0))?;
    if doomed > 0 {
        rewrite(connection, at.id, 0)?;
    }
    connection.execute("UPDATE partitions SET clean = ?2 WHERE id = ?1", (at.id, clean))?;
    Ok(doomed as usize)
}

type Newest = HashMap<Box<[u8]>, i64>;

/// The newest offset of each key from `clean` on, for some keys, and the offset up to which.
fn newest_of_each(
    connection: &Connection,
    table: &str,
    clean: i64,
    end: i64,
) -> Result<(Newest, i64), Failure> {
    let mut newest = Newest::new();
    let mut statement = connection.prepare_cached(&format!(
        "SELECT offset, key FROM {table} WHERE offset >= ?1 AND offset < ?2 ORDER BY offset"
    ))?;
    let mut rows = statement.query([clean, end])?;
    while let Some(row) = rows.next()? {
        let offset: i64 = row.get(0)?;
        if newest.len() == KEYS {
            return Ok((newest, offset));
        }
        if let Ok(key) = row.get_ref(1)?.as_blob() {
            newest.insert(key.into(), offset);
        }
    }
    Ok((newest, end))
}

/// Marks the doomed below `upto`: `doomed(offset, key)`.
fn mark(
    connection: &Connection,
    table: &str,
    upto: i64,
    doomed: impl Fn(i64, &[u8]) -> bool,
) -> Result<(), Failure> {
    let mut select = connection.prepare_cached(&format!(
        "SELECT offset, key FROM {table}
         WHERE offset >= ?1 AND offset < ?2 ORDER BY offset LIMIT {STEP}"
    ))?;
    let mut insert = connection.prepare_cached("INSERT OR IGNORE INTO temp.doomed VALUES (?1)")?;
    let mut from = 0;
    let mut looked = STEP;
    // In steps, since a long read would keep the write-ahead log from being folded in.
    while looked == STEP {
        looked = 0;
        let mut rows = select.query([from, upto])?;
        while let Some(row) = rows.next()? {
            looked += 1;
            let offset = row.get(0)?;
            from = offset + 1;
            // Records without a key are nobody's, and stay.
            let Ok(key) = row.get_ref(1)?.as_blob() else { continue };
            if doomed(offset, key) {
                insert.execute([offset])?;
            }
        }
    }
    Ok(())
}

/// Erases what stands before the offset `before`; returns how many records that was. The whole table
/// goes for it, as in compaction: nothing of it may be left in the space between records.
pub(super) fn behead(
    connection: &mut Connection,
    at: Standing,
    before: i64,
) -> Result<usize, Failure> {
    connection.execute_batch(
        "CREATE TEMP TABLE IF NOT EXISTS doomed (offset INTEGER PRIMARY KEY);
         DELETE FROM temp.doomed;",
    )?;
    let count = format!("SELECT count(*) FROM {} WHERE offset < ?1", records_table(at.id));
    let erased: i64 = connection.query_row(&count, [before], |row| row.get(0))?;
    rewrite(connection, at.id, before)?;
    Ok(erased as usize)
}

/// Puts a table without the doomed, and without what stands before `earliest`, in the place of the
/// partition's own.
fn rewrite(connection: &mut Connection, id: i64, earliest: i64) -> Result<(), Failure> {
    let (table, copy, old) = (records_table(id), format!("{COPY}{id}"), format!("{OLD}{id}"));
    create_table(connection, &copy)?;
    let insert = format!(
        "INSERT INTO {copy} SELECT * FROM {table}
         WHERE offset >= ?1 AND offset < ?2 AND offset NOT IN (SELECT offset FROM temp.doomed)"
    );
    let mut from = earliest;
    loop {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let end: i64 = transaction
            .prepare_cached("SELECT next FROM partitions WHERE id = ?1")?
            .query_row([id], |row| row.get(0))?;
        let upto = end.min(from + STEP);
        transaction.prepare_cached(&insert)?.execute([from, upto])?;
        if upto == end {
            // All is copied, and while this transaction lasts nothing can be appended.
            transaction.execute_batch(&format!(
                "ALTER TABLE {table} RENAME TO {old}; ALTER TABLE {copy} RENAME TO {table};"
            ))?;
            transaction.execute(
                "UPDATE partitions SET earliest = ?2 WHERE id = ?1 AND earliest < ?2",
                (id, earliest),
            )?;
        }
        transaction.commit()?;
        if upto == end {
            break;
        }
        from = upto;
    }
    discard(connection, &old)
}

/// Empties a table in steps, and drops it.
fn discard(connection: &mut Connection, table: &str) -> Result<(), Failure> {
    let delete = format!(
        "DELETE FROM {table} WHERE offset IN (SELECT offset FROM {table} ORDER BY offset LIMIT {STEP})"
    );
    while connection.prepare_cached(&delete)?.execute([])? > 0 {}
    Ok(connection.execute_batch(&format!("DROP TABLE {table}"))?)
}

/// Clears away what a pass left behind that was killed.
pub(super) fn finish_interrupted(connection: &mut Connection) -> Result<(), Failure> {
    let left: Vec<String> = {
        let mut statement = connection.prepare_cached(
            "SELECT name FROM sqlite_schema WHERE type = 'table'
             AND (name GLOB ?1 || '*' OR name GLOB ?2 || '*')",
        )?;
        let rows = statement.query_map([COPY, OLD], |row| row.get(0))?;
        rows.collect::<Result<_, _>>()?
    };
    left.iter().try_for_each(|table| discard(connection, table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_is_due_when_three_quarters_of_the_lag_are_over() {
        for (age, lag, expected) in [(0, 0, true), (14, 20, false), (15, 20, true), (-5, 20, false)]
        {
            assert_eq!(due(1_000, lag, 1_000 + age), expected, "{age} of {lag}");
        }
        assert!(!due(0, u64::MAX, i64::MAX - 1));
    }

    #[test]
    fn what_a_killed_pass_left_is_cleared_away() {
        let mut connection = Connection::open_in_memory().unwrap();
        for table in ["copy_of_records_1", "old_records_22", "records_1"] {
            create_table(&connection, table).unwrap();
            let insert = format!("INSERT INTO {table} VALUES (7, 0, NULL, x'', NULL)");
            connection.execute(&insert, []).unwrap();
        }
        finish_interrupted(&mut connection).unwrap();
        let count = |what: &str| -> i64 {
            connection.query_row(&format!("SELECT count(*) FROM {what}"), [], |r| r.get(0)).unwrap()
        };
        assert_eq!((count("sqlite_schema"), count("records_1")), (1, 1));
    }
}
