//! What became a dead letter is really gone once its post was removed: no reader of the log gets it
//! any more, the other letters are known by their names, and nothing comes twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bowerbird_sink::{Projection, SinkConfig, VerifyConfig, verify};
use bowerbird_store::sqlite::SqliteStore;
use bowerbird_stream::dead_letter::{
    DeadLetters, Deed, Filter, Letter, LetterId, Redrive, Redriven,
};
use bowerbird_stream::log::{ConsumerConfig, Outgoing};
use bowerbird_stream::range::RangeReader;
use bowerbird_stream::sqlite::SqliteLog;
use bowerbird_stream::status::status;
use bowerbird_stream::{EventLog, EventType, LogError, Partition, topic};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::gone::{PATIENCE, event, kept, on_kafka, publish, topics_in, until};

const LETTERS: u64 = 40;
const DELETED: std::ops::RangeInclusive<u64> = 1..=10;

#[tokio::test(flavor = "multi_thread")]
async fn from_the_embedded_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = SqliteLog::open(folder.path().join("log.sqlite")).await.unwrap();
    lost(&log, async || _ = log.clean(Timestamp::now()).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_kafka() {
    on_kafka("letters", async |log| lost(&log, async || {}).await).await;
}

/// A post that can't be read, but for whoever looks for what it says.
fn broken(id: u64, second: i64) -> Outgoing {
    let value = format!(r#"{{"id":"{id}","text":["said {id}."]}}"#);
    event(topic::POSTS, EventType::PostReceived, id, second, value, "post")
}

fn deletion(id: u64) -> Outgoing {
    let value = format!(r#"{{"id":"{id}","action":"delete"}}"#);
    event(topic::NOTICES, EventType::NoticeReceived, id, 5, value, "post")
}

/// Which of these posts a topic says anything of, to whoever reads all that it has.
async fn said(
    log: &impl EventLog,
    topic: &str,
    ids: impl IntoIterator<Item = u64>,
) -> Result<BTreeSet<u64>, LogError> {
    let extents = log.extents(topic).await?;
    // From the first offset that there ever was.
    let ranges = extents
        .into_iter()
        .map(|(number, extent)| (Partition::new(topic, number), (0, extent.end)));
    let ranges = ranges.filter(|(_, (from, end))| from < end).collect();
    let mut reader = RangeReader::new(log, ranges, ConsumerConfig::new("test")).await?;
    let mut bytes = Vec::new();
    while let Some(records) = reader.next(1_000).await? {
        for record in records {
            bytes.extend_from_slice(record.headers.encoded());
            bytes.extend_from_slice(record.value.as_deref().unwrap_or_default());
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    Ok(ids.into_iter().filter(|id| text.contains(&format!("said {id}."))).collect())
}

type Told = BTreeMap<LetterId, (u64, Option<Deed>, bool)>;

/// The letters by name: the post, what was done, and whether it says something.
async fn told(log: &impl EventLog) -> Result<Told, LogError> {
    let letters = DeadLetters::new(log.clone());
    let mut reading = letters.read(Filter { done: true, ..Filter::default() }).await?;
    let mut told = Told::new();
    while let Some(page) = reading.next().await? {
        for letter in page {
            let key = letter.key().unwrap().parse().unwrap();
            let what = (key, letter.done, letter.record.value.is_some());
            assert_eq!(told.insert(letter.id, what), None, "{} comes once", letter.id);
        }
    }
    Ok(told)
}

/// Asks again whoever was told that letters move.
async fn settled<T>(mut ask: impl AsyncFnMut() -> Result<T, LogError>) -> T {
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(LogError::Transient { .. } | LogError::OutOfRange { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

async fn lost<L: EventLog>(log: &L, clean: impl AsyncFn()) {
    topics_in(log).await;
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("store.sqlite")).unwrap();
    let config = SinkConfig {
        flush_interval: Duration::from_millis(20),
        commit_interval: Duration::from_millis(100),
        ..SinkConfig::default()
    };
    let cancel = CancellationToken::new();
    let sink = tokio::spawn({
        let (log, store, cancel) = (log.clone(), store.clone(), cancel.clone());
        async move {
            let (reporter, _status) = status("sink");
            let projection = Projection::posts();
            bowerbird_sink::run(&log, &store, &projection, &config, &reporter, cancel).await
        }
    });
    let keeper = tokio::spawn(kept(log.clone(), store.clone(), cancel.clone()));

    publish(log, (1..=LETTERS).map(|id| broken(id, 2))).await;
    until("the letters", async || {
        let told = settled(async || told(log).await).await;
        (told.len() as u64..LETTERS).collect()
    })
    .await;
    let before = settled(async || told(log).await).await;
    publish(log, DELETED.map(deletion)).await;
    until("what is asked", async || {
        settled(async || said(log, topic::DEAD_LETTERS, DELETED).await).await.into_iter().collect()
    })
    .await;
    // It comes once more, after its notice.
    publish(log, [broken(1, 3)]).await;
    until("the late one", async || {
        let told = settled(async || told(log).await).await;
        let is_gone =
            told.len() as u64 > LETTERS && told.values().filter(|one| one.0 == 1).all(|one| !one.2);
        (!is_gone).then_some(told.len()).into_iter().collect()
    })
    .await;

    let after = settled(async || told(log).await).await;
    for (name, (id, done, says)) in &before {
        assert_eq!((*done, *says), (None, true));
        let gone = DELETED.contains(id);
        let expected = (*id, gone.then_some(Deed::Dropped), !gone);
        assert_eq!(after[name], expected, "{name}");
    }
    assert_eq!(after.len() as u64, LETTERS + 1);
    let left = settled(async || said(log, topic::DEAD_LETTERS, 1..=LETTERS).await).await;
    assert_eq!(left, (11..=LETTERS).collect());
    // The records themselves leave the log as those of any removed post do.
    until("compaction", async || {
        clean().await;
        settled(async || said(log, topic::POSTS, DELETED).await).await.into_iter().collect()
    })
    .await;

    // A name that is known from before leads to its letter: that is sent, and fails again.
    let name = *before.iter().find(|(_, (id, ..))| *id == 20).unwrap().0;
    let redrive = Redrive {
        filter: Filter { ids: vec![name], ..Filter::default() },
        rate: 1_000,
        wait: PATIENCE,
        groups: [(topic::POSTS.to_owned(), vec![Projection::posts().group])].into(),
        by: "ada".to_owned(),
        dry_run: false,
        listed: 10,
    };
    let letters = DeadLetters::new(log.clone());
    let mut done = Redriven::default();
    let none = |_: &Letter| Err("no reader".to_owned());
    letters.redrive(&mut done, &redrive, none, |_| {}, &CancellationToken::new()).await.unwrap();
    assert_eq!((done.letters, done.failed_again, done.troubles[0].letter), (1, 1, name));
    let now = settled(async || told(log).await).await;
    assert_eq!((now[&name].1, now.len() as u64), (Some(Deed::Redriven), LETTERS + 2));
    cancel.cancel();
    sink.await.unwrap().unwrap();
    keeper.await.unwrap();
    let projections = vec![Projection::posts()];
    let verification = VerifyConfig { projections, ..VerifyConfig::default() };
    let report = verify(log, &store, &verification, |_| {}).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
}
