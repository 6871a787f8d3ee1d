//! Topics in the file: their declarations and their partitions.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rusqlite::Connection;

use super::error::Failure;
use super::schema;
use crate::error::LogError;
use crate::log::{TopicChange, TopicInfo};
use crate::topic::{Cleanup, TopicSpec};

/// A topic with the ids of its partitions, by partition number.
#[derive(Clone, Debug)]
pub(super) struct Topic {
    pub(super) name: Arc<str>,
    pub(super) spec: TopicSpec,
    pub(super) partitions: Vec<i64>,
}

/// Every topic, by name.
pub(super) type Topics = HashMap<Arc<str>, Topic>;

/// Reads all topics.
pub(super) fn load(connection: &Connection) -> Result<Topics, Failure> {
    let mut topics = Topics::new();
    let mut statement = connection.prepare_cached(
        "SELECT t.name, t.spec, p.id FROM topics t JOIN partitions p ON p.topic = t.id
         ORDER BY t.id, p.number",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let id = row.get(2)?;
        if let Some(topic) = topics.get_mut(name.as_str()) {
            topic.partitions.push(id);
            continue;
        }
        let spec = serde_json::from_str(row.get_ref(1)?.as_str().unwrap_or_default()).map_err(
            |error| Failure::Broken(format!("topic {name} has no readable settings: {error}")),
        )?;
        let name: Arc<str> = name.into();
        topics.insert(Arc::clone(&name), Topic { name, spec, partitions: vec![id] });
    }
    Ok(topics)
}

/// What would have to change so that the topics are as declared.
pub(super) fn plan(topics: &Topics, declared: &[TopicSpec]) -> Result<Vec<TopicChange>, LogError> {
    declared
        .iter()
        .map(|spec| {
            let topic = spec.name.clone();
            let Some(actual) = topics.get(topic.as_str()) else {
                return Ok(TopicChange::Created { topic });
            };
            let partitions = actual.partitions.len() as u32;
            if partitions != spec.partitions {
                return Err(LogError::PartitionsDiffer {
                    topic,
                    declared: spec.partitions,
                    actual: partitions,
                });
            }
            let before = settings(&actual.spec);
            let changed: BTreeMap<_, _> = settings(spec)
                .into_iter()
                .filter(|(name, after)| before.get(name) != Some(after))
                .map(|(name, after)| (name.clone(), (before.get(&name).cloned(), after)))
                .collect();
            Ok(if changed.is_empty() {
                TopicChange::Unchanged { topic }
            } else {
                TopicChange::Altered { topic, settings: changed }
            })
        })
        .collect()
}

/// Brings the topics to what is declared.
pub(super) fn apply(
    connection: &Connection,
    declared: &[TopicSpec],
    dry_run: bool,
) -> Result<Vec<TopicChange>, Failure> {
    let changes = plan(&load(connection)?, declared)?;
    if dry_run {
        return Ok(changes);
    }
    for (spec, change) in declared.iter().zip(&changes) {
        let text = serde_json::to_string(spec).map_err(|error| {
            Failure::Broken(format!("topic settings can't be written: {error}"))
        })?;
        match change {
            TopicChange::Created { .. } => create(connection, spec, &text)?,
            TopicChange::Altered { .. } => {
                connection
                    .execute("UPDATE topics SET spec = ?2 WHERE name = ?1", (&spec.name, &text))?;
            }
            TopicChange::Unchanged { .. } => {}
        }
    }
    Ok(changes)
}

fn create(connection: &Connection, spec: &TopicSpec, text: &str) -> Result<(), Failure> {
    connection.execute("INSERT INTO topics (name, spec) VALUES (?1, ?2)", (&spec.name, text))?;
    let topic = connection.last_insert_rowid();
    for number in 0..spec.partitions {
        connection
            .execute("INSERT INTO partitions (topic, number) VALUES (?1, ?2)", (topic, number))?;
        schema::create_table(connection, &schema::records_table(connection.last_insert_rowid()))?;
    }
    Ok(())
}

/// The topics as they are listed, by name.
pub(super) fn list(connection: &Connection) -> Result<Vec<TopicInfo>, Failure> {
    let mut list: Vec<_> = load(connection)?
        .into_values()
        .map(|topic| TopicInfo {
            settings: settings(&topic.spec),
            name: topic.spec.name,
            partitions: topic.spec.partitions,
            replication: 1,
        })
        .collect();
    list.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(list)
}

/// The settings in the words that Kafka has for them.
fn settings(spec: &TopicSpec) -> BTreeMap<String, String> {
    let cleanup = match spec.cleanup {
        Cleanup::Keep | Cleanup::KeepErasable { .. } => {
            vec![("cleanup.policy", "delete".to_owned()), ("retention.ms", "-1".to_owned())]
        }
        Cleanup::DeleteAfterMs(ms) => {
            vec![("cleanup.policy", "delete".to_owned()), ("retention.ms", ms.to_string())]
        }
        Cleanup::Compact { max_lag_ms } => vec![
            ("cleanup.policy", "compact".to_owned()),
            ("max.compaction.lag.ms", max_lag_ms.to_string()),
            ("min.compaction.lag.ms", Cleanup::min_lag_ms(max_lag_ms).to_string()),
        ],
    };
    let size = ("max.message.bytes", spec.max_record_bytes.to_string());
    cleanup.into_iter().chain([size]).map(|(name, value)| (name.to_owned(), value)).collect()
}
