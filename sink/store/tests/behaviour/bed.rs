//! A store to try, with databases of its own that are gone afterwards.

use std::sync::Arc;

use bowerbird_store::couch::{CouchConfig, CouchStore};
use bowerbird_store::sqlite::SqliteStore;
use bowerbird_store::{AnyStore, Document, DocumentStore, Revision, WriteOutcome};
use bowerbird_testbed::databases::Databases;
use bowerbird_testbed::service;
use serde_json::Value;
use tempfile::TempDir;

pub struct Bed {
    pub store: AnyStore,
    pub databases: Databases,
    _folder: Option<TempDir>,
}

pub fn sqlite() -> Bed {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("store.db")).unwrap();
    Bed::new(store.into(), Some(folder))
}

pub fn couch() -> Bed {
    remote("BOWERBIRD_TEST_COUCHDB")
}

pub fn couch_with_login() -> Bed {
    remote("BOWERBIRD_TEST_COUCHDB_AUTH")
}

fn remote(variable: &str) -> Bed {
    let store = CouchStore::new(CouchConfig::new(&service(variable)).unwrap()).unwrap();
    Bed::new(store.into(), None)
}

impl Bed {
    fn new(store: AnyStore, folder: Option<TempDir>) -> Self {
        Self { databases: Databases::new(store.clone()), store, _folder: folder }
    }

    /// Runs a behaviour, and drops the databases whatever came of it.
    pub async fn run<F: Future<Output = ()>>(self, behaviour: impl FnOnce(Arc<Self>) -> F) {
        let bed = Arc::new(self);
        bed.databases.dropped_after(behaviour(Arc::clone(&bed))).await;
    }

    /// Writes new documents of these ids.
    pub async fn fill(&self, database: &str, ids: &[&str]) {
        let documents: Vec<_> = ids.iter().map(|id| document(id, &serde_json::json!({}))).collect();
        for outcome in self.store.write(database, &documents).await.unwrap() {
            revision(&outcome);
        }
    }

    /// Writes one document.
    pub async fn put(&self, database: &str, document: Document) -> WriteOutcome {
        let mut outcomes = self.store.write(database, &[document]).await.unwrap();
        assert_eq!(outcomes.len(), 1);
        outcomes.remove(0)
    }

    /// Reads one document.
    pub async fn get(&self, database: &str, id: &str) -> Option<Document> {
        let mut found = self.store.fetch(database, &[id.to_owned()]).await.unwrap();
        assert_eq!(found.len(), 1);
        found.remove(0)
    }
}

pub fn document(id: &str, body: &Value) -> Document {
    Document::new(id, body).unwrap()
}

pub fn with(document: Document, revision: &Revision) -> Document {
    Document { revision: Some(revision.clone()), ..document }
}

/// The revision of what must have been written.
pub fn revision(outcome: &WriteOutcome) -> Revision {
    match outcome {
        WriteOutcome::Written(revision) => revision.clone(),
        other => panic!("not written: {other:?}"),
    }
}

/// The body as a tree, to compare.
pub fn body(document: &Document) -> Value {
    serde_json::from_str(document.body.get()).unwrap()
}
