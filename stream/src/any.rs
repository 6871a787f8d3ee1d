//! One log, whichever was configured.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::error::LogError;
use crate::kafka::{KafkaConsumer, KafkaLog};
use crate::log::{
    ConsumerConfig, Delivery, EventConsumer, EventLog, Extent, GroupInfo, Outgoing, Partition,
    Position, TopicChange, TopicInfo,
};
use crate::sqlite::{SqliteConsumer, SqliteLog};
use crate::topic::TopicSpec;

/// The configured event log.
#[derive(Clone, Debug)]
pub enum AnyLog {
    /// Apache Kafka.
    Kafka(KafkaLog),
    /// The embedded log.
    Sqlite(SqliteLog),
}

/// Its consumer.
pub enum AnyConsumer {
    /// Of Apache Kafka.
    Kafka(KafkaConsumer),
    /// Of the embedded log.
    Sqlite(Box<SqliteConsumer>),
}

impl From<KafkaLog> for AnyLog {
    fn from(log: KafkaLog) -> Self {
        Self::Kafka(log)
    }
}

impl From<SqliteLog> for AnyLog {
    fn from(log: SqliteLog) -> Self {
        Self::Sqlite(log)
    }
}

/// Calls the same on whichever it is.
macro_rules! either {
    ($any:expr, $part:ident => $call:expr) => {
        match $any {
            Self::Kafka($part) => $call,
            Self::Sqlite($part) => $call,
        }
    };
}

impl EventLog for AnyLog {
    type Consumer = AnyConsumer;

    fn address(&self) -> String {
        either!(self, log => log.address())
    }

    fn compacts_behind_appends(&self) -> bool {
        either!(self, log => log.compacts_behind_appends())
    }

    async fn apply_topics(
        &self,
        topics: &[TopicSpec],
        dry_run: bool,
    ) -> Result<Vec<TopicChange>, LogError> {
        either!(self, log => log.apply_topics(topics, dry_run).await)
    }

    async fn topics(&self) -> Result<Vec<TopicInfo>, LogError> {
        either!(self, log => log.topics().await)
    }

    async fn publish(&self, records: Vec<Outgoing>) -> Vec<Result<Position, LogError>> {
        either!(self, log => log.publish(records).await)
    }

    async fn subscribe(
        &self,
        topics: &[&str],
        config: ConsumerConfig,
    ) -> Result<AnyConsumer, LogError> {
        Ok(match self {
            Self::Kafka(log) => AnyConsumer::Kafka(log.subscribe(topics, config).await?),
            Self::Sqlite(log) => AnyConsumer::Sqlite(log.subscribe(topics, config).await?.into()),
        })
    }

    async fn assign(
        &self,
        from: &BTreeMap<Partition, i64>,
        config: ConsumerConfig,
    ) -> Result<AnyConsumer, LogError> {
        Ok(match self {
            Self::Kafka(log) => AnyConsumer::Kafka(log.assign(from, config).await?),
            Self::Sqlite(log) => AnyConsumer::Sqlite(log.assign(from, config).await?.into()),
        })
    }

    async fn extents(&self, topic: &str) -> Result<BTreeMap<i32, Extent>, LogError> {
        either!(self, log => log.extents(topic).await)
    }

    async fn forget(&self, topic: &str, before: &BTreeMap<i32, i64>) -> Result<(), LogError> {
        either!(self, log => log.forget(topic, before).await)
    }

    async fn offsets_at(
        &self,
        topic: &str,
        time: Timestamp,
    ) -> Result<BTreeMap<i32, i64>, LogError> {
        either!(self, log => log.offsets_at(topic, time).await)
    }

    async fn committed(&self, group: &str, topic: &str) -> Result<BTreeMap<i32, i64>, LogError> {
        either!(self, log => log.committed(group, topic).await)
    }

    async fn groups(&self) -> Result<Vec<GroupInfo>, LogError> {
        either!(self, log => log.groups().await)
    }
}

impl EventConsumer for AnyConsumer {
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Delivery, LogError> {
        either!(self, consumer => consumer.next(max, wait).await)
    }

    fn pause(&mut self, partitions: &[Partition]) -> Result<(), LogError> {
        either!(self, consumer => consumer.pause(partitions))
    }

    fn resume(&mut self, partitions: &[Partition]) -> Result<(), LogError> {
        either!(self, consumer => consumer.resume(partitions))
    }

    async fn seek(&mut self, partition: &Partition, offset: i64) -> Result<(), LogError> {
        either!(self, consumer => consumer.seek(partition, offset).await)
    }

    async fn commit(&mut self, offsets: &BTreeMap<Partition, i64>) -> Result<(), LogError> {
        either!(self, consumer => consumer.commit(offsets).await)
    }

    async fn close(self) -> Result<(), LogError> {
        either!(self, consumer => consumer.close().await)
    }
}
