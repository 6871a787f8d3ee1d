//! The file's layout: a table of indexes, and a table of rows for each.

use std::path::Path;
use std::time::Duration;

use bowerbird_store::sqlite::switch_to_wal;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use xxhash_rust::xxh3::Xxh3Default;

use crate::collation;
use crate::design::Design;
use crate::quickjs::index::IndexError;

/// Marks the file as Bowerbird's index of views (`PRAGMA application_id`): "BwVI".
const APPLICATION_ID: i32 = 0x4277_5649;
/// The layout below (`PRAGMA user_version`); another one is thrown away.
const VERSION: i32 = 1;
/// How long a connection waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
const PAGE_BYTES: u32 = 8192;
/// What a connection may keep of the file in memory, in KiB.
const CACHE_KIB: u32 = 16 << 10;

/// What an index is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::quickjs) struct Name {
    pub(in crate::quickjs) database: String,
    pub(in crate::quickjs) design: String,
    /// Of the map functions, and of how their keys are ordered. Reduce functions don't count:
    /// nothing of theirs is kept.
    pub(in crate::quickjs) signature: String,
}

impl Name {
    pub(in crate::quickjs) fn of(database: &str, design: &Design) -> Self {
        let mut hash = Xxh3Default::new();
        hash.update(&collation::VERSION.to_be_bytes());
        for (name, view) in &design.views {
            for text in [name, &view.map] {
                hash.update(&text.len().to_be_bytes());
                hash.update(text.as_bytes());
            }
        }
        Self {
            database: database.to_owned(),
            design: design.name.clone(),
            signature: format!("{:032x}", hash.digest128()),
        }
    }
}

/// An index as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::quickjs) struct Index {
    pub(super) id: i64,
    /// Up to where the store's changes are in it.
    pub(in crate::quickjs) since: Option<String>,
}

impl Index {
    /// The table of its rows.
    pub(super) fn table(&self) -> String {
        format!("rows_{}", self.id)
    }

    /// Finds the index of this name, or makes it.
    pub(in crate::quickjs) fn find(
        connection: &mut Connection,
        name: &Name,
    ) -> Result<Self, IndexError> {
        if let Some(index) = Self::known(connection, name)? {
            return Ok(index);
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Another process may have been faster.
        if let Some(index) = Self::known(&transaction, name)? {
            return Ok(index);
        }
        transaction.execute(
            "INSERT INTO indexes (database, design, signature) VALUES (?1, ?2, ?3)",
            params![name.database, name.design, name.signature],
        )?;
        let index = Self { id: transaction.last_insert_rowid(), since: None };
        let table = index.table();
        // A key's rows lie together, in the order of CouchDB: by document, then as emitted.
        transaction.execute_batch(&format!(
            "CREATE TABLE {table} (
                 view     INTEGER NOT NULL,
                 key      BLOB NOT NULL,
                 id       TEXT NOT NULL,
                 ordinal  INTEGER NOT NULL,
                 key_json TEXT NOT NULL,
                 value    TEXT NOT NULL,
                 PRIMARY KEY (view, key, id, ordinal)
             ) STRICT, WITHOUT ROWID;
             CREATE INDEX {table}_by_document ON {table} (id);"
        ))?;
        transaction.commit()?;
        Ok(index)
    }

    fn known(connection: &Connection, name: &Name) -> rusqlite::Result<Option<Self>> {
        connection
            .prepare_cached(
                "SELECT id, since FROM indexes
                 WHERE database = ?1 AND design = ?2 AND signature = ?3",
            )?
            .query_row([&name.database, &name.design, &name.signature], |row| {
                Ok(Self { id: row.get(0)?, since: row.get(1)? })
            })
            .optional()
    }
}

/// Opens the file, making it if it is not there.
pub(super) fn open(path: &Path) -> Result<Connection, IndexError> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    switch_to_wal(&connection, BUSY_TIMEOUT)?;
    // A power cut may lose the last commits, rows and position together: they are built again.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "cache_size", -i64::from(CACHE_KIB))?;
    lay_out(&mut connection)?;
    Ok(connection)
}

fn lay_out(connection: &mut Connection) -> Result<(), IndexError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let pragma = |name| transaction.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    let tables: Vec<String> = transaction
        .prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
        )?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    if application == APPLICATION_ID && version == VERSION {
        return Ok(());
    }
    if application != APPLICATION_ID && !tables.is_empty() {
        let other = "the file is a SQLite database of something else; name another file";
        return Err(IndexError::Other(other.to_owned()));
    }
    for table in tables {
        transaction.execute_batch(&format!("DROP TABLE {table}"))?;
    }
    transaction.execute_batch(
        "CREATE TABLE indexes (
             id        INTEGER PRIMARY KEY AUTOINCREMENT,
             database  TEXT NOT NULL,
             design    TEXT NOT NULL,
             signature TEXT NOT NULL,
             since     TEXT,
             UNIQUE (database, design, signature)
         ) STRICT",
    )?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(())
}
