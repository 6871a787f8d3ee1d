//! Databases of a test's own, which are gone afterwards.

use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bowerbird_store::{AnyStore, DocumentStore};
use futures::FutureExt;

/// The databases that one test makes in a store.
#[derive(Debug)]
pub struct Databases {
    store: AnyStore,
    names: Mutex<Vec<String>>,
}

impl Databases {
    /// None so far.
    pub fn new(store: AnyStore) -> Self {
        Self { store, names: Mutex::default() }
    }

    /// A name with this ending that nobody else uses.
    pub fn name(&self, ending: &str) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let (process, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let name = format!("test-{process}-{nanos}-{next}{ending}");
        self.names.lock().unwrap().push(name.clone());
        name
    }

    /// Makes an empty database of a new name.
    pub async fn create(&self) -> String {
        let name = self.name("");
        assert!(self.store.create_database(&name).await.unwrap());
        name
    }

    /// Runs a test to its end, and drops the databases of the names that it took, whatever came of it.
    pub async fn dropped_after(&self, test: impl Future<Output = ()>) {
        let outcome = AssertUnwindSafe(test).catch_unwind().await;
        let names = std::mem::take(&mut *self.names.lock().unwrap());
        for name in names {
            let _ = self.store.drop_database(&name).await;
        }
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    }
}
