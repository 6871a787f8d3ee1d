//! Notices about users reach the posts that they have made.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[expect(dead_code, reason = "other tests use the rest")]
mod harness;

use std::collections::BTreeMap;
use std::time::Duration;

use bowerbird_sink::compliance::keep::{Keeping, keep};
use bowerbird_sink::compliance::{Swept, ids, outstanding, sweep};
use bowerbird_sink::mapping::Mapping;
use bowerbird_sink::meta::Meta;
use bowerbird_sink::meta::job::Worker;
use bowerbird_sink::meta::lease::Holder;
use bowerbird_sink::{Generations, Projection, SinkError};
use bowerbird_stream::{Event, EventLog, topic};
use harness::{Bed, about_user, drained, orders, post, within};
use jiff::{SignedDuration, Timestamp, ToSpan};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A post of a user, with a place.
fn of_user(user: u64, id: u64, second: i64) -> Event {
    let value = format!(
        r#"{{"data":{{"id":"{id}","text":"number {id} at {second}","author_id":"{user}",
            "geo":{{"place_id":"p"}}}},
            "includes":{{"places":[{{"id":"p","full_name":"Melbourne"}}]}}}}"#
    );
    Event { value: Some(value.into()), ..post(id, second) }
}

async fn swept(bed: &Bed) -> Result<Swept, SinkError> {
    swept_within(bed, Duration::from_secs(20)).await
}

async fn swept_within(bed: &Bed, patience: Duration) -> Result<Swept, SinkError> {
    sweep(&bed.log, &bed.store, &Projection::posts(), patience, false, |_| {}).await
}

async fn kind(bed: &Bed, id: &str) -> String {
    bed.document(id).await.unwrap()["type"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_was_observed_before_the_notice_is_removed_and_stays_so() {
    let bed = Bed::new().await;
    bed.publish(topic::POSTS, [of_user(7, 1, 1), of_user(7, 2, 9), of_user(8, 3, 1)]).await;
    drained(&bed).await;
    bed.publish(topic::NOTICES, [about_user(7, 5, "user_suspend", "")]).await;
    // Not yet in the log's order of things: the sink has not had them.
    bed.publish(topic::POSTS, [of_user(7, 4, 2)]).await;
    let before = swept_within(&bed, Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(before, SinkError::Behind { .. }), "{before}");
    assert_eq!(outstanding(&bed.log, &Swept::default()).await.unwrap().notices, 1);
    drained(&bed).await;
    let did = swept(&bed).await.unwrap();
    assert_eq!(
        (did.users, did.removed, did.scrubbed),
        (1, 1, 0),
        "the late one is told of already"
    );
    assert_eq!(outstanding(&bed.log, &did).await.unwrap().notices, 0);
    drained(&bed).await;
    for (id, expected) in [("1", "removed"), ("2", "post"), ("3", "post"), ("4", "removed")] {
        assert_eq!(kind(&bed, id).await, expected, "{id}");
    }
    let again = swept(&bed).await.unwrap();
    assert_eq!((again.users, again.removed), (1, 0));
    // What comes later and is older stays away.
    bed.publish(topic::POSTS, [of_user(7, 1, 3)]).await;
    drained(&bed).await;
    assert_eq!(kind(&bed, "1").await, "removed");
    assert_eq!(swept(&bed).await.unwrap().removed, 0);
    let live = bed.says("posts").await;
    bed.compacted().await;
    let kept = bed.posts().await.into_iter().filter(|record| record.value.is_some());
    assert_eq!(kept.count(), 2, "the log holds no content of removed posts");
    assert_eq!(bed.rebuilt(2).await, live);
    assert!(bed.verified().await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrub_takes_places_up_to_its_post_and_a_return_leaves_what_is_there() {
    let bed = Bed::new().await;
    bed.publish(topic::POSTS, [of_user(7, 1, 1), of_user(7, 5, 1), of_user(8, 3, 1)]).await;
    drained(&bed).await;
    bed.publish(
        topic::NOTICES,
        [
            about_user(7, 5, "scrub_geo", r#","up_to_status_id":4"#),
            about_user(8, 5, "user_protect", ""),
            about_user(8, 6, "user_unprotect", ""),
        ],
    )
    .await;
    drained(&bed).await;
    let did = swept(&bed).await.unwrap();
    assert_eq!((did.users, did.removed, did.scrubbed), (1, 0, 1));
    drained(&bed).await;
    for (id, has_place) in [("1", false), ("5", true), ("3", true)] {
        let body = bed.document(id).await.unwrap();
        assert_eq!((body["type"].as_str(), body.get("place").is_some()), (Some("post"), has_place));
    }
    let mut found = Vec::new();
    ids(&bed.store, "posts", false, |id| found.push(id.to_owned())).await.unwrap();
    assert_eq!(found, ["1", "3", "5"]);
}

/// How many notices the log has.
async fn notices(bed: &Bed) -> i64 {
    let extents = bed.log.extents(topic::NOTICES).await.unwrap();
    extents.values().map(|extent| extent.end - extent.earliest).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_imported_after_the_sweep_is_never_seen() {
    let bed = Bed::new().await;
    let scrub = about_user(9, 5, "scrub_geo", r#","up_to_status_id":20"#);
    bed.publish(topic::NOTICES, [about_user(7, 5, "user_suspend", ""), scrub]).await;
    drained(&bed).await;
    swept(&bed).await.unwrap();
    let late = [of_user(7, 1, 2), of_user(7, 2, 9), of_user(8, 3, 1), of_user(9, 4, 1)];
    bed.publish(topic::POSTS, late.into_iter().chain([of_user(9, 21, 1), of_user(9, 5, 9)])).await;
    drained(&bed).await;
    let expected = [
        ("1", "removed", false),
        ("2", "post", true),
        ("3", "post", true),
        ("4", "post", false),
        ("21", "post", true),
        ("5", "post", true),
    ];
    for (id, kind, has_place) in expected {
        let body = bed.document(id).await.unwrap();
        assert_eq!(
            (body["type"].as_str(), body.get("place").is_some()),
            (Some(kind), has_place),
            "{id}"
        );
    }
    // Again and again, there is nothing new to tell; of what was observed since even less.
    assert_eq!(notices(&bed).await, 4);
    for second in [2, 1, 9, 3] {
        bed.publish(topic::POSTS, [of_user(7, 1, second), of_user(9, 4, second)]).await;
        drained(&bed).await;
        assert_eq!(notices(&bed).await, 4, "at {second}");
    }
    assert_eq!(kind(&bed, "1").await, "post");
    assert_eq!(swept(&bed).await.unwrap().removed, 0);
    drained(&bed).await;
    let live = bed.says("posts").await;
    assert!(bed.verified().await.is_clean());
    bed.compacted().await;
    assert_eq!(bed.rebuilt(2).await, live);
    assert_eq!(notices(&bed).await, 4);
}

/// Two processes look now and then, one of them sweeps; also for a post that came just as it was
/// observed, of which no writer asks.
#[tokio::test(flavor = "multi_thread")]
async fn running_sinks_carry_notices_by_themselves() {
    let mut bed = Bed::new().await;
    bed.config.commit_interval = Duration::from_millis(50);
    let running = bed.start();
    let cancel = CancellationToken::new();
    let keepers: Vec<_> = (1..3).map(|pid| tokio::spawn(keeper(&bed, pid, &cancel))).collect();
    let is = async |id: &str, expected: &str| {
        within(expected, async {
            let is = async || match bed.count().await {
                0 => false,
                _ => bed.document(id).await.is_some_and(|body| body["type"] == expected),
            };
            while !is().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    };
    bed.publish(topic::POSTS, [of_user(7, 1, 1), of_user(8, 3, 1)]).await;
    is("1", "post").await;
    bed.publish(topic::NOTICES, [about_user(7, 5, "user_suspend", "")]).await;
    is("1", "removed").await;
    let ahead = Timestamp::now() + 1.hours();
    let later = Event { time: ahead, ..about_user(7, 6, "user_suspend", "") };
    bed.publish(topic::NOTICES, [later]).await;
    is("user:7", "user").await;
    bed.publish(topic::POSTS, [Event { time: Timestamp::now(), ..of_user(7, 2, 0) }]).await;
    is("2", "removed").await;
    assert_eq!(kind(&bed, "3").await, "post");
    cancel.cancel();
    for keeper in keepers {
        keeper.await.unwrap();
    }
    running.stop().await;
    assert!(bed.verified().await.is_clean());
}

/// What a process does by itself, at a quick pace.
fn keeper(bed: &Bed, pid: u32, cancel: &CancellationToken) -> impl Future<Output = ()> + use<> {
    let (log, cancel) = (bed.log.clone(), cancel.clone());
    let generations = Generations::new(Meta::new(bed.store.clone(), true), Mapping::known());
    let (host, space, started) = ("test".to_owned(), String::new(), Timestamp::now());
    let worker = Worker { holder: Holder { host, pid, space, started }, lives: |_| true };
    let keeping = Keeping {
        look_every: Duration::from_millis(50),
        again_every: SignedDuration::from_millis(200),
        ..Keeping::default()
    };
    async move { keep(&log, &generations, &worker, &keeping, cancel).await }
}

/// Whatever the order in which posts, notices and sweeps come, after a last sweep all is alike.
#[tokio::test(flavor = "multi_thread")]
async fn every_order_ends_alike() {
    let orders = orders(4).into_iter().map(ending).collect::<JoinSet<_>>();
    let mut ends = orders.join_all().await;
    assert_eq!(ends.len(), 24);
    ends.dedup();
    assert_eq!(ends.len(), 1, "{ends:#?}");
    assert!(ends[0]["1"].contains("Removal"));
}

/// What the documents say after this order of steps.
async fn ending(order: Vec<usize>) -> BTreeMap<String, String> {
    let bed = Bed::new().await;
    for step in order {
        match step {
            0 => bed.publish(topic::POSTS, [of_user(7, 1, 1)]).await,
            1 => bed.publish(topic::NOTICES, [about_user(7, 5, "user_delete", "")]).await,
            2 => bed.publish(topic::POSTS, [of_user(7, 1, 4)]).await,
            _ => {
                drained(&bed).await;
                swept(&bed).await.unwrap();
            }
        }
    }
    for _ in 0..2 {
        drained(&bed).await;
        swept(&bed).await.unwrap();
    }
    drained(&bed).await;
    bed.says("posts").await
}
