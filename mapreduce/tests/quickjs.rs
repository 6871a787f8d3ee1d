//! What is the embedded views' alone: a file of indexes, and bounds on the functions.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use bowerbird_mapreduce::design::{Reduce, View};
use bowerbird_mapreduce::quickjs::{QuickJsConfig, QuickJsViews};
use bowerbird_mapreduce::{DeployOptions, Design, Progress, Query, ViewError, Views};
use bowerbird_store::sqlite::SqliteStore;
use bowerbird_store::{Document, DocumentStore};
use serde_json::{Value, json};

fn design(map: &str) -> Design {
    let view = View { map: map.to_owned(), reduce: Some(Reduce::Sum) };
    Design {
        database: "posts".to_owned(),
        name: "d".to_owned(),
        views: [("v".to_owned(), view)].into(),
    }
}

const COUNT: &str = "function (doc) { emit(doc.n % 3, 1); }";

async fn store(folder: &Path, documents: u32) -> SqliteStore {
    let store = SqliteStore::open(folder.join("store.db")).unwrap();
    store.create_database("posts").await.unwrap();
    add(&store, 0, documents).await;
    store
}

async fn add(store: &SqliteStore, from: u32, to: u32) {
    let batch: Vec<Document> =
        (from..to).map(|n| Document::new(format!("{n:06}"), &json!({"n": n})).unwrap()).collect();
    store.write("posts", &batch).await.unwrap();
}

fn open(store: &SqliteStore, folder: &Path) -> QuickJsViews<SqliteStore> {
    QuickJsViews::open(store.clone(), folder.join("views.db"), QuickJsConfig::default()).unwrap()
}

async fn total(views: &QuickJsViews<SqliteStore>) -> Value {
    let rows = views.query("posts", "d", "v", &Query::default()).await.unwrap();
    rows[0].value.clone()
}

#[tokio::test]
async fn building_pages_through_all_and_tells_how_far_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), 1700).await;
    let views = open(&store, folder.path());
    let told = Mutex::new(Vec::new());
    let progress = |progress: Progress| told.lock().unwrap().push(progress);
    let options = DeployOptions { progress: &progress, ..DeployOptions::default() };
    views.deploy("posts", &design(COUNT), options).await.unwrap();
    let told = told.into_inner().unwrap();
    assert_eq!(
        told.iter().map(|progress| progress.done).collect::<Vec<_>>(),
        [500, 1000, 1500, 1700]
    );
    assert!(told.iter().all(|progress| progress.total == Some(1700)));
    assert_eq!(total(&views).await, json!(1700));
}

#[tokio::test]
async fn an_index_is_gone_on_with_and_can_be_thrown_away() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), 600).await;
    let views = open(&store, folder.path());
    views.deploy("posts", &design(COUNT), DeployOptions::default()).await.unwrap();
    drop(views);
    add(&store, 600, 700).await;
    let views = open(&store, folder.path());
    let told = Mutex::new(0);
    let progress = |progress: Progress| *told.lock().unwrap() = progress.done;
    let options = DeployOptions { progress: &progress, ..DeployOptions::default() };
    views.deploy("posts", &design(COUNT), options).await.unwrap();
    assert_eq!(*told.lock().unwrap(), 100, "only what is new is mapped");
    assert_eq!(total(&views).await, json!(700));
    drop(views);
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(folder.path().join(format!("views.db{suffix}")));
    }
    assert_eq!(total(&open(&store, folder.path())).await, json!(700));
}

#[tokio::test]
async fn two_processes_share_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), 3000).await;
    let (one, other) = (open(&store, folder.path()), open(&store, folder.path()));
    one.deploy("posts", &design(COUNT), DeployOptions::default()).await.unwrap();
    for round in 0..3 {
        add(&store, 3000 + round * 1000, 4000 + round * 1000).await;
        let expected = json!(4000 + round * 1000);
        let (a, b, c) = tokio::join!(total(&one), total(&other), total(&one));
        assert_eq!([&a, &b, &c], [&expected; 3]);
    }
}

#[tokio::test]
async fn what_takes_too_long_is_told_and_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), 2000).await;
    let views = open(&store, folder.path());
    let hurried = DeployOptions { wait: Duration::ZERO, ..DeployOptions::default() };
    let mut attempts = 0;
    loop {
        attempts += 1;
        match views.deploy("posts", &design(COUNT), hurried).await {
            Ok(_) => break,
            Err(error) => assert!(matches!(error, ViewError::NotBuilt { .. }), "{error}"),
        }
    }
    assert!((2..10).contains(&attempts), "each attempt goes on: {attempts}");
    assert_eq!(total(&views).await, json!(2000));
}

#[tokio::test]
async fn an_endless_function_fails_its_deployment() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), 10).await;
    let config = QuickJsConfig { script_timeout: Duration::from_millis(300), ..Default::default() };
    let views = QuickJsViews::open(store.clone(), folder.path().join("views.db"), config).unwrap();
    let endless = design("function (doc) { if (doc.n === 7) for (;;) {} }");
    let error = views.deploy("posts", &endless, DeployOptions::default()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("map of view v") && text.contains("document 000007"), "{text}");
    views.deploy("posts", &design(COUNT), DeployOptions::default()).await.unwrap();
    assert_eq!(total(&views).await, json!(10));
}
