//! Sink to `CouchDB` against a bare `_bulk_docs` loop of the same documents, at the loop's best
//! setting.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bowerbird_sink::{document, mapping};
use bowerbird_store::DocumentStore;
use bowerbird_stream::kafka::KafkaLog;
use bowerbird_stream::log::ConsumerConfig;
use bowerbird_stream::{Delivery, EventConsumer, EventLog, Partition};
use tokio::sync::Mutex;

use crate::place::{self, couch, couch_address, kafka, unique};
use crate::timed::Watch;
use crate::{Row, middle};

/// The settings of the loop that are tried: documents a request, and requests at once.
const BATCHES: [usize; 4] = [200, 500, 1_000, 2_000];
const WRITERS: [usize; 4] = [1, 2, 3, 4];
/// How many of the documents each setting is tried with.
const TRIED: usize = 20_000;
/// How often both are measured, in turns. What else the machine does then meets both alike.
const ROUNDS: usize = 5;

pub async fn measure(count: u64) -> Vec<Row> {
    let (log, store) = (kafka(), couch());
    let topic = place::topic(&log, "documents").await;
    place::fill(&log, topic, 0..count).await;
    let documents = documents(&log, topic).await;
    let (batch, writers) = best(&store, &documents[..documents.len().min(TRIED)]).await;
    println!("\nKafka → sink → CouchDB against the loop at {batch} × {writers}, round by round:");
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let limit = bare(&store, &documents, batch, writers).await;
        let watch = Watch::default();
        let database = place::drain(&log, &store, topic, &watch).await;
        store.drop_database(&database).await.unwrap();
        let ours = watch.rate();
        println!("{ours:.0} / {limit:.0} = {:.2}", ours / limit);
        rounds.push((ours, limit));
    }
    let (ours, limit) = middle(rounds);
    vec![Row {
        what: "Kafka → sink → CouchDB, documents",
        ours,
        limit: Some((limit, "bare _bulk_docs loop, best setting")),
    }]
}

/// The loop's best setting by trying them all, which it prints.
async fn best(store: &impl DocumentStore, documents: &[String]) -> (usize, usize) {
    // A CouchDB that has just started is slower.
    bare(store, documents, BATCHES[0], WRITERS[0]).await;
    let head = WRITERS.map(|writers| format!(" {writers} at once |")).concat();
    println!("\n| bare `_bulk_docs` loop, documents/s |{head}");
    println!("|---:|{}", WRITERS.map(|_| "---:|").concat());
    let mut best = (0.0, (0, 0));
    for batch in BATCHES {
        let mut line = format!("| {batch} a request |");
        for writers in WRITERS {
            let rate = bare(store, documents, batch, writers).await;
            line.push_str(&format!(" {rate:.0} |"));
            if rate > best.0 {
                best = (rate, (batch, writers));
            }
        }
        println!("{line}");
    }
    best.1
}

/// The documents of a topic, as the sink would write them, in the order of their ids.
pub async fn documents(log: &KafkaLog, topic: &'static str) -> Vec<String> {
    let extents = log.extents(topic).await.unwrap();
    let from: BTreeMap<_, _> =
        extents.keys().map(|number| (Partition::new(topic, *number), 0)).collect();
    let mut open: i64 = extents.values().map(|extent| extent.end).sum();
    let mut reader = log.assign(&from, ConsumerConfig::new("bench")).await.unwrap();
    let mut documents = BTreeMap::new();
    while open > 0 {
        let Delivery::Records(records) = reader.next(1_000, Duration::from_secs(10)).await.unwrap()
        else {
            continue;
        };
        open -= i64::try_from(records.len()).unwrap();
        for record in records {
            let mapped = mapping::map(&record.view().unwrap(), &record.position).unwrap();
            let document = document::render(&mapped.id, &mapped.state).unwrap();
            let body = document.body.get().strip_prefix('{').unwrap();
            let text = format!(r#"{{"_id":"{}",{body}"#, mapped.id);
            documents.insert(mapped.id, text);
        }
    }
    reader.close().await.unwrap();
    documents.into_values().collect()
}

/// Documents a second of the loop, into a database of its own.
pub async fn bare(
    store: &impl DocumentStore,
    documents: &[String],
    batch: usize,
    writers: usize,
) -> f64 {
    let watch = Watch::default();
    bare_watched(store, documents, batch, writers, &watch).await;
    watch.rate()
}

/// The loop, under a watch.
pub async fn bare_watched(
    store: &impl DocumentStore,
    documents: &[String],
    batch: usize,
    writers: usize,
    watch: &Watch,
) {
    let database = unique("bare");
    store.create_database(database).await.unwrap();
    let bodies: Vec<(usize, String)> = documents
        .chunks(batch)
        .map(|chunk| (chunk.len(), format!(r#"{{"docs":[{}]}}"#, chunk.join(","))))
        .collect();
    let bodies = Arc::new(Mutex::new(bodies.into_iter()));
    let client = reqwest::Client::new();
    let mut address = reqwest::Url::parse(&couch_address()).unwrap();
    let (user, password) = (address.username().to_owned(), address.password().map(str::to_owned));
    address.set_username("").unwrap();
    address.set_password(None).unwrap();
    let url = address.join(&format!("{database}/_bulk_docs")).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..writers {
        let (bodies, client, url) = (bodies.clone(), client.clone(), url.clone());
        let (user, password, watch) = (user.clone(), password.clone(), watch.clone());
        tasks.spawn(async move {
            loop {
                let Some((count, body)) = bodies.lock().await.next() else { return };
                let mut request = client.post(url.clone()).body(body);
                if !user.is_empty() {
                    request = request.basic_auth(&user, password.as_ref());
                }
                watch.begins();
                let answer =
                    request.header("content-type", "application/json").send().await.unwrap();
                assert_eq!(answer.status(), 201);
                answer.bytes().await.unwrap();
                watch.wrote(count);
            }
        });
    }
    tasks.join_all().await;
    store.drop_database(database).await.unwrap();
}
