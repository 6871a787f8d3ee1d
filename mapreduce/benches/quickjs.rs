//! How fast the embedded views build and answer: one table on stdout.
//!
//! `cargo bench -p bowerbird-mapreduce --bench quickjs`

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench reports, and may fail loudly"
)]

use std::time::Instant;

use bowerbird_mapreduce::design::{self, Reduce, View};
use bowerbird_mapreduce::quickjs::{QuickJsConfig, QuickJsViews};
use bowerbird_mapreduce::{DeployOptions, Design, Group, Query, Views};
use bowerbird_store::sqlite::SqliteStore;
use bowerbird_store::{Document, DocumentStore};

const DOCUMENTS: usize = 30_000;
const CITIES: [&str; 8] =
    ["Melbourne", "Sydney", "Perth", "Hobart", "Darwin", "Adelaide", "Brisbane", "Canberra"];

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(run());
}

async fn run() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("store.db")).unwrap();
    store.create_database("posts").await.unwrap();
    for from in (0..DOCUMENTS).step_by(1000) {
        let batch: Vec<Document> = (from..from + 1000).map(document).collect();
        store.write("posts", &batch).await.unwrap();
    }
    let index = folder.path().join("views.db");
    let views = QuickJsViews::open(store, index, QuickJsConfig::default()).unwrap();
    println!("{DOCUMENTS} documents with a text of 280 characters");

    let places = design::embedded().unwrap().into_iter().find(|d| d.name == "places").unwrap();
    let one = |map: &str, reduce: Reduce| Design {
        database: "posts".to_owned(),
        name: "bench".to_owned(),
        views: [("v".to_owned(), View { map: map.to_owned(), reduce: Some(reduce) })].into(),
    };
    let plain = one("function (doc) { emit(doc.lang, 1); }", Reduce::Sum);
    let sum = "function (keys, values, rereduce) { return sum(values); }";
    // Another map, or the index of the one before would do.
    let script = one("function (doc) { emit(doc.lang, 1.0); }", Reduce::Script(sum.to_owned()));
    for (what, design, view) in [
        ("places/by_place", &places, "by_place"),
        ("emit(doc.lang, 1), _sum", &plain, "v"),
        ("the same, reduce in JavaScript", &script, "v"),
    ] {
        let start = Instant::now();
        views.deploy("posts", design, DeployOptions::default()).await.unwrap();
        let seconds = start.elapsed().as_secs_f64();
        println!("{what:<34} build {:>8.0} docs/s", DOCUMENTS as f64 / seconds);
        for (group, label) in [(Group::All, "all"), (Group::Exact, "exact")] {
            let query = Query { group, ..Query::default() };
            let start = Instant::now();
            let rows = views.query("posts", &design.name, view, &query).await.unwrap();
            let took = start.elapsed().as_secs_f64() * 1000.0;
            println!("{:<34} query, group {label}: {} rows in {took:.0} ms", "", rows.len());
        }
    }
}

fn document(number: usize) -> Document {
    let text = "Ein Laubenvogel's nest, don't you see https://t.co/abc123? ".repeat(5);
    let body = serde_json::json!({
        "type": "post", "text": &text[..280], "lang": if number.is_multiple_of(5) { "de" } else { "en" },
        "created_at": "2024-05-01T12:00:00.000Z", "author": {"id": "42"},
        "place": {"id": "x", "name": CITIES[number % CITIES.len()], "country": "AU",
            "centroid": [144.96, -37.81], "precision": "place"},
        "source": {"system": "x", "rules": ["au"], "retrieved_at": "2024-05-01T12:00:01Z"},
        "observed": {"time": "2024-05-01T12:00:01Z", "hash": "0123456789abcdef"},
        "log": {"topic": "posts", "partition": number % 12, "offset": number}, "mapping": 1,
    });
    Document::new(format!("{number:019}"), &body).unwrap()
}
