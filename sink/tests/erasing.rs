//! What a platform asks to be removed leaves the log as well, and does not come back.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[expect(dead_code, reason = "other tests use the rest")]
mod harness;

use std::collections::BTreeMap;

use bowerbird_stream::{Event, EventType, topic};
use harness::{Bed, Fault, deletion, orders, post, unreachable};

/// Whether the last record of a post erases it, and for which notice.
async fn erased_by(bed: &Bed, id: &str) -> Option<String> {
    let last = bed.of(id).await.pop()?;
    let event = last.event().unwrap();
    assert_eq!(event.value.is_none(), event.kind == EventType::PostErased);
    event.value.is_none().then(|| event.extensions["notice"].clone())
}

async fn tombstones(bed: &Bed) -> usize {
    bed.posts().await.iter().filter(|record| record.value.is_none()).count()
}

fn restoration(id: u64, second: i64) -> Event {
    let value = format!(r#"{{"id":"{id}","action":"undelete"}}"#).into();
    Event { id: format!("back-{id}-{second}"), value: Some(value), ..deletion(id, second) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_erases_from_the_log_what_it_takes_from_the_store() {
    let bed = Bed::new().await;
    bed.publish(topic::POSTS, [post(1, 1), post(2, 1)]).await;
    bed.once().await.unwrap();
    // The second is about a post that nobody has: there is nothing to erase.
    bed.publish(topic::NOTICES, [deletion(1, 6), deletion(9, 6)]).await;
    bed.once().await.unwrap();
    assert_eq!(erased_by(&bed, "1").await.as_deref(), Some("gone-1-6"));
    assert_eq!(tombstones(&bed).await, 1);
    let before = bed.says("posts").await;
    // What it published says nothing new, and is not answered again.
    assert_eq!(bed.once().await.unwrap().written, 0);
    assert_eq!(tombstones(&bed).await, 1);
    bed.compacted().await;
    let left = bed.of("1").await;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].value, None);
    assert_eq!(bed.rebuilt(2).await, before);
    assert_eq!(tombstones(&bed).await, 1, "what the log tells needs no second tombstone");
    assert!(bed.verified().await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_comes_behind_the_tombstone_is_erased_again() {
    let bed = Bed::new().await;
    bed.publish(topic::POSTS, [post(1, 1)]).await;
    bed.publish(topic::NOTICES, [deletion(1, 6)]).await;
    bed.once().await.unwrap();
    for second in [3, 1] {
        bed.publish(topic::POSTS, [post(1, second)]).await;
        bed.once().await.unwrap();
        assert_eq!(erased_by(&bed, "1").await.as_deref(), Some("gone-1-6"));
    }
    // The platform shows it again: it stays, and what is older does not come back.
    bed.publish(topic::POSTS, [post(1, 9)]).await;
    bed.once().await.unwrap();
    bed.publish(topic::POSTS, [post(1, 2)]).await;
    bed.once().await.unwrap();
    assert_eq!(erased_by(&bed, "1").await, None);
    let before = bed.says("posts").await;
    bed.compacted().await;
    assert_eq!(bed.document("1").await.unwrap()["text"], "number 1 at 9");
    assert_eq!(bed.rebuilt(2).await, before);
}

/// Until the log has the tombstone, the store keeps the content: else nobody would know that there
/// is something to erase.
#[tokio::test(flavor = "multi_thread")]
async fn a_stub_that_could_not_be_written_is_erased_all_the_same() {
    let bed = Bed::new().await;
    bed.publish(topic::POSTS, [post(1, 1)]).await;
    bed.once().await.unwrap();
    bed.publish(topic::NOTICES, [deletion(1, 6)]).await;
    // The first write meets the post, the second is the stub.
    let meets = Fault::Row("nobody".to_owned());
    for fault in [Fault::Fails(unreachable()), Fault::FailsAfterwards(unreachable())] {
        *bed.faults.next.lock().unwrap() = vec![fault, meets.clone()];
        assert!(bed.once().await.is_err());
    }
    bed.once().await.unwrap();
    assert_eq!(erased_by(&bed, "1").await.as_deref(), Some("gone-1-6"));
    assert_eq!(bed.document("1").await.unwrap()["type"], "removed");
}

/// All orders of what can be said of a post, cut at every place; then compaction, and a rebuild.
#[tokio::test(flavor = "multi_thread")]
async fn every_order_ends_alike_and_holds_no_content() {
    let said = [post(0, 1), post(0, 4), deletion(0, 6), restoration(0, 8)];
    let mut outcomes = BTreeMap::new();
    let bed = Bed::new().await;
    let orders = orders(said.len());
    let mut number = 0;
    for cut in 0..said.len() {
        for (at, order) in orders.iter().enumerate() {
            let id = 1 + (cut * orders.len() + at) as u64;
            for event in &order[..cut] {
                bed.publish_as(&said[*event], id).await;
            }
        }
        bed.once().await.unwrap();
        for (at, order) in orders.iter().enumerate() {
            let id = 1 + (cut * orders.len() + at) as u64;
            for event in &order[cut..] {
                bed.publish_as(&said[*event], id).await;
            }
        }
        bed.once().await.unwrap();
        number += orders.len() as u64;
    }
    bed.once().await.unwrap();
    let before = bed.says("posts").await;
    for id in 1..=number {
        let body = bed.document(&id.to_string()).await.unwrap();
        assert_eq!(body.get("text"), None);
        *outcomes.entry(body["type"].to_string()).or_insert(0) += 1;
    }
    assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), [("\"restored\"".to_owned(), number)]);
    bed.compacted().await;
    assert_eq!(bed.rebuilt(2).await, before);
    assert!(bed.verified().await.is_clean());
}
