//! Topics: declared settings in Kafka's words, compared with what is, and applied.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::config::Clients;
use super::error::{code, fault, of_code};
use super::health::{Asking, Health};
use super::query::{Query, TopicMeta};
use crate::error::LogError;
use crate::log::{TopicChange, TopicInfo};
use crate::topic::{Cleanup, TopicSpec};

/// Settings by name.
type Settings = BTreeMap<String, String>;

/// A batch of one record of the largest size is larger by its frame.
const BATCH_FRAME: u32 = 16 << 10;

const HUNDRED_YEARS_MS: u64 = 100 * 365 * 24 * 3600 * 1000;

/// What a topic is to be set to. What is not named here is left as it is.
fn declared(spec: &TopicSpec) -> Settings {
    let mut settings = vec![
        ("max.message.bytes", spec.max_record_bytes.saturating_add(BATCH_FRAME).to_string()),
        // The broker's clock: times never go backwards in a partition, whoever publishes.
        ("message.timestamp.type", "LogAppendTime".to_owned()),
    ];
    match spec.cleanup {
        Cleanup::Keep => settings.extend([
            ("cleanup.policy", "delete".to_owned()),
            ("retention.ms", "-1".to_owned()),
            ("retention.bytes", "-1".to_owned()),
        ]),
        Cleanup::KeepErasable { max_lag_ms } => settings.extend([
            ("cleanup.policy", "delete".to_owned()),
            ("retention.ms", "-1".to_owned()),
            ("retention.bytes", "-1".to_owned()),
            // What is forgotten stays on the disk while it shares a segment with what is not: with
            // the last one, until that is closed. They are kept for ever, so not too many of them.
            ("segment.ms", (max_lag_ms / 2).max(1).to_string()),
        ]),
        Cleanup::DeleteAfterMs(ms) => settings
            .extend([("cleanup.policy", "delete".to_owned()), ("retention.ms", ms.to_string())]),
        Cleanup::Compact { max_lag_ms } => settings.extend([
            ("cleanup.policy", "compact".to_owned()),
            ("max.compaction.lag.ms", max_lag_ms.to_string()),
            ("min.compaction.lag.ms", Cleanup::min_lag_ms(max_lag_ms).to_string()),
            // A tombstone erases nothing before its own segment is closed.
            ("segment.ms", (max_lag_ms / 10).max(1).to_string()),
            // For ever. The longest that a broker takes would make its sum with the time of day
            // overflow, and a tombstone go at once.
            ("delete.retention.ms", HUNDRED_YEARS_MS.to_string()),
            // Compaction that waits for half of the log to be overwritten would leave all of the
            // work to the end of the lag.
            ("min.cleanable.dirty.ratio", "0.1".to_owned()),
        ]),
    }
    settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A topic's settings as the cluster tells them.
#[derive(Clone, Debug, Default)]
struct Actual {
    /// What is in force, wherever it comes from.
    effective: Settings,
    /// What was set on the topic itself.
    own: Settings,
}

type Admin = AdminClient<Asking>;

/// Why an operation failed: as a whole, or for one topic.
enum Refused {
    All(KafkaError),
    Topic(String, Code),
}

impl From<KafkaError> for Refused {
    fn from(error: KafkaError) -> Self {
        Self::All(error)
    }
}

/// The administering end of a log.
pub(super) struct Topics {
    clients: Clients,
    address: String,
}

impl Topics {
    pub(super) fn new(clients: Clients) -> Self {
        let address = clients.config.address();
        Self { clients, address }
    }

    /// One operation by a client of its own: they are rare, and a client keeps threads and
    /// connections. All of it away from the async threads, since to end a client takes a while.
    async fn operate<T: Send + 'static>(
        &self,
        operation: impl AsyncFnOnce(&Admin, &AdminOptions) -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, LogError> {
        let clients = self.clients.clone();
        let done = spawn_blocking(move || {
            let admin = Admin::from_config_and_context(&clients.asking(), Asking::default())?;
            let patience = Some(clients.config.request_timeout);
            let options = AdminOptions::new().request_timeout(patience).operation_timeout(patience);
            futures::executor::block_on(operation(&admin, &options))
        });
        match done.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Refused::All(error))) => {
                Err(fault(&error, &self.address, None, &Health::default()))
            }
            Ok(Err(Refused::Topic(topic, code))) => Err(self.refused(&topic, code)),
            Err(error) => Err(LogError::Fatal {
                address: self.address.clone(),
                reason: format!("the request was cut off: {error}"),
            }),
        }
    }

    fn refused(&self, topic: &str, code: Code) -> LogError {
        match of_code(code, &self.address, Some(topic), &Health::default()) {
            LogError::Fatal { address, reason } if code == Code::InvalidReplicationFactor => {
                let reason =
                    format!("{reason}; set the replication to at most the brokers there are");
                LogError::Fatal { address, reason }
            }
            other => other,
        }
    }

    /// Brings the topics to what is declared: nothing is changed unless all can be.
    pub(super) async fn apply(
        &self,
        query: &Arc<Query>,
        specs: &[TopicSpec],
        dry_run: bool,
    ) -> Result<Vec<TopicChange>, LogError> {
        let existing: BTreeMap<_, _> =
            query.topics().await?.into_iter().map(|topic| (topic.name.clone(), topic)).collect();
        for spec in specs {
            if let Some(topic) = existing.get(&spec.name) {
                check_partitions(spec, topic)?;
            }
        }
        let names: Vec<_> =
            specs.iter().map(|spec| &*spec.name).filter(|n| existing.contains_key(*n)).collect();
        let actual = self.describe(&names).await?;
        let changes: Vec<_> =
            specs.iter().map(|spec| change(spec, actual.get(&spec.name))).collect();
        if !dry_run {
            self.create(specs, &changes).await?;
            self.alter(specs, &changes, &actual).await?;
            self.await_effect(query, specs).await?;
        }
        Ok(changes)
    }

    /// The topics with what was set on each.
    pub(super) async fn list(&self, query: &Arc<Query>) -> Result<Vec<TopicInfo>, LogError> {
        let topics = query.topics().await?;
        let names: Vec<_> = topics.iter().map(|topic| &*topic.name).collect();
        let mut actual = self.describe(&names).await?;
        let info = |topic: TopicMeta| TopicInfo {
            settings: actual.remove(&topic.name).unwrap_or_default().own,
            partitions: topic.partitions.len() as u32,
            replication: topic.replication,
            name: topic.name,
        };
        Ok(topics.into_iter().map(info).collect())
    }

    async fn describe(&self, topics: &[&str]) -> Result<BTreeMap<String, Actual>, LogError> {
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        let topics: Vec<_> = topics.iter().map(|&topic| topic.to_owned()).collect();
        self.operate(async move |admin, options| {
            let resources: Vec<_> = topics.iter().map(|t| ResourceSpecifier::Topic(t)).collect();
            let answers = admin.describe_configs(&resources, options).await?;
            let mut described = BTreeMap::new();
            for (topic, answer) in topics.iter().zip(answers) {
                let mut actual = Actual::default();
                let resource = answer.map_err(|code| Refused::Topic(topic.clone(), code))?;
                for entry in resource.entries {
                    let Some(value) = entry.value else { continue };
                    if entry.source == ConfigSource::DynamicTopic {
                        actual.own.insert(entry.name.clone(), value.clone());
                    }
                    actual.effective.insert(entry.name, value);
                }
                described.insert(topic.clone(), actual);
            }
            Ok(described)
        })
        .await
    }

    async fn create(&self, specs: &[TopicSpec], changes: &[TopicChange]) -> Result<(), LogError> {
        let missing: Vec<_> = specs
            .iter()
            .zip(changes)
            .filter(|(_, change)| matches!(change, TopicChange::Created { .. }))
            .map(|(spec, _)| (spec.clone(), declared(spec)))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        self.operate(async move |admin, options| {
            let topics: Vec<_> = missing
                .iter()
                .map(|(spec, settings)| {
                    let replication = TopicReplication::Fixed(spec.replication as i32);
                    let topic = NewTopic::new(&spec.name, spec.partitions as i32, replication);
                    settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value))
                })
                .collect();
            for answer in admin.create_topics(&topics, options).await? {
                match answer {
                    // Somebody else was faster.
                    Ok(_) | Err((_, Code::TopicAlreadyExists)) => {}
                    Err((topic, code)) => return Err(Refused::Topic(topic, code)),
                }
            }
            Ok(())
        })
        .await
    }

    /// The request replaces all of a topic's own settings, so those that are not declared go along
    /// as they are.
    async fn alter(
        &self,
        specs: &[TopicSpec],
        changes: &[TopicChange],
        actual: &BTreeMap<String, Actual>,
    ) -> Result<(), LogError> {
        let altered: Vec<_> = specs
            .iter()
            .zip(changes)
            .filter(|(_, change)| matches!(change, TopicChange::Altered { .. }))
            .map(|(spec, _)| {
                let mut settings =
                    actual.get(&spec.name).map(|actual| actual.own.clone()).unwrap_or_default();
                settings.extend(declared(spec));
                (spec.name.clone(), settings)
            })
            .collect();
        if altered.is_empty() {
            return Ok(());
        }
        self.operate(async move |admin, options| {
            let configs: Vec<_> = altered
                .iter()
                .map(|(topic, settings)| {
                    let config = AlterConfig::new(ResourceSpecifier::Topic(topic));
                    settings.iter().fold(config, |config, (name, value)| config.set(name, value))
                })
                .collect();
            for (answer, (topic, _)) in
                admin.alter_configs(&configs, options).await?.into_iter().zip(&altered)
            {
                answer.map_err(|(_, code)| Refused::Topic(topic.clone(), code))?;
            }
            Ok(())
        })
        .await
    }

    /// Has the leaders forget what stands before these offsets; they answer when the replicas that
    /// are in sync have done so too.
    pub(super) async fn forget(
        &self,
        topic: &str,
        heads: BTreeMap<i32, i64>,
    ) -> Result<(), LogError> {
        if heads.is_empty() {
            return Ok(());
        }
        let topic = topic.to_owned();
        self.operate(async move |admin, options| {
            let mut list = TopicPartitionList::with_capacity(heads.len());
            for (partition, before) in heads {
                list.add_partition_offset(&topic, partition, Offset::Offset(before))?;
            }
            let answers = admin.delete_records(&list, options).await?;
            for answer in answers.elements() {
                if let Err(error) = answer.error() {
                    let code = code(&error).unwrap_or(Code::Unknown);
                    return Err(Refused::Topic(topic, code));
                }
            }
            Ok(())
        })
        .await
    }

    /// Waits until the cluster tells of what was done: a leader takes a moment to be elected, and
    /// rdkafka does not pass on why a topic's settings were refused.
    async fn await_effect(&self, query: &Arc<Query>, specs: &[TopicSpec]) -> Result<(), LogError> {
        let names: Vec<_> = specs.iter().map(|spec| &*spec.name).collect();
        let deadline = Instant::now() + self.clients.config.request_timeout;
        loop {
            let topics = query.topics().await?;
            let led = |spec: &TopicSpec| topics.iter().any(|t| t.name == spec.name && t.led);
            let late = match specs.iter().find(|spec| !led(spec)) {
                Some(spec) => format!("topic {} has no leader yet", spec.name),
                None => {
                    let actual = self.describe(&names).await?;
                    let same = |spec: &TopicSpec| {
                        let change = change(spec, actual.get(&spec.name));
                        matches!(change, TopicChange::Unchanged { .. })
                    };
                    let Some(spec) = specs.iter().find(|spec| !same(spec)) else { return Ok(()) };
                    let name = &spec.name;
                    format!("topic {name} did not take its settings; check this user's rights")
                }
            };
            if Instant::now() >= deadline {
                return Err(LogError::Transient { address: self.address.clone(), reason: late });
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

fn check_partitions(spec: &TopicSpec, topic: &TopicMeta) -> Result<(), LogError> {
    let actual = topic.partitions.len() as u32;
    if actual == spec.partitions {
        return Ok(());
    }
    Err(LogError::PartitionsDiffer { topic: spec.name.clone(), declared: spec.partitions, actual })
}

/// What would have to change; `actual` is nothing for a topic that does not exist.
fn change(spec: &TopicSpec, actual: Option<&Actual>) -> TopicChange {
    let topic = spec.name.clone();
    let Some(actual) = actual else { return TopicChange::Created { topic } };
    let settings: BTreeMap<_, _> = declared(spec)
        .into_iter()
        .filter(|(name, value)| actual.effective.get(name) != Some(value))
        .map(|(name, value)| (name.clone(), (actual.effective.get(&name).cloned(), value)))
        .collect();
    if settings.is_empty() {
        TopicChange::Unchanged { topic }
    } else {
        TopicChange::Altered { topic, settings }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_a_change() {
        let spec = TopicSpec {
            name: "posts".to_owned(),
            partitions: 3,
            replication: 1,
            cleanup: Cleanup::Compact { max_lag_ms: 1000 },
            max_record_bytes: 1 << 20,
        };
        assert_eq!(change(&spec, None), TopicChange::Created { topic: "posts".to_owned() });
        let mut actual = Actual { effective: declared(&spec), own: Settings::new() };
        let topic = "posts".to_owned();
        assert_eq!(change(&spec, Some(&actual)), TopicChange::Unchanged { topic: topic.clone() });
        actual.effective.insert("segment.bytes".to_owned(), "7".to_owned());
        actual.effective.insert("cleanup.policy".to_owned(), "delete".to_owned());
        actual.effective.remove("max.compaction.lag.ms");
        let settings = [
            ("cleanup.policy".to_owned(), (Some("delete".to_owned()), "compact".to_owned())),
            ("max.compaction.lag.ms".to_owned(), (None, "1000".to_owned())),
        ];
        let altered = TopicChange::Altered { topic, settings: settings.into() };
        assert_eq!(change(&spec, Some(&actual)), altered);
    }
}
