//! A sink on the embedded log, with a store that can be told to fail.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowerbird_sink::{Projection, SinkConfig, SinkError, SinkReport, VerifyConfig, document};
use bowerbird_store::sqlite::SqliteStore;
use bowerbird_store::{Document, DocumentStore, StoreError, WriteOutcome};
use bowerbird_stream::log::{ConsumerConfig, Extent, Outgoing};
use bowerbird_stream::range::RangeReader;
use bowerbird_stream::sqlite::SqliteLog;
use bowerbird_stream::status::{State, Status, status};
use bowerbird_stream::{
    Delivery, Event, EventConsumer, EventLog, EventType, Partition, Record, topic,
};
use bowerbird_testbed::through::{Through, Writing};
use bytes::Bytes;
use jiff::{Timestamp, ToSpan};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// What a write shall meet.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The request fails, and nothing was written.
    Fails(StoreError),
    /// Everything was written, and then the answer got lost.
    FailsAfterwards(StoreError),
    /// A row of this id fails for now.
    Row(String),
}

/// Faults on the way to the store: one for each write until they are used up.
#[derive(Clone)]
pub struct Faults {
    pub next: Arc<Mutex<Vec<Fault>>>,
    /// Ids that its validation refuses, row by row.
    pub forbidden: Arc<Mutex<Vec<String>>>,
    /// Ids for which it refuses the whole request, as CouchDB does for illegal ones.
    pub poison: Arc<Mutex<Vec<String>>>,
    /// The most documents that it takes in one request.
    pub most: Arc<Mutex<usize>>,
}

pub fn unreachable() -> StoreError {
    StoreError::Unreachable { address: "faulty".to_owned(), reason: "reset".to_owned() }
}

impl Writing for Faults {
    async fn write<S: DocumentStore>(
        &self,
        store: &S,
        database: &str,
        documents: &[Document],
    ) -> Result<Vec<WriteOutcome>, StoreError> {
        let address = "faulty".to_owned();
        if documents.len() > *self.most.lock().unwrap() {
            let reason = "too many".to_owned();
            return Err(StoreError::TooLarge { address, bytes: documents.len(), reason });
        }
        let poison = self.poison.lock().unwrap().clone();
        if documents.iter().any(|document| poison.contains(&document.id)) {
            return Err(StoreError::Rejected { address, reason: "illegal".to_owned() });
        }
        let fault = self.next.lock().unwrap().pop();
        if let Some(Fault::Fails(error)) = fault {
            return Err(error);
        }
        let forbidden = self.forbidden.lock().unwrap().clone();
        let refused = |document: &Document| {
            let row = matches!(&fault, Some(Fault::Row(id)) if *id == document.id);
            if row {
                let error = "internal_server_error".to_owned();
                return Some(WriteOutcome::Failed { error, reason: "for now".to_owned() });
            }
            forbidden.contains(&document.id).then(|| WriteOutcome::Refused {
                error: "forbidden".to_owned(),
                reason: "its validation says no".to_owned(),
            })
        };
        let taken: Vec<Document> =
            documents.iter().filter(|document| refused(document).is_none()).cloned().collect();
        let mut rows = store.write(database, &taken).await?.into_iter();
        if let Some(Fault::FailsAfterwards(error)) = fault {
            return Err(error);
        }
        Ok(documents
            .iter()
            .map(|document| refused(document).unwrap_or_else(|| rows.next().unwrap()))
            .collect())
    }
}

/// A log and a store in a folder of their own.
pub struct Bed {
    pub log: SqliteLog,
    pub store: Through<SqliteStore, Faults>,
    pub faults: Faults,
    pub config: SinkConfig,
    _folder: TempDir,
}

impl Bed {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = SqliteLog::open(folder.path().join("log.sqlite")).await.unwrap();
        log.apply_topics(&topic::declared(3, 1, 1 << 20), false).await.unwrap();
        let faults = Faults {
            next: Arc::default(),
            forbidden: Arc::default(),
            poison: Arc::default(),
            most: Arc::new(Mutex::new(usize::MAX)),
        };
        let store = SqliteStore::open(folder.path().join("store.sqlite")).unwrap();
        let store = Through { store, writing: faults.clone() };
        let config = SinkConfig {
            flush_interval: Duration::from_millis(20),
            max_backoff: Duration::from_millis(50),
            ..SinkConfig::default()
        };
        Self { log, store, faults, config, _folder: folder }
    }

    pub async fn publish(&self, topic: &str, events: impl IntoIterator<Item = Event>) {
        let records = events.into_iter().map(|event| Outgoing::event(topic, event)).collect();
        for answer in self.log.publish(records).await {
            answer.unwrap();
        }
    }

    /// Drains to the ends, as `sink --once` does.
    pub async fn once(&self) -> Result<SinkReport, SinkError> {
        let mut done = SinkReport::default();
        self.once_into(&mut done).await.map(|()| done)
    }

    /// The same, telling also what was done until it failed.
    pub async fn once_into(&self, done: &mut SinkReport) -> Result<(), SinkError> {
        let config = SinkConfig { once: true, ..self.config.clone() };
        let (reporter, _status) = status("sink");
        let cancel = CancellationToken::new();
        let projection = Projection::posts();
        let (log, store) = (&self.log, &self.store);
        bowerbird_sink::run_into(done, log, store, &projection, &config, &reporter, cancel).await
    }

    /// Runs a sink in the background until it is told to stop.
    pub fn start(&self) -> Running {
        let (reporter, status) = status("sink");
        let cancel = CancellationToken::new();
        let (log, store, config) = (self.log.clone(), self.store.clone(), self.config.clone());
        let task = tokio::spawn({
            let cancel = cancel.clone();
            async move {
                let projection = Projection::posts();
                bowerbird_sink::run(&log, &store, &projection, &config, &reporter, cancel).await
            }
        });
        Running { task, cancel, status }
    }

    pub async fn verified(&self) -> bowerbird_sink::VerifyReport {
        let config =
            VerifyConfig { projections: vec![Projection::posts()], ..VerifyConfig::default() };
        bowerbird_sink::verify(&self.log, &self.store, &config, |_| {}).await.unwrap()
    }

    pub async fn document(&self, id: &str) -> Option<serde_json::Value> {
        let found = self.store.fetch("posts", &[id.to_owned()]).await.unwrap();
        found
            .into_iter()
            .next()
            .unwrap()
            .map(|document| serde_json::from_str(document.body.get()).unwrap())
    }

    pub async fn count(&self) -> usize {
        match self.store.database("posts").await.unwrap() {
            Some(_) => self.store.scan("posts", None, 100_000).await.unwrap().len(),
            None => 0,
        }
    }

    /// What the log holds of posts, each partition's in order.
    pub async fn posts(&self) -> Vec<Record> {
        let config = ConsumerConfig::new("test");
        let mut reader = RangeReader::whole(&self.log, topic::POSTS, config).await.unwrap();
        let mut records = Vec::new();
        while let Some(more) = reader.next(1_000).await.unwrap() {
            records.extend(more);
        }
        records
    }

    /// Has compaction take all that it may ever take.
    pub async fn compacted(&self) {
        self.log.clean(Timestamp::now() + 40.hours()).await.unwrap();
    }

    /// What each document says, without where it stands in the log.
    pub async fn says(&self, database: &str) -> BTreeMap<String, String> {
        let documents = self.store.scan(database, None, 10_000).await.unwrap();
        let said = documents.into_iter().map(|document| {
            let mut state = document::read(&document).unwrap();
            if let Some(seen) = &mut state.observed {
                seen.stamp.position.offset = 0;
            }
            (document.id, format!("{state:?}"))
        });
        said.collect()
    }

    /// The documents that the log gives now, in a generation of its own.
    pub async fn rebuilt(&self, number: u32) -> BTreeMap<String, String> {
        self.filled(&Projection::posts().generation(number)).await
    }

    /// The documents that the log gives now, in this projection.
    pub async fn filled(&self, projection: &Projection) -> BTreeMap<String, String> {
        let config = SinkConfig { once: true, ..self.config.clone() };
        let (reporter, _status) = status("rebuild");
        let cancel = CancellationToken::new();
        let (log, store) = (&self.log, &self.store);
        bowerbird_sink::run(log, store, projection, &config, &reporter, cancel).await.unwrap();
        self.says(&projection.database).await
    }

    /// The records of a post.
    pub async fn of(&self, id: &str) -> Vec<Record> {
        let mut records = self.posts().await;
        records.retain(|record| record.key.as_deref() == Some(id.as_bytes()));
        records
    }

    /// The same event about another post than that with the id 0.
    pub async fn publish_as(&self, event: &Event, id: u64) {
        let topic = match event.kind {
            EventType::NoticeReceived => topic::NOTICES,
            _ => topic::POSTS,
        };
        let value = event.value.as_ref().map(|value| {
            let text = std::str::from_utf8(value).unwrap();
            let text = text
                .replace("\"0\"", &format!("\"{id}\""))
                .replace("\"id\":0", &format!("\"id\":{id}"));
            text.into()
        });
        let event =
            Event { id: format!("{}-{id}", event.id), key: id.to_string(), value, ..event.clone() };
        self.publish(topic, [event]).await;
    }

    /// What lies in the dead letters.
    pub async fn letters(&self) -> Vec<Record> {
        let extents = self.log.extents(topic::DEAD_LETTERS).await.unwrap();
        let total: i64 = extents.values().map(|Extent { earliest, end }| end - earliest).sum();
        let from: BTreeMap<_, _> = extents
            .keys()
            .map(|number| (Partition::new(topic::DEAD_LETTERS, *number), 0))
            .collect();
        let config = ConsumerConfig::new("test");
        let mut reader = self.log.assign(&from, config).await.unwrap();
        let mut letters = Vec::new();
        while (letters.len() as i64) < total {
            if let Delivery::Records(records) =
                reader.next(100, Duration::from_secs(1)).await.unwrap()
            {
                letters.extend(records);
            }
        }
        letters
    }
}

/// A sink in the background.
pub struct Running {
    pub task: tokio::task::JoinHandle<Result<SinkReport, SinkError>>,
    pub cancel: CancellationToken,
    pub status: Status,
}

impl Running {
    pub async fn stop(self) -> SinkReport {
        self.cancel.cancel();
        self.task.await.unwrap().unwrap()
    }

    /// Waits until it is paused, and tells why.
    pub async fn paused(&mut self) -> String {
        within("the sink to pause", async {
            loop {
                if let State::Paused { reason } = self.status.get() {
                    return reason;
                }
                assert!(self.status.changed().await, "the sink has ended");
            }
        })
        .await
    }
}

/// Waits for something to come true, but not for ever.
pub async fn within<T>(what: &str, done: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(20), done).await {
        Ok(value) => value,
        Err(_) => panic!("waited 20 s for {what}"),
    }
}

/// A post observed at this second.
pub fn post(id: u64, second: i64) -> Event {
    Event {
        id: format!("{id}-{second}"),
        source: "test".to_owned(),
        kind: EventType::PostReceived,
        time: Timestamp::from_second(1_700_000_000 + second).unwrap(),
        key: id.to_string(),
        value: Some(Bytes::from(format!(r#"{{"id":"{id}","text":"number {id} at {second}"}}"#))),
        extensions: BTreeMap::new(),
    }
}

/// A notice that a post was deleted, observed at this second.
pub fn deletion(id: u64, second: i64) -> Event {
    Event {
        id: format!("gone-{id}-{second}"),
        kind: EventType::NoticeReceived,
        value: Some(Bytes::from(format!(
            r#"{{"delete":{{"status":{{"id":{id},"id_str":"{id}"}}}}}}"#
        ))),
        ..post(id, second)
    }
}

/// A notice about a user, in the words of v1.1.
pub fn about_user(user: u64, second: i64, word: &str, more: &str) -> Event {
    let value = format!(r#"{{"{word}":{{"id":{user},"user_id":{user}{more}}}}}"#);
    Event {
        id: format!("{word}-{user}-{second}"),
        key: user.to_string(),
        value: Some(value.into()),
        extensions: [("subject".to_owned(), "user".to_owned())].into(),
        ..deletion(user, second)
    }
}

/// Settles all that the log holds, also what the sink has published meanwhile.
pub async fn drained(bed: &Bed) {
    for _ in 0..2 {
        bed.once().await.unwrap();
    }
}

/// All orders of so many things.
pub fn orders(of: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![Vec::new()];
    for thing in 0..of {
        let insert = |order: Vec<usize>| {
            (0..=order.len()).map(move |at| {
                let mut more = order.clone();
                more.insert(at, thing);
                more
            })
        };
        orders = orders.into_iter().flat_map(insert).collect();
    }
    orders
}
