//! A log that can't be reached now and then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bowerbird_stream::log::{
    ConsumerConfig, Extent, GroupInfo, Outgoing, Partition, Position, TopicChange, TopicInfo,
};
use bowerbird_stream::sqlite::SqliteLog;
use bowerbird_stream::topic::TopicSpec;
use bowerbird_stream::{EventLog, LogError};
use jiff::Timestamp;

/// A log whose first publications fail; everything else goes through.
#[derive(Clone)]
pub struct Flaky {
    pub log: SqliteLog,
    /// So many publications fail, in turn wholly and every second record.
    pub failing: Arc<AtomicUsize>,
    pub error: LogError,
}

impl Flaky {
    pub fn new(log: SqliteLog, failing: usize) -> Self {
        let address = "kafka://nowhere:9092".to_owned();
        let error = LogError::Unreachable { address, reason: "no broker".to_owned() };
        Self { log, failing: Arc::new(AtomicUsize::new(failing)), error }
    }
}

impl EventLog for Flaky {
    type Consumer = <SqliteLog as EventLog>::Consumer;

    fn address(&self) -> String {
        self.log.address()
    }

    async fn apply_topics(
        &self,
        topics: &[TopicSpec],
        dry_run: bool,
    ) -> Result<Vec<TopicChange>, LogError> {
        self.log.apply_topics(topics, dry_run).await
    }

    async fn topics(&self) -> Result<Vec<TopicInfo>, LogError> {
        self.log.topics().await
    }

    async fn publish(&self, records: Vec<Outgoing>) -> Vec<Result<Position, LogError>> {
        let left = self
            .failing
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        let Ok(left) = left else { return self.log.publish(records).await };
        let mut answers = Vec::new();
        for (index, record) in records.into_iter().enumerate() {
            answers.push(if left % 2 == 0 || index % 2 == 0 {
                Err(self.error.clone())
            } else {
                self.log.publish(vec![record]).await.remove(0)
            });
        }
        answers
    }

    async fn subscribe(
        &self,
        topics: &[&str],
        config: ConsumerConfig,
    ) -> Result<Self::Consumer, LogError> {
        self.log.subscribe(topics, config).await
    }

    async fn assign(
        &self,
        from: &BTreeMap<Partition, i64>,
        config: ConsumerConfig,
    ) -> Result<Self::Consumer, LogError> {
        self.log.assign(from, config).await
    }

    async fn extents(&self, topic: &str) -> Result<BTreeMap<i32, Extent>, LogError> {
        self.log.extents(topic).await
    }

    async fn offsets_at(
        &self,
        topic: &str,
        time: Timestamp,
    ) -> Result<BTreeMap<i32, i64>, LogError> {
        self.log.offsets_at(topic, time).await
    }

    async fn committed(&self, group: &str, topic: &str) -> Result<BTreeMap<i32, i64>, LogError> {
        self.log.committed(group, topic).await
    }

    async fn groups(&self) -> Result<Vec<GroupInfo>, LogError> {
        self.log.groups().await
    }
}
