//! Reading: a bounded number of connections, each used off the async threads.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension, Row};
use tokio::sync::Semaphore;

use crate::document::{Body, Document, Revision};
use crate::error::StoreError;
use crate::sqlite::error::{address, classify};
use crate::sqlite::schema::{self, Table};
use crate::store::{Change, Changes, DatabaseInfo};

/// How many may read at once.
const READERS: usize = 4;

/// Why a reading failed, before it has an address.
pub(super) enum ReadError {
    Sqlite(rusqlite::Error),
    MissingDatabase(String),
    StaleSequence(String, String),
    Broken(String),
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// The connections.
#[derive(Clone, Debug)]
pub(super) struct Readers {
    path: PathBuf,
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            permits: Arc::new(Semaphore::new(READERS)),
            idle: Arc::default(),
        }
    }

    /// Runs `read` on a connection.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let broken = |reason: String| StoreError::Fatal { address: address(&self.path), reason };
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|error| broken(error.to_string()))?;
        let readers = self.clone();
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            readers.read_blocking(read)
        })
        .await
        .map_err(|error| broken(format!("a reading task ended: {error}")))?
    }

    fn read_blocking<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, ReadError>,
    ) -> Result<T, StoreError> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let pooled = idle().pop();
        let connection = match pooled {
            Some(connection) => connection,
            None => {
                schema::open_reader(&self.path).map_err(|error| classify(&self.path, &error))?
            }
        };
        let done = snapshot(&connection, read);
        idle().push(connection);
        done.map_err(|error| self.explain(error))
    }

    fn explain(&self, error: ReadError) -> StoreError {
        let address = address(&self.path);
        match error {
            ReadError::Sqlite(error) => classify(&self.path, &error),
            ReadError::MissingDatabase(database) => {
                StoreError::MissingDatabase { address, database }
            }
            ReadError::StaleSequence(database, since) => {
                StoreError::StaleSequence { address, database, since }
            }
            ReadError::Broken(reason) => StoreError::Fatal { address, reason },
        }
    }
}

/// Reads inside one transaction, so that several statements see the same state.
fn snapshot<T>(
    connection: &Connection,
    read: impl FnOnce(&Connection) -> Result<T, ReadError>,
) -> Result<T, ReadError> {
    connection.execute_batch("BEGIN")?;
    let done = read(connection);
    connection.execute_batch("COMMIT")?;
    done
}

pub(super) fn databases(connection: &Connection) -> Result<Vec<String>, ReadError> {
    let mut statement = connection.prepare_cached("SELECT name FROM databases ORDER BY name")?;
    let names = statement.query_map([], |row| row.get(0))?;
    Ok(names.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn database(
    connection: &Connection,
    name: &str,
) -> Result<Option<DatabaseInfo>, ReadError> {
    let found: Option<(Table, i64)> = connection
        .prepare_cached("SELECT id, documents FROM databases WHERE name = ?1")?
        .query_row([name], |row| Ok((Table { id: row.get(0)? }, row.get(1)?)))
        .optional()?;
    let Some((table, documents)) = found else { return Ok(None) };
    let table = table.name();
    // '0' follows '/'.
    let designs: i64 = connection
        .prepare_cached(&format!(
            "SELECT count(*) FROM {table}
             WHERE id > '_design/' AND id < '_design0' AND NOT deleted"
        ))?
        .query_row([], |row| row.get(0))?;
    // The file is every database's: what one of them takes can't be told without reading all.
    Ok(Some(DatabaseInfo {
        name: name.to_owned(),
        documents: u64::try_from(documents - designs).unwrap_or(0),
        bytes: None,
    }))
}

pub(super) fn fetch(
    connection: &Connection,
    database: &str,
    ids: &[String],
) -> Result<Vec<Option<Document>>, ReadError> {
    let name = table(connection, database)?.name();
    let mut statement = connection.prepare_cached(&format!(
        "SELECT id, revision, body FROM {name} WHERE id = ?1 AND NOT deleted"
    ))?;
    let mut documents = Vec::with_capacity(ids.len());
    for id in ids {
        let mut rows = statement.query([id])?;
        documents.push(rows.next()?.map(|row| document(row, 0)).transpose()?);
    }
    Ok(documents)
}

pub(super) fn scan(
    connection: &Connection,
    database: &str,
    after: &str,
    limit: usize,
) -> Result<Vec<Document>, ReadError> {
    let name = table(connection, database)?.name();
    // TEXT is compared byte by byte. Reserved ids begin with an underscore, which '`' follows;
    // the plus signs keep SQLite from making two searches of it.
    let mut statement = connection.prepare_cached(&format!(
        "SELECT id, revision, body FROM {name}
         WHERE id > ?1 AND NOT deleted AND (+id < '_' OR +id >= '`') ORDER BY id LIMIT ?2"
    ))?;
    let mut rows = statement.query(rusqlite::params![after, sql_limit(limit)])?;
    let mut documents = Vec::new();
    while let Some(row) = rows.next()? {
        documents.push(document(row, 0)?);
    }
    Ok(documents)
}

pub(super) fn changes(
    connection: &Connection,
    database: &str,
    since: Option<&str>,
    limit: usize,
) -> Result<Changes, ReadError> {
    let table = table(connection, database)?;
    let name = table.name();
    let end: i64 = connection
        .prepare_cached(&format!("SELECT ifnull(max(sequence), 0) FROM {name}"))?
        .query_row([], |row| row.get(0))?;
    let start = since.map_or(Some(0), |token| table.sequence(token));
    let Some(start) = start.filter(|start| (0..=end).contains(start)) else {
        return Err(ReadError::StaleSequence(
            database.to_owned(),
            since.unwrap_or_default().to_owned(),
        ));
    };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT id, revision, body, deleted, sequence FROM {name}
         WHERE sequence > ?1 AND (+id < '_' OR +id >= '`') ORDER BY sequence LIMIT ?2"
    ))?;
    let mut rows = statement.query([start, sql_limit(limit.saturating_add(1))])?;
    let mut found = Changes { rows: Vec::new(), last: table.token(end), more: false };
    let mut last = start;
    while let Some(row) = rows.next()? {
        if found.rows.len() == limit {
            found.last = table.token(last);
            found.more = true;
            break;
        }
        last = row.get(4)?;
        let deleted: bool = row.get(3)?;
        let id = row.get(0)?;
        let document = if deleted { None } else { Some(document(row, 0)?) };
        found.rows.push(Change { id, document });
    }
    Ok(found)
}

fn table(connection: &Connection, database: &str) -> Result<Table, ReadError> {
    schema::table(connection, database)?
        .ok_or_else(|| ReadError::MissingDatabase(database.to_owned()))
}

/// A document from the columns id, revision, body, of which the first is `first`.
fn document(row: &Row<'_>, first: usize) -> Result<Document, ReadError> {
    let id: String = row.get(first)?;
    let text = row.get_ref(first + 2)?.as_str().map_err(rusqlite::Error::from)?;
    let body = Body::read(text)
        .map_err(|error| ReadError::Broken(format!("document {id} is damaged: {error}")))?;
    Ok(Document { id, revision: Some(Revision(row.get(first + 1)?)), body })
}

fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
