//! A log that takes records of every topic but one.

use std::collections::BTreeMap;
use std::sync::Arc;

use bowerbird_stream::log::{ConsumerConfig, EventLog, Extent, GroupInfo, TopicChange, TopicInfo};
use bowerbird_stream::topic::TopicSpec;
use bowerbird_stream::{LogError, Outgoing, Partition, Position};
use jiff::Timestamp;
use tokio::sync::Notify;

/// Publishing to `topic` tells `reached`, and never returns: whoever does it can be killed there.
#[derive(Clone)]
pub struct Stuck<L> {
    pub log: L,
    pub topic: String,
    pub reached: Arc<Notify>,
}

impl<L: EventLog> EventLog for Stuck<L> {
    type Consumer = L::Consumer;

    async fn publish(&self, records: Vec<Outgoing>) -> Vec<Result<Position, LogError>> {
        if records.iter().any(|record| *record.topic == *self.topic) {
            self.reached.notify_one();
            std::future::pending::<()>().await;
        }
        self.log.publish(records).await
    }

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

    async fn subscribe(
        &self,
        topics: &[&str],
        config: ConsumerConfig,
    ) -> Result<L::Consumer, LogError> {
        self.log.subscribe(topics, config).await
    }

    async fn assign(
        &self,
        from: &BTreeMap<Partition, i64>,
        config: ConsumerConfig,
    ) -> Result<L::Consumer, LogError> {
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
