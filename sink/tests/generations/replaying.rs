//! Replaying: into the live projection, another database and a topic.

use std::num::NonZeroU32;
use std::time::Instant;

use bowerbird_sink::SinkError;
use bowerbird_sink::replay::{
    Asked, Filter, Into, Parts, Predicate, Ran, ReplayConfig, ReplayRefusal, count, plan, replay,
};
use bowerbird_store::{Body, Document, DocumentStore};
use bowerbird_stream::status::status;
use bowerbird_stream::{Event, EventLog, Record, topic};
use jiff::Timestamp;

use super::bed::{Bed, Dying, Expected, SECOND, deletion, post, text, worker};

fn asked(into: Into) -> Asked {
    let (from, to, of, filter) = (None, None, None, Filter::default());
    Asked { topic: topic::POSTS.to_owned(), from, to, of, filter, into }
}

async fn run(bed: &Bed, dying: &Dying, asked: Asked, rate: Option<u32>) -> Result<Ran, SinkError> {
    let generations = bed.generations(dying);
    let (reporter, _status) = status("replay");
    let sink = bowerbird_sink::SinkConfig { batch_documents: 20, ..bed.config.clone() };
    let rate = rate.and_then(NonZeroU32::new);
    let config = ReplayConfig { asked, rate, anew: false, sink };
    let parts = Parts {
        log: &bed.log,
        generations: &generations,
        reporter: &reporter,
        cancel: &bed.cancel,
    };
    replay(&parts, &config, &worker(7), |_, _| {}).await
}

/// Removes some documents of a database for good.
async fn lose(bed: &Bed, database: &str, ids: &[&str]) {
    let ids: Vec<String> = ids.iter().map(|&id| id.to_owned()).collect();
    for document in bed.store.fetch(database, &ids).await.unwrap().into_iter().flatten() {
        let gone = Document::tombstone(document.id, document.revision.unwrap()).unwrap();
        bed.store.write(database, &[gone]).await.unwrap();
    }
}

/// Changes the text of a document behind everybody's back.
async fn spoil(bed: &Bed, database: &str, id: &str) {
    let found = bed.store.fetch(database, &[id.to_owned()]).await.unwrap();
    let mut document = found.into_iter().next().flatten().unwrap();
    let mut body: serde_json::Value = serde_json::from_str(document.body.get()).unwrap();
    body["text"] = "spoilt".into();
    document.body = Body::of(&body).unwrap();
    bed.store.write(database, &[document]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_lost_comes_back_by_the_mapping_of_the_live_generation() {
    let bed = Bed::new().await;
    let alive = Dying::default();
    bed.publish(topic::POSTS, (0..300).map(|id| post(id, 1))).await;
    bed.publish(topic::NOTICES, [deletion(9, 2)]).await;
    bed.rebuild(&alive, &SECOND).await.unwrap();
    bed.switch(&alive, 2).await.unwrap();
    lose(&bed, "posts-2", &["1", "2", "3"]).await;
    spoil(&bed, "posts-2", "77").await;

    let filter = Filter {
        keys: ["1", "2", "9", "77"].map(str::to_owned).into(),
        types: vec!["post.received".to_owned()],
        headers: vec![("ce_source".to_owned(), "test".to_owned())],
        predicates: vec![Predicate::parse("/text!=nothing").unwrap()],
    };
    let some = Asked { filter, ..asked(Into::Live) };
    let ran = run(&bed, &alive, some, None).await.unwrap();
    let counts = ran.work.counts;
    // All posts, and the tombstone of the removed one.
    assert_eq!((counts.read, counts.replayed, counts.written, counts.unchanged), (301, 4, 3, 1));
    let ran = run(&bed, &alive, asked(Into::Live), None).await.unwrap();
    assert_eq!((ran.work.counts.written, ran.resumed), (1, false));
    let expected = (0..300).map(|id| match id {
        9 => (id.to_string(), Expected::Removed),
        _ => (id.to_string(), Expected::Text(text(id, 1))),
    });
    bed.holds(2, &expected.collect()).await;
    // Each told the journal once.
    let facts: Vec<Record> = bed.records(topic::JOURNAL).await;
    let told = facts.iter().filter(|fact| fact.headers.text("ce_type") == Some("replay.finished"));
    assert_eq!(told.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_write_it_goes_on_where_it_was_noted() {
    // The first two make the database of notes, and note that it began.
    for (write, after) in (2..12).flat_map(|write| [(write, false), (write, true)]) {
        let bed = Bed::new().await;
        bed.publish(topic::POSTS, (0..150).map(|id| post(id, 1))).await;
        let dying = Dying::at(write, after);
        let died = bed.lives(&dying, run(&bed, &dying, asked(Into::Live), None)).await.is_none();
        let ran = run(&bed, &Dying::default(), asked(Into::Live), None).await.unwrap();
        assert_eq!(ran.resumed, died, "write {write}, after: {after}");
        assert_eq!(bed.documents("posts").await.len(), 150);
        let (done, all) = ran.work.progress();
        assert_eq!((done, all), (150, 150));
        // A run that came to its end, and the one that did or finished what was begun.
        assert_eq!(bed.told("replay.finished").await.len(), if died { 1 } else { 2 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_gets_the_records_as_they_were_with_their_position() {
    let bed = Bed::new().await;
    bed.publish(topic::POSTS, (0..50).map(|id| post(id, 1))).await;
    let mut specs = topic::declared(3, 1, 1 << 20);
    specs.truncate(1);
    specs[0].name = "again".to_owned();
    bed.log.apply_topics(&specs, false).await.unwrap();
    let begun = Instant::now();
    let into = Into::Topic("again".to_owned());
    let ran = run(&bed, &Dying::default(), asked(into), Some(100)).await.unwrap();
    // Half a second's worth, less the first.
    assert!(begun.elapsed().as_secs_f64() > 0.45, "{:?}", begun.elapsed());
    assert_eq!(ran.work.counts.published, 50);
    let originals = bed.records(topic::POSTS).await;
    let copies = bed.records("again").await;
    assert_eq!(copies.len(), 50);
    for original in originals {
        let position = &original.position;
        let copy = copies.iter().find(|copy| copy.key == original.key).unwrap();
        assert_eq!(copy.value, original.value);
        assert_eq!(copy.headers.text("ce_id"), original.headers.text("ce_id"));
        assert_eq!(copy.headers.text("replay_topic"), Some("posts"));
        let (partition, offset) = (position.partition.to_string(), position.offset.to_string());
        assert_eq!(copy.headers.text("replay_partition"), Some(&*partition));
        assert_eq!(copy.headers.text("replay_offset"), Some(&*offset));
    }
    let nowhere = run(&bed, &Dying::default(), asked(Into::Topic("none".to_owned())), None).await;
    assert!(matches!(nowhere, Err(SinkError::Replay(ReplayRefusal::NoTarget(_)))));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_database_gets_no_removed_content_and_no_generation_is_touched() {
    let bed = Bed::new().await;
    bed.publish(topic::POSTS, (0..20).map(|id| post(id, 1))).await;
    bed.publish(topic::NOTICES, [deletion(7, 2)]).await;
    let alive = Dying::default();
    let other = Into::Database("other".to_owned());
    run(&bed, &alive, asked(other), None).await.unwrap();
    let documents = bed.documents("other").await;
    assert_eq!((documents.len(), &documents["7"]["type"]), (20, &"removed".into()));
    for taken in ["posts", "bowerbird"] {
        let refused = run(&bed, &alive, asked(Into::Database(taken.to_owned())), None).await;
        assert!(matches!(refused, Err(SinkError::Replay(ReplayRefusal::Taken(_)))), "{taken}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_counts_and_writes_nothing() {
    let bed = Bed::new().await;
    bed.publish(topic::POSTS, (0..100).map(|id| post(id, 1))).await;
    let generations = bed.generations(&Dying::default());
    let filter = Filter { keys: vec!["5".to_owned()], ..Filter::default() };
    let from = Some("0@3,1@0".to_owned());
    let some = Asked { filter, from, ..asked(Into::Live) };
    let work = plan(&bed.log, &generations, &some, Timestamp::now()).await.unwrap();
    let counted = count(&bed.log, &work, |_| {}).await.unwrap();
    assert_eq!(
        counted.iter().map(|row| (row.partition, row.from)).collect::<Vec<_>>(),
        [(0, 3), (1, 0)]
    );
    for row in &counted {
        assert_eq!((i64::try_from(row.records).unwrap(), row.cut), (row.to - row.from, 0));
    }
    let future = Asked { to: Some("2h ago".to_owned()), ..asked(Into::Live) };
    let work = plan(&bed.log, &generations, &future, Timestamp::now()).await.unwrap();
    assert_eq!(work.progress(), (0, 0));
    let wrong = Asked { to: Some("soon".to_owned()), ..asked(Into::Live) };
    let wrong = plan(&bed.log, &generations, &wrong, Timestamp::now()).await.unwrap_err();
    assert!(wrong.to_string().contains("2h ago"), "{wrong}");
    assert!(bed.store.databases().await.unwrap().is_empty());
}

/// Where the store has no content any more, a sink that meets the notice after it finds nothing to
/// erase.
#[tokio::test(flavor = "multi_thread")]
async fn notices_that_are_replayed_before_a_sink_has_had_them_erase_all_the_same() {
    let bed = Bed::new().await;
    let located = r#"{"id":"2","text":"a","geo":{"place_id":"p","full_name":"Perth"}}"#;
    let located = Event { value: Some(located.into()), ..post(2, 1) };
    bed.publish(topic::POSTS, [post(1, 1), located]).await;
    let sink = bed.start();
    bed.level().await;
    sink.stop().await;
    let scrub = r#"{"id":"2","action":"delete","reason":"scrub_geo"}"#;
    let subject = [("subject".to_owned(), "post".to_owned())].into();
    let scrub = Event { value: Some(scrub.into()), extensions: subject, ..deletion(2, 2) };
    bed.publish(topic::NOTICES, [deletion(1, 2), scrub]).await;
    let notices = Asked { topic: topic::NOTICES.to_owned(), ..asked(Into::Live) };
    run(&bed, &Dying::default(), notices, None).await.unwrap();
    let last = async |id: &str| {
        let mut records = bed.records(topic::POSTS).await;
        records.retain(|record| record.key.as_deref() == Some(id.as_bytes()));
        (records.len(), records.pop().unwrap().value)
    };
    let sink = bed.start();
    bed.level().await;
    sink.stop().await;
    assert_eq!(last("1").await, (2, None));
    assert_eq!(last("2").await, (2, Some(r#"{"id":"2","text":"a"}"#.into())));
}
