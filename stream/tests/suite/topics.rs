//! Declaring topics.

use bowerbird_stream::LogError;
use bowerbird_stream::log::{EventLog, TopicChange};
use bowerbird_stream::topic::Cleanup;

use super::*;

pub async fn are_applied_once_and_listed(log: impl EventLog) {
    let names = [unique("a"), unique("b")];
    let mut specs = [spec(&names[0], 2), spec(&names[1], 1)];
    specs[1].cleanup = Cleanup::Compact { max_lag_ms: 3_600_000 };
    let created: Vec<_> =
        names.iter().map(|name| TopicChange::Created { topic: name.clone() }).collect();
    let unchanged: Vec<_> =
        names.iter().map(|name| TopicChange::Unchanged { topic: name.clone() }).collect();
    let listed = || async {
        let mut topics = log.topics().await.unwrap();
        topics.retain(|topic| names.contains(&topic.name));
        topics
    };

    assert_eq!(log.apply_topics(&specs, true).await.unwrap(), created);
    assert_eq!(listed().await, [], "a dry run makes nothing");
    assert_eq!(log.apply_topics(&specs, false).await.unwrap(), created);
    assert_eq!(log.apply_topics(&specs, false).await.unwrap(), unchanged);
    let topics = listed().await;
    assert_eq!(topics.len(), 2);
    assert_eq!((topics[0].partitions, topics[1].partitions), (2, 1));
    assert_eq!(topics[1].settings["cleanup.policy"], "compact", "{:?}", topics[1].settings);
    assert_eq!(topics[1].settings["max.compaction.lag.ms"], "3600000");
    assert_eq!(topics[1].settings["min.compaction.lag.ms"], "1800000");

    specs[0].cleanup = Cleanup::DeleteAfterMs(86_400_000);
    specs[0].max_record_bytes = 1 << 20;
    for dry_run in [true, false] {
        let changes = log.apply_topics(&specs, dry_run).await.unwrap();
        assert_eq!(changes[1], unchanged[1]);
        let TopicChange::Altered { topic, settings } = &changes[0] else { panic!("{changes:?}") };
        assert_eq!(topic, &names[0]);
        assert_eq!(settings["retention.ms"].1, "86400000");
        assert!(settings.contains_key("max.message.bytes"), "{settings:?}");
        assert!(!settings.contains_key("cleanup.policy"), "{settings:?}");
    }
    assert_eq!(log.apply_topics(&specs, false).await.unwrap(), unchanged);
}

pub async fn with_other_partitions_are_left_alone(log: impl EventLog) {
    let name = topic(&log, 2).await;
    let other = unique("other");
    for dry_run in [true, false] {
        let specs = [spec(&other, 1), spec(&name, 3)];
        let error = log.apply_topics(&specs, dry_run).await.unwrap_err();
        let LogError::PartitionsDiffer { topic, declared: 3, actual: 2 } = error else {
            panic!("{error:?}");
        };
        assert_eq!(topic, name);
    }
    let topics = log.topics().await.unwrap();
    assert!(topics.iter().all(|topic| topic.name != other), "nothing is done by halves");
}
