//! Named members that are put out of their group by another one of the same name.

use super::*;

const PARTITIONS: usize = 4;
/// A member that is put out over and over waits for 15 s altogether before it gives up; what is left
/// is for joining and for hearing of it.
const FIGHT: Duration = Duration::from_secs(90);
const WAIT: Duration = Duration::from_millis(100);

fn named(group: &str) -> ConsumerConfig {
    ConsumerConfig { instance: Some("one".to_owned()), ..config(group) }
}

fn all_assigned(delivery: Delivery) -> Option<()> {
    matches!(delivery, Delivery::Assigned(partitions) if partitions.len() == PARTITIONS)
        .then_some(())
}

#[tokio::test]
async fn a_member_that_is_put_out_says_so_and_joins_again() {
    let (log, topic) = with_topic(PARTITIONS as u32).await;
    let group = unique("group");
    log.publish(records(&topic, 40)).await;
    let mut first = log.subscribe(&[&topic], named(&group)).await.unwrap();
    until(&mut first, "the assignment", all_assigned).await;
    let mut second = log.subscribe(&[&topic], named(&group)).await.unwrap();
    until(&mut second, "the assignment", all_assigned).await;
    let partition = Partition::new(topic.as_str(), 0);
    let commit = [(partition, 1)].into();
    // Whether the first hears of it by this or has heard before: it is no reason to end.
    let error = first.commit(&commit).await.unwrap_err();
    let passes = error.is_transient() || matches!(error, LogError::NotAssigned { .. });
    assert!(passes, "{error:?}");

    let lost = |delivery: Delivery| match delivery {
        Delivery::Revoked(revocation) => Some(revocation),
        _ => None,
    };
    let revocation = until(&mut first, "the loss", lost).await;
    assert!(revocation.lost && revocation.released.is_none(), "{revocation:?}");
    assert_eq!(revocation.partitions.len(), PARTITIONS);
    let error = until(&mut first, "the trouble", as_trouble).await;
    assert!(error.is_transient(), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("name one") && text.contains("sink.instance"), "{text}");
    let error = first.commit(&commit).await.unwrap_err();
    assert!(matches!(error, LogError::NotAssigned { .. }), "{error:?}");

    second.close().await.unwrap();
    until(&mut first, "the assignment", all_assigned).await;
    until(&mut first, "the record", |delivery| {
        as_records(delivery)?.into_iter().find(|record| record.position.partition == 0)
    })
    .await;
    first.commit(&commit).await.unwrap();
    assert_eq!(log.committed(&group, &topic).await.unwrap()[&0], 1);
    // And nothing is wrong any more.
    until(&mut first, "the end of the trouble", |delivery| {
        matches!(delivery, Delivery::Idle).then_some(())
    })
    .await;
    first.close().await.unwrap();
    delete(&topic).await;
}

#[tokio::test]
async fn of_two_live_members_of_one_name_one_gives_up_and_the_other_goes_on() {
    let (log, topic) = with_topic(PARTITIONS as u32).await;
    let group = unique("group");
    let (mut joins, started) = (0, Instant::now());
    let mut members = Vec::new();
    for _ in 0..2 {
        members.push(log.subscribe(&[&topic], named(&group)).await.unwrap());
    }
    let (ended, error) = 'fight: loop {
        assert!(started.elapsed() < FIGHT, "neither has given up");
        for (place, member) in members.iter_mut().enumerate() {
            match member.next(100, WAIT).await {
                Ok(Delivery::Assigned(_)) => joins += 1,
                Ok(_) => {}
                Err(error) => break 'fight (place, error),
            }
        }
    };
    assert!(joins <= 12, "{joins} joins: they have done nothing else");
    assert!(matches!(&error, LogError::Fenced { instance, .. } if instance == "one"), "{error:?}");
    assert!(!error.is_transient() && !error.pauses());
    assert!(error.to_string().contains(&group), "{error}");
    drop(members.remove(ended));

    let mut stays = members.remove(0);
    let deadline = Instant::now() + PATIENCE;
    let commit: BTreeMap<_, _> = [(Partition::new(topic.as_str(), 0), 0)].into();
    while let Err(error) = stays.commit(&commit).await {
        assert!(Instant::now() < deadline, "the one that is left does not go on: {error}");
        stays.next(100, WAIT).await.unwrap();
    }
    stays.close().await.unwrap();
    delete(&topic).await;
}
