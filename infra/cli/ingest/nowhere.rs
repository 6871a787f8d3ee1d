//! Where a dry run publishes to: nowhere.

use std::collections::BTreeMap;

use bowerbird_stream::log::{
    ConsumerConfig, Extent, GroupInfo, Outgoing, Partition, Position, TopicChange, TopicInfo,
};
use bowerbird_stream::topic::TopicSpec;
use bowerbird_stream::{AnyLog, EventLog, LogError};
use jiff::Timestamp;

/// A log that acknowledges what the configured one would take, refuses what is too large for it,
/// and keeps nothing.
#[derive(Clone, Debug)]
pub struct Nowhere {
    /// The largest record that is taken, in bytes.
    pub max_record_bytes: usize,
}

impl Nowhere {
    fn nothing_to_read<T>(&self) -> Result<T, LogError> {
        let reason = "a dry run keeps nothing that could be read".to_owned();
        Err(LogError::Fatal { address: self.address(), reason })
    }

    fn answer(&self, record: &Outgoing) -> Result<Position, LogError> {
        let bytes = record.size();
        if bytes > self.max_record_bytes {
            let reason = format!("log.max_record_bytes is {}", self.max_record_bytes);
            return Err(LogError::TooLarge { topic: record.topic.to_string(), bytes, reason });
        }
        Ok(Position { topic: record.topic.clone(), partition: 0, offset: 0 })
    }
}

impl EventLog for Nowhere {
    type Consumer = <AnyLog as EventLog>::Consumer;

    fn address(&self) -> String {
        "nowhere".to_owned()
    }

    async fn apply_topics(&self, _: &[TopicSpec], _: bool) -> Result<Vec<TopicChange>, LogError> {
        Ok(Vec::new())
    }

    async fn topics(&self) -> Result<Vec<TopicInfo>, LogError> {
        Ok(Vec::new())
    }

    async fn publish(&self, records: Vec<Outgoing>) -> Vec<Result<Position, LogError>> {
        records.iter().map(|record| self.answer(record)).collect()
    }

    async fn subscribe(&self, _: &[&str], _: ConsumerConfig) -> Result<Self::Consumer, LogError> {
        self.nothing_to_read()
    }

    async fn assign(
        &self,
        _: &BTreeMap<Partition, i64>,
        _: ConsumerConfig,
    ) -> Result<Self::Consumer, LogError> {
        self.nothing_to_read()
    }

    async fn extents(&self, _: &str) -> Result<BTreeMap<i32, Extent>, LogError> {
        self.nothing_to_read()
    }

    async fn forget(&self, _: &str, _: &BTreeMap<i32, i64>) -> Result<(), LogError> {
        self.nothing_to_read()
    }

    async fn offsets_at(&self, _: &str, _: Timestamp) -> Result<BTreeMap<i32, i64>, LogError> {
        self.nothing_to_read()
    }

    async fn committed(&self, _: &str, _: &str) -> Result<BTreeMap<i32, i64>, LogError> {
        Ok(BTreeMap::new())
    }

    async fn groups(&self) -> Result<Vec<GroupInfo>, LogError> {
        Ok(Vec::new())
    }
}
