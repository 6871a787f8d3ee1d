//! What is the SQLite store's alone: it is a file.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::path::Path;

use bowerbird_store::sqlite::SqliteStore;
use bowerbird_store::{Document, DocumentStore, Revision, StoreError, WriteOutcome};
use serde_json::json;

fn documents(from: u32, to: u32) -> Vec<Document> {
    (from..to).map(|n| Document::new(format!("{n:06}"), &json!({"n": n})).unwrap()).collect()
}

async fn ids(store: &SqliteStore) -> usize {
    store.scan("posts", None, usize::MAX).await.unwrap().len()
}

#[tokio::test]
async fn a_second_opening_finds_everything() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/store.db");
    let store = SqliteStore::open(&path).unwrap();
    store.create_database("posts").await.unwrap();
    store.write("posts", &documents(0, 10)).await.unwrap();
    let since = store.changes("posts", None, 100).await.unwrap().last;
    drop(store);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(ids(&store).await, 10);
    store.write("posts", &documents(10, 12)).await.unwrap();
    assert_eq!(store.changes("posts", Some(&since), 100).await.unwrap().rows.len(), 2);
}

#[tokio::test]
async fn what_was_answered_survives_a_power_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = SqliteStore::open(&path).unwrap();
    store.create_database("posts").await.unwrap();
    store.write("posts", &documents(0, 500)).await.unwrap();
    // The files as they are now, without a clean end: what a disk holds after the cut.
    let after = folder.path().join("after.db");
    for suffix in ["", "-wal"] {
        let name = |path: &Path| format!("{}{suffix}", path.display());
        std::fs::copy(name(&path), name(&after)).unwrap();
    }
    assert_eq!(ids(&SqliteStore::open(&after).unwrap()).await, 500);
}

#[tokio::test]
async fn two_processes_share_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let one = SqliteStore::open(&path).unwrap();
    let other = SqliteStore::open(&path).unwrap();
    one.create_database("posts").await.unwrap();
    assert!(!other.create_database("posts").await.unwrap());
    let batches: Vec<_> = (0..20).map(|n| documents(n * 50, n * 50 + 50)).collect();
    let writes = batches.iter().enumerate().map(|(number, batch)| {
        let store = if number % 2 == 0 { &one } else { &other };
        store.write("posts", batch)
    });
    for outcomes in futures::future::join_all(writes).await {
        let written = |outcome: &WriteOutcome| matches!(outcome, WriteOutcome::Written(_));
        assert!(outcomes.unwrap().iter().all(written));
    }
    assert_eq!((ids(&one).await, ids(&other).await), (1000, 1000));
    assert_eq!(other.database("posts").await.unwrap().unwrap().documents, 1000);
}

#[tokio::test]
async fn a_sequence_of_a_dropped_database_is_stale() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("store.db")).unwrap();
    store.create_database("posts").await.unwrap();
    store.write("posts", &documents(0, 3)).await.unwrap();
    let since = store.changes("posts", None, 100).await.unwrap().last;
    store.drop_database("posts").await.unwrap();
    store.create_database("posts").await.unwrap();
    store.write("posts", &documents(0, 9)).await.unwrap();
    for since in [since.as_str(), "", "nonsense", "99-99"] {
        let error = store.changes("posts", Some(since), 100).await.unwrap_err();
        assert!(matches!(error, StoreError::StaleSequence { .. }), "{since}: {error}");
    }
}

#[tokio::test]
async fn a_revision_of_what_was_never_there_conflicts() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("store.db")).unwrap();
    store.create_database("posts").await.unwrap();
    let mut batch = documents(0, 1);
    batch[0].revision = Some(Revision("1-a".to_owned()));
    assert_eq!(store.write("posts", &batch).await.unwrap(), [WriteOutcome::Conflict]);
    assert_eq!(ids(&store).await, 0);
}

#[tokio::test]
async fn ids_of_any_length_of_character_are_scanned() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("store.db")).unwrap();
    store.create_database("posts").await.unwrap();
    let batch = ["🐦", "日", "a"].map(|id| Document::new(id, &json!({})).unwrap());
    store.write("posts", &batch).await.unwrap();
    let found = store.scan("posts", Some("a"), 9).await.unwrap();
    assert_eq!(found.iter().map(|document| &*document.id).collect::<Vec<_>>(), ["日", "🐦"]);
}

#[test]
fn many_may_make_the_file_at_the_same_time() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..50 {
        let path = folder.path().join(format!("{round}.sqlite"));
        let start = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    start.wait();
                    if let Err(error) = SqliteStore::open(&path) {
                        panic!("in round {round}: {error}");
                    }
                });
            }
        });
    }
}

#[test]
fn other_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text");
    std::fs::write(&text, "this is no database, and long enough to be seen as none. ".repeat(50))
        .unwrap();
    let other = folder.path().join("other.db");
    let connection = rusqlite::Connection::open(&other).unwrap();
    connection.execute_batch("CREATE TABLE theirs (x)").unwrap();
    for path in [text.as_path(), &other, folder.path()] {
        let error = SqliteStore::open(path).unwrap_err();
        assert!(!error.is_transient() || path.is_dir(), "{error}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
    // It is as it was.
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
    assert_eq!(tables, 1);
}
