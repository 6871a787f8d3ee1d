//! The file: how it is opened, and what is in it.
//!
//! Each partition has a table of its own, keyed by offset: an append is then always at the right
//! end of a tree, and a read is a walk along its leaves. Key and headers stand before the value,
//! so that cleaning reads keys without the pages that large values spill into.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::error::Failure;
use crate::error::LogError;

/// Tells our files from other SQLite files ("bowl"); `PRAGMA application_id`.
const APPLICATION: i32 = 0x626f_776c;
/// What this version writes; `PRAGMA user_version`.
const VERSION: i32 = 1;
/// How long a call waits for another process's transaction.
const BUSY: Duration = Duration::from_secs(10);

const TABLES: &str = "
    CREATE TABLE topics (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        spec TEXT NOT NULL
    ) STRICT;
    -- next: the offset of the next record; appended: the time of the last one, in milliseconds
    -- since 1970; clean: of the records below it, each is the only one of its key.
    CREATE TABLE partitions (
        id INTEGER PRIMARY KEY,
        topic INTEGER NOT NULL REFERENCES topics (id),
        number INTEGER NOT NULL,
        earliest INTEGER NOT NULL DEFAULT 0,
        next INTEGER NOT NULL DEFAULT 0,
        appended INTEGER NOT NULL DEFAULT 0,
        clean INTEGER NOT NULL DEFAULT 0,
        UNIQUE (topic, number)
    ) STRICT;
    -- epoch: counts the members that the group has had, so that a former one cannot commit.
    CREATE TABLE consumer_groups (
        name TEXT PRIMARY KEY,
        epoch INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE commits (
        consumer_group TEXT NOT NULL,
        partition INTEGER NOT NULL,
        next INTEGER NOT NULL,
        PRIMARY KEY (consumer_group, partition)
    ) STRICT, WITHOUT ROWID;
";

/// What a connection is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    Write,
    Read,
    Clean,
}

/// Opens the file for writing, and makes it first where it is missing.
pub(super) fn create(path: &Path) -> Result<Connection, Failure> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|error| LogError::Unreachable {
            address: super::address(path),
            reason: format!("its folder can't be made: {error}"),
        })?;
    }
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_CREATE, Purpose::Write)?;
    prepare(&mut connection)?;
    Ok(connection)
}

/// Opens the file that [`create`] has made sure of.
pub(super) fn open(path: &Path, purpose: Purpose) -> Result<Connection, Failure> {
    Ok(connect(path, OpenFlags::empty(), purpose)?)
}

fn connect(path: &Path, more: OpenFlags, purpose: Purpose) -> rusqlite::Result<Connection> {
    // Also a reader needs to write to the index that a file in WAL mode has beside it.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(512);
    connection.pragma_update(None, "page_size", 8192)?;
    // An acknowledged event survives a power cut: the log is synced before every answer.
    connection.pragma_update(None, "synchronous", "FULL")?;
    match purpose {
        Purpose::Write => {
            connection.pragma_update(None, "cache_size", -8192)?;
            connection.pragma_update(None, "wal_autocheckpoint", 2000)?;
            connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
        }
        Purpose::Read => connection.pragma_update(None, "query_only", true)?,
        // What is erased is overwritten, not merely unlinked.
        Purpose::Clean => connection.pragma_update(None, "secure_delete", true)?,
    }
    Ok(connection)
}

/// Makes the tables in a new file, and refuses files that are not ours or newer than this version.
fn prepare(connection: &mut Connection) -> Result<(), Failure> {
    // In one transaction: between two looks another process may make the file.
    let made = recognise(&*connection.transaction()?)? != 0;
    switch_to_wal(connection)?;
    if made {
        // Whoever only reads must not wait for one that writes.
        return Ok(());
    }
    // Two processes may find the file empty at the same time; the second finds it made.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if recognise(&transaction)? == 0 {
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    Ok(transaction.commit()?)
}

/// Two that switch a new file at the same time would wait for each other, so SQLite refuses one of
/// them at once, whatever its busy time-out.
fn switch_to_wal(connection: &Connection) -> rusqlite::Result<()> {
    let until = Instant::now() + BUSY;
    loop {
        match connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())) {
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

/// The file's version; 0 for an empty one.
fn recognise(connection: &Connection) -> Result<i32, Failure> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application, version) {
        (APPLICATION, VERSION) => Ok(version),
        (APPLICATION, newer) if newer > VERSION => Err(Failure::Newer(newer)),
        (0, 0) if tables == 0 => Ok(0),
        _ => Err(Failure::Foreign),
    }
}

/// The table that holds a partition's records.
pub(super) fn records_table(partition: i64) -> String {
    format!("records_{partition}")
}

/// Makes a table of records.
pub(super) fn create_table(connection: &Connection, table: &str) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "CREATE TABLE {table} (
            offset INTEGER PRIMARY KEY,
            appended INTEGER NOT NULL,
            key BLOB,
            headers BLOB NOT NULL,
            value BLOB
        ) STRICT"
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn many_may_make_the_file_at_the_same_time() {
        let folder = tempfile::tempdir().unwrap();
        for round in 0..50 {
            let path = folder.path().join(format!("{round}.sqlite"));
            let start = Barrier::new(4);
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        start.wait();
                        if let Err(error) = create(&path) {
                            panic!("in round {round}: {error:?}");
                        }
                    });
                }
            });
        }
    }
}
