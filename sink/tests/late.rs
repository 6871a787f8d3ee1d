//! Older observations that come late: compaction must not take the newest for them.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[expect(dead_code, reason = "other tests use the rest")]
mod harness;

use bowerbird_stream::log::Outgoing;
use bowerbird_stream::{EventLog, topic};
use harness::{Bed, deletion, orders, post};

/// How many records an id has, and which second the last one tells of.
async fn of(bed: &Bed, id: &str) -> (usize, i64) {
    let mut records = bed.posts().await;
    records.retain(|record| record.key.as_deref() == Some(id.as_bytes()));
    let last = records.last().unwrap().event().unwrap();
    (records.len(), last.time.as_second() - 1_700_000_000)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_is_said_again_behind_a_late_one_once() {
    let bed = Bed::new().await;
    bed.publish(topic::POSTS, [post(1, 9), post(2, 9)]).await;
    bed.once().await.unwrap();
    bed.publish(topic::POSTS, [post(1, 5)]).await;
    let report = bed.once().await.unwrap();
    assert_eq!(report.written, 1, "its new place in the log is noted");
    assert_eq!(of(&bed, "1").await, (3, 9));
    assert_eq!(of(&bed, "2").await, (1, 9));
    let copy = bed.posts().await.into_iter().find(|record| record.headers.get("affirms").is_some());
    let copy = copy.unwrap();
    assert_eq!(bed.document("1").await.unwrap()["log"]["offset"], copy.position.offset);
    bed.publish(topic::POSTS, [post(1, 9)]).await;
    assert_eq!(bed.once().await.unwrap().written, 0);
    assert_eq!(of(&bed, "1").await, (4, 9));
    let before = bed.says("posts").await;
    bed.compacted().await;
    assert_eq!(of(&bed, "1").await, (1, 9));
    assert_eq!(bed.rebuilt(2).await, before);
    assert!(bed.verified().await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn also_where_it_was_compacted_away_and_a_copy_is_left() {
    let bed = Bed::new().await;
    bed.publish(topic::POSTS, [post(1, 9)]).await;
    bed.once().await.unwrap();
    bed.publish(topic::POSTS, (10..1_500).map(|id| post(id, 1))).await;
    // The document keeps to the first of the two, which compaction takes.
    bed.publish(topic::POSTS, [post(1, 9)]).await;
    bed.once().await.unwrap();
    bed.compacted().await;
    assert_eq!(of(&bed, "1").await, (1, 9));
    bed.publish(topic::POSTS, [post(1, 3)]).await;
    bed.once().await.unwrap();
    assert_eq!(of(&bed, "1").await, (3, 9));
    bed.compacted().await;
    assert_eq!(of(&bed, "1").await, (1, 9));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_has_lost_stays_a_document_and_is_not_written_again() {
    let bed = Bed::new().await;
    bed.publish(topic::POSTS, [post(1, 9)]).await;
    bed.once().await.unwrap();
    bed.publish(topic::POSTS, [post(1, 5)]).await;
    // No sink was there for longer than compaction waits.
    bed.compacted().await;
    assert_eq!(of(&bed, "1").await, (1, 5));
    let report = bed.once().await.unwrap();
    assert_eq!((report.records, report.written, report.unchanged), (1, 0, 1));
    assert_eq!(of(&bed, "1").await, (1, 5));
    assert_eq!(bed.document("1").await.unwrap()["text"], "number 1 at 9");
    // Verification tells of it.
    assert!(!bed.verified().await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_post_is_not_said_again() {
    let bed = Bed::new().await;
    bed.publish(topic::POSTS, [post(1, 5)]).await;
    bed.publish(topic::NOTICES, [deletion(1, 6)]).await;
    bed.once().await.unwrap();
    bed.publish(topic::POSTS, [post(1, 3)]).await;
    bed.once().await.unwrap();
    // The tombstone is said again, the content is not.
    assert_eq!(of(&bed, "1").await, (4, 6));
    assert_eq!(bed.document("1").await.unwrap()["type"], "removed");
}

/// In two batches, cut at every place: the log that compaction leaves gives the same documents.
#[tokio::test(flavor = "multi_thread")]
async fn in_any_order_the_compacted_log_gives_the_same_documents() {
    let bed = Bed::new().await;
    let cases: Vec<_> = orders(4)
        .into_iter()
        .flat_map(|order| (0..=4).map(move |cut| (order.clone(), cut)))
        .collect();
    for second_batch in [false, true] {
        let records = (0..).zip(&cases).flat_map(|(id, (order, cut))| {
            let (first, second) = order.split_at(*cut);
            let part = if second_batch { second } else { first };
            part.iter().map(move |number| post(id, *number as i64 + 1))
        });
        bed.publish(topic::POSTS, records).await;
        bed.once().await.unwrap();
    }
    bed.once().await.unwrap();
    let live = bed.says("posts").await;
    assert_eq!(live.len(), 120);
    assert!(live.values().all(|said| said.contains("at 4")), "{live:?}");
    assert_eq!(bed.rebuilt(2).await, live);
    bed.compacted().await;
    assert_eq!(bed.posts().await.len(), 120);
    assert_eq!(bed.rebuilt(3).await, live);
    assert!(bed.verified().await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observation_after_its_removal_outlives_a_late_tombstone() {
    let bed = Bed::new().await;
    bed.publish(topic::NOTICES, [deletion(1, 5)]).await;
    bed.publish(topic::POSTS, [post(1, 9)]).await;
    bed.once().await.unwrap();
    let mut erased = Outgoing::event(topic::POSTS, post(1, 5));
    erased.value = None;
    erased.headers.retain(|name| name != "ce_type");
    erased.headers.push("ce_type", "post.erased");
    bed.log.publish(vec![erased]).await.remove(0).unwrap();
    let report = bed.once().await.unwrap();
    assert_eq!(report.dead_letters, 0);
    assert_eq!(of(&bed, "1").await, (3, 9));
    bed.compacted().await;
    assert_eq!(bed.document("1").await.unwrap()["text"], "number 1 at 9");
    assert_eq!(of(&bed, "1").await, (1, 9));
}
