//! A log and a store in a folder of their own, a second mapping, and processes that can be killed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowerbird_sink::mapping::{Mapped, Mapping, Unmappable};
use bowerbird_sink::merge::Content;
use bowerbird_sink::meta::Meta;
use bowerbird_sink::meta::job::Worker;
use bowerbird_sink::meta::lease::Holder;
use bowerbird_sink::projections::follow::follow;
use bowerbird_sink::projections::rebuild::{Checked, Rebuild, With};
use bowerbird_sink::projections::switch::{Switched, Switching, Way};
use bowerbird_sink::{Generations, Projection, SinkConfig, SinkError, SinkReport, VerifyConfig};
use bowerbird_store::sqlite::SqliteStore;
use bowerbird_store::{Document, DocumentStore, StoreError, WriteOutcome};
use bowerbird_stream::log::{ConsumerConfig, Outgoing};
use bowerbird_stream::range::RangeReader;
use bowerbird_stream::sqlite::SqliteLog;
use bowerbird_stream::status::status;
use bowerbird_stream::{Event, EventLog, EventType, EventView, Position, Record, topic};
use bowerbird_testbed::through::{Through, Writing};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The second version: it also counts the letters of the text.
pub const SECOND: Mapping = Mapping::new(2, second);

fn second(version: u32, event: &EventView<'_>, at: &Position) -> Result<Mapped, Unmappable> {
    let mut mapped = Mapping::CURRENT.map(event, at)?;
    if let Some(seen) = &mut mapped.state.observed {
        let mut content: Value = serde_json::from_str(&seen.content.0).unwrap();
        content["letters"] = content["text"].as_str().unwrap_or_default().len().into();
        seen.content = Content(content.to_string());
        seen.stamp.mapping = version;
    }
    Ok(mapped)
}

/// A process that dies at one of its writes, before it is made or after.
#[derive(Clone, Debug, Default)]
pub struct Dying {
    /// Writes that are still made; without it lives.
    pub left: Arc<Mutex<Option<usize>>>,
    /// Whether the last write is made.
    pub after: bool,
    pub died: Arc<Notify>,
}

impl Dying {
    pub fn at(write: usize, after: bool) -> Self {
        Self { left: Arc::new(Mutex::new(Some(write))), after, died: Arc::default() }
    }

    fn dies(&self) -> bool {
        let mut left = self.left.lock().unwrap();
        match left.as_mut() {
            None => false,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
        }
    }

    async fn die(&self) {
        self.died.notify_one();
        std::future::pending().await
    }
}

impl Writing for Dying {
    async fn write<S: DocumentStore>(
        &self,
        store: &S,
        database: &str,
        documents: &[Document],
    ) -> Result<Vec<WriteOutcome>, StoreError> {
        let dies = self.dies();
        if dies && !self.after {
            self.die().await;
        }
        let rows = store.write(database, documents).await;
        if dies {
            self.die().await;
        }
        rows
    }
}

pub type Store = Through<SqliteStore, Dying>;

pub struct Bed {
    pub log: SqliteLog,
    pub store: SqliteStore,
    pub base: Projection,
    pub config: SinkConfig,
    pub cancel: CancellationToken,
    _folder: TempDir,
}

impl Bed {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = SqliteLog::open(folder.path().join("log.sqlite")).await.unwrap();
        log.apply_topics(&topic::declared(3, 1, 1 << 20), false).await.unwrap();
        let store = SqliteStore::open(folder.path().join("store.sqlite")).unwrap();
        let config = SinkConfig {
            flush_interval: Duration::from_millis(10),
            commit_interval: Duration::from_millis(50),
            max_backoff: Duration::from_millis(50),
            ..SinkConfig::default()
        };
        let (base, cancel) = (Projection::posts(), CancellationToken::new());
        Self { log, store, base, config, cancel, _folder: folder }
    }

    pub async fn publish(&self, topic: &str, events: impl IntoIterator<Item = Event>) {
        publish(&self.log, topic, events).await;
    }

    /// The generations as a process sees them that may die.
    pub fn generations(&self, dying: &Dying) -> Generations<Store> {
        let store = Through { store: self.store.clone(), writing: dying.clone() };
        Generations::new(Meta::new(store, true), vec![Mapping::CURRENT, SECOND])
    }

    /// Runs what a process does until it is done, or dead.
    pub async fn lives<T>(&self, dying: &Dying, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = Box::pin(work) => Some(done),
            () = dying.died.notified() => None,
        }
    }

    /// A sink service in a process of its own.
    pub fn start(&self) -> Sink {
        let (log, base, config) = (self.log.clone(), self.base.clone(), self.config.clone());
        let generations = self.generations(&Dying::default());
        let cancel = CancellationToken::new();
        let token = cancel.clone();
        let task = tokio::spawn(async move {
            let (reporter, _status) = status("sink");
            let store = generations.meta().store();
            let mut done = SinkReport::default();
            let sink =
                follow(&mut done, &log, store, &generations, &base, &config, &reporter, token);
            Box::pin(sink).await.map(|()| done)
        });
        Sink { task, cancel }
    }

    /// `projections rebuild` with a mapping, to its end.
    pub async fn rebuild(&self, dying: &Dying, mapping: &Mapping) -> Result<Checked, SinkError> {
        let generations = self.generations(dying);
        let (reporter, _status) = status("rebuild");
        let (log, base, config, cancel) = (&self.log, &self.base, &self.config, &self.cancel);
        let reporter = &reporter;
        let with = With { log, generations: &generations, base, mapping, config, reporter, cancel };
        let mut rebuild = Rebuild::begin(with, &worker(7)).await?;
        rebuild.fill(&mut SinkReport::default(), |_| {}).await?;
        let checked = rebuild.check(|_| {}).await?;
        assert!(checked.log.is_clean(), "{:?}", checked.log);
        rebuild.finish(&checked).await?;
        Ok(checked)
    }

    /// `projections switch` to its end.
    pub async fn switch(&self, dying: &Dying, to: u32) -> Result<Switched, SinkError> {
        self.moves(dying, Some(to)).await
    }

    /// `projections rollback` to its end.
    pub async fn rollback(&self, dying: &Dying) -> Result<Switched, SinkError> {
        self.moves(dying, None).await
    }

    async fn moves(&self, dying: &Dying, to: Option<u32>) -> Result<Switched, SinkError> {
        let generations = self.generations(dying);
        let (reporter, _status) = status("switch");
        let switching = Switching {
            log: &self.log,
            generations: &generations,
            base: &self.base,
            config: &self.config,
            reporter: &reporter,
            cancel: &self.cancel,
        };
        let (to, way) = match to {
            Some(to) => (to, Way::Forth),
            None => {
                let pointer = generations.pointer(&self.base).await?;
                (pointer.predecessor(&self.base)?, Way::Back { at_once: false })
            }
        };
        switching.to(to, way, async |_| Ok(())).await
    }

    /// Every document of a database.
    pub async fn documents(&self, database: &str) -> BTreeMap<String, Value> {
        let documents = self.store.scan(database, None, 1_000_000).await.unwrap();
        let value = |one: &Document| serde_json::from_str(one.body.get()).unwrap();
        documents.iter().map(|one| (one.id.clone(), value(one))).collect()
    }

    /// What a topic holds.
    pub async fn records(&self, topic: &str) -> Vec<Record> {
        let config = ConsumerConfig::new("test");
        let mut reader = RangeReader::whole(&self.log, topic, config).await.unwrap();
        let mut all = Vec::new();
        while let Some(records) = reader.next(1_000).await.unwrap() {
            all.extend(records);
        }
        all
    }

    /// The ids of what the journal was told of a kind; told twice, a fact has the same.
    pub async fn told(&self, kind: &str) -> BTreeSet<String> {
        let facts = self.records(topic::JOURNAL).await;
        let of_kind = facts.iter().filter(|fact| fact.headers.text("ce_type") == Some(kind));
        of_kind.map(|fact| fact.headers.text("ce_id").unwrap().to_owned()).collect()
    }

    /// Waits until the live generation's group has committed all that the log holds.
    pub async fn level(&self) {
        let generations = self.generations(&Dying::default());
        within("the sink to be level", async {
            loop {
                let live = generations.live(&self.base).await.unwrap();
                let standing =
                    bowerbird_sink::projections::fill::standing(&self.log, &live).await.unwrap();
                if standing.behind() == 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    /// The oracle: generation `number` holds exactly what was acknowledged, made by its own mapping.
    pub async fn holds(&self, number: u32, expected: &BTreeMap<String, Expected>) {
        let generations = self.generations(&Dying::default());
        let pointer = generations.pointer(&self.base).await.unwrap();
        let projection = generations.projection(&self.base, &pointer, number).unwrap();
        let documents = self.documents(&projection.database).await;
        let posts: BTreeMap<_, _> =
            documents.iter().filter(|(id, _)| !id.starts_with("user:")).collect();
        assert_eq!(posts.len(), expected.len(), "generation {number}");
        for (id, expected) in expected {
            let document = posts[id];
            match expected {
                Expected::Removed => {
                    assert_eq!(document["type"], "removed", "{number}: {document}")
                }
                Expected::Text(text) => {
                    assert_eq!(document["text"], **text, "{number}: {id}");
                    let mapping = projection.mapping.version();
                    assert_eq!(document["mapping"], mapping, "{number}: {document}");
                    let letters = (mapping == 2).then_some(text.len());
                    assert_eq!(document["letters"].as_u64(), letters.map(|n| n as u64));
                }
            }
        }
        let config = VerifyConfig { projections: vec![projection], ..VerifyConfig::default() };
        let store = generations.meta().store();
        let verified = bowerbird_sink::verify(&self.log, store, &config, |_| {}).await.unwrap();
        assert!(verified.is_clean(), "generation {number}: {verified:?}");
    }
}

/// What must be there of a post.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    Text(String),
    Removed,
}

/// A sink service in the background.
pub struct Sink {
    task: tokio::task::JoinHandle<Result<SinkReport, SinkError>>,
    cancel: CancellationToken,
}

impl Sink {
    pub async fn stop(self) -> SinkReport {
        self.cancel.cancel();
        self.task.await.unwrap().unwrap()
    }

    /// As `kill -9` does.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// This process, under a number.
pub fn worker(pid: u32) -> Worker {
    let holder =
        Holder { host: "here".to_owned(), pid, space: String::new(), started: Timestamp::now() };
    Worker { holder, lives: |_| true }
}

pub async fn publish(log: &SqliteLog, topic: &str, events: impl IntoIterator<Item = Event>) {
    let records = events.into_iter().map(|event| Outgoing::event(topic, event)).collect();
    for answer in log.publish(records).await {
        answer.unwrap();
    }
}

/// Waits for something to come true, but not for ever.
pub async fn within<T>(what: &str, done: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(40), done).await {
        Ok(value) => value,
        Err(_) => panic!("waited 40 s for {what}"),
    }
}

pub fn text(id: u64, second: i64) -> String {
    format!("number {id} at {second}")
}

/// A post observed at this second.
pub fn post(id: u64, second: i64) -> Event {
    let text = text(id, second);
    Event {
        id: format!("{id}-{second}"),
        source: "test".to_owned(),
        kind: EventType::PostReceived,
        time: Timestamp::from_second(1_700_000_000 + second).unwrap(),
        key: id.to_string(),
        value: Some(Bytes::from(format!(r#"{{"id":"{id}","text":"{text}"}}"#))),
        extensions: BTreeMap::new(),
    }
}

/// A notice that a post was deleted, observed at this second.
pub fn deletion(id: u64, second: i64) -> Event {
    let value = format!(r#"{{"delete":{{"status":{{"id":{id},"id_str":"{id}"}}}}}}"#);
    Event {
        id: format!("gone-{id}-{second}"),
        kind: EventType::NoticeReceived,
        value: Some(Bytes::from(value)),
        ..post(id, second)
    }
}

/// Events that go on arriving: new posts, newer observations, and removals. It ends when it is
/// told to, with what must be there of all that was acknowledged.
pub async fn arrive(log: SqliteLog, enough: CancellationToken) -> BTreeMap<String, Expected> {
    let mut expected = BTreeMap::new();
    let mut round = 0;
    while !enough.is_cancelled() {
        let second = round;
        let ids = (0..10).map(|n| (round as u64) * 7 + n);
        let posts: Vec<Event> = ids.clone().map(|id| post(id, second)).collect();
        publish(&log, topic::POSTS, posts).await;
        for id in ids {
            expected.insert(id.to_string(), Expected::Text(text(id, second)));
        }
        if round % 5 == 0 {
            // One that is never observed again.
            let id = (round as u64) * 7;
            publish(&log, topic::NOTICES, [deletion(id, second)]).await;
            expected.insert(id.to_string(), Expected::Removed);
        }
        round += 1;
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    expected
}
