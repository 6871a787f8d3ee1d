//! The embedded pair: events into the SQLite log, and from there into the SQLite store.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bowerbird_ingest::archive::{self, ArchiveConfig, Input, Progress};
use bowerbird_sink::{Projection, SinkConfig, VerifyConfig};
use bowerbird_store::sqlite::SqliteStore;
use bowerbird_stream::sqlite::SqliteLog;
use bowerbird_stream::status::status;
use bowerbird_stream::{EventLog, topic};
use tokio_util::sync::CancellationToken;

use crate::timed::Watch;
use crate::{Row, corpus, rate};

pub async fn measure(folder: &Path, count: u64) -> Vec<Row> {
    let row = |what, ours| Row { what, ours, limit: None };
    let log = SqliteLog::open(folder.join("log.sqlite")).await.unwrap();
    log.apply_topics(&topic::declared(6, 1, 8 << 20), false).await.unwrap();
    let store = SqliteStore::open(folder.join("store.sqlite")).unwrap();
    let file = corpus::file(folder, count);
    let config = ArchiveConfig::new(vec![Input::from_argument(&file)]);
    let begun = Instant::now();
    archive::import(log.clone(), config, Arc::new(Progress::default()), CancellationToken::new())
        .await;
    let imported = rate(count, begun.elapsed());

    let (reporter, _status) = status("sink");
    let watch = Watch::default();
    let timed = watch.over(store.clone());
    let config = SinkConfig { once: true, ..SinkConfig::default() };
    let projection = Projection::posts();
    bowerbird_sink::run(&log, &timed, &projection, &config, &reporter, CancellationToken::new())
        .await
        .unwrap();
    let sunk = watch.rate();

    let begun = Instant::now();
    let config = VerifyConfig { projections: vec![projection], ..VerifyConfig::default() };
    let report = bowerbird_sink::verify(&log, &store, &config, |_| {}).await.unwrap();
    assert!(report.is_clean());
    let verified = rate(count, begun.elapsed());
    vec![
        row("archive → SQLite log, posts", imported),
        row("SQLite log → sink → SQLite store, documents", sunk),
        row("verify on the embedded pair, events", verified),
    ]
}
