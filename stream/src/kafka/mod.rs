//! Apache Kafka as the event log, by librdkafka. Nothing outside this module names it.

mod client;
mod config;
mod consumer;
mod error;
mod handover;
mod health;
mod orphans;
mod poller;
mod producer;
mod query;
mod rebalance;
mod record;
mod topics;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

pub use config::{Compression, KafkaConfig, Login, Mechanism};
pub use consumer::KafkaConsumer;

use crate::error::LogError;
use crate::log::{
    ConsumerConfig, EventLog, Extent, GroupInfo, Outgoing, Partition, Position, TopicChange,
    TopicInfo,
};
use crate::topic::TopicSpec;
use config::Clients;
use producer::Publisher;
use query::Query;
use topics::Topics;

/// A Kafka cluster. Clones share its clients, which are made when first needed.
#[derive(Clone)]
pub struct KafkaLog {
    address: String,
    clients: Clients,
    query: Arc<Query>,
    topics: Arc<Topics>,
    publisher: Arc<Publisher>,
}

impl std::fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaLog").field("address", &self.address).finish_non_exhaustive()
    }
}

impl KafkaLog {
    /// Takes a configuration; nothing is connected to yet.
    ///
    /// # Errors
    /// When the configuration can't work: no broker, a property that is not for setting, TLS in a
    /// build without it.
    pub fn new(config: KafkaConfig) -> Result<Self, LogError> {
        let clients = Clients::new(config)?;
        Ok(Self {
            address: clients.config.address(),
            query: Arc::new(Query::new(clients.clone())),
            topics: Arc::new(Topics::new(clients.clone())),
            publisher: Arc::new(Publisher::new(clients.clone())),
            clients,
        })
    }

    /// Which of the records' topics do not exist.
    async fn missing(&self, records: &[Outgoing]) -> Result<HashSet<Arc<str>>, LogError> {
        let unknown = |record: &&Outgoing| !self.publisher.knows(&record.topic);
        let mut asked: HashSet<Arc<str>> = HashSet::new();
        let mut last: Option<&Arc<str>> = None;
        for record in records.iter() {
            // Records of one topic mostly come together.
            if last.is_some_and(|topic| *topic == record.topic) {
                continue;
            }
            last = Some(&record.topic);
            if unknown(&record) {
                asked.insert(Arc::clone(&record.topic));
            }
        }
        if asked.is_empty() {
            return Ok(asked);
        }
        let topics = self.query.topics().await?;
        let (found, missing) =
            asked.into_iter().partition(|name| topics.iter().any(|topic| *topic.name == **name));
        let found: HashSet<_> = found;
        self.publisher.learn(found);
        Ok(missing)
    }
}

impl EventLog for KafkaLog {
    type Consumer = KafkaConsumer;

    fn address(&self) -> String {
        self.address.clone()
    }

    /// It compacts closed segments, and closes one when it appends behind it.
    fn compacts_behind_appends(&self) -> bool {
        true
    }

    async fn apply_topics(
        &self,
        topics: &[TopicSpec],
        dry_run: bool,
    ) -> Result<Vec<TopicChange>, LogError> {
        self.topics.apply(&self.query, topics, dry_run).await
    }

    async fn topics(&self) -> Result<Vec<TopicInfo>, LogError> {
        self.topics.list(&self.query).await
    }

    async fn publish(&self, records: Vec<Outgoing>) -> Vec<Result<Position, LogError>> {
        let missing = match self.missing(&records).await {
            Ok(missing) => missing,
            Err(error) => return records.iter().map(|_| Err(error.clone())).collect(),
        };
        if missing.is_empty() {
            return self.publisher.publish(&records).await;
        }
        let refused = |record: &Outgoing| missing.contains(&record.topic);
        let sendable: Vec<_> = records.iter().filter(|r| !refused(r)).cloned().collect();
        let mut sent = self.publisher.publish(&sendable).await.into_iter();
        let answer = |record: &Outgoing| {
            let sent = if refused(record) { None } else { sent.next() };
            sent.unwrap_or_else(|| {
                let (address, topic) = (self.address.clone(), record.topic.to_string());
                Err(LogError::MissingTopic { address, topic })
            })
        };
        records.iter().map(answer).collect()
    }

    async fn subscribe(
        &self,
        topics: &[&str],
        config: ConsumerConfig,
    ) -> Result<KafkaConsumer, LogError> {
        KafkaConsumer::subscribe(self.clone(), topics, config).await
    }

    async fn assign(
        &self,
        from: &BTreeMap<Partition, i64>,
        config: ConsumerConfig,
    ) -> Result<KafkaConsumer, LogError> {
        KafkaConsumer::assign(self.clone(), from, config).await
    }

    async fn extents(&self, topic: &str) -> Result<BTreeMap<i32, Extent>, LogError> {
        self.query.extents(topic).await
    }

    async fn forget(&self, topic: &str, before: &BTreeMap<i32, i64>) -> Result<(), LogError> {
        let extents = self.query.extents(topic).await?;
        let heads = crate::log::heads(&self.address, topic, &extents, before)?;
        self.topics.forget(topic, heads).await
    }

    async fn offsets_at(
        &self,
        topic: &str,
        time: Timestamp,
    ) -> Result<BTreeMap<i32, i64>, LogError> {
        self.query.offsets_at(topic, crate::log::ceiling_millis(time)).await
    }

    async fn committed(&self, group: &str, topic: &str) -> Result<BTreeMap<i32, i64>, LogError> {
        self.query.committed(group, topic).await
    }

    async fn groups(&self) -> Result<Vec<GroupInfo>, LogError> {
        self.query.groups().await
    }
}

/// Ends clients away from the async threads: each waits for threads of its own.
fn let_go<T: Send + 'static>(clients: T) {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => _ = runtime.spawn_blocking(move || drop(clients)),
        Err(_) => drop(clients),
    }
}
