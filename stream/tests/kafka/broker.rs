//! On a real broker.

use std::collections::BTreeSet;

use rdkafka::admin::{AlterConfig, ResourceSpecifier};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::*;

#[tokio::test]
async fn settings_that_nobody_declared_stay() {
    let (log, topic) = with_topic(1).await;
    let alter = AlterConfig::new(ResourceSpecifier::Topic(&topic))
        .set("segment.bytes", "2097152")
        .set("retention.ms", "1000");
    let altered = admin().alter_configs(&[alter], &AdminOptions::new()).await.unwrap();
    assert!(altered[0].is_ok());
    let changes = log.apply_topics(&[spec(&topic, 1)], false).await.unwrap();
    let TopicChange::Altered { settings, .. } = &changes[0] else { panic!("{changes:?}") };
    assert_eq!(settings["retention.ms"], (Some("1000".to_owned()), "-1".to_owned()));
    let listed = log.topics().await.unwrap();
    let settings = &listed.iter().find(|listed| listed.name == topic).unwrap().settings;
    assert_eq!(settings["segment.bytes"], "2097152");
    assert_eq!(settings["retention.ms"], "-1");
    delete(&topic).await;
}

/// Deletes everything before `offset` of partition 0, as retention does.
async fn cut(topic: &str, offset: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(offset)).unwrap();
    admin().delete_records(&list, &AdminOptions::new()).await.unwrap();
}

fn is_cut(error: &LogError, expected: (i64, i64, i64)) -> bool {
    let LogError::OutOfRange { offset, earliest, end, .. } = error else { return false };
    (*offset, *earliest, *end) == expected
}

#[tokio::test]
async fn offsets_that_retention_took_are_told_and_skipped() {
    let (log, topic) = with_topic(1).await;
    let (group, partition) = (unique("group"), Partition::new(topic.as_str(), 0));
    log.publish(records(&topic, 100)).await;
    let mut consumer = log.subscribe(&[&topic], config(&group)).await.unwrap();
    until(&mut consumer, "records", as_records).await;
    consumer.commit(&[(partition.clone(), 10)].into()).await.unwrap();
    consumer.close().await.unwrap();
    cut(&topic, 40).await;

    // Before it is read: the committed offset is gone.
    let mut consumer = log.subscribe(&[&topic], config(&group)).await.unwrap();
    let error = until(&mut consumer, "the trouble", as_trouble).await;
    assert!(is_cut(&error, (10, 40, 100)), "{error:?}");
    let got = until(&mut consumer, "records", as_records).await;
    assert_eq!(got[0].position.offset, 40);

    // While it is read: what would be fetched next is gone.
    let deadline = Instant::now() + PATIENCE;
    let mut last = got.last().unwrap().position.offset;
    while last < 99 {
        assert!(Instant::now() < deadline);
        last = until(&mut consumer, "records", as_records).await.last().unwrap().position.offset;
    }
    consumer.pause(std::slice::from_ref(&partition)).unwrap();
    log.publish(records(&topic, 100)).await;
    let none = consumer.next(1000, Duration::from_millis(200)).await.unwrap();
    assert!(matches!(none, Delivery::Idle), "it is paused: {none:?}");
    cut(&topic, 150).await;
    consumer.resume(std::slice::from_ref(&partition)).unwrap();
    let error = until(&mut consumer, "the trouble", as_trouble).await;
    assert!(is_cut(&error, (100, 150, 200)), "{error:?}");
    let got = until(&mut consumer, "records", as_records).await;
    assert_eq!(got[0].position.offset, 150);
    consumer.close().await.unwrap();
    delete(&topic).await;
}

#[tokio::test]
async fn a_topic_that_is_deleted_while_it_is_read_is_named() {
    let (log, topic) = with_topic(1).await;
    log.publish(records(&topic, 10)).await;
    let mut consumer = log.subscribe(&[&topic], config(&unique("group"))).await.unwrap();
    until(&mut consumer, "records", as_records).await;
    delete(&topic).await;
    let missing = |delivery: Delivery| match delivery {
        Delivery::Trouble(LogError::MissingTopic { topic, .. }) => Some(topic),
        _ => None,
    };
    assert_eq!(until(&mut consumer, "the trouble", missing).await, topic);
    // And it goes on when the topic is back.
    log.apply_topics(&[spec(&topic, 1)], false).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "nothing came from the topic that is back");
        log.publish(records(&topic, 10)).await;
        let delivery = consumer.next(100, Duration::from_millis(500)).await.unwrap();
        match delivery {
            Delivery::Records(_) => break,
            Delivery::Revoked(_) | Delivery::Assigned(_) => {}
            Delivery::Trouble(_) | Delivery::Idle => {}
        }
    }
    consumer.close().await.unwrap();
    delete(&topic).await;
}

/// Whether the log takes all of these.
async fn takes(log: &KafkaLog, load: &[Outgoing]) -> bool {
    log.publish(load.to_vec()).await.into_iter().all(|answer| answer.is_ok())
}

/// Deletes a topic of one partition and makes it again, with these records.
async fn make_anew(log: &KafkaLog, topic: &str, load: &[Outgoing], deadline: Instant) {
    delete(topic).await;
    while log.apply_topics(&[spec(topic, 1)], false).await.is_err() || !takes(log, load).await {
        assert!(Instant::now() < deadline, "the topic can't be made anew");
    }
}

#[tokio::test]
async fn a_topic_that_was_made_anew_is_read_from_its_beginning() {
    const RECORDS: usize = 10;
    // librdkafka may notice that a topic is gone, but need not where it has others to read.
    let ((log, topic), (_, other)) = (with_topic(1).await, with_topic(1).await);
    let load = |round: usize| -> Vec<Outgoing> {
        let value = Bytes::from(round.to_string());
        let records = records(&topic, RECORDS * (round + 1)).into_iter();
        records.map(|one| Outgoing { value: Some(value.clone()), ..one }).collect()
    };
    assert!(takes(&log, &load(0)).await);
    let topics = [topic.as_str(), &other];
    let mut consumer = log.subscribe(&topics, config(&unique("group"))).await.unwrap();
    let part = Partition::new(topic.as_str(), 0);
    for round in 0..4_usize {
        let value = round.to_string();
        let deadline = Instant::now() + PATIENCE;
        // From the second on what is there reaches past where the former one was read to: nothing is
        // out of range.
        if round > 0 {
            make_anew(&log, &topic, &load(round), deadline).await;
        }
        let mut left: BTreeSet<i64> = (0..RECORDS as i64).collect();
        while !left.is_empty() {
            assert!(Instant::now() < deadline, "in round {round} {left:?} did not come");
            let wait = Duration::from_millis(100);
            let Delivery::Records(records) = consumer.next(100, wait).await.unwrap() else {
                continue;
            };
            let of_now =
                records.iter().filter(|one| one.value.as_deref() == Some(value.as_bytes()));
            of_now.for_each(|one| _ = left.remove(&one.position.offset));
            let next = records.last().unwrap().position.offset + 1;
            // Of what was made anew it says so instead.
            let _ = consumer.commit(&[(part.clone(), next)].into()).await;
        }
    }
    consumer.close().await.unwrap();
    delete(&topic).await;
    delete(&other).await;
}

#[tokio::test]
async fn nothing_comes_of_what_a_topic_was_once_it_is_told_that_it_was_made_anew() {
    let (log, topic) = with_topic(1).await;
    log.publish(records(&topic, 10)).await;
    let from = [(Partition::new(topic.as_str(), 0), 0)].into();
    let mut reader = log.assign(&from, config("")).await.unwrap();
    // The others were fetched with it.
    let Delivery::Records(first) = reader.next(1, PATIENCE).await.unwrap() else { panic!() };
    assert_eq!(first[0].position.offset, 0);
    let deadline = Instant::now() + PATIENCE;
    make_anew(&log, &topic, &records(&topic, 3), deadline).await;
    loop {
        assert!(Instant::now() < deadline, "it was not told");
        let heard = reader.next(0, Duration::from_millis(100)).await.unwrap();
        if let Delivery::Trouble(LogError::OutOfRange { offset: 10, .. }) = heard {
            break;
        }
    }
    let records = until(&mut reader, "records", as_records).await;
    assert_eq!(records[0].position.offset, 0);
    reader.close().await.unwrap();
    delete(&topic).await;
}

#[tokio::test]
async fn nothing_of_what_a_topic_was_is_committed_of_what_it_is() {
    // Beside another topic, as librdkafka need not notice then.
    let ((log, topic), (_, other)) = (with_topic(1).await, with_topic(1).await);
    let group = unique("group");
    log.publish(records(&topic, 10)).await;
    let mut consumer = log.subscribe(&[&topic, &other], config(&group)).await.unwrap();
    until(&mut consumer, "records", as_records).await;
    let read = [(Partition::new(topic.as_str(), 0), 10)].into();
    consumer.commit(&read).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    make_anew(&log, &topic, &records(&topic, 20), deadline).await;
    // Whoever commits may not have heard of it yet.
    loop {
        assert!(Instant::now() < deadline, "it was not told");
        // The group may have what it had for a moment.
        let _ = consumer.commit(&read).await;
        match consumer.next(0, Duration::from_millis(100)).await.unwrap() {
            Delivery::Trouble(LogError::OutOfRange { .. }) | Delivery::Revoked(_) => break,
            _ => {}
        }
    }
    consumer.commit(&read).await.unwrap_err();
    assert!(log.committed(&group, &topic).await.unwrap().is_empty());
    consumer.close().await.unwrap();
    delete(&topic).await;
    delete(&other).await;
}

#[tokio::test]
async fn a_static_member_comes_back_without_a_rebalance() {
    let (log, topic) = with_topic(4).await;
    let group = unique("group");
    let member = |name: &str| ConsumerConfig { instance: Some(name.to_owned()), ..config(&group) };
    let assigned = |delivery: Delivery| match delivery {
        Delivery::Assigned(partitions) => Some(partitions),
        _ => None,
    };
    let mut stays = log.subscribe(&[&topic], member("stays")).await.unwrap();
    assert_eq!(until(&mut stays, "the assignment", assigned).await.len(), 4);
    let mut restarts = log.subscribe(&[&topic], member("restarts")).await.unwrap();
    let mut kept = 4;
    let deadline = Instant::now() + PATIENCE;
    let theirs = loop {
        assert!(Instant::now() < deadline, "no assignment came in time");
        if let Delivery::Revoked(gone) = stays.next(1, Duration::from_millis(50)).await.unwrap() {
            kept -= gone.partitions.len();
        }
        let delivery = restarts.next(1, Duration::from_millis(50)).await.unwrap();
        if let Some(partitions) = assigned(delivery) {
            break partitions;
        }
    };
    assert_eq!(kept + theirs.len(), 4);
    restarts.close().await.unwrap();
    let mut back = log.subscribe(&[&topic], member("restarts")).await.unwrap();
    assert_eq!(until(&mut back, "the assignment", assigned).await, theirs);
    let delivery = stays.next(1, Duration::from_millis(500)).await.unwrap();
    assert!(matches!(delivery, Delivery::Idle), "the other member noticed nothing: {delivery:?}");
    stays.close().await.unwrap();
    back.close().await.unwrap();
    delete(&topic).await;
}

#[tokio::test]
async fn what_moves_while_it_is_paused_is_read_when_it_is_back() {
    let (log, topic) = with_topic(2).await;
    let group = unique("group");
    let mut stays = log.subscribe(&[&topic], config(&group)).await.unwrap();
    let mut owned = BTreeSet::new();
    let mut goes = None;
    let mut moved = None;
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "{moved:?} {owned:?}");
        match stays.next(1, Duration::from_millis(50)).await.unwrap() {
            Delivery::Assigned(partitions) => owned.extend(partitions),
            Delivery::Revoked(revocation) => {
                owned.retain(|partition| !revocation.partitions.contains(partition));
                moved = revocation.partitions.into_iter().next();
            }
            Delivery::Records(records) => {
                assert_eq!(Some(records[0].position.in_partition()), moved);
                break;
            }
            _ => {}
        }
        if goes.is_none() && moved.is_none() && owned.len() == 2 {
            stays.pause(&Vec::from_iter(owned.clone())).unwrap();
            goes = Some(log.subscribe(&[&topic], config(&group)).await.unwrap());
        } else if let Some(member) = goes.take_if(|_| moved.is_some()) {
            member.close().await.unwrap();
            // Of the one that stayed all along nothing comes, since it is paused.
            for answer in log.publish(records(&topic, 20)).await {
                answer.unwrap();
            }
        }
    }
    stays.close().await.unwrap();
    delete(&topic).await;
}

#[tokio::test]
async fn a_stalled_reader_stays_in_its_group_and_in_its_memory() {
    let (log, topic) = with_topic(2).await;
    let value = Bytes::from(vec![b'x'; 16 << 10]);
    let large = |record: Outgoing| Outgoing { value: Some(value.clone()), ..record };
    let load: Vec<_> = records(&topic, 1500).into_iter().map(large).collect();
    for answer in log.publish(load).await {
        answer.unwrap();
    }
    let group = unique("group");
    let small = ConsumerConfig { prefetch_bytes: 1 << 20, ..config(&group) };
    let mut consumer = log.subscribe(&[&topic], small).await.unwrap();
    let mut offsets: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    let mut count = 0;
    let mut note = |records: Vec<Record>| {
        count += records.len();
        for record in records {
            offsets.entry(record.position.partition).or_default().push(record.position.offset);
        }
        count
    };
    note(until(&mut consumer, "records", as_records).await);
    // For longer than the session, and than a full hand-over may hold up polling.
    let stalled = Instant::now();
    let mut look = tokio::time::interval(Duration::from_millis(200));
    while stalled.elapsed() < config(&group).session_timeout + Duration::from_secs(1) {
        look.tick().await;
        let groups = log.groups().await.unwrap();
        let info = groups.iter().find(|info| info.name == group).unwrap();
        assert_eq!((info.state.as_str(), info.members.len()), ("Stable", 1));
    }
    let rest = |delivery| as_records(delivery).map(&mut note).filter(|count| *count == 1500);
    until(&mut consumer, "the rest", rest).await;
    for (partition, offsets) in offsets {
        let expected: Vec<_> = (0..offsets.len() as i64).collect();
        assert_eq!(offsets, expected, "partition {partition}: all, once, in order");
    }
    consumer.close().await.unwrap();
    delete(&topic).await;
}

#[tokio::test]
async fn a_revocation_waits_for_the_drain_and_no_longer() {
    let (log, topic) = with_topic(2).await;
    let group = unique("group");
    log.publish(records(&topic, 20)).await;
    let mut first = log.subscribe(&[&topic], config(&group)).await.unwrap();
    let got = until(&mut first, "records", as_records).await;
    let mut second = log.subscribe(&[&topic], config(&group)).await.unwrap();
    let revoked = |delivery: Delivery| match delivery {
        Delivery::Revoked(revocation) => Some(revocation),
        _ => None,
    };
    let revocation = until(&mut first, "the revocation", revoked).await;
    assert!(!revocation.lost);
    let gone = revocation.partitions[0].clone();
    // While it is not let go of, it can be committed, and nobody else gets it.
    let offset = got.iter().filter(|record| record.position.in_partition() == gone).count() as i64;
    first.commit(&[(gone.clone(), offset)].into()).await.unwrap();
    let none = second.next(1, Duration::from_millis(300)).await.unwrap();
    assert!(matches!(none, Delivery::Idle), "{none:?}");
    drop(revocation);
    let assigned = |delivery: Delivery| match delivery {
        Delivery::Assigned(partitions) => Some(partitions),
        _ => None,
    };
    assert_eq!(until(&mut second, "the assignment", assigned).await, std::slice::from_ref(&gone));
    let error = first.commit(&[(gone, offset)].into()).await.unwrap_err();
    assert!(!error.is_transient(), "it is another member's: {error}");

    // Who never lets go is waited for only so long.
    second.close().await.unwrap();
    until(&mut first, "the assignment", assigned).await;
    let mut third = log.subscribe(&[&topic], config(&group)).await.unwrap();
    let kept = until(&mut first, "the revocation", revoked).await;
    let started = Instant::now();
    assert_eq!(until(&mut third, "the assignment", assigned).await, kept.partitions);
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    first.close().await.unwrap();
    third.close().await.unwrap();
    delete(&topic).await;
}

#[tokio::test]
async fn a_batch_that_is_refused_takes_no_small_record_with_it() {
    let (log, topic) = with_topic(1).await;
    let alter =
        AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("max.message.bytes", "20000");
    admin().alter_configs(&[alter], &AdminOptions::new()).await.unwrap();
    // Not compressible, and together more than the topic takes.
    let mut state = 7_u64;
    let mut noise = |bytes: usize| {
        let mut byte = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        Bytes::from((0..bytes).map(|_| byte()).collect::<Vec<_>>())
    };
    let mut load = records(&topic, 20);
    load.iter_mut().for_each(|record| record.value = Some(noise(10_000)));
    load[7].value = Some(noise(30_000));
    for (index, answer) in log.publish(load).await.into_iter().enumerate() {
        match answer {
            Ok(_) => assert_ne!(index, 7),
            Err(LogError::TooLarge { bytes, .. }) => assert_eq!((index, bytes), (7, 30_001)),
            Err(other) => panic!("{other:?}"),
        }
    }
    delete(&topic).await;
}
