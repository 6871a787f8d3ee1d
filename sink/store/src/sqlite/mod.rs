//! The embedded store: one `SQLite` file with a write-ahead log.
//!
//! A small, honest implementation of [`DocumentStore`], not a copy of `CouchDB`: no replication,
//! no conflicting branches, no attachments. Its rules for ids, names and revisions are `CouchDB`'s.
//! Every commit is synced to the disk before it is answered. Several processes may use one file.

mod apply;
mod error;
mod reader;
mod schema;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use schema::switch_to_wal;

use crate::document::Document;
use crate::error::StoreError;
use crate::name::illegal_database_name;
use crate::sqlite::reader::Readers;
use crate::sqlite::writer::Writer;
use crate::store::{Changes, DatabaseInfo, DocumentStore, WriteOutcome};

/// A document store in a `SQLite` file. Clones share its one writer and its readers; with the last
/// of them the writer ends, after what was queued is committed.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    path: PathBuf,
    writer: Arc<Writer>,
    readers: Readers,
}

impl SqliteStore {
    /// Opens the file, making it (and its folder) if it is not there.
    ///
    /// # Errors
    /// When it can't be made or read, or is not a store of this version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|error| StoreError::Unreachable {
                address: error::address(path),
                reason: format!("its folder can't be made: {error}"),
            })?;
        }
        let connection = schema::open_writer(path)?;
        let writer = Writer::start(path, connection)?;
        Ok(Self { path: path.to_owned(), writer: Arc::new(writer), readers: Readers::new(path) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn check_name(&self, name: &str) -> Result<(), StoreError> {
        illegal_database_name(name)
            .map_or(Ok(()), |reason| Err(StoreError::Rejected { address: self.address(), reason }))
    }
}

impl DocumentStore for SqliteStore {
    fn address(&self) -> String {
        error::address(&self.path)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.readers.read(|connection| reader::databases(connection).map(drop)).await
    }

    async fn create_database(&self, name: &str) -> Result<bool, StoreError> {
        self.check_name(name)?;
        self.writer.create(name).await
    }

    async fn drop_database(&self, name: &str) -> Result<bool, StoreError> {
        self.check_name(name)?;
        self.writer.drop_database(name).await
    }

    async fn databases(&self) -> Result<Vec<String>, StoreError> {
        self.readers.read(reader::databases).await
    }

    async fn database(&self, name: &str) -> Result<Option<DatabaseInfo>, StoreError> {
        let name = name.to_owned();
        self.readers.read(move |connection| reader::database(connection, &name)).await
    }

    async fn write(
        &self,
        database: &str,
        documents: &[Document],
    ) -> Result<Vec<WriteOutcome>, StoreError> {
        self.writer.write(database, documents).await
    }

    async fn fetch(
        &self,
        database: &str,
        ids: &[String],
    ) -> Result<Vec<Option<Document>>, StoreError> {
        let (database, ids) = (database.to_owned(), ids.to_vec());
        self.readers.read(move |connection| reader::fetch(connection, &database, &ids)).await
    }

    async fn scan(
        &self,
        database: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        let (database, after) = (database.to_owned(), after.unwrap_or_default().to_owned());
        self.readers
            .read(move |connection| reader::scan(connection, &database, &after, limit))
            .await
    }

    async fn changes(
        &self,
        database: &str,
        since: Option<&str>,
        limit: usize,
    ) -> Result<Changes, StoreError> {
        let (database, since) = (database.to_owned(), since.map(str::to_owned));
        self.readers
            .read(move |connection| reader::changes(connection, &database, since.as_deref(), limit))
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn batch(from: u32) -> Vec<Document> {
        let text = "x".repeat(1000);
        (from..from + 100)
            .map(|n| Document::new(format!("{n}"), &json!({"n": n, "text": text})).unwrap())
            .collect()
    }

    #[tokio::test]
    async fn a_full_disk_is_told_and_got_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let connection = schema::open_writer(&path).unwrap();
        // SQLite fails in the same way as when the disk has no more pages.
        connection.pragma_update(None, "max_page_count", 64).unwrap();
        let writer = Arc::new(Writer::start(&path, connection).unwrap());
        let store = SqliteStore { path: path.clone(), writer, readers: Readers::new(&path) };
        store.create_database("posts").await.unwrap();
        let mut written = 0;
        let error = loop {
            match store.write("posts", &batch(written)).await {
                Ok(_) => written += 100,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, StoreError::Full { .. }), "{error}");
        assert!(error.pauses() && error.is_transient());
        let held = store.scan("posts", None, usize::MAX).await.unwrap();
        assert_eq!(held.len(), written as usize, "a batch was written by half");
        store.create_database("other").await.unwrap_err();
        store.drop_database("posts").await.unwrap();
        store.create_database("posts").await.unwrap();
        store.write("posts", &batch(0)).await.unwrap();
    }

    /// Also while the store stays open and nothing more is written.
    #[tokio::test]
    async fn what_was_replaced_is_nowhere_in_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path().join("store.sqlite")).unwrap();
        store.create_database("posts").await.unwrap();
        let says = |text: &str| {
            let held = |file: std::fs::DirEntry| std::fs::read(file.path()).unwrap();
            let files = std::fs::read_dir(folder.path()).unwrap().map(|file| held(file.unwrap()));
            let text = text.as_bytes();
            files.into_iter().any(|held| held.windows(text.len()).any(|window| window == text))
        };
        // Some of it is on pages of its own, and some is moved when another grows.
        let documents = |text: &str| -> Vec<Document> {
            let body = |n: usize| json!({"text": text.repeat(1 + n * 40)});
            (0..100).map(|n| Document::new(format!("{n}"), &body(n)).unwrap()).collect()
        };
        let written = store.write("posts", &documents("a secret, ")).await.unwrap();
        let stubs = documents("gone, ").into_iter().zip(written).map(|(stub, outcome)| {
            let WriteOutcome::Written(revision) = outcome else { panic!("{outcome:?}") };
            Document { revision: Some(revision), ..stub }
        });
        assert!(says("a secret"));
        store.write("posts", &stubs.collect::<Vec<_>>()).await.unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while says("a secret") {
            assert!(std::time::Instant::now() < until, "it still says so");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert!(says("gone"));
    }
}
