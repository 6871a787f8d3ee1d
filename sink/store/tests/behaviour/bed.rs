//! A store to try, with databases of its own that are gone afterwards.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use bowerbird_store::couch::{CouchConfig, CouchStore};
use bowerbird_store::sqlite::SqliteStore;
use bowerbird_store::{AnyStore, Document, DocumentStore, Revision, WriteOutcome};
use futures::FutureExt;
use serde_json::Value;
use tempfile::TempDir;

pub struct Bed {
    pub store: AnyStore,
    names: Arc<Mutex<Vec<String>>>,
    _folder: Option<TempDir>,
}

pub fn sqlite() -> Bed {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("store.db")).unwrap();
    Bed { store: store.into(), names: Arc::default(), _folder: Some(folder) }
}

pub fn couch() -> Bed {
    remote("BOWERBIRD_TEST_COUCHDB")
}

pub fn couch_with_login() -> Bed {
    remote("BOWERBIRD_TEST_COUCHDB_AUTH")
}

fn remote(variable: &str) -> Bed {
    let store = CouchStore::new(CouchConfig::new(&url(variable)).unwrap()).unwrap();
    Bed { store: store.into(), names: Arc::default(), _folder: None }
}

/// The address of a server that the tests need.
pub fn url(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: run tests/run, which starts the services that tests need")
    })
}

impl Bed {
    /// Runs a behaviour, and drops the databases whatever came of it.
    pub async fn run<F: Future<Output = ()>>(self, behaviour: impl FnOnce(Arc<Self>) -> F) {
        let bed = Arc::new(self);
        let outcome = AssertUnwindSafe(behaviour(Arc::clone(&bed))).catch_unwind().await;
        let names = bed.names.lock().unwrap().clone();
        for name in names {
            let _ = bed.store.drop_database(&name).await;
        }
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    }

    /// A name that nobody else uses; it is dropped at the end.
    pub fn name(&self) -> String {
        self.name_ending("")
    }

    /// The same, with this ending.
    pub fn name_ending(&self, ending: &str) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let (process, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let name = format!("test-store-{process}-{nanos}-{next}{ending}");
        self.names.lock().unwrap().push(name.clone());
        name
    }

    /// A new, empty database.
    pub async fn database(&self) -> String {
        let name = self.name();
        assert!(self.store.create_database(&name).await.unwrap());
        name
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
