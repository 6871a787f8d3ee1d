//! Sink to store against a bare `_bulk_docs` loop of the same documents, with the same batches and
//! as many writers.

use std::sync::Arc;
use std::time::Instant;

use bowerbird_sink::{Projection, SinkConfig, document, mapping};
use bowerbird_store::DocumentStore;
use bowerbird_store::couch::{CouchConfig, CouchStore};
use bowerbird_stream::kafka::{KafkaConfig, KafkaLog};
use bowerbird_stream::log::ConsumerConfig;
use bowerbird_stream::status::status;
use bowerbird_stream::{Delivery, EventConsumer, EventLog, Partition, topic};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::timed::Watch;
use crate::{Row, rate, service};

const BATCH: usize = 500;
const WRITERS: usize = 2;

pub async fn measure(count: u64) -> Vec<Row> {
    let log = KafkaLog::new(KafkaConfig::new(service("BOWERBIRD_TEST_KAFKA"))).unwrap();
    let address = service("BOWERBIRD_BENCH_COUCHDB");
    let store = CouchStore::new(CouchConfig::new(&address).unwrap()).unwrap();
    // A share of the log: up to the same offset on each partition.
    let extents = log.extents(topic::POSTS).await.unwrap();
    let share = i64::try_from(count).unwrap() / i64::try_from(extents.len()).unwrap();
    let group = format!("bench-store-{}", std::process::id());
    let projection = Projection {
        database: group.clone(),
        group: group.clone(),
        topics: vec![topic::POSTS],
        ..Projection::posts()
    };
    let documents = documents(&log, share).await;
    let count = documents.len() as u64;

    let bare = format!("{group}-bare");
    store.create_database(&bare).await.unwrap();
    let limit = loop_of(&address, &bare, documents).await;
    store.drop_database(&bare).await.unwrap();

    store.create_database(&group).await.unwrap();
    let watch = Watch::default();
    let timed = watch.over(store.clone());
    let cancel = CancellationToken::new();
    let config = SinkConfig { writers: WRITERS, batch_documents: BATCH, ..SinkConfig::default() };
    let (reporter, _status) = status("sink");
    let stop = async {
        // It reads on past the share; it is stopped when as many documents are written.
        while watch.documents() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let reached = watch.rate();
        cancel.cancel();
        reached
    };
    let running =
        bowerbird_sink::run(&log, &timed, &projection, &config, &reporter, cancel.clone());
    let (report, ours) = tokio::join!(running, stop);
    report.unwrap();
    store.drop_database(&group).await.unwrap();
    vec![Row {
        what: "Kafka → sink → CouchDB, documents",
        ours,
        limit: Some((limit, "bare _bulk_docs loop")),
    }]
}

/// The documents of the first `share` records of each partition, in the order of their ids.
async fn documents(log: &KafkaLog, share: i64) -> Vec<String> {
    let extents = log.extents(topic::POSTS).await.unwrap();
    let from: BTreeMap<_, _> =
        extents.keys().map(|number| (Partition::new(topic::POSTS, *number), 0)).collect();
    let mut open = from.len();
    let mut reader = log.assign(&from, ConsumerConfig::new("bench")).await.unwrap();
    let mut documents = BTreeMap::new();
    while open > 0 {
        let Delivery::Records(records) = reader.next(1_000, Duration::from_secs(10)).await.unwrap()
        else {
            continue;
        };
        for record in records.into_iter().filter(|record| record.position.offset < share) {
            let mapped = mapping::map(&record.view().unwrap(), &record.position).unwrap();
            let document = document::render(&mapped.id, &mapped.state).unwrap();
            let body = document.body.get().strip_prefix('{').unwrap();
            documents.insert(mapped.id.clone(), format!(r#"{{"_id":"{}",{body}"#, mapped.id));
            open -= usize::from(record.position.offset == share - 1);
        }
    }
    reader.close().await.unwrap();
    documents.into_values().collect()
}

async fn loop_of(address: &str, database: &str, documents: Vec<String>) -> f64 {
    let count = documents.len() as u64;
    let bodies: Vec<String> = documents
        .chunks(BATCH)
        .map(|chunk| format!(r#"{{"docs":[{}]}}"#, chunk.join(",")))
        .collect();
    let bodies = Arc::new(Mutex::new(bodies.into_iter()));
    let client = reqwest::Client::new();
    let mut address = reqwest::Url::parse(address).unwrap();
    let (user, password) = (address.username().to_owned(), address.password().map(str::to_owned));
    address.set_username("").unwrap();
    address.set_password(None).unwrap();
    let url = address.join(&format!("{database}/_bulk_docs")).unwrap();
    let begun = Instant::now();
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..WRITERS {
        let (bodies, client, url) = (bodies.clone(), client.clone(), url.clone());
        let (user, password) = (user.clone(), password.clone());
        writers.spawn(async move {
            loop {
                let Some(body) = bodies.lock().await.next() else { return };
                let mut request = client.post(url.clone()).body(body);
                if !user.is_empty() {
                    request = request.basic_auth(&user, password.as_ref());
                }
                let answer =
                    request.header("content-type", "application/json").send().await.unwrap();
                assert_eq!(answer.status(), 201);
                answer.bytes().await.unwrap();
            }
        });
    }
    writers.join_all().await;
    rate(count, begun.elapsed())
}
