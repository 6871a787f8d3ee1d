//! Groups of several members.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bowerbird_stream::log::EventLog;
use bowerbird_stream::{Delivery, EventConsumer, Partition};
use tokio::time::Instant;

use super::*;

/// What a member of the case has seen.
#[derive(Default)]
struct Member {
    owned: BTreeSet<Partition>,
    seen: BTreeMap<Partition, i64>,
    numbers: Vec<usize>,
}

impl Member {
    /// One call of `next`; what was read is committed before anything is let go of.
    async fn step(&mut self, consumer: &mut impl EventConsumer) {
        match consumer.next(50, Duration::from_millis(20)).await.unwrap() {
            Delivery::Records(records) => {
                for record in &records {
                    assert!(self.owned.contains(&record.position.in_partition()), "{record:?}");
                }
                self.numbers.extend(records.iter().map(number));
                self.seen.extend(after(&records));
            }
            Delivery::Assigned(partitions) => self.owned.extend(partitions),
            Delivery::Revoked(revocation) => {
                for partition in &revocation.partitions {
                    assert!(self.owned.remove(partition), "revoked, but never assigned");
                }
                if !revocation.lost {
                    self.seen.retain(|partition, _| revocation.partitions.contains(partition));
                    consumer.commit(&self.seen).await.unwrap();
                }
                self.seen.clear();
            }
            Delivery::Trouble(error) => panic!("{error}"),
            Delivery::Idle => {}
        }
    }
}

pub async fn two_members_share_nothing_and_miss_nothing(log: impl EventLog) {
    let (topic, group) = (topic(&log, 4).await, unique("group"));
    publish(&log, records(&topic, 0, 400)).await;
    let mut first = log.subscribe(&[&topic], config(&group)).await.unwrap();
    let mut second = log.subscribe(&[&topic], config(&group)).await.unwrap();
    let (mut one, mut two) = (Member::default(), Member::default());
    let deadline = Instant::now() + PATIENCE;
    let mut sent = 400;
    // Until every partition has an owner and all has come.
    loop {
        assert!(Instant::now() < deadline, "{} + {}", one.numbers.len(), two.numbers.len());
        tokio::join!(one.step(&mut first), two.step(&mut second));
        assert!(one.owned.is_disjoint(&two.owned), "{:?} and {:?}", one.owned, two.owned);
        let seen: BTreeSet<_> = one.numbers.iter().chain(&two.numbers).copied().collect();
        if sent < 800 {
            publish(&log, records(&topic, sent, 20)).await;
            sent += 20;
        } else if seen.len() == 800 && one.owned.len() + two.owned.len() == 4 {
            break;
        }
    }
    // One that owns something leaves; the other gets it all.
    let (mut stays, mut staying, gone) =
        if one.owned.is_empty() { (first, one, second) } else { (second, two, first) };
    gone.close().await.unwrap();
    publish(&log, records(&topic, 800, 100)).await;
    let mut seen = BTreeSet::new();
    while seen.len() < 100 || staying.owned.len() < 4 {
        assert!(Instant::now() < deadline, "{seen:?}");
        staying.step(&mut stays).await;
        seen = staying.numbers.iter().copied().filter(|number| *number >= 800).collect();
    }
    stays.close().await.unwrap();
}

pub async fn a_member_that_is_dropped_is_replaced(log: impl EventLog) {
    let (topic, group) = (topic(&log, 2).await, unique("group"));
    publish(&log, records(&topic, 0, 50)).await;
    let mut first = log.subscribe(&[&topic], config(&group)).await.unwrap();
    let done = read(&mut first, 50).await;
    first.commit(&after(&done[..10])).await.unwrap();
    let committed: i64 = log.committed(&group, &topic).await.unwrap().values().sum();
    assert_eq!(committed, 10);
    drop(first);
    let mut second = log.subscribe(&[&topic], config(&group)).await.unwrap();
    let again: BTreeSet<_> = read(&mut second, 40).await.iter().map(number).collect();
    assert_eq!(again, done[10..].iter().map(number).collect());
    second.close().await.unwrap();
}

pub async fn commits_of_a_former_member_are_refused(log: impl EventLog) {
    let (topic, group) = (topic(&log, 1).await, unique("group"));
    publish(&log, records(&topic, 0, 10)).await;
    let mut consumer = log.subscribe(&[&topic], config(&group)).await.unwrap();
    let offsets = after(&read(&mut consumer, 10).await);
    let mut outsider = log.assign(&everything(&log, &topic).await, config(&group)).await.unwrap();
    assert!(outsider.commit(&offsets).await.is_err(), "the group has a live member");
    let foreign = [(Partition::new("other", 0), 1)].into();
    assert!(consumer.commit(&foreign).await.is_err(), "never assigned");
    consumer.commit(&offsets).await.unwrap();
    consumer.close().await.unwrap();
    // With nobody in the group an explicit reader may set its offsets.
    let start = [(Partition::new(topic.as_str(), 0), 4)].into();
    outsider.commit(&start).await.unwrap();
    outsider.close().await.unwrap();
    assert_eq!(log.committed(&group, &topic).await.unwrap(), [(0, 4)].into());
}

pub async fn groups_and_their_offsets_can_be_asked(log: impl EventLog) {
    let (topic, group) = (topic(&log, 2).await, unique("group"));
    publish(&log, records(&topic, 0, 20)).await;
    assert_eq!(log.committed(&group, &topic).await.unwrap(), BTreeMap::new());
    let mut consumer = log.subscribe(&[&topic], config(&group)).await.unwrap();
    let done = read(&mut consumer, 20).await;
    let one = after(&done).into_iter().take(1).collect::<BTreeMap<_, _>>();
    consumer.commit(&one).await.unwrap();
    let expected: BTreeMap<i32, i64> = one.iter().map(|(p, &o)| (p.partition, o)).collect();
    assert_eq!(log.committed(&group, &topic).await.unwrap(), expected);
    let find = || async {
        log.groups().await.unwrap().into_iter().find(|info| info.name == group).unwrap()
    };
    let live = find().await;
    assert_eq!((live.state.as_str(), live.members.len()), ("Stable", 1), "{live:?}");
    consumer.close().await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while find().await.state != "Empty" {
        assert!(Instant::now() < deadline, "{:?}", find().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(log.committed(&group, &topic).await.unwrap(), expected);
}
