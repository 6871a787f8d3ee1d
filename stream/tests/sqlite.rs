//! What only the embedded log promises: one file, several processes, kill -9, cleaning.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bowerbird_stream::log::{ConsumerConfig, EventLog, Extent};
use bowerbird_stream::sqlite::SqliteLog;
use bowerbird_stream::topic::{Cleanup, TopicSpec};
use bowerbird_stream::{Delivery, EventConsumer, Headers, LogError, Outgoing, Partition};
use bytes::Bytes;
use jiff::{Timestamp, ToSpan};
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(20);

fn spec(name: &str, cleanup: Cleanup) -> TopicSpec {
    let max_record_bytes = 1 << 20;
    TopicSpec { name: name.to_owned(), partitions: 2, replication: 1, cleanup, max_record_bytes }
}

async fn open(folder: &Path) -> SqliteLog {
    let log = SqliteLog::open(folder.join("log.sqlite")).await.unwrap();
    log.apply_topics(&[spec("posts", Cleanup::Keep)], false).await.unwrap();
    log
}

fn record(topic: &str, key: &str, value: Option<&str>) -> Outgoing {
    Outgoing {
        topic: topic.into(),
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())),
        headers: Headers::new(),
    }
}

async fn publish(log: &SqliteLog, records: Vec<Outgoing>) {
    log.publish(records).await.into_iter().for_each(|answer| _ = answer.unwrap());
}

async fn ends(log: &SqliteLog) -> i64 {
    log.extents("posts").await.unwrap().values().map(|extent| extent.end).sum()
}

/// Everything that a topic holds: (partition, offset, key, value).
async fn all(log: &SqliteLog, topic: &str) -> Vec<(i32, i64, String, Option<String>)> {
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let from = (0..2).map(|partition| (Partition::new(topic, partition), 0)).collect();
    let mut reader = log.assign(&from, ConsumerConfig::new("")).await.unwrap();
    let mut records = Vec::new();
    loop {
        match reader.next(1000, Duration::from_millis(300)).await.unwrap() {
            Delivery::Records(more) => records.extend(more.into_iter().map(|record| {
                let position = record.position;
                let key = text(record.key.as_ref().unwrap());
                (position.partition, position.offset, key, record.value.as_ref().map(text))
            })),
            Delivery::Idle => return records,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_in_the_file_stays_there() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await;
    publish(&log, vec![record("posts", "a", Some("1")), record("posts", "b", None)]).await;
    let topics = log.topics().await.unwrap();
    drop(log);
    let log = SqliteLog::open(folder.path().join("log.sqlite")).await.unwrap();
    assert_eq!(log.topics().await.unwrap(), topics);
    assert_eq!(all(&log, "posts").await.len(), 2);
}

#[tokio::test]
async fn two_handles_as_of_two_processes_share_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (open(folder.path()).await, open(folder.path()).await);
    let mut consumer = one.subscribe(&["posts"], ConsumerConfig::new("g")).await.unwrap();
    let Delivery::Assigned(_) = consumer.next(1, PATIENCE).await.unwrap() else { panic!() };
    let many = |from: usize| {
        (from..from + 50).map(|i| record("posts", &i.to_string(), Some("x"))).collect::<Vec<_>>()
    };
    for round in 0..20 {
        tokio::join!(publish(&one, many(round * 1000)), publish(&two, many(round * 1000 + 500)));
    }
    assert_eq!((ends(&one).await, ends(&two).await), (2000, 2000));
    let mut next = BTreeMap::new();
    for (partition, offset, ..) in all(&one, "posts").await {
        let expected = next.entry(partition).or_insert(0);
        assert_eq!(offset, *expected);
        *expected += 1;
    }
    let mut got = 0;
    while got < 2000 {
        if let Delivery::Records(records) = consumer.next(500, PATIENCE).await.unwrap() {
            got += records.len();
        }
    }
    // What another process appends is seen soon, though nothing here wakes the reader.
    let started = Instant::now();
    publish(&two, many(90_000)).await;
    let delivery = consumer.next(500, PATIENCE).await.unwrap();
    assert!(matches!(delivery, Delivery::Records(_)), "{delivery:?}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    // A topic that another process makes is known here at once.
    two.apply_topics(&[spec("later", Cleanup::Keep)], false).await.unwrap();
    publish(&one, vec![record("later", "k", None)]).await;
}

/// Not a test by itself: what the next one runs as a process of its own, and kills.
#[tokio::test]
async fn child() {
    let Ok(folder) = std::env::var("BOWERBIRD_TEST_CHILD_FOLDER") else { return };
    let log = open(Path::new(&folder)).await;
    let mut consumer = log.subscribe(&["posts"], ConsumerConfig::new("g")).await.unwrap();
    let Delivery::Assigned(_) = consumer.next(1, PATIENCE).await.unwrap() else { panic!() };
    let mut count = 0;
    loop {
        let from = count;
        count += 10;
        let records = (from..count).map(|i| record("posts", &i.to_string(), Some("x"))).collect();
        publish(&log, records).await;
        println!("acknowledged {count}");
    }
}

#[tokio::test]
async fn kill_9_loses_nothing_acknowledged_and_frees_the_group() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await;
    let mut acknowledged = 0;
    for _ in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env("BOWERBIRD_TEST_CHILD_FOLDER", folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut here = 0;
        for line in lines.map_while(Result::ok) {
            if let Some(count) = line.split("acknowledged ").nth(1) {
                here = count.parse::<i64>().unwrap();
            }
            if here == 200 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        acknowledged += here;
        let held = ends(&log).await;
        assert!((acknowledged..=acknowledged + 10).contains(&held), "{held} of {acknowledged}");
        acknowledged = held;
        let started = Instant::now();
        let mut next = log.subscribe(&["posts"], ConsumerConfig::new("g")).await.unwrap();
        let delivery = next.next(1, PATIENCE).await.unwrap();
        assert!(matches!(delivery, Delivery::Assigned(_)), "{delivery:?}");
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
    assert_eq!(all(&log, "posts").await.len() as i64, acknowledged);
}

#[tokio::test]
async fn compaction_erases_what_was_overwritten_from_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.sqlite");
    let log = SqliteLog::open(&path).await.unwrap();
    let lag = Cleanup::Compact { max_lag_ms: 20 * 3_600_000 };
    log.apply_topics(&[spec("posts", lag)], false).await.unwrap();
    let secret = "private-content-of-a-removed-post";
    publish(
        &log,
        (0..5000)
            .map(|i| record("posts", &format!("k{}", i % 1000), Some(&format!("{i} {secret}"))))
            .collect(),
    )
    .await;
    publish(&log, (0..500).map(|i| record("posts", &format!("k{i}"), None)).collect()).await;
    publish(&log, vec![record("posts", "last", Some("1")), record("posts", "k1", None)]).await;
    let extents = log.extents("posts").await.unwrap();
    let now = Timestamp::now();
    let later = |hours: i64| now + hours.hours();

    assert_eq!(log.clean(later(14)).await.unwrap(), 0, "nothing is due yet");
    let before = all(&log, "posts").await;
    let erased = log.clean(later(16)).await.unwrap();
    let left = all(&log, "posts").await;
    assert_eq!(before.len() - left.len(), erased);
    let mut newest = BTreeMap::new();
    before.into_iter().for_each(|(p, o, key, value)| _ = newest.insert(key, (p, o, value)));
    let expected: BTreeMap<_, _> = newest.clone();
    let got: BTreeMap<_, _> = left.into_iter().map(|(p, o, k, v)| (k, (p, o, v))).collect();
    assert_eq!(got, expected, "the newest of each key stays, at its offset");
    assert_eq!(log.extents("posts").await.unwrap(), extents);
    assert_eq!(log.clean(later(17)).await.unwrap(), 0, "once is enough");

    // Tombstones stay.
    publish(&log, (0..4).map(|i| record("posts", &format!("k{}", 600 + i), Some("2"))).collect())
        .await;
    assert_eq!(log.clean(later(40)).await.unwrap(), 4);
    let left = all(&log, "posts").await;
    assert_eq!(left.iter().filter(|(.., value)| value.is_none()).count(), 500);
    assert_eq!(left.len(), 1001);

    // Erased means gone from the disk, not only from the tables.
    publish(&log, (500..1000).map(|i| record("posts", &format!("k{i}"), None)).collect()).await;
    log.clean(later(80)).await.unwrap();
    for file in ["log.sqlite", "log.sqlite-wal"] {
        let mut bytes = Vec::new();
        std::fs::File::open(folder.path().join(file)).unwrap().read_to_end(&mut bytes).unwrap();
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "{file} still holds it");
    }
}

/// Forgotten means gone from the disk, not only from the tables.
#[tokio::test]
async fn a_head_that_is_forgotten_leaves_no_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await;
    let value = |i: usize| format!("{i} {}", if i < 3_000 { "secret words" } else { "of no harm" });
    let keyed = |i: usize| record("posts", "k", Some(&value(i)));
    publish(&log, (0..7_000).map(keyed).collect()).await;
    let extents = log.extents("posts").await.unwrap();
    let (&partition, _) = extents.iter().find(|(_, extent)| extent.end > 0).unwrap();
    log.forget("posts", &BTreeMap::from([(partition, 3_000)])).await.unwrap();
    let left = all(&log, "posts").await;
    let expected: Vec<_> =
        (3_000..7_000).map(|i| (partition, i as i64, "k".to_owned(), Some(value(i)))).collect();
    assert_eq!(left, expected);
    for file in ["log.sqlite", "log.sqlite-wal"] {
        let bytes = std::fs::read(folder.path().join(file)).unwrap();
        let found = bytes.windows(12).any(|window| window == b"secret words");
        assert!(!found, "{file} still holds it");
    }
}

#[tokio::test]
async fn what_was_overwritten_a_short_while_ago_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.sqlite");
    let log = SqliteLog::open(&path).await.unwrap();
    let lag = Cleanup::Compact { max_lag_ms: 20 * 3_600_000 };
    log.apply_topics(&[spec("posts", lag)], false).await.unwrap();
    let one = |value: &str| vec![record("posts", "k", Some(value))];
    publish(&log, one("1")).await;
    publish(&log, one("2")).await;
    let eight_hours = 8 * 3_600_000;
    let file = rusqlite::Connection::open(&path).unwrap();
    let age = |table: &str| {
        file.execute(&format!("UPDATE {table} SET appended = appended - ?1"), [eight_hours])
    };
    assert_eq!(age("records_1").unwrap() + age("records_2").unwrap(), 2);
    publish(&log, one("3")).await;
    // The first is 16 hours old, and the last has overwritten it 8 hours ago.
    let left = async |hours: i64| {
        log.clean(Timestamp::now() + hours.hours()).await.unwrap();
        all(&log, "posts").await.into_iter().map(|(.., value)| value.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(left(8).await, ["2", "3"]);
    assert_eq!(left(16).await, ["3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cleaning_loses_nothing_that_is_appended_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let log = SqliteLog::open(folder.path().join("log.sqlite")).await.unwrap();
    log.apply_topics(&[spec("posts", Cleanup::Compact { max_lag_ms: 0 })], false).await.unwrap();
    let mut consumer = log.subscribe(&["posts"], ConsumerConfig::new("g")).await.unwrap();
    // Written for as long as cleaning takes to have erased something: how the two overlap is the
    // machine's business, that they do is the test's.
    let (erased, written) = (AtomicUsize::new(0), AtomicBool::new(false));
    let writing = async {
        let deadline = Instant::now() + PATIENCE;
        let mut rounds = 0;
        while rounds < 100 || erased.load(Ordering::Relaxed) == 0 {
            assert!(Instant::now() < deadline, "nothing erased in {rounds} rounds");
            let value = rounds.to_string();
            let one =
                |i: usize| record("posts", &format!("k{}", (rounds * 37 + i) % 500), Some(&value));
            publish(&log, (0..100).map(one).collect()).await;
            rounds += 1;
        }
        written.store(true, Ordering::Relaxed);
        i64::try_from(rounds * 100).unwrap()
    };
    let cleaning = async {
        while !written.load(Ordering::Relaxed) {
            let more = log.clean(Timestamp::now()).await.unwrap();
            erased.fetch_add(more, Ordering::Relaxed);
        }
    };
    let reading = async {
        let (mut seen, mut next) = (BTreeMap::new(), BTreeMap::new());
        while !written.load(Ordering::Relaxed) || next.values().sum::<i64>() < ends(&log).await {
            let Delivery::Records(records) = consumer.next(50, PATIENCE / 20).await.unwrap() else {
                continue;
            };
            for record in records {
                seen.insert(record.key.unwrap(), record.value.unwrap());
                next.insert(record.position.in_partition(), record.position.offset + 1);
            }
        }
        consumer.commit(&next).await.unwrap();
        seen
    };
    let (count, (), seen) = tokio::join!(writing, cleaning, reading);
    assert_eq!(ends(&log).await, count);
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let seen: BTreeMap<_, _> = seen.iter().map(|(k, v)| (text(k), Some(text(v)))).collect();
    let held: BTreeMap<_, _> =
        all(&log, "posts").await.into_iter().map(|(.., k, v)| (k, v)).collect();
    assert_eq!(seen, held, "whoever follows the log knows the newest of each key");
}

#[tokio::test]
async fn retention_moves_the_start_and_tells_readers() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await;
    let old = spec("old", Cleanup::DeleteAfterMs(3_600_000));
    log.apply_topics(&[old], false).await.unwrap();
    let many = |count| (0..count).map(|i| record("old", &i.to_string(), Some("x"))).collect();
    publish(&log, many(3000)).await;
    let ends = log.extents("old").await.unwrap();
    let mut slow = log.subscribe(&["old"], ConsumerConfig::new("slow")).await.unwrap();
    let Delivery::Assigned(_) = slow.next(1, PATIENCE).await.unwrap() else { panic!() };
    let first = Partition::new("old", 0);
    slow.commit(&[(first.clone(), 5)].into()).await.unwrap();
    slow.close().await.unwrap();

    assert_eq!(log.clean(Timestamp::now() + 30.minutes()).await.unwrap(), 0);
    assert_eq!(log.clean(Timestamp::now() + 2.hours()).await.unwrap(), 3000);
    let empty = |extent: &Extent| Extent { earliest: extent.end, end: extent.end };
    let expected: BTreeMap<_, _> = ends.iter().map(|(p, extent)| (*p, empty(extent))).collect();
    assert_eq!(log.extents("old").await.unwrap(), expected);

    publish(&log, many(100)).await;
    let mut late = log.subscribe(&["old"], ConsumerConfig::new("slow")).await.unwrap();
    let Delivery::Assigned(_) = late.next(1, PATIENCE).await.unwrap() else { panic!() };
    let delivery = late.next(1, PATIENCE).await.unwrap();
    let Delivery::Trouble(LogError::OutOfRange { partition: 0, offset: 5, .. }) = delivery else {
        panic!("{delivery:?}");
    };
    let mut got = 0;
    while got < 100 {
        if let Delivery::Records(records) = late.next(100, PATIENCE).await.unwrap() {
            got += records.len();
        }
    }
}

#[tokio::test]
async fn files_that_are_no_log_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let refused = async |name: &str| {
        let error = SqliteLog::open(folder.path().join(name)).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(name), "names the file: {text}");
        text
    };
    std::fs::write(folder.path().join("text"), "not a database, but long enough".repeat(99))
        .unwrap();
    assert!(refused("text").await.contains("not a database"));

    let other = rusqlite::Connection::open(folder.path().join("other")).unwrap();
    other.execute_batch("CREATE TABLE t (x)").unwrap();
    assert!(refused("other").await.contains("not an event log"));

    std::fs::create_dir(folder.path().join("folder")).unwrap();
    assert!(refused("folder").await.contains("unable to open"));
    assert!(refused("text/log.sqlite").await.contains("can't be made"));

    drop(open(folder.path()).await);
    let newer = rusqlite::Connection::open(folder.path().join("log.sqlite")).unwrap();
    newer.pragma_update(None, "user_version", 2).unwrap();
    drop(newer);
    assert!(refused("log.sqlite").await.contains("newer version"));
}

#[tokio::test]
async fn a_damaged_file_is_told_and_not_read_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.sqlite");
    let log = open(folder.path()).await;
    let value = "x".repeat(1000);
    let many = (0..2000).map(|i| record("posts", &i.to_string(), Some(&value))).collect();
    publish(&log, many).await;
    drop(log);
    let deadline = Instant::now() + PATIENCE;
    while path.with_extension("sqlite-wal").exists() {
        assert!(Instant::now() < deadline, "the last connection folds the log in when it closes");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start(64 << 10)).unwrap();
    file.write_all(&vec![0xaa; 1 << 20]).unwrap();
    drop(file);
    let log = SqliteLog::open(&path).await.unwrap();
    let from = (0..2).map(|partition| (Partition::new("posts", partition), 0)).collect();
    let mut reader = log.assign(&from, ConsumerConfig::new("")).await.unwrap();
    let error = loop {
        match reader.next(1000, PATIENCE).await {
            Ok(Delivery::Records(_)) => {}
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("malformed"), "{error}");
    assert!(error.to_string().contains("restore"), "{error}");
}
