//! A log in memory, on tokio's time alone: what a test on paused time can wait for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowerbird_ingest::x::Clock;
use bowerbird_stream::log::{
    ConsumerConfig, Delivery, Extent, GroupInfo, Outgoing, Partition, Position, Record,
    TopicChange, TopicInfo,
};
use bowerbird_stream::topic::TopicSpec;
use bowerbird_stream::{EventConsumer, EventLog, LogError};
use jiff::Timestamp;

/// One partition a topic.
#[derive(Clone)]
pub struct MemoryLog {
    topics: Arc<Mutex<BTreeMap<String, Vec<Record>>>>,
    clock: Clock,
    /// While it is set, nothing is taken.
    pub closed: Arc<AtomicBool>,
    /// While it is set, only every second key is taken, as by a log of which partitions are out of
    /// reach.
    pub half: Arc<AtomicBool>,
    /// How long a publication takes.
    pub takes: Duration,
}

impl MemoryLog {
    pub fn new(clock: Clock) -> Self {
        let takes = Duration::from_millis(20);
        Self { topics: Arc::default(), clock, closed: Arc::default(), half: Arc::default(), takes }
    }

    /// Every record of a topic.
    pub fn records(&self, topic: &str) -> Vec<Record> {
        self.look(topic, <[Record]>::to_vec)
    }

    fn look<T>(&self, topic: &str, look: impl FnOnce(&[Record]) -> T) -> T {
        look(self.topics.lock().unwrap().get(topic).map_or(&[], Vec::as_slice))
    }

    /// The facts of one kind in the journal, in order.
    pub fn journal(&self, kind: &str) -> Vec<serde_json::Value> {
        let records = self.records("journal");
        let facts = records.iter().filter(|record| record.headers.text("ce_type") == Some(kind));
        facts.map(|fact| serde_json::from_slice(fact.value.as_ref().unwrap()).unwrap()).collect()
    }
}

impl EventLog for MemoryLog {
    type Consumer = MemoryReader;

    fn address(&self) -> String {
        "memory".to_owned()
    }

    async fn apply_topics(&self, _: &[TopicSpec], _: bool) -> Result<Vec<TopicChange>, LogError> {
        Ok(Vec::new())
    }

    async fn topics(&self) -> Result<Vec<TopicInfo>, LogError> {
        Ok(Vec::new())
    }

    async fn publish(&self, records: Vec<Outgoing>) -> Vec<Result<Position, LogError>> {
        tokio::time::sleep(self.takes).await;
        let (closed, half) =
            (self.closed.load(Ordering::Relaxed), self.half.load(Ordering::Relaxed));
        let odd = |key: &[u8]| key.last().is_some_and(|digit| digit % 2 == 1);
        let take = |outgoing: Outgoing| {
            if closed || (half && outgoing.key.as_deref().is_some_and(odd)) {
                let (address, reason) = (self.address(), "closed".to_owned());
                return Err(LogError::Unreachable { address, reason });
            }
            let mut topics = self.topics.lock().unwrap();
            let topic = topics.entry(outgoing.topic.to_string()).or_default();
            let offset = i64::try_from(topic.len()).unwrap();
            let position = Position { topic: outgoing.topic.clone(), partition: 0, offset };
            topic.push(Record {
                position: position.clone(),
                appended: self.clock.now(),
                key: outgoing.key,
                value: outgoing.value,
                headers: outgoing.headers,
            });
            Ok(position)
        };
        records.into_iter().map(take).collect()
    }

    async fn subscribe(&self, _: &[&str], _: ConsumerConfig) -> Result<MemoryReader, LogError> {
        unreachable!("a source subscribes to nothing")
    }

    async fn assign(
        &self,
        from: &BTreeMap<Partition, i64>,
        _: ConsumerConfig,
    ) -> Result<MemoryReader, LogError> {
        let next = from.clone();
        Ok(MemoryReader { log: self.clone(), next, paused: BTreeSet::new() })
    }

    async fn extents(&self, topic: &str) -> Result<BTreeMap<i32, Extent>, LogError> {
        let end = i64::try_from(self.look(topic, <[Record]>::len)).unwrap();
        Ok([(0, Extent { earliest: 0, end })].into())
    }

    async fn forget(&self, _: &str, _: &BTreeMap<i32, i64>) -> Result<(), LogError> {
        unreachable!("a source forgets nothing")
    }

    async fn offsets_at(&self, topic: &str, at: Timestamp) -> Result<BTreeMap<i32, i64>, LogError> {
        let count = |records: &[Record]| records.iter().filter(|one| one.appended < at).count();
        let before = self.look(topic, count);
        Ok([(0, i64::try_from(before).unwrap())].into())
    }

    async fn committed(&self, _: &str, _: &str) -> Result<BTreeMap<i32, i64>, LogError> {
        Ok(BTreeMap::new())
    }

    async fn groups(&self) -> Result<Vec<GroupInfo>, LogError> {
        Ok(Vec::new())
    }
}

/// Reads what it was assigned.
pub struct MemoryReader {
    log: MemoryLog,
    next: BTreeMap<Partition, i64>,
    paused: BTreeSet<Partition>,
}

impl EventConsumer for MemoryReader {
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Delivery, LogError> {
        for (partition, next) in &mut self.next {
            if self.paused.contains(partition) {
                continue;
            }
            let from = usize::try_from(*next).unwrap();
            let take = |records: &[Record]| -> Vec<Record> {
                records.iter().skip(from).take(max).cloned().collect()
            };
            let some = self.log.look(&partition.topic, take);
            if !some.is_empty() {
                *next += i64::try_from(some.len()).unwrap();
                return Ok(Delivery::Records(some));
            }
        }
        tokio::time::sleep(wait).await;
        Ok(Delivery::Idle)
    }

    fn pause(&mut self, partitions: &[Partition]) -> Result<(), LogError> {
        self.paused.extend(partitions.iter().cloned());
        Ok(())
    }

    fn resume(&mut self, partitions: &[Partition]) -> Result<(), LogError> {
        self.paused.retain(|paused| !partitions.contains(paused));
        Ok(())
    }

    async fn seek(&mut self, partition: &Partition, offset: i64) -> Result<(), LogError> {
        self.next.insert(partition.clone(), offset);
        Ok(())
    }

    async fn commit(&mut self, _: &BTreeMap<Partition, i64>) -> Result<(), LogError> {
        Ok(())
    }

    async fn close(self) -> Result<(), LogError> {
        Ok(())
    }
}
