//! What became a dead letter leaves the log as well when its post is removed, and nothing else does.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[expect(dead_code, reason = "other tests use the rest")]
mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bowerbird_sink::compliance::ends;
use bowerbird_sink::compliance::keep::{Keeping, keep};
use bowerbird_sink::compliance::letters::{Looked, Unlooked, apply, dry_run, last, unlooked};
use bowerbird_sink::mapping::Mapping;
use bowerbird_sink::meta::job::{Job, Worker};
use bowerbird_sink::meta::lease::Holder;
use bowerbird_sink::meta::{Meta, REDRIVE};
use bowerbird_sink::{Generations, Projection, SinkError};
use bowerbird_stream::dead_letter::{DeadLetters, Deed, Filter, LetterId};
use bowerbird_stream::log::Outgoing;
use bowerbird_stream::{Event, EventLog, Headers, LogError, Position, topic};
use bowerbird_testbed::log::{Between, Tapped};
use bytes::Bytes;
use harness::{Bed, about_user, deletion, drained, orders, post, within};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);

/// A post that can't be read; what it says is found again in the log's bytes, also in the error.
fn broken(id: u64, second: i64) -> Event {
    Event {
        value: Some(format!(r#"{{"id":"{id}","text":["said {id}"]}}"#).into()),
        ..post(id, second)
    }
}

/// A post of a user.
fn of_user(user: u64, id: u64, second: i64) -> Event {
    let value = format!(r#"{{"data":{{"id":"{id}","text":"said {id}","author_id":"{user}"}}}}"#);
    Event { value: Some(value.into()), ..post(id, second) }
}

fn suspended(user: u64, second: i64) -> Event {
    about_user(user, second, "user_suspend", "")
}

/// A post of a user that tells where it was made.
fn located(user: u64, id: u64, second: i64) -> Event {
    let value = format!(
        r#"{{"data":{{"id":"{id}","text":"said {id}","author_id":"{user}","geo":{{"place_id":"p{id}"}}}},"includes":{{"places":[{{"id":"p{id}","full_name":"in {id}"}}]}}}}"#
    );
    Event { value: Some(value.into()), ..post(id, second) }
}

/// Of a user's posts up to this one the places must go.
fn scrubbed(user: u64, up_to: u64, second: i64) -> Event {
    about_user(user, second, "scrub_geo", &format!(r#","up_to_status_id":{up_to}"#))
}

fn restored(id: u64, second: i64) -> Event {
    let value = format!(r#"{{"id":"{id}","action":"undelete"}}"#).into();
    Event { id: format!("back-{id}"), value: Some(value), ..deletion(id, second) }
}

fn worker(pid: u32) -> Worker {
    let (host, space) = ("test".to_owned(), String::new());
    Worker { holder: Holder { host, pid, space, started: Timestamp::UNIX_EPOCH }, lives: |_| true }
}

type Store =
    bowerbird_testbed::through::Through<bowerbird_store::sqlite::SqliteStore, harness::Faults>;

fn generations(bed: &Bed) -> Generations<Store> {
    Generations::new(Meta::new(bed.store.clone(), true), Mapping::known())
}

async fn applied(bed: &Bed) -> Result<Looked, SinkError> {
    applied_within(bed, PATIENCE).await
}

async fn applied_within(bed: &Bed, patience: Duration) -> Result<Looked, SinkError> {
    let ends = ends(&bed.log, &Projection::posts()).await.unwrap();
    apply(&bed.log, &generations(bed), &worker(1), &ends, patience).await
}

/// Each letter by its name: its key, what was done with it, and what it says.
type Told = BTreeMap<LetterId, (String, Option<Deed>, Option<String>)>;

async fn told(bed: &Bed) -> Told {
    // Who reads while letters move is told to do so again.
    loop {
        match tell(bed).await {
            Ok(told) => return told,
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    }
}

async fn tell(bed: &Bed) -> Result<Told, LogError> {
    let letters = DeadLetters::new(bed.log.clone());
    let mut reading = letters.read(Filter { done: true, ..Filter::default() }).await?;
    let mut told = Told::new();
    while let Some(page) = reading.next().await? {
        for letter in page {
            let value = letter.record.value.as_deref().map(String::from_utf8_lossy);
            let key = letter.key().unwrap_or_default().into_owned();
            let what = (key, letter.done, value.map(std::borrow::Cow::into_owned));
            assert!(told.insert(letter.id, what).is_none(), "{} comes once", letter.id);
        }
    }
    assert_eq!(reading.strangers(), 0);
    Ok(told)
}

/// Whether anything that a reader can get of the dead letters says this.
async fn is_said(bed: &Bed, text: &str) -> bool {
    loop {
        match says(bed, text).await {
            Ok(said) => return said,
            Err(error) => assert!(matches!(error, LogError::OutOfRange { .. }), "{error}"),
        }
    }
}

async fn says(bed: &Bed, text: &str) -> Result<bool, LogError> {
    let has = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    let mut reader = DeadLetters::new(bed.log.clone()).records(&BTreeMap::new()).await?;
    let mut said = false;
    while let Some(records) = reader.next(100).await? {
        said |= records
            .iter()
            .any(|one| has(one.value.as_deref().unwrap_or_default()) || has(one.headers.encoded()));
    }
    Ok(said)
}

/// Letters of each kind, and the keys of those that must lose their content; and 12, which must lose
/// its place.
async fn letters_in(bed: &Bed) -> [&'static str; 5] {
    let refused = ["1", "2", "3", "4", "5", "12"].map(str::to_owned);
    bed.faults.forbidden.lock().unwrap().extend(refused);
    bed.publish(
        topic::POSTS,
        [
            of_user(8, 1, 1),
            of_user(8, 2, 9),
            of_user(8, 3, 1),
            of_user(8, 4, 1),
            of_user(7, 5, 1),
            located(9, 12, 1),
            broken(6, 1),
            broken(7, 1),
            broken(8, 7),
            post(20, 1),
        ],
    )
    .await;
    // One does not even say when it was observed.
    let bare = |key: &str| Outgoing {
        topic: topic::POSTS.into(),
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: Some(Bytes::from(format!("said {key}"))),
        headers: Headers::new(),
    };
    for answer in bed.log.publish(vec![bare("9"), bare("10")]).await {
        answer.unwrap();
    }
    // And one never was in the log: it was too large for it.
    let large = Outgoing::event(topic::POSTS, post(11, 1));
    let why = bowerbird_stream::dead_letter::Reason {
        reason: "too-large".to_owned(),
        error: "number 11 is too large".to_owned(),
        group: "ingest-archive".to_owned(),
        attempts: 1,
    };
    let large = bowerbird_stream::dead_letter::of_source(large, &why, Timestamp::now());
    bed.log.publish(vec![large]).await.remove(0).unwrap();
    drained(bed).await;
    bed.faults.forbidden.lock().unwrap().clear();
    let notices = [1, 2, 4, 6, 8, 9, 11].map(|id| deletion(id, 6));
    let others = [restored(4, 8), suspended(7, 6), scrubbed(9, 12, 6)];
    bed.publish(topic::NOTICES, notices.into_iter().chain(others)).await;
    ["1", "5", "6", "9", "11"]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_of_a_removed_post_loses_its_content_and_no_other_does() {
    let bed = Bed::new().await;
    let gone = letters_in(&bed).await;
    let before = told(&bed).await;
    assert_eq!(before.len(), 12, "{before:?}");
    // The notices are not in the store yet: who looks too early would miss them.
    let early = applied_within(&bed, Duration::from_millis(50)).await;
    assert!(matches!(early, Err(SinkError::Behind { .. })), "{early:?}");
    assert_eq!(last(generations(&bed).meta()).await.unwrap(), None);
    drained(&bed).await;
    let projection = Projection::posts();
    let ends = ends(&bed.log, &projection).await.unwrap();
    let would = dry_run(&bed.log, &bed.store, &projection, &ends, PATIENCE).await.unwrap();
    assert_eq!((would.erased, told(&bed).await), (6, before.clone()));

    let did = applied(&bed).await.unwrap();
    assert_eq!((did.records, did.erased), (12, 6));
    let after = told(&bed).await;
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    for (name, (key, done, value)) in &after {
        let expected = match key.as_str() {
            "12" => (Some(Deed::Redriven), &None),
            key if gone.contains(&key) => (Some(Deed::Dropped), &None),
            _ => (None, &before[name].2),
        };
        assert_eq!(((*done, value), key), (expected, &before[name].0));
    }
    for key in &gone {
        assert!(!is_said(&bed, &format!("said {key}\"")).await, "{key}");
        assert!(!is_said(&bed, &format!("said {key}\\")).await, "{key}");
    }
    assert!(!is_said(&bed, "number 11").await && is_said(&bed, "said 7").await);

    // What the log holds of it besides is erased as any removed post is.
    drained(&bed).await;
    bed.compacted().await;
    for key in ["1", "5", "6", "9"] {
        let left = bed.of(key).await;
        assert!(left.len() == 1 && left[0].value.is_none(), "{key}: {left:?}");
    }
    for key in ["2", "3", "4", "7", "8", "10", "12"] {
        assert!(bed.of(key).await.iter().all(|record| record.value.is_some()), "{key}");
    }
    assert_eq!(bed.of("11").await, []);
    assert_eq!(bed.document("5").await.unwrap()["type"], "removed");
    assert!(bed.verified().await.is_clean());

    // Once more there is nothing to do, and only what is new is looked at.
    let again = applied(&bed).await.unwrap();
    assert_eq!((again.erased, again.records > 0), (0, true));
    assert_eq!(applied(&bed).await.unwrap().records, 0);
    let looked = last(generations(&bed).meta()).await.unwrap().unwrap();
    assert_eq!(unlooked(&bed.log, &looked).await.unwrap(), Unlooked::default());
    assert_eq!(told(&bed).await, after);
}

/// Of one the record is written when it is sent on; one fails again.
#[tokio::test(flavor = "multi_thread")]
async fn a_letter_of_a_scrubbed_post_is_sent_on_without_its_place() {
    let bed = Bed::new().await;
    let refuse = |ids: &[u64]| {
        *bed.faults.forbidden.lock().unwrap() = ids.iter().map(u64::to_string).collect();
    };
    refuse(&[1, 2, 3, 4, 5]);
    let posts = [located(7, 1, 1), located(7, 2, 1), located(7, 3, 9), located(7, 4, 1)];
    bed.publish(topic::POSTS, posts.into_iter().chain([of_user(7, 5, 1)])).await;
    drained(&bed).await;
    refuse(&[2]);
    bed.publish(topic::NOTICES, [scrubbed(7, 3, 6)]).await;
    drained(&bed).await;
    let before = told(&bed).await;
    let did = applied(&bed).await.unwrap();
    assert_eq!((did.records, did.erased), (5, 2));
    drained(&bed).await;

    let after = told(&bed).await;
    assert_eq!(after.len(), before.len() + 1, "{after:?}");
    for (name, (key, done, value)) in &after {
        match (key.as_str(), before.get(name)) {
            ("1" | "2", Some(_)) => assert_eq!((*done, value), (Some(Deed::Redriven), &None)),
            ("2", None) => assert!(done.is_none() && value.as_ref().unwrap().contains("said 2")),
            // One was observed since, one is a later post, and one tells no place.
            (_, there) => assert_eq!(Some(&(key.clone(), *done, value.clone())), there),
        }
    }
    let document = bed.document("1").await.unwrap();
    assert_eq!((document["text"].as_str(), document.get("place")), (Some("said 1"), None));
    for (key, tells) in [("1", false), ("2", false), ("3", true), ("4", true)] {
        assert_eq!(is_said(&bed, &format!("in {key}\"")).await, tells, "{key}");
    }
    bed.compacted().await;
    for (key, tells) in [("1", false), ("2", false), ("3", true), ("4", true)] {
        let left = bed.of(key).await;
        let value = String::from_utf8_lossy(left[0].value.as_deref().unwrap());
        assert!(value.contains(&format!("said {key}")), "{value}");
        assert_eq!((left.len(), value.contains(&format!("in {key}"))), (1, tells), "{value}");
    }
    assert!(bed.verified().await.is_clean());
    assert_eq!(applied(&bed).await.unwrap().erased, 0);
    assert_eq!(told(&bed).await, after);
}

/// Ends for good before or after this step of what is published and forgotten.
#[derive(Clone)]
struct Dies {
    left: Arc<AtomicUsize>,
    dead: Arc<Notify>,
    afterwards: bool,
}

impl Dies {
    async fn step<R>(&self, work: impl Future<Output = R>) -> R {
        let is_last = self.left.fetch_sub(1, Ordering::SeqCst) == 1;
        if is_last && !self.afterwards {
            self.die().await;
        }
        let done = work.await;
        if is_last {
            self.die().await;
        }
        done
    }

    async fn die(&self) {
        self.dead.notify_one();
        std::future::pending::<()>().await;
    }
}

impl Between for Dies {
    async fn publish<L: EventLog>(
        &self,
        log: &L,
        records: Vec<Outgoing>,
    ) -> Vec<Result<Position, LogError>> {
        self.step(log.publish(records)).await
    }

    async fn forget<L: EventLog>(
        &self,
        log: &L,
        topic: &str,
        before: &BTreeMap<i32, i64>,
    ) -> Result<(), LogError> {
        self.step(log.forget(topic, before)).await
    }
}

/// Killed at whatever step, it is done once more, and ends as if nothing had been.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_goes_on_after_a_kill_ends_alike() {
    let kills = (1..=STEPS).flat_map(|step| [(step, false), (step, true)]);
    let kills = kills.map(|(step, afterwards)| ending(step, afterwards)).collect::<JoinSet<_>>();
    let ends = kills.join_all().await;
    let killed = ends.iter().filter(|(ended, _)| !ended).count();
    assert!(killed > 6, "tombstones, letters, letters, heads: {killed}");
    assert!(killed < 2 * STEPS, "more steps are to be tried");
    for (_, told) in &ends {
        assert!(*told == ends[0].1, "what is told in the end differs");
    }
}

/// More than it has.
const STEPS: usize = 8;
const MANY: u64 = 700;

/// Whether it came to its end before it was killed at this step, and what is told in the end of each
/// key: names differ from one log to the other.
async fn ending(step: usize, afterwards: bool) -> (bool, BTreeSet<String>) {
    let bed = Bed::new().await;
    // More than are said again at a time.
    bed.publish(topic::POSTS, (1_000..1_000 + MANY).map(|id| broken(id, 1))).await;
    let gone = letters_in(&bed).await;
    drained(&bed).await;
    let before = told(&bed).await;
    assert_eq!(before.len() as u64, MANY + 12);
    let (left, dead) = (Arc::new(AtomicUsize::new(step)), Arc::new(Notify::new()));
    let between = Dies { left, dead: dead.clone(), afterwards };
    let log = Tapped { log: bed.log.clone(), between };
    let (generations, worker) = (generations(&bed), worker(1));
    let ends = ends(&bed.log, &Projection::posts()).await.unwrap();
    let ended = tokio::select! {
        done = apply(&log, &generations, &worker, &ends, PATIENCE) => done.map(|_| true).unwrap(),
        () = dead.notified() => false,
    };
    // Whoever comes sees each letter once.
    assert!(told(&bed).await.keys().eq(before.keys()), "{step} {afterwards}");
    drained(&bed).await;
    applied(&bed).await.unwrap();
    drained(&bed).await;
    bed.compacted().await;
    for key in gone.into_iter().filter(|key| *key != "11") {
        let left = bed.of(key).await;
        assert!(left.len() == 1 && left[0].value.is_none(), "{key} after {step}: {left:?}");
    }
    for gone in ["said 1\"", "said 6", "in 12"] {
        assert!(!is_said(&bed, gone).await, "{gone} after {step}");
    }
    let twelve = bed.of("12").await;
    let value = String::from_utf8_lossy(twelve[0].value.as_deref().unwrap());
    assert!(twelve.len() == 1 && value.contains("said 12") && !value.contains("in 12"), "{value}");
    assert!(bed.verified().await.is_clean());
    let told = told(&bed).await;
    assert!(names(&told).eq(names(&before)), "{step} {afterwards}");
    (ended, told.into_values().map(|what| format!("{what:?}")).collect())
}

fn names(told: &Told) -> impl Iterator<Item = (&LetterId, &String)> {
    told.iter().map(|(name, what)| (name, &what.0))
}

/// Whether the letter or the notice comes first, and whenever is looked.
#[tokio::test(flavor = "multi_thread")]
async fn every_order_ends_without_content() {
    orders(4).into_iter().map(without_content).collect::<JoinSet<_>>().join_all().await;
}

async fn without_content(order: Vec<usize>) {
    let bed = Bed::new().await;
    for step in &order {
        match step {
            0 => bed.publish(topic::POSTS, [broken(1, 1)]).await,
            1 => bed.publish(topic::NOTICES, [deletion(1, 6)]).await,
            2 => bed.publish(topic::POSTS, [broken(2, 1), broken(1, 3)]).await,
            _ => {
                drained(&bed).await;
                applied(&bed).await.unwrap();
            }
        }
    }
    for _ in 0..2 {
        drained(&bed).await;
        applied(&bed).await.unwrap();
    }
    assert!(!is_said(&bed, "said 1").await && is_said(&bed, "said 2").await, "{order:?}");
    let told = told(&bed).await;
    let dropped = told.values().filter(|(_, done, _)| *done == Some(Deed::Dropped));
    assert_eq!((told.len(), dropped.count()), (3, 2), "{order:?}");
    drained(&bed).await;
    bed.compacted().await;
    assert!(bed.of("1").await.iter().all(|record| record.value.is_none()), "{order:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_for_who_redrives_and_running_sinks_do_it_by_themselves() {
    let mut bed = Bed::new().await;
    letters_in(&bed).await;
    drained(&bed).await;
    let generations = generations(&bed);
    let begin = async |_: Option<()>| Ok(());
    let redriving = Job::claim(generations.meta(), REDRIVE.to_owned(), &worker(2), begin).await;
    let held = applied(&bed).await;
    assert!(matches!(held, Err(SinkError::Held { .. })), "{held:?}");
    assert_eq!(last(generations.meta()).await.unwrap(), None, "it will be looked again");
    assert!(is_said(&bed, "said 6").await);
    redriving.unwrap().release().await.unwrap();

    bed.config.commit_interval = Duration::from_millis(50);
    let (running, cancel) = (bed.start(), CancellationToken::new());
    let keeping = Keeping {
        look_every: Duration::from_millis(50),
        letters_every: SignedDuration::from_millis(100),
        ..Keeping::default()
    };
    let keeper = tokio::spawn({
        let (log, cancel, generations) = (bed.log.clone(), cancel.clone(), generations.clone());
        async move { keep(&log, &generations, &worker(1), &keeping, cancel).await }
    });
    let gone = async |text: &str| {
        within(text, async {
            while is_said(&bed, text).await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    };
    gone("said 6").await;
    // A letter, and then a notice, of later.
    bed.publish(topic::POSTS, [broken(6, 3)]).await;
    bed.publish(topic::NOTICES, [deletion(7, 6)]).await;
    gone("said 7").await;
    within("all of it", async {
        loop {
            let told = told(&bed).await;
            let of_six = told.values().filter(|(key, done, _)| key == "6" && done.is_some());
            if of_six.count() == 2 && !is_said(&bed, "said 6").await {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    cancel.cancel();
    keeper.await.unwrap();
    running.stop().await;
    assert!(bed.verified().await.is_clean());
}
