//! The file of indexes: what the maps emitted, in the order of its keys.
//!
//! It can be thrown away: everything in it is built again from the store.

mod read;
mod schema;
mod write;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use thiserror::Error;
use tokio::sync::Semaphore;

use crate::error::ViewError;

pub(super) use read::{Entry, Range, entries};
pub(super) use schema::{Index, Name};
pub(super) use write::{Mapped, forget, forget_others, reset, store};

/// How many may use the file at once.
const CONNECTIONS: usize = 4;

/// Why the index failed, before it has a path.
#[derive(Debug, Error)]
pub(super) enum IndexError {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error("{0}")]
    Other(String),
    /// Not the index's fault.
    #[error(transparent)]
    View(#[from] ViewError),
}

/// The file; clones share its connections.
#[derive(Clone, Debug)]
pub(super) struct IndexFile {
    path: PathBuf,
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl IndexFile {
    pub(super) fn open(path: &Path) -> Result<Self, ViewError> {
        let file = Self {
            path: path.to_owned(),
            permits: Arc::new(Semaphore::new(CONNECTIONS)),
            idle: Arc::default(),
        };
        let connection = schema::open(path).map_err(|error| file.explain(error))?;
        file.idle().push(connection);
        Ok(file)
    }

    /// Uses the file off the async threads.
    pub(super) async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, ViewError> {
        let failed = |reason: String| self.explain(IndexError::Other(reason));
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|error| failed(error.to_string()))?;
        let file = self.clone();
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let pooled = file.idle().pop();
            let mut connection = match pooled {
                Some(connection) => connection,
                None => schema::open(&file.path).map_err(|error| file.explain(error))?,
            };
            // A failure drops the connection, and with it whatever it was in the middle of.
            let done = work(&mut connection).map_err(|error| file.explain(error))?;
            file.idle().push(connection);
            Ok(done)
        })
        .await
        .map_err(|error| failed(format!("a task ended: {error}")))?
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn explain(&self, error: IndexError) -> ViewError {
        match error {
            IndexError::View(error) => error,
            other => ViewError::Index {
                path: self.path.display().to_string(),
                reason: other.to_string(),
            },
        }
    }
}

#[cfg(test)]
mod tests;
