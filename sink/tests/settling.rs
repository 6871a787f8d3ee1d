//! The sink under faults of the store, on the embedded log: nothing is lost, nothing is skipped,
//! and what can't be written is a dead letter.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[expect(dead_code, reason = "other tests use the rest")]
mod harness;

use bowerbird_sink::SinkReport;
use bowerbird_store::{DocumentStore, StoreError};
use bowerbird_stream::log::Outgoing;
use bowerbird_stream::{EventLog, dead_letter, topic};
use bytes::Bytes;
use harness::{Bed, Fault, deletion, post, unreachable, within};

fn header(record: &bowerbird_stream::Record, name: &str) -> String {
    let value = record.headers.iter().find(|(header, _)| *header == name).unwrap().1;
    String::from_utf8(value.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_has_its_document_and_a_second_time_changes_nothing() {
    let bed = Bed::new().await;
    bed.publish(topic::POSTS, (0..2_000).map(|id| post(id, 1))).await;
    let report = bed.once().await.unwrap();
    assert_eq!((report.records, report.written, report.dead_letters), (2_000, 2_000, 0));
    bed.publish(topic::POSTS, (0..2_000).map(|id| post(id, 1))).await;
    let report = bed.once().await.unwrap();
    assert_eq!((report.records, report.written, report.unchanged), (2_000, 0, 2_000));
    let verified = bed.verified().await;
    assert!(verified.is_clean(), "{verified:?}");
    assert_eq!((verified.projections[0].events, verified.projections[0].documents), (4_000, 2_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_observation_wins_in_any_order() {
    let bed = Bed::new().await;
    bed.publish(topic::POSTS, [post(1, 5), post(1, 9), post(1, 7), post(2, 3)]).await;
    bed.once().await.unwrap();
    bed.publish(topic::POSTS, [post(1, 8), post(2, 4)]).await;
    bed.once().await.unwrap();
    assert_eq!(bed.document("1").await.unwrap()["text"], "number 1 at 9");
    assert_eq!(bed.document("2").await.unwrap()["text"], "number 2 at 4");
    assert!(bed.verified().await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_post_does_not_come_back() {
    let bed = Bed::new().await;
    bed.publish(topic::NOTICES, [deletion(2, 5)]).await;
    bed.publish(topic::POSTS, [post(1, 1), post(2, 2)]).await;
    bed.once().await.unwrap();
    bed.publish(topic::NOTICES, [deletion(1, 6)]).await;
    bed.once().await.unwrap();
    bed.publish(topic::POSTS, [post(1, 3), post(2, 4)]).await;
    bed.once().await.unwrap();
    for id in ["1", "2"] {
        let stub = bed.document(id).await.unwrap();
        assert_eq!(stub["type"], "removed");
        assert!(stub.get("text").is_none());
    }
    assert!(bed.verified().await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_refuses_is_a_dead_letter_and_the_rest_goes_on() {
    let bed = Bed::new().await;
    bed.faults.forbidden.lock().unwrap().push("7".to_owned());
    bed.faults.poison.lock().unwrap().push("8".to_owned());
    *bed.faults.most.lock().unwrap() = 100;
    bed.publish(topic::POSTS, (0..700).map(|id| post(id, 1))).await;
    let report = bed.once().await.unwrap();
    assert_eq!((report.records, report.written, report.dead_letters), (700, 698, 2));
    let letters = bed.letters().await;
    let mut reasons: Vec<_> = letters
        .iter()
        .map(|letter| {
            assert_eq!(header(letter, dead_letter::TOPIC), "posts");
            assert_eq!(header(letter, "ce_type"), "post.received");
            (
                String::from_utf8(letter.key.clone().unwrap().to_vec()).unwrap(),
                header(letter, dead_letter::REASON),
            )
        })
        .collect();
    reasons.sort();
    assert_eq!(
        reasons,
        [("7".to_owned(), "forbidden".to_owned()), ("8".to_owned(), "rejected".to_owned())]
    );
    let verified = bed.verified().await;
    assert!(verified.is_clean(), "{verified:?}");
    assert_eq!(verified.projections[0].dead_letters, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_is_a_dead_letter_with_its_origin() {
    let bed = Bed::new().await;
    let stranger = Outgoing {
        topic: topic::POSTS.into(),
        key: Some(Bytes::from_static(b"k")),
        value: Some(Bytes::from_static(b"\xff\x00")),
        headers: Default::default(),
    };
    let at = bed.log.publish(vec![stranger]).await.remove(0).unwrap();
    let mut broken = post(3, 1);
    broken.value = Some(Bytes::from_static(b"{\"id\":"));
    bed.publish(topic::POSTS, [broken, post(4, 1)]).await;
    let report = bed.once().await.unwrap();
    assert_eq!((report.written, report.dead_letters), (1, 2));
    let letters = bed.letters().await;
    let stranger = letters.iter().find(|letter| header(letter, dead_letter::REASON) == "envelope");
    let stranger = stranger.unwrap();
    assert_eq!(header(stranger, dead_letter::PARTITION), at.partition.to_string());
    assert_eq!(header(stranger, dead_letter::OFFSET), at.offset.to_string());
    assert_eq!(stranger.value.as_deref(), Some(b"\xff\x00".as_slice()));
    assert!(bed.verified().await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn passing_faults_are_waited_out() {
    let bed = Bed::new().await;
    let address = || "faulty".to_owned();
    bed.faults.next.lock().unwrap().extend([
        Fault::Row("5".to_owned()),
        Fault::FailsAfterwards(StoreError::TimedOut { address: address(), seconds: 1.0 }),
        Fault::Fails(unreachable()),
        Fault::Fails(StoreError::Busy {
            address: address(),
            reason: "503".to_owned(),
            retry_after: None,
        }),
        Fault::FailsAfterwards(unreachable()),
    ]);
    let sink = bed.start();
    bed.publish(topic::POSTS, (0..50).map(|id| post(id, 1))).await;
    within("all documents", async {
        while bed.count().await < 50 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let report = sink.stop().await;
    assert_eq!((report.records, report.dead_letters), (50, 0));
    assert!(bed.verified().await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_pause_the_work_until_they_are_mended() {
    let bed = Bed::new().await;
    let refusal =
        StoreError::Unauthorised { address: "faulty".to_owned(), reason: "401".to_owned() };
    bed.faults.next.lock().unwrap().extend(std::iter::repeat_n(Fault::Fails(refusal), 100_000));
    let mut sink = bed.start();
    bed.publish(topic::POSTS, (0..50).map(|id| post(id, 1))).await;
    let reason = sink.paused().await;
    assert!(reason.contains("store.password"), "{reason}");
    assert_eq!(
        bed.log.committed("bowerbird-posts", topic::POSTS).await.unwrap().values().sum::<i64>(),
        0
    );
    bed.faults.next.lock().unwrap().clear();
    within("all documents", async {
        while bed.count().await < 50 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(sink.stop().await.dead_letters, 0);
    assert!(bed.verified().await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_once_an_unreachable_store_fails_at_once() {
    let bed = Bed::new().await;
    bed.publish(topic::POSTS, [post(1, 1)]).await;
    bed.store.create_database("posts").await.unwrap();
    bed.faults.next.lock().unwrap().push(Fault::Fails(unreachable()));
    let error = bed.once().await.unwrap_err();
    assert!(error.to_string().contains("can't be reached"), "{error}");
    assert_eq!(bed.once().await.unwrap().written, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_fails_says_what_it_did_before() {
    let mut bed = Bed::new().await;
    bed.config.batch_documents = 100;
    bed.config.writers = 1;
    bed.publish(topic::POSTS, (0..5_000).map(|id| post(id, 1))).await;
    bed.store.create_database("posts").await.unwrap();
    // The last is met first, and is about no post that is there.
    let faults = [Fault::Fails(unreachable()), Fault::Row("nobody".to_owned())];
    *bed.faults.next.lock().unwrap() = faults.into();
    let mut done = SinkReport::default();
    bed.once_into(&mut done).await.unwrap_err();
    assert!(done.written > 0 && done.written < 5_000, "{done:?}");
    assert_eq!(done.written, bed.count().await as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_dies_leaves_nothing_behind_undone() {
    let bed = Bed::new().await;
    for round in 0..4u64 {
        let sink = bed.start();
        bed.publish(topic::POSTS, (0..400).map(|id| post(round * 400 + id, 1))).await;
        let enough = usize::try_from(round * 400 + 50).unwrap();
        within("some documents", async {
            while bed.count().await < enough {
                tokio::task::yield_now().await;
            }
        })
        .await;
        // As kill -9 would: no drain, no commit.
        sink.task.abort();
        let _ = sink.task.await;
    }
    bed.once().await.unwrap();
    assert_eq!(bed.count().await, 1_600);
    let verified = bed.verified().await;
    assert!(verified.is_clean(), "{verified:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_what_somebody_took_or_put() {
    let bed = Bed::new().await;
    bed.publish(topic::POSTS, (0..100).map(|id| post(id, 1))).await;
    bed.once().await.unwrap();
    let store = &bed.store;
    let mut documents = store.scan("posts", None, 2).await.unwrap();
    let first = documents.remove(0);
    let foreign = bowerbird_store::Document {
        body: bowerbird_store::Body::of(&serde_json::json!({"mine": true})).unwrap(),
        ..first.clone()
    };
    let extra = bowerbird_store::Document { id: "extra".to_owned(), revision: None, ..first };
    store.write("posts", &[foreign, extra]).await.unwrap();
    let verified = bed.verified().await;
    assert!(!verified.is_clean());
    let ids: Vec<_> =
        verified.differences.iter().map(|difference| difference.id.as_str()).collect();
    assert_eq!(ids, ["0", "extra"]);
    // Not yet committed: not judged.
    bed.publish(topic::POSTS, [post(500, 1)]).await;
    assert_eq!(bed.verified().await.projections[0].not_judged, 1);
    store.drop_database("posts").await.unwrap();
    let verified = bed.verified().await;
    assert_eq!(verified.projections[0].differences.values().sum::<u64>(), 100);
}
