//! The document store as a trait: what the pipeline needs of one, and no more.

use std::future::Future;

use serde::{Deserialize, Serialize};

use crate::document::{Document, Revision};
use crate::error::StoreError;

/// What became of one document of a bulk write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// It is durable under this revision.
    Written(Revision),
    /// Another revision is there: read it, merge, write again.
    Conflict,
    /// The store will never take it as it is (its validation, an illegal id, …).
    Refused {
        /// The store's word for it (`forbidden`, …).
        error: String,
        /// Its explanation.
        reason: String,
    },
    /// This one failed for now; it alone may be tried again.
    Failed {
        /// The store's word for it.
        error: String,
        /// Its explanation.
        reason: String,
    },
}

/// A database as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseInfo {
    /// Its name.
    pub name: String,
    /// How many documents it holds, design documents aside: those are the pipeline's own.
    pub documents: u64,
    /// Its size on disk, in bytes, where the store tells.
    pub bytes: Option<u64>,
}

/// One line of [`Changes`].
#[derive(Clone, Debug)]
pub struct Change {
    /// The document's id.
    pub id: String,
    /// The document as it is now; nothing when it was deleted.
    pub document: Option<Document>,
}

/// What changed since a sequence: each document once, with its latest state.
#[derive(Clone, Debug)]
pub struct Changes {
    /// The documents, oldest change first (of several shards of a CouchDB: in each shard).
    pub rows: Vec<Change>,
    /// Pass it to the next call. Opaque.
    pub last: String,
    /// More was waiting when this was answered.
    pub more: bool,
}

/// Databases of JSON documents.
pub trait DocumentStore: Clone + Send + Sync + 'static {
    /// Its address without secrets, for messages.
    fn address(&self) -> String;

    /// Answers when the store can be reached and takes our credentials.
    ///
    /// # Errors
    /// What is wrong.
    fn ping(&self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Makes a database; `false` when it was there already.
    ///
    /// # Errors
    /// An illegal name, missing rights, or the store can't be reached.
    fn create_database(&self, name: &str) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Destroys a database with all in it; `false` when it was not there.
    ///
    /// # Errors
    /// Missing rights, or the store can't be reached.
    fn drop_database(&self, name: &str) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The databases that we made or may see, by name, without the store's own (`_users`, …).
    ///
    /// # Errors
    /// When the store can't be asked.
    fn databases(&self) -> impl Future<Output = Result<Vec<String>, StoreError>> + Send;

    /// A database as it is; nothing when it is not there.
    ///
    /// # Errors
    /// When the store can't be asked.
    fn database(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Option<DatabaseInfo>, StoreError>> + Send;

    /// Writes documents, and answers when they are durable: one outcome per document, in order.
    /// Not atomic. Ids within one call are distinct.
    ///
    /// A document without a revision is new, or takes the place of a deleted one; with one it
    /// replaces exactly that. Everything else is a [`WriteOutcome::Conflict`]; only a revision for
    /// an id that was never there may be taken by `CouchDB` as if it were new.
    ///
    /// # Errors
    /// When the whole request failed; whether anything was written is then unknown, and writing
    /// it again is safe (what was written meets its own conflict).
    fn write(
        &self,
        database: &str,
        documents: &[Document],
    ) -> impl Future<Output = Result<Vec<WriteOutcome>, StoreError>> + Send;

    /// Reads documents by id: one answer per id, in order; nothing for those not there or deleted.
    ///
    /// # Errors
    /// When the store can't be asked.
    fn fetch(
        &self,
        database: &str,
        ids: &[String],
    ) -> impl Future<Output = Result<Vec<Option<Document>>, StoreError>> + Send;

    /// The next documents with an id greater than `after`, in the order of their ids' bytes, design
    /// documents left out: at most `limit`, and fewer where they are large. An empty answer is the
    /// end.
    ///
    /// # Errors
    /// When the store can't be asked.
    fn scan(
        &self,
        database: &str,
        after: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Document>, StoreError>> + Send;

    /// What changed after `since` (from the beginning without), at most `limit` rows, design
    /// documents left out.
    ///
    /// # Errors
    /// [`StoreError::StaleSequence`] when the store knows that the database was made anew since;
    /// otherwise when it can't be asked.
    fn changes(
        &self,
        database: &str,
        since: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<Changes, StoreError>> + Send;
}
