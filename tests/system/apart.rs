//! A log whose topics and groups stand apart from everybody else's in it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bowerbird_stream::log::{ConsumerConfig, Extent, GroupInfo, Outgoing, TopicChange, TopicInfo};
use bowerbird_stream::topic::TopicSpec;
use bowerbird_stream::{Delivery, EventConsumer, EventLog, LogError, Partition, Position};
use jiff::Timestamp;

/// All names in the log begin with `prefix`; who uses it knows nothing of that.
#[derive(Clone, Debug)]
pub struct Apart<L> {
    pub log: L,
    pub prefix: Arc<str>,
}

/// A consumer of it.
pub struct Reading<C> {
    consumer: C,
    prefix: Arc<str>,
}

fn there(prefix: &str, name: &str) -> String {
    format!("{prefix}{name}")
}

fn here(prefix: &str, name: &str) -> Arc<str> {
    name.strip_prefix(prefix).unwrap().into()
}

fn partitions<T: Copy>(prefix: &str, of: &BTreeMap<Partition, T>) -> BTreeMap<Partition, T> {
    of.iter().map(|(at, value)| (partition(prefix, at), *value)).collect()
}

fn partition(prefix: &str, at: &Partition) -> Partition {
    Partition::new(there(prefix, &at.topic), at.partition)
}

fn back(prefix: &str, all: Vec<Partition>) -> Vec<Partition> {
    all.into_iter().map(|at| Partition::new(here(prefix, &at.topic), at.partition)).collect()
}

impl<C: EventConsumer> EventConsumer for Reading<C> {
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Delivery, LogError> {
        let prefix = &self.prefix;
        Ok(match self.consumer.next(max, wait).await? {
            Delivery::Records(mut records) => {
                for record in &mut records {
                    record.position.topic = here(prefix, &record.position.topic);
                }
                Delivery::Records(records)
            }
            Delivery::Assigned(all) => Delivery::Assigned(back(prefix, all)),
            Delivery::Revoked(mut revocation) => {
                revocation.partitions = back(prefix, std::mem::take(&mut revocation.partitions));
                Delivery::Revoked(revocation)
            }
            other => other,
        })
    }

    fn pause(&mut self, all: &[Partition]) -> Result<(), LogError> {
        let all: Vec<_> = all.iter().map(|at| partition(&self.prefix, at)).collect();
        self.consumer.pause(&all)
    }

    fn resume(&mut self, all: &[Partition]) -> Result<(), LogError> {
        let all: Vec<_> = all.iter().map(|at| partition(&self.prefix, at)).collect();
        self.consumer.resume(&all)
    }

    async fn seek(&mut self, at: &Partition, offset: i64) -> Result<(), LogError> {
        self.consumer.seek(&partition(&self.prefix, at), offset).await
    }

    async fn commit(&mut self, offsets: &BTreeMap<Partition, i64>) -> Result<(), LogError> {
        self.consumer.commit(&partitions(&self.prefix, offsets)).await
    }

    async fn close(self) -> Result<(), LogError> {
        self.consumer.close().await
    }
}

impl<L: EventLog> Apart<L> {
    fn there(&self, name: &str) -> String {
        there(&self.prefix, name)
    }

    fn config(&self, config: ConsumerConfig) -> ConsumerConfig {
        ConsumerConfig { group: self.there(&config.group), ..config }
    }

    fn reading(&self, consumer: L::Consumer) -> Reading<L::Consumer> {
        Reading { consumer, prefix: Arc::clone(&self.prefix) }
    }
}

impl<L: EventLog> EventLog for Apart<L> {
    type Consumer = Reading<L::Consumer>;

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
        let topics: Vec<_> = topics
            .iter()
            .map(|spec| TopicSpec { name: self.there(&spec.name), ..spec.clone() })
            .collect();
        self.log.apply_topics(&topics, dry_run).await
    }

    async fn topics(&self) -> Result<Vec<TopicInfo>, LogError> {
        self.log.topics().await
    }

    async fn publish(&self, mut records: Vec<Outgoing>) -> Vec<Result<Position, LogError>> {
        for record in &mut records {
            record.topic = self.there(&record.topic).into();
        }
        let answers = self.log.publish(records).await.into_iter();
        let back = |at: Position| Position { topic: here(&self.prefix, &at.topic), ..at };
        answers.map(|answer| answer.map(back)).collect()
    }

    async fn subscribe(
        &self,
        topics: &[&str],
        config: ConsumerConfig,
    ) -> Result<Self::Consumer, LogError> {
        let topics: Vec<_> = topics.iter().map(|topic| self.there(topic)).collect();
        let topics: Vec<_> = topics.iter().map(String::as_str).collect();
        Ok(self.reading(self.log.subscribe(&topics, self.config(config)).await?))
    }

    async fn assign(
        &self,
        from: &BTreeMap<Partition, i64>,
        config: ConsumerConfig,
    ) -> Result<Self::Consumer, LogError> {
        let from = partitions(&self.prefix, from);
        Ok(self.reading(self.log.assign(&from, self.config(config)).await?))
    }

    async fn extents(&self, topic: &str) -> Result<BTreeMap<i32, Extent>, LogError> {
        self.log.extents(&self.there(topic)).await
    }

    async fn forget(&self, topic: &str, before: &BTreeMap<i32, i64>) -> Result<(), LogError> {
        self.log.forget(&self.there(topic), before).await
    }

    async fn offsets_at(
        &self,
        topic: &str,
        time: Timestamp,
    ) -> Result<BTreeMap<i32, i64>, LogError> {
        self.log.offsets_at(&self.there(topic), time).await
    }

    async fn committed(&self, group: &str, topic: &str) -> Result<BTreeMap<i32, i64>, LogError> {
        self.log.committed(&self.there(group), &self.there(topic)).await
    }

    async fn groups(&self) -> Result<Vec<GroupInfo>, LogError> {
        self.log.groups().await
    }
}
