//! The client against a WFS with odd manners, over real HTTP: what it says of its number, its
//! order, its axes and its address. What is not whole is never called so, and nothing vanishes by
//! it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bowerbird_ingest::Renewal;
use bowerbird_ingest::aurin::{
    AurinConfig, AurinSummary, DatasetConfig, Outcome, Schedule, once, run,
};
use bowerbird_sim::wfs::{Config, Hits, sample_datasets, serve};
use bowerbird_stream::retry::RetryPolicy;
use bowerbird_stream::status::{State, status};
use bowerbird_stream::{EventType, topic};
use harness::{TestLog, until};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const FEATURES: u32 = 1_000;

fn config(url: &str) -> AurinConfig {
    let datasets = sample_datasets().map(|dataset| DatasetConfig {
        type_name: dataset.type_name.to_owned(),
        id_property: dataset.id_property.to_owned(),
        licence: dataset.licence.to_owned(),
        attribution: dataset.attribution.to_owned(),
        schedule: Schedule::default(),
    });
    let config = AurinConfig::new(format!("{url}/wfs").parse().unwrap(), datasets.to_vec());
    let ms = Duration::from_millis;
    let retry = RetryPolicy { initial: ms(5), max: ms(20), ..config.retry };
    AurinConfig { page_size: 150, retry, ..config }
}

async fn poll(test: &TestLog, config: AurinConfig) -> AurinSummary {
    let (reporter, _status) = status("ingest-aurin");
    once(test.log.clone(), config, reporter, CancellationToken::new()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_says_and_gives_decides_whether_a_poll_is_whole() {
    let plain = || Config { features: FEATURES, ..Config::default() };
    for (sim, outcome, published, part) in [
        (Config { hits: Hits::Unknown, ..plain() }, Outcome::Complete, 1_000, ""),
        // Its number is wrong, so nothing proves that the pages were all; but all are read.
        (
            Config { hits: Hits::Capped(200), ..plain() },
            Outcome::Incomplete,
            1_000,
            "says 200 features and gives",
        ),
        (Config { hits: Hits::Growing, ..plain() }, Outcome::Incomplete, 1_000, "data changed"),
        (Config { latitude_first: true, ..plain() }, Outcome::Complete, 1_000, ""),
        (Config { pages: false, ..plain() }, Outcome::Incomplete, 300, "does not page"),
        (
            Config { pages: false, hits: Hits::Unknown, ..plain() },
            Outcome::Incomplete,
            300,
            "does not page",
        ),
        // It sorts not, and without an order it gives the first page only.
        (Config { sorts: false, ..plain() }, Outcome::Failed, 300, "natural order"),
    ] {
        let test = TestLog::new().await;
        let whole = serve(Config { features: FEATURES + 10, ..Config::default() }).await.unwrap();
        let manners = format!("{sim:?}");
        let sim = serve(sim).await.unwrap();
        let summary = poll(&test, config(&sim.url())).await;
        assert_eq!(summary.published, published, "{manners}");
        for report in summary.polls.values() {
            assert_eq!(report.outcome, outcome, "{manners}: {report:?}");
            let reason = report.reason.clone().unwrap_or_default();
            assert!(reason.contains(part), "{manners}: {reason}");
            assert_eq!(outcome == Outcome::Complete, reason.is_empty(), "{manners}");
        }
        for event in test.events(topic::FEATURES).await {
            let feature: Value = serde_json::from_slice(&event.value.unwrap()).unwrap();
            let corner = &feature["geometry"]["coordinates"][0][0][0];
            assert!(corner[0].as_f64().unwrap() > 100.0, "{manners}: {corner}");
        }
        // What only a whole poll has had is not taken for vanished by another.
        poll(&test, config(&whole.url())).await;
        let summary = poll(&test, config(&sim.url())).await;
        let vanished: u64 = summary.polls.values().map(|poll| poll.vanished).sum();
        assert_eq!(vanished, if outcome == Outcome::Complete { 10 } else { 0 }, "{manners}");
        let events = test.events(topic::FEATURES).await;
        let told = events.iter().filter(|event| event.kind == EventType::FeatureVanished).count();
        assert_eq!(told as u64, vanished);
        sim.shutdown().await;
        whole.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_moves_between_pages_does_not_vanish() {
    let test = TestLog::new().await;
    let first_only = |url: &str| {
        let mut config = config(url);
        config.datasets.truncate(1);
        config
    };
    let still = serve(Config { features: FEATURES, ..Config::default() }).await.unwrap();
    poll(&test, first_only(&still.url())).await;
    let sim = serve(Config { features: FEATURES, moves: true, ..Config::default() }).await.unwrap();
    // One goes and one comes, so the numbers are right; and one has slipped between two pages.
    let summary = poll(&test, first_only(&sim.url())).await;
    let report = summary.polls.values().next().unwrap();
    assert_eq!((report.matched, report.distinct), (Some(700), 700));
    assert_eq!((report.outcome, report.vanished), (Outcome::Incomplete, 0), "{report:?}");
    assert!(report.reason.as_ref().unwrap().contains("changed during the poll"), "{report:?}");
    // Now that nothing moves, only the one that went has vanished.
    let summary = poll(&test, first_only(&sim.url())).await;
    let report = summary.polls.values().next().unwrap();
    assert_eq!((report.outcome, report.vanished), (Outcome::Complete, 1), "{report:?}");
    sim.shutdown().await;
    still.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_not_sent_on_to_another_host() {
    let credentials = || Some(("harvester".to_owned(), "secret".to_owned().into()));
    let sim = serve(Config { credentials: credentials(), ..Config::default() }).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer =
        format!("HTTP/1.1 302 Found\r\nlocation: {}/wfs\r\ncontent-length: 0\r\n\r\n", sim.url());
    let mover = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let asked = client.read(&mut [0; 4_096]).await.unwrap_or_default();
            assert!(asked > 0, "a request comes in one piece");
            client.write_all(answer.as_bytes()).await.ok();
        }
    });
    let test = TestLog::new().await;
    let config = AurinConfig { credentials: credentials(), ..config(&url) };
    let summary = poll(&test, config).await;
    for report in summary.polls.values() {
        let reason = report.reason.clone().unwrap();
        assert!(reason.contains(&sim.url()) && reason.contains("aurin.base_url"), "{reason}");
    }
    mover.abort();
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_was_exchanged_is_taken_at_the_next_poll() {
    let login = |password: &str| Some(("harvester".to_owned(), password.to_owned().into()));
    let sim = serve(Config { credentials: login("new"), ..Config::default() }).await.unwrap();
    let mut config = AurinConfig { credentials: login("old"), ..config(&sim.url()) };
    for dataset in &mut config.datasets {
        let interval = Duration::from_millis(50);
        dataset.schedule = Schedule::Every { interval, jitter: Duration::ZERO };
    }
    let exchanged = Arc::new(AtomicBool::new(false));
    let file = Arc::clone(&exchanged);
    config.renewal = Some(Renewal::new(move || {
        let password = if file.load(Ordering::Relaxed) { "new" } else { "old" };
        Some(password.to_owned().into())
    }));
    let test = TestLog::new().await;
    let (reporter, status) = status("ingest-aurin");
    let cancel = CancellationToken::new();
    let polling = tokio::spawn(run(test.log.clone(), config, reporter, cancel.clone()));
    let refused = |state| matches!(state, State::Paused { reason } if reason.contains("401"));
    until("it is refused", async || refused(status.get())).await;
    exchanged.store(true, Ordering::Relaxed);
    until("it is let in", async || status.get() == State::Running).await;
    cancel.cancel();
    polling.await.unwrap().unwrap();
    sim.shutdown().await;
}
