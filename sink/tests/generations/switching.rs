//! Rebuilding, switching and going back.

use std::collections::BTreeMap;

use bowerbird_sink::SinkError;
use bowerbird_sink::compliance::beside;
use bowerbird_sink::mapping::Mapping;
use bowerbird_sink::meta::job::Job;
use bowerbird_sink::projections::switch::drop_generation;
use bowerbird_sink::projections::{Refusal, Standing};
use bowerbird_store::DocumentStore;
use bowerbird_stream::{Event, topic};
use tokio_util::sync::CancellationToken;

use super::bed::{Bed, Dying, SECOND, arrive, deletion, post, within, worker};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_mapping_goes_live_and_back_while_events_arrive() {
    let bed = Bed::new().await;
    let alive = Dying::default();
    let generations = bed.generations(&alive);
    let enough = CancellationToken::new();
    let arriving = tokio::spawn(arrive(bed.log.clone(), enough.clone()));
    let sink = bed.start();
    within("some documents", async {
        while bed.store.database("posts").await.unwrap().is_none_or(|found| found.documents < 100) {
            tokio::task::yield_now().await;
        }
    })
    .await;

    let checked = bed.rebuild(&alive, &SECOND).await.unwrap();
    assert_eq!((checked.live.differences(), checked.live.content), (0, false));
    let pointer = generations.pointer(&bed.base).await.unwrap();
    assert_eq!((pointer.live, pointer.generations[&2].state), (1, Standing::Ready));
    let switched = bed.switch(&alive, 2).await.unwrap();
    assert_eq!((switched.from, switched.to), (1, 2));
    // The sink finds out by itself, and events go on arriving.
    bed.level().await;
    let switched = bed.rollback(&alive).await.unwrap();
    assert_eq!((switched.from, switched.to), (2, 1));
    enough.cancel();
    let expected = arriving.await.unwrap();
    bed.level().await;
    bed.holds(1, &expected).await;
    // The other one is as far as its group says, and takes the rest when it goes live again.
    bed.switch(&alive, 2).await.unwrap();
    bed.level().await;
    bed.holds(2, &expected).await;
    sink.stop().await;

    // What is live can't be dropped; what is not is gone, with its database.
    let live = drop_generation(&bed.log, &generations, &bed.base, 2).await;
    assert!(matches!(live, Err(SinkError::Generation(Refusal::Standing { .. }))), "{live:?}");
    drop_generation(&bed.log, &generations, &bed.base, 1).await.unwrap();
    assert!(bed.store.database("posts").await.unwrap().is_none());
    let pointer = generations.pointer(&bed.base).await.unwrap();
    assert_eq!(pointer.generations.keys().copied().collect::<Vec<_>>(), [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_mapping_gives_the_same_documents() {
    let bed = Bed::new().await;
    bed.publish(topic::POSTS, (0..500).map(|id| post(id, 1))).await;
    // What can't become a document has a letter of each group's own.
    let broken = Event { value: Some("{\"id\":".into()), ..post(1_000, 1) };
    bed.publish(topic::POSTS, [broken]).await;
    let sink = bed.start();
    bed.level().await;
    let checked = bed.rebuild(&Dying::default(), &Mapping::CURRENT).await.unwrap();
    let live = &checked.live;
    assert_eq!((live.live, live.new, live.differences(), live.content), (500, 500, 0, true));
    assert_eq!((live.buckets_differ(), live.live_buckets.len()), (0, 16));
    assert_eq!(checked.log.projections[0].dead_letters, 1);
    let same = (bed.documents("posts").await, bed.documents("posts-2").await);
    assert_eq!(same.0, same.1);

    // What somebody did to the live one shows, and is no reason against the new one.
    let mut documents = bed.store.scan("posts", None, 2).await.unwrap();
    let mut spoilt = documents.remove(0);
    let mut body: serde_json::Value = serde_json::from_str(spoilt.body.get()).unwrap();
    body["text"] = "spoilt".into();
    spoilt.body = bowerbird_store::Body::of(&body).unwrap();
    bed.store.write("posts", &[spoilt]).await.unwrap();
    let checked = bed.rebuild(&Dying::default(), &Mapping::CURRENT).await.unwrap();
    assert_eq!((checked.live.differ, checked.live.buckets_differ()), (1, 1));
    assert!(checked.log.is_clean());
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_lost_the_database_fills_another_and_does_not_go_back() {
    let bed = Bed::new().await;
    let alive = Dying::default();
    let enough = CancellationToken::new();
    let arriving = tokio::spawn(arrive(bed.log.clone(), enough.clone()));
    let sink = bed.start();
    bed.level().await;
    enough.cancel();
    let expected = arriving.await.unwrap();
    bed.level().await;
    bed.store.drop_database("posts").await.unwrap();
    let checked = bed.rebuild(&alive, &Mapping::CURRENT).await.unwrap();
    assert!(checked.log.is_clean() && checked.live.live == 0, "{checked:?}");
    bed.switch(&alive, 2).await.unwrap();
    bed.level().await;
    bed.holds(2, &expected).await;
    let back = bed.rollback(&alive).await.unwrap_err();
    assert!(matches!(back, SinkError::Gone { generation: 1, .. }), "{back}");
    sink.stop().await;
    let pointer = bed.generations(&alive).pointer(&bed.base).await.unwrap();
    assert_eq!(pointer.live, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_reaches_generations_that_are_not_live() {
    let bed = Bed::new().await;
    let alive = Dying::default();
    let generations = bed.generations(&alive);
    bed.publish(topic::POSTS, (1..=30).map(|id| post(id, 1))).await;
    bed.publish(topic::NOTICES, [deletion(1, 5)]).await;
    let sink = bed.start();
    bed.level().await;
    bed.rebuild(&alive, &SECOND).await.unwrap();
    bed.switch(&alive, 2).await.unwrap();
    // When the sink has written this, it has left the former one.
    bed.publish(topic::POSTS, [post(31, 1)]).await;
    bed.level().await;
    bed.rebuild(&alive, &SECOND).await.unwrap();
    assert_eq!(beside::waiting(&bed.log, &generations).await.unwrap(), 0);
    // One is kept, one ready; of the last post there is nothing but the notice yet.
    bed.publish(topic::NOTICES, (2..=10).chain([99]).map(|id| deletion(id, 5))).await;
    bed.level().await;
    let content = async |database: &str| {
        let documents = bed.documents(database).await;
        let of_first =
            documents.iter().filter(|(id, _)| id.parse::<u64>().is_ok_and(|id| id <= 30));
        of_first.filter(|(_, body)| body.get("text").is_some()).count()
    };
    assert_eq!((content("posts").await, content("posts-2").await), (29, 20));
    assert_eq!(beside::waiting(&bed.log, &generations).await.unwrap(), 20);
    let carried = beside::apply(&bed.log, &generations, &worker(8)).await.unwrap();
    assert_eq!((carried.notices, carried.written), (20, 20));
    assert_eq!((content("posts").await, content("posts-3").await), (20, 20));
    assert_eq!(beside::waiting(&bed.log, &generations).await.unwrap(), 0);
    assert_eq!(beside::apply(&bed.log, &generations, &worker(8)).await.unwrap().notices, 0);
    // Their groups meet the same notices when they move, and content that comes late.
    bed.publish(topic::POSTS, [post(99, 1), post(32, 1)]).await;
    bed.level().await;
    bed.rollback(&alive).await.unwrap();
    bed.level().await;
    assert_eq!(content("posts").await, 20);
    let of_late = bed.documents("posts").await;
    assert_eq!(
        (&of_late["99"]["type"], &of_late["32"]["type"]),
        (&"removed".into(), &"post".into())
    );
    sink.stop().await;
    let last: BTreeMap<_, _> =
        bed.records(topic::POSTS).await.into_iter().map(|one| (one.key.clone(), one)).collect();
    assert_eq!(last.values().filter(|one| one.value.is_none()).count(), 11);
    assert_eq!(last.len(), 33);
    // What a generation lost with its database it need not know.
    bed.store.drop_database("posts-3").await.unwrap();
    bed.publish(topic::NOTICES, [deletion(11, 5)]).await;
    assert_eq!(beside::waiting(&bed.log, &generations).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_do_not_do_the_same_job() {
    let bed = Bed::new().await;
    let generations = bed.generations(&Dying::default());
    let begin = async |_: Option<u32>| Ok(0);
    let first = Job::claim(generations.meta(), "j".to_owned(), &worker(7), begin).await.unwrap();
    let second = Job::claim(generations.meta(), "j".to_owned(), &worker(8), begin).await;
    let error = second.unwrap_err().to_string();
    assert!(error.contains("process 7 on here"), "{error}");
    // Who takes over after the first was killed is not disturbed by it.
    let mut successor = worker(8);
    successor.lives = |_| false;
    let mut next = Job::claim(generations.meta(), "j".to_owned(), &successor, begin).await.unwrap();
    let mut first = first;
    let late = first.save().await.unwrap_err();
    assert!(matches!(late, SinkError::Contended { .. }), "{late}");
    next.save().await.unwrap();
    // Let go, it can be taken at once.
    next.release().await.unwrap();
    Job::claim(generations.meta(), "j".to_owned(), &worker(9), begin).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_overtaken_while_claiming_a_job_looks_again() {
    let bed = Bed::new().await;
    let generations = bed.generations(&Dying::default());
    let meta = generations.meta();
    let mut killed = worker(8);
    killed.lives = |_| false;
    for (claimer, expected) in [(worker(8), None), (killed, Some(1))] {
        let job = format!("job of {expected:?}");
        let mut other = Some(worker(7));
        let begin = async |before: Option<u32>| {
            if let Some(other) = other.take() {
                Job::claim(meta, job.clone(), &other, async |_| Ok(1)).await?;
            }
            Ok(before.unwrap_or(0))
        };
        let claimed = Job::claim(meta, job.clone(), &claimer, begin).await;
        match expected {
            // The other is at it.
            None => assert!(matches!(claimed, Err(SinkError::Held { .. })), "{claimed:?}"),
            Some(work) => assert_eq!(claimed.unwrap().work, work),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_switches_one_loses_and_says_so() {
    let bed = Bed::new().await;
    bed.publish(topic::POSTS, (0..10).map(|id| post(id, 1))).await;
    let alive = Dying::default();
    bed.rebuild(&alive, &SECOND).await.unwrap();
    let generations = bed.generations(&alive);
    let stale = generations.change(&bed.base, |now, time| {
        // Somebody else is faster.
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(bed.switch(&alive, 2)).unwrap();
        });
        Ok((now.dropping(&bed.base, 2, time)?, ()))
    });
    assert!(matches!(stale.await, Err(SinkError::Contended { .. })));
    assert_eq!(generations.pointer(&bed.base).await.unwrap().live, 2);
}
