//! The file: how it is opened, what is in it, and its names.
//!
//! Each database is a table of its own, so that dropping one is dropping a table. The row id is
//! the sequence: new and changed documents are appended at the end, the changes are a range of
//! it, and the index by id is the one other thing that a write touches.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

use crate::error::StoreError;
use crate::sqlite::error::{address, classify};

/// Marks the file as a Bowerbird document store (`PRAGMA application_id`): "BwDS".
const APPLICATION_ID: i32 = 0x4277_4453;
/// The layout below (`PRAGMA user_version`).
const VERSION: i32 = 1;
/// How long a connection waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Bigger than the default: posts of a kilobyte or two then stay on one page.
const PAGE_BYTES: u32 = 8192;
/// How far the write-ahead log grows before it is copied back, in pages (16 MiB). Nothing is written
/// meanwhile, so a larger one makes some documents wait longer, and drains a backlog no faster.
const CHECKPOINT_PAGES: u32 = 2048;
/// What a connection may keep of the file in memory, in KiB.
const CACHE_KIB: u32 = 4 << 10;

/// A database's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Table {
    /// Never used again once the database is dropped: it tells its incarnations apart.
    pub(super) id: i64,
}

impl Table {
    /// The table's name.
    pub(super) fn name(self) -> String {
        format!("documents_{}", self.id)
    }

    /// A sequence as it is handed out.
    pub(super) fn token(self, sequence: i64) -> String {
        format!("{}-{sequence}", self.id)
    }

    /// A sequence from its token; nothing when it is of another incarnation, or none.
    pub(super) fn sequence(self, token: &str) -> Option<i64> {
        let (id, sequence) = token.split_once('-')?;
        (id.parse() == Ok(self.id)).then(|| sequence.parse().ok()).flatten()
    }
}

/// Finds a database's table.
pub(super) fn table(connection: &Connection, database: &str) -> rusqlite::Result<Option<Table>> {
    connection
        .prepare_cached("SELECT id FROM databases WHERE name = ?1")?
        .query_row([database], |row| Ok(Table { id: row.get(0)? }))
        .optional()
}

/// Makes a database's table; `false` when it is there.
pub(super) fn create(connection: &Connection, database: &str) -> rusqlite::Result<bool> {
    if table(connection, database)?.is_some() {
        return Ok(false);
    }
    connection.execute("INSERT INTO databases (name, documents) VALUES (?1, 0)", [database])?;
    let name = Table { id: connection.last_insert_rowid() }.name();
    connection.execute_batch(&format!(
        "CREATE TABLE {name} (
             sequence INTEGER PRIMARY KEY,
             id       TEXT NOT NULL UNIQUE,
             revision TEXT NOT NULL,
             deleted  INTEGER NOT NULL,
             body     TEXT NOT NULL
         ) STRICT"
    ))?;
    Ok(true)
}

/// Drops a database's table; `false` when it is not there.
pub(super) fn drop(connection: &Connection, database: &str) -> rusqlite::Result<bool> {
    let Some(table) = table(connection, database)? else { return Ok(false) };
    connection.execute("DELETE FROM databases WHERE id = ?1", [table.id])?;
    // Overwriting all of a large database would write it once more, while everybody waits. What had
    // to be removed of it has been overwritten when that was said.
    connection.pragma_update(None, "secure_delete", false)?;
    let dropped = connection.execute_batch(&format!("DROP TABLE {}", table.name()));
    connection.pragma_update(None, "secure_delete", true)?;
    dropped.map(|()| true)
}

/// Opens the file for writing, making it if it is not there.
pub(super) fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open(path).map_err(|error| classify(path, &error))?;
    prepare(&connection).map_err(|error| classify(path, &error))?;
    let (application, version) = identity(&connection).map_err(|error| classify(path, &error))?;
    let refuse =
        |reason: &str| Err(StoreError::Fatal { address: address(path), reason: reason.to_owned() });
    match (application, version) {
        (APPLICATION_ID, VERSION) => {}
        (APPLICATION_ID, _) => {
            return refuse("the file was written by another version of bowerbird; use that one");
        }
        _ => return refuse("the file is a SQLite database of something else; name another file"),
    }
    Ok(connection)
}

/// Opens the file for reading only.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", -i64::from(CACHE_KIB))?;
    Ok(connection)
}

/// Does something without waiting for whoever else uses the file.
pub(super) fn at_once<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    connection.busy_timeout(Duration::ZERO)?;
    let done = work(connection);
    connection.busy_timeout(BUSY_TIMEOUT)?;
    done
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    switch_to_wal(connection, BUSY_TIMEOUT)?;
    // In WAL mode only FULL makes every commit survive a power cut.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "cache_size", -i64::from(CACHE_KIB))?;
    connection.pragma_update(None, "secure_delete", true)?;
    if identity(connection)? == (APPLICATION_ID, VERSION) {
        // Whoever only reads must not wait for one that writes.
        return Ok(());
    }
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let made = make(connection);
    connection.execute_batch(if made.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    made
}

/// Has a file keep a write-ahead log. Two that switch a new file at the same time would wait for each
/// other, so SQLite refuses one of them at once, whatever its busy time-out: it is tried again for
/// `patience`.
///
/// # Errors
/// SQLite's.
pub fn switch_to_wal(connection: &Connection, patience: Duration) -> rusqlite::Result<()> {
    let until = Instant::now() + patience;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && Instant::now() < until =>
            {
                thread::sleep(Duration::from_millis(5));
            }
            switched => return switched,
        }
    }
}

fn identity(connection: &Connection) -> rusqlite::Result<(i32, i32)> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get(0));
    Ok((pragma("application_id")?, pragma("user_version")?))
}

/// Lays an empty file out; leaves any other as it is.
fn make(connection: &Connection) -> rusqlite::Result<()> {
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 {
        return Ok(());
    }
    connection.execute_batch(
        "CREATE TABLE databases (
             id        INTEGER PRIMARY KEY AUTOINCREMENT,
             name      TEXT NOT NULL UNIQUE,
             documents INTEGER NOT NULL
         ) STRICT",
    )?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", VERSION)
}
