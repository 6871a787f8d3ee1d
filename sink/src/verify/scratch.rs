//! The scratch file: what is expected of each document, and which records have dead letters.
//! It lets a verification of any size run in the same memory, and is gone when it ends.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bowerbird_stream::Position;
use bowerbird_stream::dead_letter::Deed;
use rusqlite::{Connection, OptionalExtension, params};
use tempfile::TempDir;

use crate::error::SinkError;
use crate::merge::State;

/// What the judged events say of one document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Expected {
    /// Merged from the events that have no dead letter; without content.
    pub state: State,
    /// Some event about it has a dead letter, so it may say more.
    pub lettered: bool,
}

/// What can have been done with a letter, by the number that stands for it in the file.
const DEEDS: [Option<Deed>; 3] = [None, Some(Deed::Redriven), Some(Deed::Dropped)];

fn number(done: Option<Deed>) -> i64 {
    DEEDS.iter().zip(0..).find_map(|(deed, number)| (*deed == done).then_some(number)).unwrap_or(0)
}

fn deed(number: i64) -> Option<Deed> {
    usize::try_from(number).ok().and_then(|at| DEEDS.get(at).copied().flatten())
}

pub(super) struct Scratch {
    file: Arc<Mutex<File>>,
    held: usize,
}

struct File {
    connection: Connection,
    /// Not yet in the file.
    pending: HashMap<String, Expected>,
    /// Removed with all that is in it.
    _folder: TempDir,
}

/// What one page of the log adds.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub expected: Vec<(String, Position, State)>,
    pub unmappable: Vec<(Position, String)>,
}

/// Records that have dead letters, by what was done with these.
#[derive(Debug, Default)]
pub(super) struct Lettered {
    pub open: u64,
    pub redriven: u64,
    pub dropped: u64,
}

impl Lettered {
    fn count(&mut self, done: Option<Deed>) {
        *match done {
            None => &mut self.open,
            Some(Deed::Redriven) => &mut self.redriven,
            Some(Deed::Dropped) => &mut self.dropped,
        } += 1;
    }
}

/// What became of a page: how many of its records have dead letters, and which should have one.
#[derive(Debug, Default)]
pub(super) struct Added {
    pub lettered: Lettered,
    pub unlettered: Vec<(Position, String)>,
}

fn failed(error: impl std::fmt::Display) -> SinkError {
    SinkError::Scratch(error.to_string())
}

impl Scratch {
    pub(super) fn new(folder: Option<&Path>, held: usize) -> Result<Self, SinkError> {
        let folder = match folder {
            Some(folder) => tempfile::tempdir_in(folder),
            None => tempfile::tempdir(),
        }
        .map_err(failed)?;
        let connection = Connection::open(folder.path().join("verify.sqlite")).map_err(failed)?;
        // Nothing in it outlives the process, so it need not survive a crash; and nobody else looks,
        // so it need not be locked and unlocked for each question.
        connection
            .execute_batch(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -16384;
                 PRAGMA locking_mode = EXCLUSIVE;
                 CREATE TABLE letters (topic TEXT, partition INTEGER, offset INTEGER, done INTEGER,
                     PRIMARY KEY (topic, partition, offset)) WITHOUT ROWID;
                 CREATE TABLE expected (id TEXT PRIMARY KEY, lettered INTEGER, state TEXT)
                     WITHOUT ROWID;",
            )
            .map_err(failed)?;
        let file = File { connection, pending: HashMap::new(), _folder: folder };
        Ok(Self { file: Arc::new(Mutex::new(file)), held })
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut File) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, SinkError> {
        let file = self.file.clone();
        tokio::task::spawn_blocking(move || {
            work(&mut file.lock().unwrap_or_else(PoisonError::into_inner))
        })
        .await
        .map_err(failed)?
        .map_err(failed)
    }

    /// These records have dead letters, with which this was done. One may have several, of which
    /// one that is open counts.
    pub(super) async fn letters(
        &self,
        origins: Vec<(Position, Option<Deed>)>,
    ) -> Result<(), SinkError> {
        self.with(move |file| {
            let transaction = file.connection.transaction()?;
            {
                let mut insert = transaction.prepare_cached(
                    "INSERT INTO letters VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT DO UPDATE SET done = min(done, excluded.done)",
                )?;
                for (Position { topic, partition, offset }, done) in origins {
                    insert.execute(params![&*topic, partition, offset, number(done)])?;
                }
            }
            transaction.commit()
        })
        .await
    }

    /// Adds what a page of the log says.
    pub(super) async fn add(&self, page: Page) -> Result<Added, SinkError> {
        let held = self.held;
        self.with(move |file| {
            let mut added = Added::default();
            for (id, position, state) in page.expected {
                let letter = file.letter(&position)?;
                let entry = file.pending.entry(id).or_default();
                if let Some(done) = letter {
                    added.lettered.count(done);
                    entry.lettered = true;
                } else {
                    entry.state = std::mem::take(&mut entry.state).merge(state);
                }
            }
            for (position, why) in page.unmappable {
                match file.letter(&position)? {
                    Some(done) => added.lettered.count(done),
                    None => added.unlettered.push((position, why)),
                }
            }
            if file.pending.len() >= held {
                file.spill()?;
            }
            Ok(added)
        })
        .await
    }

    /// The next expectations in the order of their ids' bytes.
    pub(super) async fn after(
        &self,
        id: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Expected)>, SinkError> {
        let id = id.map(str::to_owned);
        self.with(move |file| {
            file.spill()?;
            let mut select = file.connection.prepare_cached(
                "SELECT id, lettered, state FROM expected
                 WHERE ?1 IS NULL OR id > ?1 ORDER BY id LIMIT ?2",
            )?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = select.query_map(params![id, limit], |row| {
                let state: String = row.get(2)?;
                Ok((row.get(0)?, Expected { lettered: row.get(1)?, state: decode(&state)? }))
            })?;
            rows.collect()
        })
        .await
    }
}

fn decode(state: &str) -> rusqlite::Result<State> {
    serde_json::from_str(state).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, Box::new(error))
    })
}

impl File {
    /// What was done with the letter of a record, if it has one.
    fn letter(&self, position: &Position) -> rusqlite::Result<Option<Option<Deed>>> {
        let mut select = self.connection.prepare_cached(
            "SELECT done FROM letters WHERE topic = ?1 AND partition = ?2 AND offset = ?3",
        )?;
        let at = params![&*position.topic, position.partition, position.offset];
        Ok(select.query_row(at, |row| row.get(0)).optional()?.map(deed))
    }

    fn spill(&mut self) -> rusqlite::Result<()> {
        let mut pending: Vec<_> = self.pending.drain().collect();
        pending.sort_unstable_by(|(one, _), (two, _)| one.cmp(two));
        let transaction = self.connection.transaction()?;
        {
            let mut select =
                transaction.prepare_cached("SELECT lettered, state FROM expected WHERE id = ?1")?;
            let mut upsert = transaction
                .prepare_cached("INSERT OR REPLACE INTO expected VALUES (?1, ?2, ?3)")?;
            for (id, mut expected) in pending {
                let before = select
                    .query_row([&id], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))
                    .optional()?;
                if let Some((lettered, state)) = before {
                    let lettered: bool = lettered;
                    expected.lettered |= lettered;
                    expected.state = expected.state.merge(decode(&state)?);
                }
                let state = serde_json::to_string(&expected.state)
                    .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
                upsert.execute(params![id, expected.lettered, state])?;
            }
        }
        transaction.commit()
    }
}
