//! Views to try, with databases of their own that are gone afterwards.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use bowerbird_mapreduce::couch::CouchViews;
use bowerbird_mapreduce::design::{Reduce, View};
use bowerbird_mapreduce::quickjs::{QuickJsConfig, QuickJsViews};
use bowerbird_mapreduce::{
    AnyViews, DeployOptions, Deployment, Design, Query, Row, ViewError, Views,
};
use bowerbird_store::couch::{CouchConfig, CouchStore};
use bowerbird_store::sqlite::SqliteStore;
use bowerbird_store::{AnyStore, Document, DocumentStore, WriteOutcome};
use futures::FutureExt;
use serde_json::{Value, json};
use tempfile::TempDir;

pub struct Bed {
    pub store: AnyStore,
    pub views: AnyViews,
    names: Arc<Mutex<Vec<String>>>,
    _folder: Option<TempDir>,
}

pub fn quickjs() -> Bed {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("store.db")).unwrap();
    let index = folder.path().join("views.db");
    let views = QuickJsViews::open(store.clone(), index, QuickJsConfig::default()).unwrap();
    Bed { store: store.into(), views: views.into(), names: Arc::default(), _folder: Some(folder) }
}

pub fn couch() -> Bed {
    let url = std::env::var("BOWERBIRD_TEST_COUCHDB").unwrap_or_else(|_| {
        panic!(
            "BOWERBIRD_TEST_COUCHDB is not set: run tests/run, which starts the services that \
             tests need"
        )
    });
    let config = CouchConfig::new(&url).unwrap();
    let views = CouchViews::new(&config).unwrap();
    let store = CouchStore::new(config).unwrap();
    Bed { store: store.into(), views: views.into(), names: Arc::default(), _folder: None }
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
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let (process, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let name = format!("test-views-{process}-{nanos}-{next}");
        self.names.lock().unwrap().push(name.clone());
        name
    }

    /// A database of these documents, whose ids count up from `000`.
    pub async fn database(&self, bodies: &[Value]) -> String {
        let name = self.name();
        assert!(self.store.create_database(&name).await.unwrap());
        self.add(&name, 0, bodies).await;
        name
    }

    /// Writes new documents, whose ids count up from `first`.
    pub async fn add(&self, database: &str, first: usize, bodies: &[Value]) {
        let documents: Vec<Document> = bodies
            .iter()
            .enumerate()
            .map(|(n, body)| Document::new(format!("{:03}", first + n), body).unwrap())
            .collect();
        self.write(database, &documents).await;
    }

    pub async fn write(&self, database: &str, documents: &[Document]) {
        for outcome in self.store.write(database, documents).await.unwrap() {
            assert!(matches!(outcome, WriteOutcome::Written(_)), "{outcome:?}");
        }
    }

    pub async fn deploy(&self, database: &str, design: &Design) -> Result<Deployment, ViewError> {
        self.views.deploy(database, design, DeployOptions::default()).await
    }

    /// Asks view `v` of design `d`: the rows as `[id, key, value]`, or `[key, value]` if reduced.
    pub async fn rows(&self, database: &str, query: &Query) -> Vec<Value> {
        let rows = self.views.query(database, "d", "v", query).await.unwrap();
        rows.into_iter().map(row).collect()
    }
}

fn row(row: Row) -> Value {
    match row.id {
        Some(id) => json!([id, plain(row.key), plain(row.value)]),
        None => json!([plain(row.key), plain(row.value)]),
    }
}

/// With every number as a double: 1 and 1.0 are the same, and servers write what they like.
pub fn plain(value: Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.into_iter().map(plain).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(key, value)| (key, plain(value))).collect()
        }
        other => other,
    }
}

/// Rows as they are expected.
pub fn expected(rows: Value) -> Vec<Value> {
    let Value::Array(rows) = plain(rows) else { panic!("rows are a list") };
    rows
}

/// Design `d` with view `v`.
pub fn design(map: &str, reduce: Option<&str>) -> Design {
    views(&[("v", map, reduce)])
}

/// Design `d` with these views.
pub fn views(views: &[(&str, &str, Option<&str>)]) -> Design {
    let views = views.iter().map(|(name, map, reduce)| {
        let reduce = reduce.map(|reduce| Reduce::parse(reduce).unwrap());
        (name.to_string(), View { map: map.to_string(), reduce })
    });
    Design {
        database: "any".to_owned(),
        name: "d".to_owned(),
        views: views.collect::<BTreeMap<_, _>>(),
    }
}
