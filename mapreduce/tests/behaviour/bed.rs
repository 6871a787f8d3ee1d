//! Views to try, with databases of their own that are gone afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;

use bowerbird_mapreduce::couch::CouchViews;
use bowerbird_mapreduce::design::{Reduce, View};
use bowerbird_mapreduce::quickjs::{QuickJsConfig, QuickJsViews};
use bowerbird_mapreduce::{
    AnyViews, DeployOptions, Deployment, Design, Query, Row, ViewError, Views,
};
use bowerbird_store::couch::{CouchConfig, CouchStore};
use bowerbird_store::sqlite::SqliteStore;
use bowerbird_store::{AnyStore, Document, DocumentStore, WriteOutcome};
use bowerbird_testbed::databases::Databases;
use bowerbird_testbed::service;
use serde_json::{Value, json};
use tempfile::TempDir;

pub struct Bed {
    pub store: AnyStore,
    pub views: AnyViews,
    pub databases: Databases,
    _folder: Option<TempDir>,
}

pub fn quickjs() -> Bed {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("store.db")).unwrap();
    let index = folder.path().join("views.db");
    let views = QuickJsViews::open(store.clone(), index, QuickJsConfig::default()).unwrap();
    Bed::new(store.into(), views.into(), Some(folder))
}

pub fn couch() -> Bed {
    let config = CouchConfig::new(&service("BOWERBIRD_TEST_COUCHDB")).unwrap();
    let views = CouchViews::new(&config).unwrap();
    Bed::new(CouchStore::new(config).unwrap().into(), views.into(), None)
}

impl Bed {
    fn new(store: AnyStore, views: AnyViews, folder: Option<TempDir>) -> Self {
        Self { databases: Databases::new(store.clone()), store, views, _folder: folder }
    }

    /// Runs a behaviour, and drops the databases whatever came of it.
    pub async fn run<F: Future<Output = ()>>(self, behaviour: impl FnOnce(Arc<Self>) -> F) {
        let bed = Arc::new(self);
        bed.databases.dropped_after(behaviour(Arc::clone(&bed))).await;
    }

    /// A database of these documents, whose ids count up from `000`.
    pub async fn database(&self, bodies: &[Value]) -> String {
        let name = self.databases.create().await;
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
