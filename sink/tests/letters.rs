//! Dead letters of a sink: none keeps the others from going on, and each is accounted for,
//! whatever is done with it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[expect(dead_code, reason = "what this file does not use, settling.rs does")]
mod harness;

use std::collections::BTreeMap;
use std::time::Duration;

use bowerbird_stream::dead_letter::{DeadLetters, Discarded, Filter, Letter, Redrive, Redriven};
use bowerbird_stream::log::Outgoing;
use bowerbird_stream::sqlite::SqliteLog;
use bowerbird_stream::{EventLog, Headers, topic};
use bytes::Bytes;
use harness::{Bed, post, within};
use tokio_util::sync::CancellationToken;

fn redrive(filter: Filter) -> Redrive {
    Redrive {
        filter,
        rate: 1_000,
        wait: Duration::ZERO,
        groups: BTreeMap::new(),
        by: "ada".to_owned(),
        dry_run: false,
        listed: 10,
    }
}

fn of_key(key: &str) -> Filter {
    Filter { keys: vec![key.to_owned()], ..Filter::default() }
}

async fn redriven(bed: &Bed, filter: Filter) -> Redriven {
    let (mut done, cancel) = (Redriven::default(), CancellationToken::new());
    let read_again = |_: &Letter| Err("no reader".to_owned());
    let letters = DeadLetters::new(bed.log.clone());
    letters.redrive(&mut done, &redrive(filter), read_again, |_| {}, &cancel).await.unwrap();
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn every_letter_is_accounted_for_whatever_is_done_with_it() {
    let bed = Bed::new().await;
    let refused = ["7", "8", "9"].map(str::to_owned);
    bed.faults.forbidden.lock().unwrap().extend(refused);
    bed.publish(topic::POSTS, (0..20).map(|id| post(id, 1))).await;
    assert_eq!(bed.once().await.unwrap().dead_letters, 3);
    let counts = async || {
        let verified = bed.verified().await;
        assert!(verified.is_clean(), "{verified:?}");
        let posts = verified.projections[0].clone();
        (posts.dead_letters, posts.redriven, posts.dropped, posts.documents)
    };
    assert_eq!(counts().await, (3, 0, 0, 17));

    // The validation is mended for one of them, and two are redriven.
    bed.faults.forbidden.lock().unwrap().retain(|id| id != "7");
    for key in ["7", "8"] {
        assert_eq!(redriven(&bed, of_key(key)).await.letters, 1);
    }
    let letters = DeadLetters::new(bed.log.clone());
    let (mut done, cancel) = (Discarded::default(), CancellationToken::new());
    letters.discard(&mut done, of_key("9"), "ada", false, |_| {}, &cancel).await.unwrap();
    // Nothing has consumed them yet.
    assert_eq!(counts().await, (0, 2, 1, 17));
    let report = bed.once().await.unwrap();
    assert_eq!((report.written, report.dead_letters), (1, 1));
    assert_eq!(bed.document("7").await.unwrap()["text"], "number 7 at 1");
    assert_eq!(counts().await, (1, 2, 1, 18));
    // 8 has failed again: its new letter leads to the one before.
    let mut reading = letters.read(Filter::default()).await.unwrap();
    let open = reading.next().await.unwrap().unwrap();
    assert_eq!((open.len(), open[0].key().as_deref()), (1, Some("8")));
    assert!(open[0].again().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_whose_letter_would_be_too_large_keeps_nobody_waiting() {
    let bed = Bed::new().await;
    // The log takes it, but not with a letter's headers beside its own.
    let headers: Headers = [("h", "x".repeat((1 << 20) - 100))].into_iter().collect();
    let large = |key: &'static [u8], value, headers| Outgoing {
        topic: topic::POSTS.into(),
        key: Some(Bytes::from_static(key)),
        value,
        headers,
    };
    let value = Some(Bytes::from(vec![b'x'; (1 << 20) - 100]));
    let records = vec![large(b"headers", None, headers), large(b"value", value, Headers::new())];
    for answer in bed.log.publish(records).await {
        answer.unwrap();
    }
    bed.publish(topic::POSTS, [post(1, 1)]).await;
    let report = bed.once().await.unwrap();
    assert_eq!((report.records, report.written, report.dead_letters), (3, 1, 2));
    assert!(bed.verified().await.is_clean());
    // What was left out of the letters is read where it stands.
    let done = redriven(&bed, Filter::default()).await;
    assert_eq!((done.letters, done.refused), (2, 0), "{done:?}");
    let report = bed.once().await.unwrap();
    assert_eq!((report.records, report.dead_letters), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_topic_for_letters_the_sink_waits_visibly_and_goes_on() {
    let mut bed = Bed::new().await;
    let folder = tempfile::tempdir().unwrap();
    bed.log = SqliteLog::open(folder.path().join("log.sqlite")).await.unwrap();
    let mut topics = topic::declared(1, 1, 1 << 20);
    let letters = topics.pop().unwrap();
    assert_eq!(letters.name, topic::DEAD_LETTERS);
    bed.log.apply_topics(&topics, false).await.unwrap();
    let mut broken = post(1, 1);
    broken.value = Some(Bytes::from_static(b"{\"id\":"));
    bed.publish(topic::POSTS, [broken, post(2, 1)]).await;

    let mut sink = bed.start();
    let reason = sink.paused().await;
    assert!(reason.contains("dead-letters does not exist"), "{reason}");
    bed.log.apply_topics(&[letters], false).await.unwrap();
    within("the sink to go on", async {
        while bed.count().await < 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let report = sink.stop().await;
    assert_eq!((report.written, report.dead_letters), (1, 1));
    assert_eq!(bed.letters().await.len(), 1);
}
