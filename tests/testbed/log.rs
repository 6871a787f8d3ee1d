//! A log with something between it and who uses it.

use std::collections::BTreeMap;
use std::time::Duration;

use bowerbird_stream::LogError;
use bowerbird_stream::log::{
    ConsumerConfig, Delivery, EventConsumer, EventLog, Extent, GroupInfo, Outgoing, Partition,
    Position, TopicChange, TopicInfo,
};
use bowerbird_stream::topic::TopicSpec;
use jiff::Timestamp;

/// What becomes of what is published on its way to the log, and what consumers hear.
pub trait Between: Clone + Send + Sync + 'static {
    /// Publishes to `log` what it will, and answers in its place.
    fn publish<L: EventLog>(
        &self,
        log: &L,
        records: Vec<Outgoing>,
    ) -> impl Future<Output = Vec<Result<Position, LogError>>> + Send;

    /// Has `log` forget what it will.
    fn forget<L: EventLog>(
        &self,
        log: &L,
        topic: &str,
        before: &BTreeMap<i32, i64>,
    ) -> impl Future<Output = Result<(), LogError>> + Send {
        log.forget(topic, before)
    }

    /// What a consumer that has partitions hands out before what the log has for it.
    fn first(&self) -> Option<Delivery> {
        None
    }
}

/// What is published and consumed passes `between`; all else is the log's as it is.
#[derive(Clone, Debug)]
pub struct Tapped<L, B> {
    /// The log.
    pub log: L,
    /// What is between.
    pub between: B,
}

/// A consumer of one.
#[derive(Debug)]
pub struct Listening<C, B> {
    consumer: C,
    between: B,
    assigned: bool,
}

impl<C: EventConsumer, B: Between> EventConsumer for Listening<C, B> {
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Delivery, LogError> {
        if let Some(said) = self.assigned.then(|| self.between.first()).flatten() {
            return Ok(said);
        }
        let delivery = self.consumer.next(max, wait).await?;
        self.assigned |= matches!(delivery, Delivery::Assigned(_));
        Ok(delivery)
    }

    fn pause(&mut self, partitions: &[Partition]) -> Result<(), LogError> {
        self.consumer.pause(partitions)
    }

    fn resume(&mut self, partitions: &[Partition]) -> Result<(), LogError> {
        self.consumer.resume(partitions)
    }

    async fn seek(&mut self, partition: &Partition, offset: i64) -> Result<(), LogError> {
        self.consumer.seek(partition, offset).await
    }

    async fn commit(&mut self, offsets: &BTreeMap<Partition, i64>) -> Result<(), LogError> {
        self.consumer.commit(offsets).await
    }

    async fn close(self) -> Result<(), LogError> {
        self.consumer.close().await
    }
}

impl<L: EventLog, B: Between> Tapped<L, B> {
    fn listening(&self, consumer: L::Consumer) -> Listening<L::Consumer, B> {
        Listening { consumer, between: self.between.clone(), assigned: false }
    }
}

impl<L: EventLog, B: Between> EventLog for Tapped<L, B> {
    type Consumer = Listening<L::Consumer, B>;

    fn address(&self) -> String {
        self.log.address()
    }

    fn compacts_behind_appends(&self) -> bool {
        self.log.compacts_behind_appends()
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
        self.between.publish(&self.log, records).await
    }

    async fn subscribe(
        &self,
        topics: &[&str],
        config: ConsumerConfig,
    ) -> Result<Self::Consumer, LogError> {
        self.log.subscribe(topics, config).await.map(|consumer| self.listening(consumer))
    }

    async fn assign(
        &self,
        from: &BTreeMap<Partition, i64>,
        config: ConsumerConfig,
    ) -> Result<Self::Consumer, LogError> {
        self.log.assign(from, config).await.map(|consumer| self.listening(consumer))
    }

    async fn extents(&self, topic: &str) -> Result<BTreeMap<i32, Extent>, LogError> {
        self.log.extents(topic).await
    }

    async fn forget(&self, topic: &str, before: &BTreeMap<i32, i64>) -> Result<(), LogError> {
        self.between.forget(&self.log, topic, before).await
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
