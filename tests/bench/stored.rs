//! How fast the sink is when the store holds much already: one backlog, and what was written in a
//! second when so many documents were there.

use std::path::Path;

use bowerbird_sink::SinkConfig;
use bowerbird_store::DocumentStore as _;

use crate::timed::Watch;
use crate::{documents, place, setting};

/// How many documents a figure is of.
const WINDOW: u64 = 20_000;

/// Prints the table.
pub async fn measure(folder: &Path) {
    println!("\n| sink into | documents already there | documents/s |\n|---|---:|---:|");
    let most = setting("BENCH_STORED", 1_000_000);
    let marks = [10_000, 100_000, 300_000, most];
    let (log, store, _) = place::embedded(folder, "stored").await;
    let topic = place::topic(&log, "stored").await;
    place::fill(&log, topic, 0..most + WINDOW).await;
    let watch = Watch::default();
    place::drain(&log, &store, topic, &watch).await;
    tell("SQLite store", &watch, &marks);

    let most = setting("BENCH_STORED_COUCHDB", 200_000);
    let marks = [10_000, 50_000, 100_000, most];
    let (log, store) = (place::kafka(), place::couch());
    let topic = place::topic(&log, "stored").await;
    place::fill(&log, topic, 0..most + WINDOW).await;
    let watch = Watch::default();
    let database = place::drain(&log, &store, topic, &watch).await;
    store.drop_database(&database).await.unwrap();
    tell("CouchDB", &watch, &marks);
    // Whose slope it is.
    let documents = documents::documents(&log, topic).await;
    let config = SinkConfig::default();
    let (batch, writers) = (config.batch_documents, config.writers);
    let watch = Watch::default();
    documents::bare_watched(&store, &documents, batch, writers, &watch).await;
    tell("CouchDB, by the bare loop", &watch, &marks);
}

fn tell(store: &str, watch: &Watch, marks: &[u64]) {
    let [.., most] = marks else { return };
    for &mark in marks.iter().filter(|mark| *mark <= most) {
        println!("| {store} | {mark} | {:.0} |", watch.rate_after(mark, WINDOW));
    }
}
