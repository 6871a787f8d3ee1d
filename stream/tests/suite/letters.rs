//! Dead letters: what is open, and what becomes of what is redriven.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bowerbird_stream::LogError;
use bowerbird_stream::dead_letter::{
    self, Counts, DeadLetters, Deed, Discarded, Filter, Gone, LetterId, REDRIVE, Reason, Redrive,
    Redriven,
};
use bowerbird_testbed::log::Tapped;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::stuck::Stuck;
use super::*;

/// A topic of records and one for letters about them.
struct Bed<L> {
    log: L,
    origin: String,
    letters: DeadLetters<L>,
    letters_topic: String,
}

impl<L: EventLog> Bed<L> {
    async fn new(log: L) -> Self {
        let (origin, letters_topic) = (topic(&log, 2).await, topic(&log, 3).await);
        let letters = DeadLetters::in_topic(log.clone(), letters_topic.as_str());
        Self { log, origin, letters, letters_topic }
    }

    /// Publishes records of these keys, and gives each up for `reason`.
    async fn give_up(&self, keys: &[&str], reason: &str) -> Vec<LetterId> {
        let records = keys.iter().map(|key| record(&self.origin, key, &format!("about {key}")));
        let positions = publish(&self.log, records.collect()).await;
        let letters = keys.iter().zip(positions).map(|(key, position)| {
            let Outgoing { key, value, headers, .. } =
                record(&self.origin, key, &format!("about {key}"));
            let record = Record { position, appended: Timestamp::UNIX_EPOCH, key, value, headers };
            self.addressed(dead_letter::of_record(record, &why(reason), Timestamp::now()))
        });
        ids(&publish(&self.log, letters.collect()).await)
    }

    fn addressed(&self, letter: Outgoing) -> Outgoing {
        Outgoing { topic: self.letters_topic.as_str().into(), ..letter }
    }

    async fn read(&self, filter: Filter) -> Vec<dead_letter::Letter> {
        let (mut reading, mut all) = (self.letters.read(filter).await.unwrap(), Vec::new());
        while let Some(page) = reading.next().await.unwrap() {
            assert!(!page.is_empty());
            all.extend(page);
        }
        all
    }

    async fn open(&self) -> BTreeSet<LetterId> {
        self.read(Filter::default()).await.into_iter().map(|letter| letter.id).collect()
    }

    /// How often each key stands in the origin topic, and of these how often redriven.
    async fn standing(&self) -> BTreeMap<String, (usize, usize)> {
        let extents = self.log.extents(&self.origin).await.unwrap();
        let count: i64 = extents.values().map(|extent| extent.end).sum();
        let everything = everything(&self.log, &self.origin).await;
        let mut reader = self.log.assign(&everything, config("")).await.unwrap();
        let mut standing = BTreeMap::<_, (usize, usize)>::new();
        for record in read(&mut reader, count as usize).await {
            let key = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
            assert_eq!(record.value.unwrap(), format!("about {key}"));
            let (all, redriven) = standing.entry(key).or_default();
            *all += 1;
            *redriven += usize::from(record.headers.get(REDRIVE).is_some());
        }
        standing
    }

    async fn redrive(&self, how: &Redrive) -> Redriven {
        let (mut done, cancel) = (Redriven::default(), CancellationToken::new());
        let read_again = |_: &dead_letter::Letter| Err("no reader".to_owned());
        self.letters.redrive(&mut done, how, read_again, |_| {}, &cancel).await.unwrap();
        done
    }
}

fn why(reason: &str) -> Reason {
    Reason {
        reason: reason.to_owned(),
        error: "it says why".to_owned(),
        group: "some-group".to_owned(),
        attempts: 1,
    }
}

fn ids(positions: &[Position]) -> Vec<LetterId> {
    let id = |at: &Position| LetterId { partition: at.partition, offset: at.offset };
    positions.iter().map(id).collect()
}

fn how() -> Redrive {
    Redrive {
        filter: Filter::default(),
        rate: 10_000,
        wait: Duration::ZERO,
        groups: BTreeMap::new(),
        by: "ada".to_owned(),
        dry_run: false,
        listed: 100,
    }
}

fn of_reason(reason: &str) -> Filter {
    Filter { reasons: vec![reason.to_owned()], ..Filter::default() }
}

pub async fn open_letters_are_all_minus_those_that_are_marked(log: impl EventLog) {
    let bed = Bed::new(log).await;
    let wrong = bed.give_up(&["a", "b", "c"], "payload").await;
    let refused = bed.give_up(&["a", "d"], "forbidden").await;
    // Anyone may write there, also what is no letter, and marks of letters that never were.
    let mut stranger = record(&bed.letters_topic, "a", "hello");
    publish(&bed.log, vec![stranger.clone()]).await;
    stranger.headers = [("dl_mark", "dropped"), ("dl_of", "0@999999999999")].into_iter().collect();
    publish(&bed.log, vec![stranger]).await;
    // Without a key, letter and mark may stand in different partitions.
    let mut keyless = record("", "", "{broken");
    keyless.key = None;
    let keyless = dead_letter::of_source(keyless, &why("not-json"), Timestamp::now());
    let keyless = ids(&publish(&bed.log, vec![bed.addressed(keyless)]).await);
    let all: BTreeSet<_> = [&wrong[..], &refused, &keyless].concat().into_iter().collect();
    assert_eq!(bed.open().await, all);

    let discard = async |filter: Filter, dry_run| {
        let (mut done, cancel) = (Discarded::default(), CancellationToken::new());
        let counted = |_: u64| {};
        bed.letters.discard(&mut done, filter, "ada", dry_run, counted, &cancel).await.unwrap();
        done.letters
    };
    assert_eq!(discard(of_reason("payload"), true).await, 3);
    assert_eq!(bed.open().await, all);
    let one = Filter { ids: vec![wrong[1], keyless[0]], ..Filter::default() };
    assert_eq!(discard(one.clone(), false).await, 2);
    assert_eq!(discard(one, false).await, 0);
    let left: BTreeSet<_> = [wrong[0], wrong[2], refused[0], refused[1]].into();
    assert_eq!(bed.open().await, left);

    let keys = Filter { keys: vec!["a".to_owned()], ..Filter::default() };
    let of_a: BTreeSet<_> = bed.read(keys).await.iter().map(|letter| letter.id).collect();
    assert_eq!(of_a, [wrong[0], refused[0]].into());
    let mut counts = Counts::default();
    let every = Filter { done: true, ..Filter::default() };
    bed.read(every).await.iter().for_each(|letter| counts.add(letter));
    let groups = counts.groups();
    let told: Vec<_> = groups.iter().map(|g| (g.reason.as_str(), g.done, g.letters)).collect();
    assert_eq!((told.len(), counts.total()), (4, 6));
    assert!(told.contains(&("payload", Some(Deed::Dropped), 1)), "{told:?}");
    assert!(told.contains(&("not-json", Some(Deed::Dropped), 1)), "{told:?}");
}

pub async fn a_redriven_letter_stands_at_its_origin_again_and_is_not_redriven_twice(
    log: impl EventLog,
) {
    let bed = Bed::new(log).await;
    bed.give_up(&["a", "b", "c"], "payload").await;
    bed.give_up(&["d"], "forbidden").await;
    let only = Redrive { filter: of_reason("payload"), ..how() };
    let dry = bed.redrive(&Redrive { dry_run: true, ..only.clone() }).await;
    assert_eq!((dry.letters, dry.records[&bed.origin], bed.open().await.len()), (3, 3, 4));
    assert_eq!(bed.standing().await["a"], (1, 0));

    let done = bed.redrive(&only).await;
    assert!(done.succeeded() && dry.letters == done.letters, "{done:?}");
    assert_eq!(bed.redrive(&only).await.letters, 0);
    let standing = bed.standing().await;
    assert_eq!((standing["a"], standing["b"], standing["c"]), ((2, 1), (2, 1), (2, 1)));
    assert_eq!((standing["d"], bed.open().await.len()), ((1, 0), 1));
}

pub async fn what_fails_again_is_told_and_open_again(log: impl EventLog) {
    let bed = Bed::new(log).await;
    let letters = bed.give_up(&["a", "b", "c"], "payload").await;
    let group = unique("group");
    // A sink that still can't take b.
    let mut sink = JoinSet::new();
    let (log, config, origin) = (bed.log.clone(), config(&group), bed.origin.clone());
    let letters_topic = bed.letters_topic.clone();
    sink.spawn(async move {
        let mut consumer = log.subscribe(&[&origin], config).await.unwrap();
        let records = read(&mut consumer, 6).await;
        let offsets = after(&records);
        let again = records.into_iter().filter(|record| {
            record.headers.get(REDRIVE).is_some() && record.key.as_deref() == Some(b"b")
        });
        let again = again.map(|record| {
            let letter = dead_letter::of_record(record, &why("still"), Timestamp::now());
            Outgoing { topic: letters_topic.as_str().into(), ..letter }
        });
        publish(&log, again.collect()).await;
        consumer.commit(&offsets).await.unwrap();
        consumer.close().await.unwrap();
    });
    let groups = BTreeMap::from([(bed.origin.clone(), vec![group])]);
    let done = bed.redrive(&Redrive { wait: PATIENCE, groups, ..how() }).await;
    sink.join_all().await;
    assert!(done.settled && !done.succeeded(), "{done:?}");
    assert_eq!((done.letters, done.failed_again, done.troubles.len()), (3, 1, 1));
    assert_eq!(done.troubles[0].letter, letters[1]);
    assert_eq!(done.troubles[0].why, "still: it says why");
    let open = bed.read(Filter::default()).await;
    assert_eq!(open.len(), 1);
    assert_eq!((Some(open[0].id), open[0].again()), (done.troubles[0].again, Some(letters[1])));

    // Nobody consumes any more: the wait ends, and says so.
    let groups = BTreeMap::from([(bed.origin.clone(), vec!["nobody".to_owned()])]);
    let wait = Duration::from_millis(50);
    let done = bed.redrive(&Redrive { wait, groups, ..how() }).await;
    assert_eq!((done.letters, done.settled), (1, false));
    assert_eq!(done.unsettled[0].group, "nobody");
}

pub async fn a_redrive_that_dies_before_it_marks_loses_nothing(log: impl EventLog) {
    let bed = Bed::new(log).await;
    let keys: Vec<String> = (0..25).map(|n| format!("key-{n}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    bed.give_up(&keys, "payload").await;
    let reached = Arc::new(Notify::new());
    let between = Stuck { topic: bed.letters_topic.clone(), reached: reached.clone() };
    let stuck = Tapped { log: bed.log.clone(), between };
    let letters = DeadLetters::in_topic(stuck, bed.letters_topic.as_str());
    let ten_at_once = Redrive { rate: 100, ..how() };
    let (mut done, cancel) = (Redriven::default(), CancellationToken::new());
    let read_again = |_: &dead_letter::Letter| Err("no reader".to_owned());
    tokio::select! {
        result = letters.redrive(&mut done, &ten_at_once, read_again, |_| {}, &cancel) => {
            panic!("it was not to end: {result:?}")
        }
        () = reached.notified() => {}
    }
    // The first ten, or those of them that the log gave at once, are in it again, and nothing says
    // so.
    let redriven = |standing: &BTreeMap<String, (usize, usize)>| -> usize {
        standing.values().map(|(_, redriven)| redriven).sum()
    };
    let unmarked = redriven(&bed.standing().await);
    assert!((1..=10).contains(&unmarked), "{unmarked}");
    assert_eq!(bed.open().await.len(), 25);

    let done = bed.redrive(&how()).await;
    assert_eq!((done.letters, bed.open().await.len()), (25, 0));
    let standing = bed.standing().await;
    assert!(standing.values().all(|(_, redriven)| (1..=2).contains(redriven)), "{standing:?}");
    assert_eq!(redriven(&standing), 25 + unmarked);
}

pub async fn what_was_too_large_for_a_letter_is_read_from_its_origin(log: impl EventLog) {
    let bed = Bed::new(log).await;
    let about = |position| {
        let Outgoing { key, value, headers, .. } = record(&bed.origin, "large", "about large");
        let record = Record { position, appended: Timestamp::UNIX_EPOCH, key, value, headers };
        let letter = dead_letter::of_record(record, &why("rejected"), Timestamp::now());
        bed.addressed(dead_letter::shortened(letter).unwrap())
    };
    let there = publish(&bed.log, vec![record(&bed.origin, "large", "about large")]).await;
    let gone = Position { offset: 999, ..there[0].clone() };
    let letters = publish(&bed.log, vec![about(there[0].clone()), about(gone)]).await;
    // This one never was in the log, and nothing here can read it.
    let source = record("", "line", "{broken");
    let source = dead_letter::of_source(source, &why("not-json"), Timestamp::now());
    publish(&bed.log, vec![bed.addressed(source)]).await;

    let done = bed.redrive(&how()).await;
    assert_eq!((done.letters, done.refused), (1, 2), "{done:?}");
    assert_eq!(bed.standing().await["large"], (2, 1));
    let mut told: Vec<_> = done.troubles.iter().map(|trouble| trouble.why.as_str()).collect();
    told.sort_unstable();
    assert!(told[0].contains("has left the log"), "{told:?}");
    assert_eq!(told[1], "no reader");
    let open = bed.open().await;
    assert_eq!((open.len(), open.contains(&ids(&letters)[0])), (2, false));
}

pub async fn what_never_was_in_the_log_is_read_again(log: impl EventLog) {
    let bed = Bed::new(log).await;
    let source = ["whole", "broken"].map(|key| {
        let letter = dead_letter::of_source(record("", key, key), &why("line"), Timestamp::now());
        bed.addressed(letter)
    });
    let letters = ids(&publish(&bed.log, source.into()).await);
    let (mut done, cancel) = (Redriven::default(), CancellationToken::new());
    let read_again = |letter: &dead_letter::Letter| match letter.key().as_deref() {
        // One line may hold several posts.
        Some("whole") => {
            Ok(["a", "b"].map(|key| record(&bed.origin, key, &format!("about {key}"))).into())
        }
        _ => Err("it is still broken".to_owned()),
    };
    bed.letters.redrive(&mut done, &how(), read_again, |_| {}, &cancel).await.unwrap();
    assert_eq!((done.letters, done.records[&bed.origin], done.refused), (1, 2, 1));
    let standing = bed.standing().await;
    assert_eq!((standing["a"], standing["b"]), ((1, 1), (1, 1)));
    assert_eq!(bed.open().await, [letters[1]].into());
    // A redrive that was stopped says so.
    let mut done = Redriven::default();
    cancel.cancel();
    bed.letters.redrive(&mut done, &how(), |_| Ok(Vec::new()), |_| {}, &cancel).await.unwrap();
    assert!(done.stopped && done.letters == 0, "{done:?}");
}

/// Says all letters again up to the last of `erased`, without the content of those; then the heads
/// are forgotten, unless it dies before that.
async fn rewritten<L: EventLog>(bed: &Bed<L>, erased: &[&str], dies: bool) {
    let mut heads = BTreeMap::new();
    let goes = |record: &Record| {
        let key = record.key.as_deref().unwrap_or_default();
        record.value.is_some() && erased.iter().any(|goes| goes.as_bytes() == key)
    };
    let mut reader = bed.letters.records(&BTreeMap::new()).await.unwrap();
    while let Some(records) = reader.next(100).await.unwrap() {
        for Position { partition, offset, .. } in
            records.iter().filter(|record| goes(record)).map(|record| &record.position)
        {
            heads.insert(*partition, offset + 1);
        }
    }
    let mut rewriting = bed.letters.rewrite(heads).await.unwrap();
    while let Some(records) = rewriting.next().await.unwrap() {
        let gone = |record: &Record| goes(record).then(removed);
        let all = records.into_iter().map(|record| (record.clone(), gone(&record))).collect();
        rewriting.say(all).await.unwrap();
    }
    if !dies {
        rewriting.forget().await.unwrap();
    }
}

fn removed() -> Gone {
    let (event, why) = ("asked".to_owned(), "removed".to_owned());
    Gone { event, deed: Deed::Dropped, why }
}

/// What the topic holds of this key.
async fn values<L: EventLog>(bed: &Bed<L>, key: &str) -> Vec<Option<Bytes>> {
    let (mut reader, mut values) =
        (bed.letters.records(&BTreeMap::new()).await.unwrap(), Vec::new());
    while let Some(records) = reader.next(100).await.unwrap() {
        let of_key = records.into_iter().filter(|one| one.key.as_deref() == Some(key.as_bytes()));
        let letters = of_key.filter(|one| one.headers.get(dead_letter::REASON).is_some());
        values.extend(letters.map(|letter| letter.value));
    }
    values
}

pub async fn letters_keep_their_names_when_some_lose_their_content(log: impl EventLog) {
    let bed = Bed::new(log).await;
    let keys: Vec<String> = (0..20).map(|n| format!("key-{n}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let names = bed.give_up(&keys, "payload").await;
    let stranger = record(&bed.letters_topic, "key-3", "hello");
    publish(&bed.log, vec![stranger]).await;
    let mut keyless = record("", "", "{broken");
    keyless.key = None;
    let keyless = dead_letter::of_source(keyless, &why("not-json"), Timestamp::now());
    let keyless = ids(&publish(&bed.log, vec![bed.addressed(keyless)]).await)[0];
    let named = |n: usize| Filter { ids: vec![names[n]], done: true, ..Filter::default() };
    let drop = async |filter: Filter| {
        let (mut done, cancel) = (Discarded::default(), CancellationToken::new());
        bed.letters.discard(&mut done, filter, "ada", false, |_| {}, &cancel).await.unwrap();
        done.letters
    };
    assert_eq!(drop(named(2)).await, 1);
    assert_eq!(bed.redrive(&Redrive { filter: named(5), ..how() }).await.letters, 1);

    // What everybody sees, but for where it stands and what went.
    let told = async || {
        let mut reading =
            bed.letters.read(Filter { done: true, ..Filter::default() }).await.unwrap();
        let mut all = BTreeMap::new();
        while let Some(page) = reading.next().await.unwrap() {
            for letter in page {
                let told = (letter.done, letter.record.value.clone(), letter.story.time);
                assert_eq!(all.insert(letter.id, told), None, "{} comes once", letter.id);
            }
        }
        (all, reading.strangers())
    };
    let marks = async || bed.letters.history(&[names[1], names[2], names[5]]).await.unwrap();
    let (before, marks_before) = (told().await, marks().await);
    assert_eq!((before.0.len(), before.1, marks_before.len()), (21, 1, 2));

    // Killed before the heads are forgotten, again and again: there are more copies, and nothing
    // else is seen.
    for _ in 0..2 {
        rewritten(&bed, &["key-1", "key-5"], true).await;
        let (now, strangers) = told().await;
        assert_eq!((now.len(), strangers), (21, 1));
        let changed = before.0.iter().filter(|(id, told)| now[*id] != **told);
        let changed: Vec<_> = changed.map(|(id, _)| *id).collect();
        assert_eq!(changed, [names[1]], "its mark is there already");
    }
    // Others work with the letters meanwhile: their names are those that they had.
    assert_eq!(drop(named(7)).await, 1);
    rewritten(&bed, &["key-1", "key-5", "key-9"], false).await;
    let (now, strangers) = told().await;
    assert_eq!((now.len(), strangers), (21, 1));
    for (n, name) in names.iter().enumerate() {
        let (done, value, time) = &now[name];
        let gone = [1, 5, 9].contains(&n);
        let expected = match n {
            5 => Some(Deed::Redriven),
            1 | 2 | 7 | 9 => Some(Deed::Dropped),
            _ => None,
        };
        assert_eq!((*done, value.is_none(), *time), (expected, gone, before.0[name].2), "{n}");
        let held = values(&bed, keys[n]).await;
        assert!(!held.is_empty() && held.iter().all(|value| value.is_none() == gone), "{n}");
    }
    assert_eq!(now[&keyless], before.0[&keyless]);
    let told_marks: Vec<_> =
        marks().await.into_iter().map(|mark| (mark.of, mark.deed, mark.by)).collect();
    let by = |by: &str| by.to_owned();
    assert!(told_marks.contains(&(names[2], Deed::Dropped, by("ada"))), "{told_marks:?}");
    assert!(told_marks.contains(&(names[5], Deed::Redriven, by("ada"))), "{told_marks:?}");
    assert!(told_marks.contains(&(names[1], Deed::Dropped, by("notice asked"))), "{told_marks:?}");

    // A name leads to its letter wherever that stands now, and what is left of one goes nowhere.
    for n in [0, 1, 19] {
        let found = bed.read(named(n)).await;
        assert_eq!((found.len(), found[0].id), (1, names[n]));
        assert_eq!((found[0].is_erased(), found[0].key().as_deref()), (n == 1, Some(keys[n])));
    }
    assert_eq!(bed.redrive(&Redrive { filter: named(1), ..how() }).await.letters, 0);
    assert_eq!(bed.redrive(&Redrive { filter: named(0), ..how() }).await.letters, 1);
    assert_eq!(bed.standing().await["key-0"], (2, 1));
    assert_eq!(told().await.0[&names[0]].0, Some(Deed::Redriven));

    // Nobody forgets what was not said again.
    let heads = bed.letters.extents().await.unwrap();
    let heads = heads.into_iter().map(|(number, extent)| (number, extent.end)).collect();
    let mut rewriting = bed.letters.rewrite(heads).await.unwrap();
    rewriting.next().await.unwrap().unwrap();
    assert!(matches!(rewriting.forget().await, Err(LogError::Fatal { .. })));
    assert_eq!(told().await.0.len(), 21);
}

pub async fn who_reads_while_letters_move_is_told(log: impl EventLog) {
    let bed = Bed::new(log).await;
    bed.give_up(&["a", "b", "c"], "payload").await;
    let extents = bed.letters.extents().await.unwrap();
    let mut reading = bed.letters.read(Filter::default()).await.unwrap();
    rewritten(&bed, &["a"], false).await;
    let marks = bed.letters.marks(&extents).await;
    assert!(matches!(marks, Err(LogError::Transient { .. })), "{marks:?}");
    let told = loop {
        match reading.next().await {
            Ok(Some(_)) => {}
            other => break other,
        }
    };
    assert!(matches!(told, Err(LogError::Transient { .. })), "{told:?}");
    assert_eq!(bed.open().await.len(), 2);
}

pub async fn a_letter_without_room_for_its_name_keeps_what_it_holds(log: impl EventLog) {
    let bed = Bed::new(log).await;
    let most = spec("", 1).max_record_bytes as usize;
    let mut full = record("", "b", "");
    full = dead_letter::of_source(full, &why("not-json"), Timestamp::now());
    full.value = Some(vec![b'x'; most - full.size()].into());
    let value = full.value.clone();
    let full = ids(&publish(&bed.log, vec![bed.addressed(full)]).await)[0];
    // It stands before one that must go, in the same partition.
    let erased = bed.give_up(&["b"], "payload").await[0];
    assert_eq!(full.partition, erased.partition);
    let named = |id| Filter { ids: vec![id], done: true, ..Filter::default() };
    let mut rewriting =
        bed.letters.rewrite(BTreeMap::from([(erased.partition, erased.offset + 1)])).await.unwrap();
    while let Some(records) = rewriting.next().await.unwrap() {
        let gone = |record: &Record| (record.position.offset == erased.offset).then(removed);
        let all = records.into_iter().map(|record| (record.clone(), gone(&record))).collect();
        rewriting.say(all).await.unwrap();
    }
    rewriting.forget().await.unwrap();
    let kept = bed.read(named(full)).await.remove(0);
    assert_eq!((&kept.record.value, kept.is_cut(), kept.done), (&value, false, None));
    assert!(bed.read(named(erased)).await.remove(0).is_erased());
}
