//! Where things are measured: a log and a store, with topics and groups that nobody else uses.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bowerbird_mapreduce::couch::CouchViews;
use bowerbird_mapreduce::quickjs::{QuickJsConfig, QuickJsViews};
use bowerbird_mapreduce::{AnyViews, Views};
use bowerbird_sink::{Projection, SinkConfig};
use bowerbird_store::DocumentStore;
use bowerbird_store::couch::{CouchConfig, CouchStore};
use bowerbird_store::sqlite::SqliteStore;
use bowerbird_stream::EventLog;
use bowerbird_stream::kafka::{KafkaConfig, KafkaLog};
use bowerbird_stream::sqlite::SqliteLog;
use bowerbird_stream::status::status;
use bowerbird_stream::topic::{self, Cleanup, TopicSpec};
use tokio_util::sync::CancellationToken;

use crate::timed::Watch;
use crate::{corpus, service};

/// Partitions of every topic that is measured on.
pub const PARTITIONS: u32 = 6;
/// How many records are published by one call.
const CALL: u64 = 5_000;

/// The log of this run.
pub fn kafka() -> KafkaLog {
    KafkaLog::new(KafkaConfig::new(service("BOWERBIRD_TEST_KAFKA"))).unwrap()
}

/// The address of the `CouchDB` of this run.
pub fn couch_address() -> String {
    service("BOWERBIRD_BENCH_COUCHDB")
}

/// The store of this run.
pub fn couch() -> CouchStore {
    CouchStore::new(CouchConfig::new(&couch_address()).unwrap()).unwrap()
}

/// Its views.
pub fn couch_views() -> AnyViews {
    CouchViews::new(&CouchConfig::new(&couch_address()).unwrap()).unwrap().into()
}

/// An embedded pair of its own, and its views.
pub async fn embedded(folder: &Path, name: &str) -> (SqliteLog, SqliteStore, impl Views) {
    let path = |what: &str| folder.join(format!("{name}.{what}.sqlite"));
    let log = SqliteLog::open(path("log")).await.unwrap();
    log.apply_topics(&topic::declared(PARTITIONS, 1, 8 << 20), false).await.unwrap();
    let store = SqliteStore::open(path("store")).unwrap();
    let config = QuickJsConfig::default();
    let views = QuickJsViews::open(store.clone(), path("views"), config).unwrap();
    (log, store, views)
}

/// A name that nothing else of this run, or of another one on the same services, has.
pub fn unique(what: &str) -> &'static str {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("bench-{what}-{}-{number}", std::process::id()).leak()
}

/// A new topic, that keeps everything: nothing is compacted while it is measured.
pub async fn topic<L: EventLog>(log: &L, what: &str) -> &'static str {
    let name = unique(what);
    let posts = topic::declared(PARTITIONS, 1, 8 << 20).swap_remove(0);
    let spec = TopicSpec { name: name.to_owned(), cleanup: Cleanup::Keep, ..posts };
    log.apply_topics(&[spec], false).await.unwrap();
    name
}

/// Publishes the posts of these numbers, and returns when the log has them.
pub async fn fill<L: EventLog>(log: &L, topic: &str, numbers: std::ops::Range<u64>) {
    let topic: Arc<str> = topic.into();
    let posts = corpus::Posts::new(&topic);
    for from in numbers.clone().step_by(usize::try_from(CALL).unwrap()) {
        let records = (from..numbers.end.min(from + CALL)).map(|n| posts.record(n)).collect();
        let answers = log.publish(records).await;
        assert!(answers.iter().all(Result::is_ok), "not all was published");
    }
}

/// A projection of a topic, with a database and a group of its own.
pub fn projection(topic: &'static str) -> Projection {
    let name = unique("sink");
    let (database, group) = (name.to_owned(), name.to_owned());
    Projection { database, group, topics: vec![topic], ..Projection::posts() }
}

/// Has a sink write all of a topic into a database of its own; the writes as `watch` saw them.
pub async fn drain<L: EventLog, S: DocumentStore>(
    log: &L,
    store: &S,
    topic: &'static str,
    watch: &Watch,
) -> String {
    let projection = projection(topic);
    let config = SinkConfig { once: true, ..SinkConfig::default() };
    let (reporter, _status) = status("sink");
    let (store, cancel) = (watch.over(store.clone()), CancellationToken::new());
    bowerbird_sink::run(log, &store, &projection, &config, &reporter, cancel).await.unwrap();
    projection.database
}
