//! A store with something between it and its writers.

use bowerbird_store::{Changes, DatabaseInfo, Document, DocumentStore, StoreError, WriteOutcome};

/// What becomes of a write on its way to the store.
pub trait Writing: Clone + Send + Sync + 'static {
    /// Writes to `store` what it will, and answers in its place.
    ///
    /// # Errors
    /// The store's, or such as the store might give.
    fn write<S: DocumentStore>(
        &self,
        store: &S,
        database: &str,
        documents: &[Document],
    ) -> impl Future<Output = Result<Vec<WriteOutcome>, StoreError>> + Send;
}

/// Writes pass through `writing`; all else goes to the store as it is.
#[derive(Clone, Debug)]
pub struct Through<S, W> {
    /// The store.
    pub store: S,
    /// What is between.
    pub writing: W,
}

impl<S: DocumentStore, W: Writing> DocumentStore for Through<S, W> {
    fn address(&self) -> String {
        self.store.address()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.store.ping().await
    }

    async fn create_database(&self, name: &str) -> Result<bool, StoreError> {
        self.store.create_database(name).await
    }

    async fn drop_database(&self, name: &str) -> Result<bool, StoreError> {
        self.store.drop_database(name).await
    }

    async fn databases(&self) -> Result<Vec<String>, StoreError> {
        self.store.databases().await
    }

    async fn database(&self, name: &str) -> Result<Option<DatabaseInfo>, StoreError> {
        self.store.database(name).await
    }

    async fn write(
        &self,
        database: &str,
        documents: &[Document],
    ) -> Result<Vec<WriteOutcome>, StoreError> {
        self.writing.write(&self.store, database, documents).await
    }

    async fn fetch(
        &self,
        database: &str,
        ids: &[String],
    ) -> Result<Vec<Option<Document>>, StoreError> {
        self.store.fetch(database, ids).await
    }

    async fn scan(
        &self,
        database: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        self.store.scan(database, after, limit).await
    }

    async fn changes(
        &self,
        database: &str,
        since: Option<&str>,
        limit: usize,
    ) -> Result<Changes, StoreError> {
        self.store.changes(database, since, limit).await
    }
}
