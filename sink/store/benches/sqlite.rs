//! How fast the SQLite store writes and scans: documents per second, one table on stdout.
//!
//! `cargo bench -p bowerbird-store --bench sqlite`

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench reports, and may fail loudly"
)]

use std::time::Instant;

use bowerbird_store::sqlite::SqliteStore;
use bowerbird_store::{Document, DocumentStore, WriteOutcome};

const DOCUMENTS: usize = 50_000;
const BATCH: usize = 500;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    runtime.block_on(run(SqliteStore::open(folder.path().join("store.db")).unwrap()));
}

async fn run(store: SqliteStore) {
    println!("{DOCUMENTS} documents of 1.25 KB, batches of {BATCH}, every commit synced");
    let documents: Vec<Document> = (0..DOCUMENTS).map(document).collect();
    for writers in [1, 2, 4] {
        let name = format!("posts-{writers}");
        store.create_database(&name).await.unwrap();
        let start = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for part in documents.chunks(DOCUMENTS / writers) {
            let (store, name, part) = (store.clone(), name.clone(), part.to_vec());
            tasks.spawn(async move {
                for batch in part.chunks(BATCH) {
                    let outcomes = store.write(&name, batch).await.unwrap();
                    assert!(outcomes.iter().all(|row| matches!(row, WriteOutcome::Written(_))));
                }
            });
        }
        tasks.join_all().await;
        report(&format!("write, {writers} writers"), start);
    }
    let start = Instant::now();
    for batch in documents.chunks(BATCH) {
        let outcomes = store.write("posts-1", batch).await.unwrap();
        assert!(outcomes.iter().all(|row| matches!(row, WriteOutcome::Conflict)));
    }
    report("write again, all conflicts", start);

    let start = Instant::now();
    let (mut after, mut seen) = (None::<String>, 0);
    loop {
        let page = store.scan("posts-1", after.as_deref(), 1000).await.unwrap();
        let Some(last) = page.last() else { break };
        seen += page.len();
        after = Some(last.id.clone());
    }
    assert_eq!(seen, DOCUMENTS);
    report("scan", start);

    let start = Instant::now();
    let (mut since, mut seen) = (None::<String>, 0);
    loop {
        let page = store.changes("posts-1", since.as_deref(), 1000).await.unwrap();
        seen += page.rows.len();
        since = Some(page.last);
        if !page.more {
            break;
        }
    }
    assert_eq!(seen, DOCUMENTS);
    report("changes", start);

    let ids: Vec<String> = documents.iter().map(|document| document.id.clone()).collect();
    let start = Instant::now();
    for ids in ids.chunks(BATCH) {
        assert!(store.fetch("posts-1", ids).await.unwrap().iter().all(Option::is_some));
    }
    report("fetch", start);

    let mut newer = Vec::with_capacity(DOCUMENTS);
    for held in store.fetch("posts-1", &ids).await.unwrap().into_iter().flatten() {
        newer.push(held);
    }
    let start = Instant::now();
    for batch in newer.chunks(BATCH) {
        let outcomes = store.write("posts-1", batch).await.unwrap();
        assert!(outcomes.iter().all(|row| matches!(row, WriteOutcome::Written(_))));
    }
    report("write again, all replaced", start);
}

fn document(number: usize) -> Document {
    // Spread over the range as the ids of posts from several partitions are.
    let id = format!("{:019}", 1_500_000_000_000_000_000_u64 + (number as u64 * 7_919) % 1_000_003);
    let text = "The bowerbird gathers what is blue. ".repeat(26);
    let body = serde_json::json!({
        "type": "post", "text": text, "lang": "en", "created_at": "2024-05-01T12:00:00.000Z",
        "author": {"id": "42"}, "place": {"id": "x", "name": "Melbourne", "country": "AU"},
        "log": {"topic": "posts", "partition": number % 12, "offset": number}, "mapping": 1,
    });
    Document::new(id, &body).unwrap()
}

fn report(what: &str, start: Instant) {
    let seconds = start.elapsed().as_secs_f64();
    println!("{what:<28} {:>10.0} docs/s {seconds:>8.2} s", DOCUMENTS as f64 / seconds);
}
