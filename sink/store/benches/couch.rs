//! How fast documents are written to CouchDB, against a bare loop that posts the same bytes: one
//! table on stdout. What is compared takes turns in one run, each time in a database of its own.
//!
//! `BOWERBIRD_TEST_COUCHDB=http://… cargo bench -p bowerbird-store --bench couch`

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench reports, and may fail loudly"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bowerbird_store::couch::{CouchConfig, CouchStore};
use bowerbird_store::{Document, DocumentStore, WriteOutcome, body};
use secrecy::ExposeSecret;
use tokio::task::JoinSet;

const DOCUMENTS: usize = 10_000;
const BATCH: usize = 500;
const WRITERS: usize = 2;
const ROUNDS: usize = 3;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(run());
}

async fn run() {
    let url =
        std::env::var("BOWERBIRD_TEST_COUCHDB").expect("BOWERBIRD_TEST_COUCHDB names a CouchDB");
    let config = CouchConfig::new(&url).unwrap();
    let store = CouchStore::new(config.clone()).unwrap();
    println!(
        "{DOCUMENTS} documents of 1.25 KB, ascending ids, batches of {BATCH}, {WRITERS} writers, \
         {ROUNDS} rounds, {}",
        store.address()
    );
    let batches: Vec<Vec<Document>> = (0..DOCUMENTS)
        .map(document)
        .collect::<Vec<_>>()
        .chunks(BATCH)
        .map(<[Document]>::to_vec)
        .collect();
    let bodies: Vec<String> = batches.iter().map(|batch| bulk_body(batch)).collect();
    let (batches, bodies) = (Arc::new(batches), Arc::new(bodies));
    let (mut bare, mut ours) = (Duration::ZERO, Duration::ZERO);
    for round in 0..ROUNDS {
        let name = format!("bench-bare-{}-{round}", std::process::id());
        store.create_database(&name).await.unwrap();
        bare += post(&config, &name, &bodies).await;
        store.drop_database(&name).await.unwrap();
        let name = format!("bench-store-{}-{round}", std::process::id());
        store.create_database(&name).await.unwrap();
        ours += write(&store, &name, &batches).await;
        store.drop_database(&name).await.unwrap();
    }
    let rate = |took: Duration| (DOCUMENTS * ROUNDS) as f64 / took.as_secs_f64();
    println!("{:<28} {:>10.0} docs/s", "bare loop of _bulk_docs", rate(bare));
    println!("{:<28} {:>10.0} docs/s", "CouchStore::write", rate(ours));
    println!("{:<28} {:>10.2}", "share", rate(ours) / rate(bare));
}

/// The loop that does nothing but post; it does not even look at the rows.
async fn post(config: &CouchConfig, database: &str, bodies: &Arc<Vec<String>>) -> Duration {
    let client = reqwest::Client::new();
    let url = format!("{}/{database}/_bulk_docs", config.address());
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for writer in 0..WRITERS {
        let (client, url, bodies, config) =
            (client.clone(), url.clone(), Arc::clone(bodies), config.clone());
        tasks.spawn(async move {
            for body in bodies.iter().skip(writer).step_by(WRITERS) {
                let mut request =
                    client.post(&url).header("Content-Type", "application/json").body(body.clone());
                if let Some(user) = config.user() {
                    let password = config.password().map(ExposeSecret::expose_secret);
                    request = request.basic_auth(user, password);
                }
                let answer = request.send().await.unwrap();
                assert_eq!(answer.status().as_u16(), 201);
                answer.bytes().await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    start.elapsed()
}

async fn write(store: &CouchStore, database: &str, batches: &Arc<Vec<Vec<Document>>>) -> Duration {
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for writer in 0..WRITERS {
        let (store, database, batches) = (store.clone(), database.to_owned(), Arc::clone(batches));
        tasks.spawn(async move {
            for batch in batches.iter().skip(writer).step_by(WRITERS) {
                let outcomes = store.write(&database, batch).await.unwrap();
                assert!(outcomes.iter().all(|row| matches!(row, WriteOutcome::Written(_))));
            }
        });
    }
    tasks.join_all().await;
    start.elapsed()
}

fn bulk_body(batch: &[Document]) -> String {
    let documents: Vec<String> = batch
        .iter()
        .map(|document| {
            let mut out = Vec::new();
            body::splice(document, &mut out);
            String::from_utf8(out).unwrap()
        })
        .collect();
    format!("{{\"docs\":[{}]}}", documents.join(","))
}

fn document(number: usize) -> Document {
    let text = "The bowerbird gathers what is blue. ".repeat(26);
    let body = serde_json::json!({
        "type": "post", "text": text, "lang": "en", "created_at": "2024-05-01T12:00:00.000Z",
        "author": {"id": "42"}, "place": {"id": "x", "name": "Melbourne", "country": "AU"},
        "log": {"topic": "posts", "partition": number % 12, "offset": number}, "mapping": 1,
    });
    Document::new(format!("{:019}", 1_500_000_000_000_000_000_u64 + number as u64), &body).unwrap()
}
