//! Either store, chosen by configuration.

use crate::couch::CouchStore;
use crate::document::Document;
use crate::error::StoreError;
use crate::sqlite::SqliteStore;
use crate::store::{Changes, DatabaseInfo, DocumentStore, WriteOutcome};

/// Either store.
#[derive(Clone, Debug)]
pub enum AnyStore {
    /// `CouchDB`.
    Couch(CouchStore),
    /// A `SQLite` file.
    Sqlite(SqliteStore),
}

impl From<CouchStore> for AnyStore {
    fn from(store: CouchStore) -> Self {
        Self::Couch(store)
    }
}

impl From<SqliteStore> for AnyStore {
    fn from(store: SqliteStore) -> Self {
        Self::Sqlite(store)
    }
}

/// The same call on whichever store it is.
macro_rules! either {
    ($self:expr, $store:ident => $call:expr) => {
        match $self {
            Self::Couch($store) => $call,
            Self::Sqlite($store) => $call,
        }
    };
}

impl DocumentStore for AnyStore {
    fn address(&self) -> String {
        either!(self, store => store.address())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        either!(self, store => store.ping().await)
    }

    async fn create_database(&self, name: &str) -> Result<bool, StoreError> {
        either!(self, store => store.create_database(name).await)
    }

    async fn drop_database(&self, name: &str) -> Result<bool, StoreError> {
        either!(self, store => store.drop_database(name).await)
    }

    async fn databases(&self) -> Result<Vec<String>, StoreError> {
        either!(self, store => store.databases().await)
    }

    async fn database(&self, name: &str) -> Result<Option<DatabaseInfo>, StoreError> {
        either!(self, store => store.database(name).await)
    }

    async fn write(
        &self,
        database: &str,
        documents: &[Document],
    ) -> Result<Vec<WriteOutcome>, StoreError> {
        either!(self, store => store.write(database, documents).await)
    }

    async fn fetch(
        &self,
        database: &str,
        ids: &[String],
    ) -> Result<Vec<Option<Document>>, StoreError> {
        either!(self, store => store.fetch(database, ids).await)
    }

    async fn scan(
        &self,
        database: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        either!(self, store => store.scan(database, after, limit).await)
    }

    async fn changes(
        &self,
        database: &str,
        since: Option<&str>,
        limit: usize,
    ) -> Result<Changes, StoreError> {
        either!(self, store => store.changes(database, since, limit).await)
    }
}
