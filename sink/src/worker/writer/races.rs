//! Batches that are settled at the same time: whatever their order, the last record of a post in the
//! log is what must stay of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowerbird_store::sqlite::SqliteStore;
use bowerbird_store::{Document, DocumentStore, StoreError, WriteOutcome};
use bowerbird_stream::log::{ConsumerConfig, Outgoing};
use bowerbird_stream::range::RangeReader;
use bowerbird_stream::sqlite::SqliteLog;
use bowerbird_stream::status::status;
use bowerbird_stream::{Event, EventLog, EventType, Partition, Record, topic};
use bowerbird_testbed::through::{Through, Writing};
use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Settled, Writer};
use crate::batch::Batch;
use crate::config::{Projection, SinkConfig};

/// Holds the next write over what is there until it is let go.
#[derive(Clone, Default)]
struct Gate(Arc<Mutex<Option<Held>>>);

struct Held {
    reached: oneshot::Sender<()>,
    go: oneshot::Receiver<()>,
}

impl Writing for Gate {
    async fn write<S: DocumentStore>(
        &self,
        store: &S,
        database: &str,
        documents: &[Document],
    ) -> Result<Vec<WriteOutcome>, StoreError> {
        if documents.iter().any(|document| document.revision.is_some()) {
            let held = self.0.lock().unwrap().take();
            if let Some(Held { reached, go }) = held {
                reached.send(()).unwrap();
                go.await.unwrap();
            }
        }
        store.write(database, documents).await
    }
}

struct Bed {
    log: SqliteLog,
    gate: Gate,
    writer: Arc<Writer<SqliteLog, Through<SqliteStore, Gate>>>,
    _folder: tempfile::TempDir,
}

/// A batch that waits before it writes the store.
struct Waiting {
    settling: JoinHandle<Settled>,
    go: oneshot::Sender<()>,
}

impl Waiting {
    async fn settled(self) {
        self.go.send(()).unwrap();
        within(self.settling).await.unwrap();
    }
}

async fn within<T>(done: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), done).await.expect("done within 20 s")
}

impl Bed {
    /// With these posts and their documents.
    async fn with(post: Event) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = SqliteLog::open(folder.path().join("log.sqlite")).await.unwrap();
        log.apply_topics(&topic::declared(1, 1, 1 << 20), false).await.unwrap();
        let gate = Gate::default();
        let store = SqliteStore::open(folder.path().join("store.sqlite")).unwrap();
        store.create_database("posts").await.unwrap();
        let store = Through { store, writing: gate.clone() };
        let (reporter, _status) = status("sink");
        let (projection, config) = (Projection::posts(), SinkConfig::default());
        let writer = Writer::new(log.clone(), store, projection, config, reporter);
        let bed = Self { log, gate, writer: Arc::new(writer), _folder: folder };
        let record = bed.publish(topic::POSTS, post).await;
        bed.settle(record).await;
        bed
    }

    async fn publish(&self, topic: &str, event: Event) -> Record {
        self.log.publish(vec![Outgoing::event(topic, event)]).await.remove(0).unwrap();
        self.records(topic).await.pop().unwrap()
    }

    async fn records(&self, topic: &str) -> Vec<Record> {
        let end = self.log.extents(topic).await.unwrap()[&0].end;
        let ranges = BTreeMap::from([(Partition::new(topic, 0), (0, end))]);
        let config = ConsumerConfig::new("test");
        let mut reader = RangeReader::new(&self.log, ranges, config).await.unwrap();
        let mut records = Vec::new();
        while let Some(more) = reader.next(100).await.unwrap() {
            records.extend(more);
        }
        records
    }

    async fn settle(&self, record: Record) -> Settled {
        let mut batch = Batch::default();
        batch.add(record);
        within(Arc::clone(&self.writer).settle(batch)).await.unwrap()
    }

    /// Settles a record until the log was told and the store is about to be.
    async fn begin(&self, record: Record) -> Waiting {
        let ((reached, is_reached), (go, may_go)) = (oneshot::channel(), oneshot::channel());
        *self.gate.0.lock().unwrap() = Some(Held { reached, go: may_go });
        let mut batch = Batch::default();
        batch.add(record);
        let writer = Arc::clone(&self.writer);
        let settling = tokio::spawn(async move { writer.settle(batch).await.unwrap() });
        within(is_reached).await.unwrap();
        Waiting { settling, go }
    }

    /// What the posts in the log hold, one after the other.
    async fn told(&self) -> Vec<&'static str> {
        let what = |record: Record| match record.value.as_deref().map(String::from_utf8_lossy) {
            None => "tombstone",
            Some(value) if value.contains("Melbourne") => "place",
            Some(_) => "post",
        };
        self.records(topic::POSTS).await.into_iter().map(what).collect()
    }
}

fn event(kind: EventType, second: i64, value: &str) -> Event {
    Event {
        id: format!("{}-{second}", kind.as_str()),
        source: "test".to_owned(),
        kind,
        time: Timestamp::from_second(1_700_000_000 + second).unwrap(),
        key: "1".to_owned(),
        value: Some(value.to_owned().into()),
        extensions: BTreeMap::from([("subject".to_owned(), "post".to_owned())]),
    }
}

fn post(second: i64) -> Event {
    let value = r#"{"data":{"id":"1","text":"","geo":{"place_id":"p"}},"includes":{"places":[{"id":"p","full_name":"Melbourne"}]}}"#;
    event(EventType::PostReceived, second, value)
}

fn removal() -> Event {
    event(EventType::NoticeReceived, 5, r#"{"delete":{"status":{"id":1,"id_str":"1"}}}"#)
}

fn scrub() -> Event {
    event(EventType::NoticeReceived, 5, r#"{"id":"1","action":"delete","reason":"scrub_geo"}"#)
}

#[tokio::test]
async fn content_that_comes_between_a_tombstone_and_the_stub_is_erased() {
    for comes in [false, true] {
        let bed = Bed::with(post(1)).await;
        let notice = bed.publish(topic::NOTICES, removal()).await;
        let waiting = bed.begin(notice).await;
        assert_eq!(bed.told().await, ["place", "tombstone"]);
        if comes {
            let again = bed.publish(topic::POSTS, post(1)).await;
            assert_eq!(bed.settle(again).await.unchanged, 1, "the store has it still");
        }
        waiting.settled().await;
        let told: &[_] = if comes {
            &["place", "tombstone", "place", "tombstone"]
        } else {
            &["place", "tombstone"]
        };
        assert_eq!(bed.told().await, told);
    }
}

#[tokio::test]
async fn also_where_the_tombstone_itself_is_settled_first() {
    let bed = Bed::with(post(1)).await;
    let notice = bed.publish(topic::NOTICES, removal()).await;
    let waiting = bed.begin(notice).await;
    let tombstone = bed.records(topic::POSTS).await.pop().unwrap();
    let again = bed.publish(topic::POSTS, post(1)).await;
    bed.settle(again).await;
    assert_eq!(bed.settle(tombstone).await.written, 1);
    assert_eq!(bed.told().await, ["place", "tombstone", "place", "tombstone"]);
    waiting.settled().await;
    assert_eq!(bed.told().await.last(), Some(&"tombstone"));
}

#[tokio::test]
async fn a_place_that_comes_between_a_copy_without_it_and_the_document_is_taken() {
    for comes in [false, true] {
        let bed = Bed::with(post(1)).await;
        let notice = bed.publish(topic::NOTICES, scrub()).await;
        let waiting = bed.begin(notice).await;
        assert_eq!(bed.told().await, ["place", "post"]);
        if comes {
            let again = bed.publish(topic::POSTS, post(1)).await;
            assert_eq!(bed.settle(again).await.unchanged, 1, "the store has it still");
        }
        waiting.settled().await;
        let told: &[_] =
            if comes { &["place", "post", "place", "post"] } else { &["place", "post"] };
        assert_eq!(bed.told().await, told);
    }
}

#[tokio::test]
async fn also_where_the_copy_itself_is_settled_first() {
    let bed = Bed::with(post(1)).await;
    let notice = bed.publish(topic::NOTICES, scrub()).await;
    let waiting = bed.begin(notice).await;
    let copy = bed.records(topic::POSTS).await.pop().unwrap();
    let again = bed.publish(topic::POSTS, post(1)).await;
    bed.settle(again).await;
    assert_eq!(bed.settle(copy).await.written, 1);
    waiting.settled().await;
    assert_eq!(bed.told().await.last(), Some(&"post"));
}

#[tokio::test]
async fn the_newest_observation_is_last_also_when_a_late_one_is_settled_first() {
    let bed = Bed::with(event(EventType::PostReceived, 1, r#"{"id":"1","text":""}"#)).await;
    let newest = bed.publish(topic::POSTS, post(9)).await;
    let late = bed.publish(topic::POSTS, post(3)).await;
    bed.settle(late).await;
    bed.settle(newest).await;
    let last = bed.records(topic::POSTS).await.pop().unwrap();
    assert_eq!(last.event().unwrap().time, post(9).time);
}
