//! A store that notes when its writes began and ended, over another one or over none.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use bowerbird_store::{
    Changes, DatabaseInfo, Document, DocumentStore, Revision, StoreError, WriteOutcome,
};
use bowerbird_testbed::through::{Through, Writing};

/// From the first write's beginning to the last one's end.
#[derive(Debug, Default)]
struct Span {
    first: Option<Instant>,
    last: Option<Instant>,
    documents: u64,
    /// How many documents there were after each write, and when.
    after: Vec<(u64, Instant)>,
}

/// Notes the time of writes.
#[derive(Clone, Default)]
pub struct Watch(Arc<Mutex<Span>>);

impl Watch {
    /// The store with its writes under this watch.
    pub fn over<S>(&self, store: S) -> Through<S, Self> {
        Through { store, writing: self.clone() }
    }

    /// A write begins.
    pub fn begins(&self) {
        self.0.lock().unwrap().first.get_or_insert_with(Instant::now);
    }

    /// A write of so many documents has ended.
    pub fn wrote(&self, documents: usize) {
        let mut span = self.0.lock().unwrap();
        span.documents += documents as u64;
        let (written, now) = (span.documents, Instant::now());
        span.last = Some(now);
        span.after.push((written, now));
    }

    /// Documents written so far.
    pub fn documents(&self) -> u64 {
        self.0.lock().unwrap().documents
    }

    /// Documents written in a second.
    pub fn rate(&self) -> f64 {
        let span = self.0.lock().unwrap();
        crate::rate(span.documents, span.last.unwrap() - span.first.unwrap())
    }

    /// Documents written in a second, of the `count` that came after the first `before`.
    pub fn rate_after(&self, before: u64, count: u64) -> f64 {
        let span = self.0.lock().unwrap();
        let at = |documents| span.after.iter().find(|(known, _)| *known >= documents).unwrap();
        let (begin, end) = (at(before), at(before + count));
        crate::rate(end.0 - begin.0, end.1 - begin.1)
    }
}

impl Writing for Watch {
    async fn write<S: DocumentStore>(
        &self,
        store: &S,
        database: &str,
        documents: &[Document],
    ) -> Result<Vec<WriteOutcome>, StoreError> {
        self.begins();
        let rows = store.write(database, documents).await?;
        self.wrote(documents.len());
        Ok(rows)
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
