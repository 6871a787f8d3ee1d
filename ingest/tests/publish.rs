//! A log in trouble: nothing is lost, and it is said.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bowerbird_ingest::archive::{ArchiveConfig, Input, Outcome, Progress, import};
use bowerbird_ingest::x::{XConfig, run};
use bowerbird_sim::x::{Config, serve};
use bowerbird_stream::status::{State, status};
use bowerbird_stream::{LogError, topic};
use harness::flaky::{failing_by, flaky};
use harness::{TestLog, until};
use tokio_util::sync::CancellationToken;

fn archive(test: &TestLog, posts: u64) -> PathBuf {
    let line = |id| format!("{{\"id\":\"{id}\",\"text\":\"x\"}}\n");
    let path = test.folder.path().join("a.jsonl");
    std::fs::write(&path, (1..=posts).map(line).collect::<String>()).unwrap();
    path
}

fn config(path: PathBuf) -> ArchiveConfig {
    ArchiveConfig { batch_bytes: 4 << 10, ..ArchiveConfig::new(vec![Input::Path(path)]) }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_waits_for_the_log_and_loses_nothing() {
    let test = TestLog::new().await;
    let log = flaky(test.log.clone(), 20);
    let progress = Arc::new(Progress::default());
    let importing =
        import(log, config(archive(&test, 500)), Arc::clone(&progress), CancellationToken::new());
    let watching = until("it says so", async || {
        progress.snapshot().trouble.is_some_and(|trouble| trouble.contains("nowhere:9092"))
    });
    let (summary, ()) = tokio::join!(importing, watching);
    assert!(summary.succeeded());
    assert_eq!(summary.total.posts, 500);
    assert_eq!(progress.snapshot().trouble, None);
    let events = test.events(topic::POSTS).await;
    let keys: BTreeSet<&str> = events.iter().map(|event| event.key.as_str()).collect();
    assert_eq!(
        (events.len(), keys.len()),
        (500, 500),
        "each once: only what failed is tried again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_stopped_while_the_log_is_away_keeps_its_place() {
    let test = TestLog::new().await;
    let log = flaky(test.log.clone(), usize::MAX);
    let config = ArchiveConfig {
        checkpoint_dir: Some(test.folder.path().join("checkpoints")),
        resume: true,
        drain_timeout: Duration::from_millis(50),
        ..config(archive(&test, 500))
    };
    let (cancel, progress) = (CancellationToken::new(), Arc::new(Progress::default()));
    let importing = import(log.clone(), config.clone(), Arc::clone(&progress), cancel.clone());
    let stopping = async {
        until("trouble", async || progress.snapshot().trouble.is_some()).await;
        cancel.cancel();
    };
    let (summary, ()) = tokio::join!(importing, stopping);
    assert_eq!(summary.files[0].outcome, Outcome::Interrupted);
    log.between.failing.store(0, Ordering::Relaxed);
    let again = import(log, config, progress, CancellationToken::new()).await;
    assert!(again.succeeded());
    let events = test.events(topic::POSTS).await;
    let keys: BTreeSet<&str> = events.iter().map(|event| event.key.as_str()).collect();
    assert_eq!(keys.len(), 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_refuses_for_good_ends_an_import() {
    let test = TestLog::new().await;
    let address = "kafka://here".to_owned();
    let error = LogError::Fatal { address, reason: "fenced".to_owned() };
    let log = failing_by(test.log.clone(), 1_000, error);
    let progress = Arc::new(Progress::default());
    let summary = import(log, config(archive(&test, 10)), progress, CancellationToken::new()).await;
    assert_eq!(summary.files[0].outcome, Outcome::Failed);
    assert!(summary.files[0].error.as_ref().unwrap().contains("fenced"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_is_slowed_by_a_log_in_trouble_and_loses_nothing() {
    let test = TestLog::new().await;
    let sim = serve(Config { rate: 2_000.0, total: Some(300), ..Config::default() }).await.unwrap();
    let mut config = XConfig::new(sim.url().parse().unwrap(), "token".to_owned().into());
    config.outbox.max_in_flight_bytes = 64 << 10;
    let address = "kafka://here".to_owned();
    // Also what only an operator can mend: a service waits for that.
    let error = LogError::MissingTopic { address, topic: "posts".to_owned() };
    let log = failing_by(test.log.clone(), 6, error);
    let (reporter, status) = status("ingest-x");
    let cancel = CancellationToken::new();
    let running = tokio::spawn(run(log, config, reporter, cancel.clone()));
    until("paused", async || {
        matches!(status.get(), State::Paused { reason } if reason.contains("topics apply"))
    })
    .await;
    until("300 posts", async || test.records(topic::POSTS).await.len() == 300).await;
    assert_eq!(status.get(), State::Running);
    cancel.cancel();
    assert!(running.await.unwrap().unwrap().drained);
    sim.shutdown().await;
}
