//! A store that notes when its writes began and ended, over another one or over none.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use bowerbird_store::{
    Changes, DatabaseInfo, Document, DocumentStore, Revision, StoreError, WriteOutcome,
};

/// From the first write's beginning to the last one's end.
#[derive(Debug, Default)]
pub struct Span {
    first: Option<Instant>,
    last: Option<Instant>,
    pub documents: u64,
}

/// Notes the time of writes to `S`.
#[derive(Clone)]
pub struct Timed<S> {
    inner: S,
    pub span: Arc<Mutex<Span>>,
}

impl<S> Timed<S> {
    pub fn new(inner: S) -> Self {
        Self { inner, span: Arc::default() }
    }

    /// Documents written in a second.
    pub fn rate(&self) -> f64 {
        let span = self.span.lock().unwrap();
        crate::rate(span.documents, span.last.unwrap() - span.first.unwrap())
    }
}

impl<S: DocumentStore> DocumentStore for Timed<S> {
    fn address(&self) -> String {
        self.inner.address()
    }
    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }
    async fn create_database(&self, name: &str) -> Result<bool, StoreError> {
        self.inner.create_database(name).await
    }
    async fn drop_database(&self, name: &str) -> Result<bool, StoreError> {
        self.inner.drop_database(name).await
    }
    async fn databases(&self) -> Result<Vec<String>, StoreError> {
        self.inner.databases().await
    }
    async fn database(&self, name: &str) -> Result<Option<DatabaseInfo>, StoreError> {
        self.inner.database(name).await
    }
    async fn write(
        &self,
        database: &str,
        documents: &[Document],
    ) -> Result<Vec<WriteOutcome>, StoreError> {
        self.span.lock().unwrap().first.get_or_insert_with(Instant::now);
        let rows = self.inner.write(database, documents).await?;
        let mut span = self.span.lock().unwrap();
        span.documents += documents.len() as u64;
        span.last = Some(Instant::now());
        Ok(rows)
    }
    async fn fetch(
        &self,
        database: &str,
        ids: &[String],
    ) -> Result<Vec<Option<Document>>, StoreError> {
        self.inner.fetch(database, ids).await
    }
    async fn scan(
        &self,
        database: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        self.inner.scan(database, after, limit).await
    }
    async fn changes(
        &self,
        database: &str,
        since: Option<&str>,
        limit: usize,
    ) -> Result<Changes, StoreError> {
        self.inner.changes(database, since, limit).await
    }
}

/// Accepts everything and keeps nothing: what is left is the sink's own cost.
#[derive(Clone)]
pub struct Null;

impl DocumentStore for Null {
    fn address(&self) -> String {
        "null".to_owned()
    }
    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
    async fn create_database(&self, _: &str) -> Result<bool, StoreError> {
        Ok(true)
    }
    async fn drop_database(&self, _: &str) -> Result<bool, StoreError> {
        Ok(true)
    }
    async fn databases(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }
    async fn database(&self, _: &str) -> Result<Option<DatabaseInfo>, StoreError> {
        Ok(None)
    }
    async fn write(&self, _: &str, rows: &[Document]) -> Result<Vec<WriteOutcome>, StoreError> {
        Ok(rows.iter().map(|_| WriteOutcome::Written(Revision("1-0".to_owned()))).collect())
    }
    async fn fetch(&self, _: &str, ids: &[String]) -> Result<Vec<Option<Document>>, StoreError> {
        Ok(ids.iter().map(|_| None).collect())
    }
    async fn scan(&self, _: &str, _: Option<&str>, _: usize) -> Result<Vec<Document>, StoreError> {
        Ok(Vec::new())
    }
    async fn changes(&self, _: &str, _: Option<&str>, _: usize) -> Result<Changes, StoreError> {
        Ok(Changes { rows: Vec::new(), last: "0".to_owned(), more: false })
    }
}
