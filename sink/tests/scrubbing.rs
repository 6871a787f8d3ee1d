//! What a geo scrub takes from a post leaves the log as well, and does not come back.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[expect(dead_code, reason = "other tests use the rest")]
mod harness;

use bowerbird_sink::mapping::{Mapped, Mapping, Unmappable};
use bowerbird_sink::merge::Content;
use bowerbird_sink::{Projection, document};
use bowerbird_store::DocumentStore;
use bowerbird_stream::{Event, EventView, Position, topic};
use harness::{Bed, Fault, deletion, orders, post, unreachable};

/// A post that tells where it was made.
fn located(id: u64, second: i64) -> Event {
    let value = format!(
        r#"{{"data":{{"id":"{id}","text":"number {id} at {second}","geo":{{"place_id":"p"}}}},"includes":{{"places":[{{"id":"p","full_name":"Melbourne"}}]}}}}"#
    );
    Event { value: Some(value.into()), ..post(id, second) }
}

/// A notice that a post must not tell that any more.
fn scrub(id: u64, second: i64) -> Event {
    let value = format!(r#"{{"id":"{id}","action":"delete","reason":"scrub_geo"}}"#);
    let subject = [("subject".to_owned(), "post".to_owned())].into();
    Event {
        id: format!("scrub-{id}-{second}"),
        value: Some(value.into()),
        extensions: subject,
        ..deletion(id, second)
    }
}

/// How many records an id has, which second the last one tells of, and whether it tells the place.
async fn of(bed: &Bed, id: &str) -> (usize, i64, bool) {
    let records = bed.of(id).await;
    let last = records.last().unwrap().event().unwrap();
    let place = String::from_utf8_lossy(&last.value.unwrap()).contains("Melbourne");
    (records.len(), last.time.as_second() - 1_700_000_000, place)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_told_again_without_the_place_and_compaction_takes_the_rest() {
    let bed = Bed::new().await;
    bed.publish(topic::POSTS, [located(1, 1), located(2, 1), post(3, 1)]).await;
    bed.once().await.unwrap();
    let received = bed.document("1").await.unwrap();
    // One has no place, and one is nowhere.
    bed.publish(topic::NOTICES, [scrub(1, 6), scrub(3, 6), scrub(9, 6)]).await;
    bed.once().await.unwrap();
    assert_eq!(of(&bed, "1").await, (2, 1, false));
    assert_eq!(of(&bed, "2").await, (1, 1, true));
    assert_eq!(of(&bed, "3").await, (1, 1, false));
    let scrubbed = bed.document("1").await.unwrap();
    let copy = bed.of("1").await.pop().unwrap();
    assert_eq!(scrubbed.get("place"), None);
    assert_eq!(scrubbed["observed"], received["observed"], "to everybody it is the same event");
    assert_eq!(scrubbed["log"]["offset"], copy.position.offset);
    assert_eq!(copy.event().unwrap().id, "1-1");
    let before = bed.says("posts").await;
    // What it published says nothing new, and is not answered again.
    assert_eq!(bed.once().await.unwrap().written, 0);
    assert_eq!(bed.posts().await.len(), 4);
    assert!(bed.verified().await.is_clean());
    assert_eq!(bed.rebuilt(2).await, before);
    bed.compacted().await;
    assert_eq!(of(&bed, "1").await, (1, 1, false));
    assert_eq!(bed.rebuilt(3).await, before);
    assert_eq!(bed.posts().await.len(), 3, "what the log tells needs no second copy");
    assert!(bed.verified().await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_behind_the_copy_is_scrubbed_too_and_what_was_observed_since_is_not() {
    let bed = Bed::new().await;
    bed.publish(topic::POSTS, [located(1, 3)]).await;
    bed.publish(topic::NOTICES, [scrub(1, 6)]).await;
    bed.once().await.unwrap();
    assert_eq!(of(&bed, "1").await, (2, 3, false));
    // The same again, an older one, a newer one that is older than the notice.
    for (second, last) in [(3, 3), (1, 3), (5, 5)] {
        let (before, ..) = of(&bed, "1").await;
        bed.publish(topic::POSTS, [located(1, second)]).await;
        bed.once().await.unwrap();
        assert_eq!(of(&bed, "1").await, (before + 2, last, false), "at {second}");
        let body = bed.document("1").await.unwrap();
        assert_eq!(body.get("place"), None);
        assert_eq!(body["log"]["offset"], bed.of("1").await.pop().unwrap().position.offset);
    }
    let (before, ..) = of(&bed, "1").await;
    bed.publish(topic::POSTS, [located(1, 9)]).await;
    bed.once().await.unwrap();
    assert_eq!(of(&bed, "1").await, (before + 1, 9, true));
    assert!(bed.document("1").await.unwrap().get("place").is_some());
    // That one is said again as it is.
    bed.publish(topic::POSTS, [located(1, 2)]).await;
    bed.once().await.unwrap();
    assert_eq!(of(&bed, "1").await, (before + 3, 9, true));
    bed.compacted().await;
    assert_eq!(bed.rebuilt(2).await, bed.says("posts").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn also_where_the_original_was_compacted_away_and_a_copy_is_left() {
    let bed = Bed::new().await;
    bed.publish(topic::POSTS, [located(1, 3)]).await;
    bed.once().await.unwrap();
    // The document keeps to the first of the two, which compaction takes.
    bed.publish(topic::POSTS, [located(1, 3), located(2, 3)]).await;
    bed.once().await.unwrap();
    bed.compacted().await;
    assert_eq!(of(&bed, "1").await, (1, 3, true));
    bed.publish(topic::NOTICES, [scrub(1, 6)]).await;
    bed.once().await.unwrap();
    assert_eq!(of(&bed, "1").await, (2, 3, false));
}

/// Until the log has the copy, the store keeps the place: else nobody would know that there is
/// something to take.
#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_could_not_be_written_is_scrubbed_all_the_same() {
    let bed = Bed::new().await;
    bed.publish(topic::POSTS, [located(1, 1)]).await;
    bed.once().await.unwrap();
    bed.publish(topic::NOTICES, [scrub(1, 6)]).await;
    // The first write meets the post, the second is without the place.
    let meets = Fault::Row("nobody".to_owned());
    for fault in [Fault::Fails(unreachable()), Fault::FailsAfterwards(unreachable())] {
        *bed.faults.next.lock().unwrap() = vec![fault, meets.clone()];
        assert!(bed.once().await.is_err());
    }
    bed.once().await.unwrap();
    let (records, _, place) = of(&bed, "1").await;
    assert!(records >= 2 && !place);
    assert_eq!(bed.document("1").await.unwrap().get("place"), None);
    assert_eq!(bed.once().await.unwrap().written, 0);
    assert_eq!(of(&bed, "1").await, (records, 1, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_erases_the_copy_too_and_what_can_not_be_read_is_left_alone() {
    let bed = Bed::new().await;
    let broken = Event { value: Some("no JSON, Melbourne".into()), ..post(2, 1) };
    bed.publish(topic::POSTS, [located(1, 1), broken]).await;
    bed.publish(topic::NOTICES, [scrub(1, 6), scrub(2, 6)]).await;
    bed.once().await.unwrap();
    assert_eq!(bed.letters().await.len(), 1);
    assert_eq!(of(&bed, "2").await, (1, 1, true));
    bed.publish(topic::NOTICES, [deletion(1, 7)]).await;
    bed.once().await.unwrap();
    let last = bed.of("1").await.pop().unwrap();
    assert_eq!(last.value, None);
    assert!(bed.verified().await.is_clean());
}

/// The second version of a mapping.
fn second(version: u32, event: &EventView<'_>, at: &Position) -> Result<Mapped, Unmappable> {
    let mut mapped = Mapping::CURRENT.map(event, at)?;
    if let Some(seen) = &mut mapped.state.observed {
        let content = seen.content.0.strip_prefix('{').unwrap();
        seen.content = Content(format!("{{\"second\":true,{content}"));
        seen.stamp.mapping = version;
    }
    Ok(mapped)
}

/// All orders of what can be said of a post, cut at every place; then compaction, and a rebuild by
/// either mapping.
#[tokio::test(flavor = "multi_thread")]
async fn every_order_ends_alike_and_tells_no_place() {
    let said = [located(0, 1), located(0, 4), scrub(0, 6), located(0, 4)];
    let bed = Bed::new().await;
    let orders = orders(said.len());
    let mut number = 0;
    for cut in 0..said.len() {
        for part in [0..cut, cut..said.len()] {
            for (id, order) in (number + 1..).zip(&orders) {
                for event in &order[part.clone()] {
                    bed.publish_as(&said[*event], id).await;
                }
            }
            bed.once().await.unwrap();
        }
        number += orders.len() as u64;
    }
    bed.once().await.unwrap();
    let by = |number| Projection {
        mapping: Mapping::new(2, second),
        ..Projection::posts().generation(number)
    };
    let (live, other) = (bed.says("posts").await, bed.filled(&by(2)).await);
    for id in 1..=number {
        let body = bed.document(&id.to_string()).await.unwrap();
        assert_eq!(body.get("place"), None, "{id}");
        assert_eq!(body["text"], "number 0 at 4");
        assert!(!of(&bed, &id.to_string()).await.2, "{id}");
    }
    bed.once().await.unwrap();
    assert!(bed.verified().await.is_clean());
    bed.compacted().await;
    let records = bed.posts().await;
    assert_eq!(records.len() as u64, number);
    assert!(
        records
            .iter()
            .all(|one| !String::from_utf8_lossy(one.value.as_ref().unwrap()).contains("Melbourne"))
    );
    assert_eq!(bed.rebuilt(3).await, live);
    assert_eq!(bed.filled(&by(4)).await, other);
    assert_eq!(bed.posts().await.len() as u64, number, "nothing is said twice needlessly");
    let stored = bed.store.scan("posts-4", None, 10_000).await.unwrap();
    assert!(
        stored.iter().all(|one| document::read(one).unwrap().observed.unwrap().stamp.mapping == 2)
    );
    assert!(bed.verified().await.is_clean());
}
