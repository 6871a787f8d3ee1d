//! A replay into a database of its own, and a rebuild, phase by phase.

use std::path::Path;
use std::time::{Duration, Instant};

use bowerbird_mapreduce::{DeployOptions, Views, design};
use bowerbird_sink::mapping::Mapping;
use bowerbird_sink::meta::Meta;
use bowerbird_sink::meta::job::Worker;
use bowerbird_sink::meta::lease::Holder;
use bowerbird_sink::projections::rebuild::{Rebuild, With};
use bowerbird_sink::replay::{Asked, Filter, Into, Parts, ReplayConfig, replay};
use bowerbird_sink::{Generations, Projection, SinkConfig, SinkReport};
use bowerbird_store::DocumentStore;
use bowerbird_stream::status::status;
use bowerbird_stream::{EventLog, topic};
use tokio_util::sync::CancellationToken;

use crate::place;
use crate::rate;

/// Prints the table.
pub async fn measure(folder: &Path, count: u64) {
    println!("\n| on | what | events/s | seconds |\n|---|---|---:|---:|");
    let (log, store, views) = place::embedded(folder, "rebuild").await;
    pair("SQLite log and store", &log, &store, &views, count).await;
    let (log, store) = (place::kafka(), place::couch());
    let known = store.databases().await.unwrap();
    let ours = ["posts", "bowerbird"];
    if let Some(taken) = ours.iter().find(|name| known.iter().any(|known| known == *name)) {
        // Somebody's harvest must not be replayed over.
        println!("| Kafka and CouchDB | not measured: that CouchDB has a database {taken} | | |");
        return;
    }
    log.apply_topics(&topic::declared(place::PARTITIONS, 1, 8 << 20), false).await.unwrap();
    pair("Kafka and CouchDB", &log, &store, &place::couch_views(), count).await;
    for name in ["posts", "posts-2", "replayed", "bowerbird"] {
        store.drop_database(name).await.unwrap();
    }
}

async fn pair<L: EventLog, S: DocumentStore, V: Views>(
    name: &str,
    log: &L,
    store: &S,
    views: &V,
    count: u64,
) {
    place::fill(log, topic::POSTS, 0..count).await;
    let generations = Generations::new(Meta::new(store.clone(), true), Mapping::known());
    let (reporter, _status) = status("bench");
    let cancel = CancellationToken::new();
    let base = Projection::posts();
    let sink = SinkConfig { once: true, ..SinkConfig::default() };
    bowerbird_sink::run(log, store, &base, &sink, &reporter, cancel.clone()).await.unwrap();
    // As when it runs as a service: the replay and the rebuild choose for themselves.
    let config = SinkConfig::default();
    let tell = |what: &str, events: u64, time: Duration| {
        println!("| {name} | {what} | {:.0} | {:.1} |", rate(events, time), time.as_secs_f64());
    };

    let parts = Parts { log, generations: &generations, reporter: &reporter, cancel: &cancel };
    let asked = Asked {
        topic: topic::POSTS.to_owned(),
        from: None,
        to: None,
        of: None,
        filter: Filter::default(),
        into: Into::Database("replayed".to_owned()),
    };
    let replaying = ReplayConfig { asked, rate: None, anew: false, sink: config.clone() };
    let begun = Instant::now();
    let ran = replay(&parts, &replaying, &worker(), |_, _| {}).await.unwrap();
    assert_eq!(ran.work.counts.written, ran.work.counts.replayed);
    tell("replay into another database", ran.work.counts.read, begun.elapsed());

    let with = With {
        log,
        generations: &generations,
        base: &base,
        mapping: &Mapping::CURRENT,
        config: &config,
        reporter: &reporter,
        cancel: &cancel,
    };
    let whole = Instant::now();
    let mut rebuild = Rebuild::begin(with, &worker()).await.unwrap();
    let (mut filled, begun) = (SinkReport::default(), Instant::now());
    rebuild.fill(&mut filled, |_| {}).await.unwrap();
    tell("rebuild: fill", filled.records, begun.elapsed());
    let database = rebuild.projection().database.clone();
    for design in design::embedded().unwrap().iter().filter(|one| one.database == base.name) {
        let begun = Instant::now();
        let deploying = views.deploy(&database, design, DeployOptions::default());
        rebuild.meanwhile(deploying).await.unwrap().unwrap();
        tell(&format!("rebuild: index of {}", design.name), filled.written, begun.elapsed());
    }
    let begun = Instant::now();
    let checked = rebuild.check(|_| {}).await.unwrap();
    assert!(checked.log.is_clean(), "it is not as the log says");
    tell("rebuild: comparison with log and live", filled.records, begun.elapsed());
    rebuild.finish(&checked).await.unwrap();
    tell("rebuild, all of it", filled.records, whole.elapsed());
}

fn worker() -> Worker {
    let started = jiff::Timestamp::now();
    let (host, space) = ("bench".to_owned(), String::new());
    let holder = Holder { host, pid: std::process::id(), space, started };
    Worker { holder, lives: |_| true }
}
