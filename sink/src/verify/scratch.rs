//! What lies on disk while a verification runs: what is expected of each document, which records
//! have dead letters, and how far it has come, so that it can be gone on with.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bowerbird_stream::Position;
use bowerbird_stream::dead_letter::Deed;
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use super::runs::{Expected, Files, Merged, Runs};
use crate::error::SinkError;
use crate::merge::State;

/// What can have been done with a letter, by the number that stands for it in the file.
const DEEDS: [Option<Deed>; 3] = [None, Some(Deed::Redriven), Some(Deed::Dropped)];

fn number(done: Option<Deed>) -> i64 {
    DEEDS.iter().zip(0..).find_map(|(deed, number)| (*deed == done).then_some(number)).unwrap_or(0)
}

fn deed(number: i64) -> Option<Deed> {
    usize::try_from(number).ok().and_then(|at| DEEDS.get(at).copied().flatten())
}

/// Where it lies.
#[derive(Debug)]
enum Folder {
    /// In a place of its own; it is gone when the verification ends, however it does.
    Passing(TempDir),
    /// Where the next run finds it again. The lock keeps a second one out.
    Kept { path: PathBuf, _lock: File },
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Passing(folder) => folder.path(),
            Self::Kept { path, .. } => path,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Scratch {
    file: Arc<Mutex<Inner>>,
    folder: Arc<Folder>,
}

#[derive(Debug)]
struct Inner {
    connection: Connection,
    runs: Runs,
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
    /// So much is held in memory that it should be written out.
    pub full: bool,
}

fn failed(error: impl std::fmt::Display) -> SinkError {
    SinkError::Scratch(error.to_string())
}

impl Scratch {
    /// In `kept`, or without it in a folder for temporary files; holding about `held` bytes in
    /// memory.
    pub(super) fn new(kept: Option<&Path>, held: usize) -> Result<Self, SinkError> {
        let folder = match kept {
            Some(path) => {
                fs::create_dir_all(path).map_err(failed)?;
                let lock = File::create(path.join("lock")).map_err(failed)?;
                lock.try_lock().map_err(|_| {
                    failed(format!("another verification is under way in {}", path.display()))
                })?;
                Folder::Kept { path: path.to_owned(), _lock: lock }
            }
            None => Folder::Passing(tempfile::tempdir().map_err(failed)?),
        };
        // The letters are read anew by each run.
        let letters = folder.path().join("letters.sqlite");
        drop(fs::remove_file(&letters));
        let connection = Connection::open(letters).map_err(failed)?;
        // Nothing in it outlives the process, so it need not survive a crash; and nobody else looks,
        // so it need not be locked and unlocked for each question.
        connection
            .execute_batch(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -4096;
                 PRAGMA locking_mode = EXCLUSIVE;
                 CREATE TABLE letters (topic TEXT, partition INTEGER, offset INTEGER, done INTEGER,
                     PRIMARY KEY (topic, partition, offset)) WITHOUT ROWID;",
            )
            .map_err(failed)?;
        let runs = Runs::new(folder.path(), held, Files::default());
        let file = Arc::new(Mutex::new(Inner { connection, runs }));
        Ok(Self { file, folder: Arc::new(folder) })
    }

    /// Runs `work` off the async threads.
    async fn with<T: Send + 'static, E: std::fmt::Display + Send + 'static>(
        &self,
        work: impl FnOnce(&mut Inner) -> Result<T, E> + Send + 'static,
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
        self.with(move |file| {
            let mut added = Added::default();
            for (id, position, state) in page.expected {
                let expected = match file.letter(&position)? {
                    Some(done) => {
                        added.lettered.count(done);
                        Expected { state: State::default(), lettered: true }
                    }
                    None => Expected { state, lettered: false },
                };
                file.runs.add(id, expected);
            }
            for (position, why) in page.unmappable {
                match file.letter(&position)? {
                    Some(done) => added.lettered.count(done),
                    None => added.unlettered.push((position, why)),
                }
            }
            added.full = file.runs.is_full();
            Ok::<_, rusqlite::Error>(added)
        })
        .await
    }

    /// Writes out what is held in memory, and says which files it is in.
    pub(super) async fn spill(&self) -> Result<Files, SinkError> {
        self.with(|file| file.runs.spill().map(|()| file.runs.files().clone())).await
    }

    /// Goes on with files that an earlier run has left; `false` when they are not all there.
    pub(super) async fn go_on_with(&self, files: Files) -> Result<bool, SinkError> {
        self.with(|file| Ok::<_, std::io::Error>(file.runs.go_on_with(files))).await
    }

    /// What is expected behind `after`, in the order of ids' bytes.
    pub(super) async fn merged(&self, after: Option<String>) -> Result<Merged, SinkError> {
        self.with(move |file| file.runs.merged(after.as_deref())).await
    }

    /// How far an earlier run had come, if it has left that in a form that can be read.
    pub(super) fn checkpoint<T: DeserializeOwned>(&self) -> Option<T> {
        let text = fs::read(self.folder.path().join("checkpoint.json")).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Notes how far this run has come. In a folder that is not kept there is nobody to read it.
    pub(super) fn note(&self, checkpoint: &impl Serialize) -> Result<(), SinkError> {
        let Folder::Kept { path, .. } = &*self.folder else { return Ok(()) };
        let text = serde_json::to_vec(checkpoint).map_err(failed)?;
        let fresh = path.join("checkpoint.new");
        fs::write(&fresh, text).map_err(failed)?;
        fs::rename(fresh, path.join("checkpoint.json")).map_err(failed)
    }

    /// Forgets everything: the verification is done, or begins anew.
    pub(super) fn clear(&self) -> Result<(), SinkError> {
        let Folder::Kept { path, .. } = &*self.folder else { return Ok(()) };
        for entry in fs::read_dir(path).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "run" || extension == "json") {
                fs::remove_file(path).map_err(failed)?;
            }
        }
        Ok(())
    }
}

impl Inner {
    /// What was done with the letter of a record, if it has one.
    fn letter(&self, position: &Position) -> rusqlite::Result<Option<Option<Deed>>> {
        let mut select = self.connection.prepare_cached(
            "SELECT done FROM letters WHERE topic = ?1 AND partition = ?2 AND offset = ?3",
        )?;
        let at = params![&*position.topic, position.partition, position.offset];
        let done: Option<i64> = select.query_row(at, |row| row.get(0)).optional()?;
        Ok(done.map(deed))
    }
}
