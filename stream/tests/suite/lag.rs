//! Lag as the log tells it.

use bowerbird_stream::EventConsumer;
use bowerbird_stream::lag::{GroupLag, GroupStatus, LagConfig, LagMonitor};
use bowerbird_stream::log::EventLog;

use super::*;

pub async fn counts_what_a_group_has_not_committed(log: impl EventLog) {
    let (topic, group) = (topic(&log, 2).await, unique("group"));
    publish(&log, records(&topic, 0, 100)).await;
    let expected = [(group.clone(), vec![topic.clone()])].into();
    let config = LagConfig { expected, discover: false, ..LagConfig::new([&topic]) };
    let (mut monitor, reports) = LagMonitor::new(log.clone(), config);
    assert_eq!(reports.borrow().sampled_at, None);

    let report = monitor.sample().await;
    assert_eq!(report.errors, [""; 0]);
    assert_eq!(report.total.lag, 100, "all that is held, without a commit");
    assert_eq!(report.groups[0].status, GroupStatus::Stopped);
    assert!(report.total.seconds_behind < 60.0 + 30.0, "{}", report.total.seconds_behind);
    assert_eq!((report.topics[0].records, report.topics[0].partitions.len()), (100, 2));
    assert_eq!(*reports.borrow(), report);

    let mut consumer = log.subscribe(&[&topic], super::config(&group)).await.unwrap();
    let done = read(&mut consumer, 100).await;
    consumer.commit(&after(&done[..60])).await.unwrap();
    let report = monitor.sample().await;
    assert_eq!((report.total.lag, report.groups[0].total.lag), (40, 40));
    assert!(report.groups[0].total.out_rate.unwrap() > 0.0);
    consumer.commit(&after(&done)).await.unwrap();
    publish(&log, records(&topic, 100, 1)).await;
    assert_eq!(monitor.sample().await.total.lag, 1);
    let last = read(&mut consumer, 1).await;
    consumer.commit(&after(&last)).await.unwrap();
    let level = monitor.sample().await;
    assert_eq!((level.total.lag, level.total.seconds_behind), (0, 0.0));
    assert_eq!(level.total.catch_up_seconds, Some(0.0));
    assert_eq!(level.groups[0].status, GroupStatus::Ok);
    consumer.close().await.unwrap();
}

pub async fn finds_groups_by_itself_and_forgets_none_of_its_topics(log: impl EventLog) {
    let (topic, group) = (topic(&log, 2).await, unique("group"));
    let missing = unique("missing");
    publish(&log, records(&topic, 0, 50)).await;
    let mut consumer = log.subscribe(&[&topic], super::config(&group)).await.unwrap();
    let done = read(&mut consumer, 50).await;
    // One partition has a commit, the other has none.
    let one = after(&done).into_iter().take(1).collect::<BTreeMap<_, _>>();
    consumer.commit(&one).await.unwrap();
    let (mut monitor, _reports) = LagMonitor::new(log.clone(), LagConfig::new([&topic, &missing]));
    let report = monitor.sample().await;
    assert_eq!(report.errors, [""; 0], "a topic that is not there yet is no error");
    let found: Vec<&GroupLag> = report.groups.iter().filter(|found| found.group == group).collect();
    let [found] = found[..] else { panic!("{:?}", report.groups) };
    assert_eq!((found.state.as_str(), found.members.len()), ("Stable", 1));
    let behind: Vec<_> = found.topics[0].partitions.iter().map(|p| (p.committed, p.lag)).collect();
    let held = log.extents(&topic).await.unwrap()[&1].end as u64;
    assert_eq!(behind[0], (one.values().next().copied(), 0));
    assert_eq!(behind[1], (None, held), "without a commit all that is held is before it");

    // Another group reads in its place from now on, and this one is no lag any more.
    let successor = unique("group");
    let expected = [(successor.clone(), vec![topic.clone()])].into();
    monitor.expect(expected, [group.clone()].into());
    let report = monitor.sample().await;
    let shown = |name: &str| report.groups.iter().find(|found| found.group == name);
    assert_eq!(shown(&group), None);
    assert_eq!(shown(&successor).unwrap().total.lag, 50);
    consumer.close().await.unwrap();
}
