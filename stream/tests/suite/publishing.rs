//! Publishing: acknowledgements, positions, bytes.

use std::collections::{BTreeMap, BTreeSet};

use bowerbird_stream::log::EventLog;
use bowerbird_stream::topic::partition_of;
use bowerbird_stream::{EventConsumer, Headers, LogError, Outgoing};
use bytes::Bytes;

use super::*;

pub async fn acknowledges_in_order(log: impl EventLog) {
    let topic = topic(&log, 3).await;
    let mut next = BTreeMap::new();
    for round in 0..3 {
        let positions = publish(&log, records(&topic, round * 200, 200)).await;
        assert_eq!(positions.len(), 200);
        for position in positions {
            assert_eq!(*position.topic, *topic);
            let expected = next.entry(position.partition).or_insert(0);
            assert_eq!(position.offset, *expected, "offsets are contiguous from 0");
            *expected += 1;
        }
    }
    let mut reader = log.assign(&everything(&log, &topic).await, config("")).await.unwrap();
    let mut last = BTreeMap::new();
    for record in read(&mut reader, 600).await {
        let number = number(&record);
        let before = last.insert(record.position.partition, (record.position.offset, number));
        if let Some((offset, before)) = before {
            assert_eq!(record.position.offset, offset + 1);
            assert!(number > before, "a partition keeps the order of publishing");
        }
    }
    assert_eq!(log.publish(vec![]).await.len(), 0);
}

pub async fn keys_choose_partitions_as_java_does(log: impl EventLog) {
    let topic = topic(&log, 5).await;
    let positions = publish(&log, records(&topic, 0, 100)).await;
    for (i, position) in positions.iter().enumerate() {
        let expected = partition_of(format!("key-{i}").as_bytes(), 5);
        assert_eq!(position.partition as u32, expected, "key-{i}");
    }
    let mut keyless = record(&topic, "", "no key");
    keyless.key = None;
    publish(&log, vec![keyless]).await;
}

pub async fn keeps_bytes_as_they_are(log: impl EventLog) {
    let topic = topic(&log, 1).await;
    let mut headers: Headers = [("ce_id", "ä"), ("x", ""), ("x", "again")].into_iter().collect();
    headers.push("bytes", [0, 255, 128]);
    headers.push_entry("absent", None);
    let outgoing = |key: Option<&'static [u8]>, value: Option<&'static [u8]>, headers: &Headers| {
        let (key, value) = (key.map(Bytes::from_static), value.map(Bytes::from_static));
        Outgoing { topic: topic.as_str().into(), key, value, headers: headers.clone() }
    };
    let sent = vec![
        outgoing(Some(b"tombstone"), None, &headers),
        outgoing(Some(b"empty"), Some(b""), &Headers::new()),
        outgoing(Some(b"\0\xff"), Some(b"\0\x01\xfe\xff{\"a\": 1.0}\r\n"), &headers),
        outgoing(None, Some(b"no key"), &Headers::new()),
    ];
    let before = jiff::Timestamp::now().as_millisecond();
    publish(&log, sent.clone()).await;
    let mut reader = log.assign(&everything(&log, &topic).await, config("")).await.unwrap();
    let got = read(&mut reader, sent.len()).await;
    for (sent, got) in sent.into_iter().zip(got) {
        assert_eq!(got.key, sent.key);
        assert_eq!(got.value, sent.value);
        assert_eq!(got.headers, sent.headers);
        let late = got.appended.as_millisecond() - before;
        assert!((0..10_000).contains(&late), "appended {late} ms after it was sent");
    }
    reader.close().await.unwrap();
}

pub async fn takes_large_records_and_refuses_too_large_ones(log: impl EventLog) {
    let topic = topic(&log, 1).await;
    // Not compressible, or a log that compresses would take it.
    let mut state = 1_u64;
    let mut noise = |bytes: usize| {
        let byte = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..bytes).map(byte).collect::<Vec<_>>()
    };
    let large = Bytes::from(noise(1 << 20));
    let with = |value: &Bytes| Outgoing { value: Some(value.clone()), ..record(&topic, "k", "") };
    let too_large = Bytes::from(noise(3 << 20));
    let answers = log.publish(vec![with(&large), with(&too_large), record(&topic, "k", "1")]).await;
    assert!(answers[0].is_ok(), "{:?}", answers[0]);
    assert!(matches!(answers[1], Err(LogError::TooLarge { .. })), "{:?}", answers[1]);
    assert!(answers[2].is_ok(), "the others of the call are taken: {:?}", answers[2]);
    let mut reader = log.assign(&everything(&log, &topic).await, config("")).await.unwrap();
    let got = read(&mut reader, 2).await;
    assert_eq!(got[0].value, Some(large));
    assert_eq!(number(&got[1]), 1);
    reader.close().await.unwrap();
}

pub async fn serves_concurrent_publishers(log: impl EventLog) {
    let topic = topic(&log, 2).await;
    let mut publishers = tokio::task::JoinSet::new();
    for publisher in 0..8 {
        let (log, topic) = (log.clone(), topic.clone());
        publishers.spawn(async move {
            let mut positions = Vec::new();
            for round in 0..10 {
                let from = publisher * 1000 + round * 100;
                positions.extend(publish(&log, records(&topic, from, 20)).await);
            }
            positions
        });
    }
    let all: Vec<_> = publishers.join_all().await.into_iter().flatten().collect();
    let distinct: BTreeSet<_> = all.iter().map(|p| (p.partition, p.offset)).collect();
    assert_eq!((all.len(), distinct.len()), (1600, 1600));
    let ends: i64 = log.extents(&topic).await.unwrap().values().map(|extent| extent.end).sum();
    assert_eq!(ends, 1600);
}

pub async fn names_a_missing_topic(log: impl EventLog) {
    let present = topic(&log, 1).await;
    let name = unique("missing");
    let is_named = |error: &LogError| {
        matches!(error, LogError::MissingTopic { .. }) && error.to_string().contains(&name)
    };
    let answers = log.publish(vec![record(&name, "k", "v"), record(&present, "k", "v")]).await;
    assert!(is_named(answers[0].as_ref().unwrap_err()), "{answers:?}");
    assert!(answers[1].is_ok(), "{answers:?}");
    assert!(is_named(&log.extents(&name).await.unwrap_err()));
    assert!(is_named(&log.offsets_at(&name, jiff::Timestamp::now()).await.unwrap_err()));
    assert!(is_named(&log.subscribe(&[&name], config("g")).await.err().unwrap()));
    let from = [(Partition::new(name.as_str(), 0), 0)].into();
    assert!(is_named(&log.assign(&from, config("g")).await.err().unwrap()));
    assert!(log.topics().await.unwrap().iter().all(|topic| topic.name != name));
}
