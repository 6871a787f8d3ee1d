//! What platforms ask to be removed is really gone from the log once it was compacted, and all else
//! is there: on both logs, with settings that compact within seconds.

use std::collections::BTreeMap;
use std::time::Duration;

use bowerbird_sink::compliance::keep::{Keeping, keep};
use bowerbird_sink::mapping::Mapping;
use bowerbird_sink::meta::Meta;
use bowerbird_sink::meta::job::Worker;
use bowerbird_sink::meta::lease::Holder;
use bowerbird_sink::{Generations, Projection, SinkConfig, VerifyConfig, document, verify};
use bowerbird_store::DocumentStore;
use bowerbird_store::sqlite::SqliteStore;
use bowerbird_stream::kafka::{KafkaConfig, KafkaLog};
use bowerbird_stream::log::{ConsumerConfig, Outgoing};
use bowerbird_stream::range::RangeReader;
use bowerbird_stream::sqlite::SqliteLog;
use bowerbird_stream::status::status;
use bowerbird_stream::topic::Cleanup;
use bowerbird_stream::{Event, EventLog, EventType, topic};
use bowerbird_testbed::service;
use jiff::{SignedDuration, Timestamp};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::apart::Apart;

pub const PATIENCE: Duration = Duration::from_secs(60);
/// As short as lets a sink come before compaction.
const MAX_LAG_MS: u64 = 4_000;
const POSTS: u64 = 60;
const DELETED: std::ops::RangeInclusive<u64> = 1..=10;
const SCRUBBED: std::ops::RangeInclusive<u64> = 11..=20;
/// Those of a user who was suspended; the last comes long after that.
const OF_USER: std::ops::RangeInclusive<u64> = 21..=25;
const LATE: u64 = 25;
const PLACE: &str = "Melbourne, Victoria";

#[tokio::test(flavor = "multi_thread")]
async fn from_the_embedded_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = SqliteLog::open(folder.path().join("log.sqlite")).await.unwrap();
    gone(&log, async || _ = log.clean(Timestamp::now()).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_kafka() {
    on_kafka("gone", async |log| gone(&log, async || {}).await).await;
}

/// Has a Kafka whose topics and groups stand apart, and removes them afterwards.
pub async fn on_kafka(what: &str, test: impl AsyncFnOnce(Apart<KafkaLog>)) {
    let brokers = service("BOWERBIRD_TEST_KAFKA");
    let now = Timestamp::now().as_millisecond();
    let prefix = format!("test-{what}-{}-{now}-", std::process::id());
    let kafka = KafkaLog::new(KafkaConfig::new(brokers.clone())).unwrap();
    test(Apart { log: kafka, prefix: prefix.as_str().into() }).await;
    let names: Vec<_> = topic::ALL.iter().map(|name| format!("{prefix}{name}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let groups: Vec<_> =
        ["bowerbird-posts", "bowerbird-posts-2"].map(|of| format!("{prefix}{of}")).into();
    let groups: Vec<_> = groups.iter().map(String::as_str).collect();
    let admin: AdminClient<_> =
        ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    admin.delete_topics(&names, &AdminOptions::new()).await.unwrap();
    // Not every test has had both.
    let _ = admin.delete_groups(&groups, &AdminOptions::new()).await;
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn author(id: u64) -> u64 {
    if OF_USER.contains(&id) { 7 } else { 8 }
}

/// A post whose text and place are found again in the log's bytes.
fn post(id: u64, second: i64) -> Outgoing {
    let value = format!(
        r#"{{"data":{{"id":"{id}","text":"said {id}.","author_id":"{}","geo":{{"place_id":"p"}}}},"includes":{{"places":[{{"id":"p","full_name":"{PLACE}"}}]}}}}"#,
        author(id)
    );
    event(topic::POSTS, EventType::PostReceived, id, second, value, "post")
}

fn notice(id: u64, value: String, subject: &str) -> Outgoing {
    event(topic::NOTICES, EventType::NoticeReceived, id, 5, value, subject)
}

pub fn event(
    topic: &str,
    kind: EventType,
    key: u64,
    second: i64,
    value: String,
    subject: &str,
) -> Outgoing {
    let event = Event {
        id: format!("{kind}-{key}-{second}"),
        source: "test".to_owned(),
        kind,
        time: at(second),
        key: key.to_string(),
        value: Some(value.into()),
        extensions: [("subject".to_owned(), subject.to_owned())].into(),
    };
    Outgoing::event(topic, event)
}

pub async fn publish(log: &impl EventLog, records: impl IntoIterator<Item = Outgoing>) {
    for answer in log.publish(records.into_iter().collect()).await {
        answer.unwrap();
    }
}

/// Asks until nothing is left.
pub async fn until<T: std::fmt::Debug>(what: &str, mut left: impl AsyncFnMut() -> Vec<T>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = left().await;
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}: {left:?}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// What each document says, without where it stands in the log.
async fn says(store: &SqliteStore, database: &str) -> BTreeMap<String, String> {
    if store.database(database).await.unwrap().is_none() {
        return BTreeMap::new();
    }
    let documents = store.scan(database, None, 10_000).await.unwrap();
    let said = documents.into_iter().map(|document| {
        let mut state = document::read(&document).unwrap();
        if let Some(seen) = &mut state.observed {
            seen.stamp.position.offset = 0;
        }
        (document.id, format!("{state:?}"))
    });
    said.collect()
}

/// All values of posts in the log, by key, each key's in order.
async fn held(log: &impl EventLog) -> BTreeMap<u64, Vec<Option<String>>> {
    let config = ConsumerConfig::new("test");
    let mut reader = RangeReader::whole(log, topic::POSTS, config).await.unwrap();
    let mut held = BTreeMap::<u64, Vec<_>>::new();
    while let Some(records) = reader.next(1_000).await.unwrap() {
        for record in records {
            let key = std::str::from_utf8(record.key.as_ref().unwrap()).unwrap().parse().unwrap();
            let value = record.value.map(|value| String::from_utf8(value.into()).unwrap());
            held.entry(key).or_default().push(value);
        }
    }
    held
}

/// The posts that have no document.
async fn missing(store: &SqliteStore, but: Option<u64>) -> Vec<u64> {
    let said = says(store, "posts").await;
    let missing = |id: &u64| Some(*id) != but && !said.contains_key(&id.to_string());
    (1..=POSTS).filter(missing).collect()
}

/// The posts whose document does not say what it must.
async fn unsettled(store: &SqliteStore, but: Option<u64>) -> Vec<u64> {
    let said = says(store, "posts").await;
    let is_settled = |id: u64| {
        said.get(&id.to_string()).is_some_and(|said| match is_removed(id) {
            true => !said.contains("said"),
            false => !said.contains(PLACE) || !SCRUBBED.contains(&id),
        })
    };
    (1..=POSTS).filter(|id| Some(*id) != but && !is_settled(*id)).collect()
}

fn is_removed(id: u64) -> bool {
    DELETED.contains(&id) || OF_USER.contains(&id)
}

/// Whether a value of post `id` holds what the log must not hold.
fn must_go(id: u64, value: Option<&String>) -> bool {
    let Some(value) = value else { return false };
    is_removed(id) || SCRUBBED.contains(&id) && value.contains(PLACE)
}

/// Topics that compact within seconds.
pub async fn topics_in(log: &impl EventLog) {
    let mut topics = topic::declared(2, 1, 1 << 20);
    for spec in &mut topics {
        match &mut spec.cleanup {
            Cleanup::Compact { max_lag_ms } | Cleanup::KeepErasable { max_lag_ms } => {
                *max_lag_ms = MAX_LAG_MS;
            }
            _ => {}
        }
    }
    log.apply_topics(&topics, false).await.unwrap();
}

async fn gone<L: EventLog>(log: &L, clean: impl AsyncFn()) {
    topics_in(log).await;
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("store.sqlite")).unwrap();
    let config = SinkConfig {
        flush_interval: Duration::from_millis(20),
        commit_interval: Duration::from_millis(100),
        ..SinkConfig::default()
    };
    let cancel = CancellationToken::new();
    let sink = tokio::spawn({
        let (log, store, config, cancel) =
            (log.clone(), store.clone(), config.clone(), cancel.clone());
        async move {
            let (reporter, _status) = status("sink");
            let projection = Projection::posts();
            bowerbird_sink::run(&log, &store, &projection, &config, &reporter, cancel).await
        }
    });
    let keeper = tokio::spawn(kept(log.clone(), store.clone(), cancel.clone()));

    publish(log, (1..=POSTS).filter(|id| *id != LATE).map(|id| post(id, 2))).await;
    until("the posts", async || missing(&store, Some(LATE)).await).await;
    let deleted =
        DELETED.map(|id| notice(id, format!(r#"{{"id":"{id}","action":"delete"}}"#), "post"));
    let scrubbed = SCRUBBED.map(|id| {
        notice(id, format!(r#"{{"id":"{id}","action":"delete","reason":"scrub_geo"}}"#), "post")
    });
    let suspended = notice(7, r#"{"user_suspend":{"id":7}}"#.to_owned(), "user");
    publish(log, deleted.chain(scrubbed).chain([suspended])).await;
    until("what is asked", async || unsettled(&store, Some(LATE)).await).await;
    // An older archive brings some of it again, and more of the user's.
    publish(log, [1, 11, 21, LATE].map(|id| post(id, 1))).await;
    publish(log, [2, 12, 22].map(|id| post(id, 2))).await;
    until("the late one", async || unsettled(&store, None).await).await;

    until("compaction", async || {
        clean().await;
        let held = held(log).await.into_iter();
        held.filter(|(id, values)| values.iter().any(|value| must_go(*id, value.as_ref())))
            .collect()
    })
    .await;
    for (id, values) in &held(log).await {
        let last = values.last().unwrap();
        match last {
            None => assert!(is_removed(*id), "{id} is gone"),
            Some(value) => {
                assert!(value.contains(&format!("said {id}.")), "{value}");
                assert_eq!(value.contains(PLACE), !SCRUBBED.contains(id), "{value}");
            }
        }
    }
    assert_eq!(held(log).await.len() as u64, POSTS);
    cancel.cancel();
    sink.await.unwrap().unwrap();
    keeper.await.unwrap();

    let live = says(&store, "posts").await;
    let projection = Projection::posts().generation(2);
    let (reporter, _status) = status("rebuild");
    let config = SinkConfig { once: true, ..config };
    let cancel = CancellationToken::new();
    bowerbird_sink::run(log, &store, &projection, &config, &reporter, cancel).await.unwrap();
    assert_eq!(says(&store, "posts-2").await, live);
    let projections = vec![Projection::posts()];
    let verification = VerifyConfig { projections, ..VerifyConfig::default() };
    let report = verify(log, &store, &verification, |_| {}).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
}

/// What a running sink does by itself, at the pace of this log.
pub async fn kept<L: EventLog>(log: L, store: SqliteStore, cancel: CancellationToken) {
    let generations = Generations::new(Meta::new(store, true), Mapping::known());
    let holder = Holder {
        host: "test".to_owned(),
        pid: std::process::id(),
        space: String::new(),
        started: Timestamp::now(),
    };
    let keeping = Keeping {
        look_every: Duration::from_millis(300),
        patience: PATIENCE,
        letters_every: SignedDuration::from_millis(300),
        quiet_for: SignedDuration::from_secs(1),
        ..Keeping::default()
    };
    keep(&log, &generations, &Worker { holder, lives: |_| true }, &keeping, cancel).await;
}
