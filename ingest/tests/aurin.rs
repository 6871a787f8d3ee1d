//! The real client of a WFS, against the sample WFS over real HTTP.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use std::collections::BTreeSet;
use std::time::Duration;

use bowerbird_ingest::IngestError;
use bowerbird_ingest::aurin::{AurinConfig, AurinSummary, Outcome, PollReport, Schedule, run};
use bowerbird_ingest::gaps::Hole;
use bowerbird_sim::Running;
use bowerbird_sim::wfs::{Config, Fault, sample_datasets, serve};
use bowerbird_stream::status::{State, status};
use bowerbird_stream::{EventType, topic};
use harness::wfs::poll;
use harness::{TestLog, holes_of, until};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Polled without end, when it is polled more than once.
fn config(sim: &Running) -> AurinConfig {
    let (interval, jitter) = (Duration::from_millis(50), Duration::ZERO);
    let mut config = AurinConfig { page_size: 400, ..harness::wfs::config(&sim.url()) };
    for dataset in &mut config.datasets {
        dataset.schedule = Schedule::Every { interval, jitter };
    }
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn every_feature_is_an_event_as_it_came() {
    let test = TestLog::new().await;
    // Fewer a page than asked for, which the server does not say.
    let sim = serve(Config { max_count: Some(150), ..Config::default() }).await.unwrap();
    let config = config(&sim);
    let summary = poll(&test, config.clone()).await;
    assert!(summary.is_complete(&config.datasets), "{summary:?}");
    assert_eq!(summary.published, 2_000);
    let events = test.events(topic::FEATURES).await;
    let keys: BTreeSet<&str> = events.iter().map(|event| event.key.as_str()).collect();
    assert_eq!((events.len(), keys.len()), (2_000, 2_000));
    for event in &events {
        let value: Value = serde_json::from_slice(event.value.as_ref().unwrap()).unwrap();
        assert_eq!(value["type"], "Feature");
        let dataset = &event.extensions["dataset"];
        let sample = sample_datasets().into_iter().find(|d| d.type_name == dataset).unwrap();
        let id = value["properties"][sample.id_property].as_str().unwrap();
        assert_eq!(event.key, format!("{dataset}:{id}"));
        assert_eq!(event.extensions["licence"], sample.licence);
        assert_eq!(event.extensions["attribution"], sample.attribution);
        assert_eq!(event.time, summary.polls[dataset].started);
    }
    let polls = test.journal("poll.finished").await;
    assert_eq!(polls.len(), 2);
    assert_eq!(polls[0]["outcome"], "complete");
    assert_eq!((&polls[0]["matched"], &polls[0]["distinct"]), (&json!(1_400), &json!(1_400)));
    assert_eq!(polls[0]["pages"], 10);

    // Each has told that it changes something; the next ones change nothing.
    assert_eq!(poll(&test, config.clone()).await.published, 0);
    let begun = test.journal("poll.begun").await;
    assert_eq!(begun.len(), 2);
    assert!(begun.iter().zip(&polls).all(|(begun, poll)| begun["poll"] == poll["poll"]));
    let told = holes_of(&test.log, Timestamp::now()).await;
    assert_eq!((told.data_sets, told.holes), (2, Vec::new()));
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_page_is_asked_for_again_and_nothing_is_published_twice() {
    let test = TestLog::new().await;
    let faults = vec![
        Fault::None,
        Fault::ExceptionUnder200,
        Fault::ExceptionInBody,
        Fault::None,
        Fault::Truncated,
        Fault::HtmlPage,
        Fault::None,
        Fault::Unavailable,
    ];
    let sim = serve(Config { faults, ..Config::default() }).await.unwrap();
    let config = config(&sim);
    let summary = poll(&test, config.clone()).await;
    assert!(summary.is_complete(&config.datasets), "{summary:?}");
    assert_eq!(test.records(topic::FEATURES).await.len(), 2_000);
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_is_not_whole_says_why() {
    let test = TestLog::new().await;
    let sim =
        serve(Config { faults: vec![Fault::Truncated; 30], ..Config::default() }).await.unwrap();
    let base = config(&sim);
    let mut config = base.clone();
    // A state is no key: many features share it.
    config.datasets[1].id_property = "ste_name".to_owned();
    let summary = poll(&test, config.clone()).await;
    assert!(!summary.is_complete(&config.datasets));
    for dataset in &config.datasets {
        let report = &summary.polls[&dataset.type_name];
        assert_eq!(report.outcome, Outcome::Failed);
        assert!(report.reason.as_ref().unwrap().contains("ends in the middle"), "{report:?}");
    }
    let polls = test.journal("poll.finished").await;
    assert_eq!(polls[0]["outcome"], "failed");
    sim.shutdown().await;

    let sim = serve(Config::default()).await.unwrap();
    config.base_url = self::config(&sim).base_url;
    config.datasets[0].type_name = "abs_personal_income_total_income_sa2_2011_2018".to_owned();
    let summary = poll(&test, config.clone()).await;
    let report = &summary.polls[&config.datasets[0].type_name];
    assert!(
        report.reason.as_ref().unwrap().contains("it has datasource-AU_Govt_ABS"),
        "{report:?}"
    );
    let report = &summary.polls[&config.datasets[1].type_name];
    assert_eq!(report.outcome, Outcome::Incomplete);
    assert!(report.reason.as_ref().unwrap().contains("not unique"), "{report:?}");
    let told = holes_of(&test.log, Timestamp::now()).await.holes;
    let of_type = |hole: &&Hole| hole.source.ends_with(&config.datasets[1].type_name);
    assert_eq!(told.len(), 2, "of the one with another name there is none: {told:?}");
    assert_eq!(told.iter().find(of_type).unwrap().cause, "incomplete");
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_sent_and_their_refusal_says_what_to_do() {
    let test = TestLog::new().await;
    let password = || "se cret:ä".to_owned().into();
    let credentials = Some(("harvester".to_owned(), password()));
    let sim = serve(Config { credentials, ..Config::default() }).await.unwrap();
    let mut config = config(&sim);
    let (reporter, status) = status("ingest-aurin");
    let cancel = CancellationToken::new();
    let polling = tokio::spawn(run(test.log.clone(), config.clone(), reporter, cancel.clone()));
    until("paused", async || matches!(status.get(), State::Paused { .. })).await;
    let State::Paused { reason } = status.get() else { panic!() };
    assert!(reason.contains("401") && reason.contains("90 days"), "{reason}");
    let told = holes_of(&test.log, Timestamp::now()).await.holes;
    assert!(!told.is_empty() && told[0].from.is_none(), "{told:?}");
    assert!(told[0].reason.contains("401"), "{told:?}");
    cancel.cancel();
    polling.await.unwrap().unwrap();
    assert_eq!(status.get(), State::Stopped);

    config.credentials = Some(("harvester".to_owned(), password()));
    assert!(poll(&test, config.clone()).await.is_complete(&config.datasets));
    assert_eq!(holes_of(&test.log, Timestamp::now()).await.holes, Vec::new());
    assert!(!format!("{config:?}").contains("se cret"));
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_by_the_clock_and_publishes_what_changed() {
    let test = TestLog::new().await;
    let sim = serve(Config { features: 100, ..Config::default() }).await.unwrap();
    let config = config(&sim);
    let (reporter, status) = status("ingest-aurin");
    let cancel = CancellationToken::new();
    let polling = tokio::spawn(run(test.log.clone(), config, reporter, cancel.clone()));
    until("six polls", async || test.journal("poll.finished").await.len() >= 6).await;
    assert_eq!(status.get(), State::Running);
    cancel.cancel();
    let summary: Result<AurinSummary, IngestError> = polling.await.unwrap();
    let summary = summary.unwrap();
    assert_eq!((summary.published, summary.error), (100, None));
    assert_eq!(test.records(topic::FEATURES).await.len(), 100);
    let polls = test.journal("poll.finished").await;
    let published: u64 = polls.iter().map(|poll| poll["published"].as_u64().unwrap()).sum();
    assert_eq!(published, 100);
    assert_eq!(polls[3]["unchanged"], polls[3]["distinct"]);
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_told() {
    let test = TestLog::new().await;
    let sim = serve(Config::default()).await.unwrap();
    let config = config(&sim);
    sim.shutdown().await;
    let summary = poll(&test, config.clone()).await;
    assert!(!summary.is_complete(&config.datasets));
    let report = summary.polls.values().next().unwrap();
    assert!(report.reason.as_ref().unwrap().contains("can't be reached"), "{report:?}");
}

/// Polls once a sample of so many features, as after a restart.
async fn poll_sample(test: &TestLog, features: u32, faults: Vec<Fault>) -> AurinSummary {
    let sim = serve(Config { features, faults, ..Config::default() }).await.unwrap();
    let summary = poll(test, config(&sim)).await;
    sim.shutdown().await;
    summary
}

fn counts(summary: &AurinSummary) -> (u64, u64, u64) {
    let sum = |of: fn(&PollReport) -> u64| summary.polls.values().map(of).sum();
    (sum(|poll| poll.published), sum(|poll| poll.unchanged), sum(|poll| poll.vanished))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_publishes_what_changed_and_what_vanished() {
    let test = TestLog::new().await;
    for (features, expected) in [
        (1_000, (1_000, 0, 0)),
        (1_000, (0, 1_000, 0)),
        (900, (0, 900, 100)),
        // Gone once is gone.
        (900, (0, 900, 0)),
        (1_010, (110, 900, 0)),
    ] {
        let summary = poll_sample(&test, features, Vec::new()).await;
        assert_eq!(counts(&summary), expected, "{features}: {summary:?}");
    }
    let events = test.events(topic::FEATURES).await;
    let vanished: Vec<_> =
        events.iter().filter(|event| event.kind == EventType::FeatureVanished).collect();
    assert_eq!(vanished.len(), 100);
    for event in vanished {
        assert!(event.value.is_none() && event.key.starts_with(&event.extensions["dataset"]));
        assert_eq!(event.extensions["licence"], "CC-BY-4.0");
    }
    let polls = test.journal("poll.finished").await;
    let told: u64 = polls.iter().map(|poll| poll["vanished"].as_u64().unwrap()).sum();
    assert_eq!(told, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_vanishes_in_a_poll_that_is_not_whole() {
    let test = TestLog::new().await;
    poll_sample(&test, 1_000, Vec::new()).await;
    // Fewer, and then cut off for good.
    let faults = [vec![Fault::None], vec![Fault::Truncated; 30]].concat();
    let summary = poll_sample(&test, 900, faults).await;
    assert_eq!(counts(&summary).2, 0, "{summary:?}");
    // A server that has lost its data.
    let summary = poll_sample(&test, 0, Vec::new()).await;
    assert_eq!(counts(&summary), (0, 0, 0), "{summary:?}");
    for poll in summary.polls.values() {
        assert_eq!(poll.outcome, Outcome::Incomplete);
        assert!(poll.reason.as_ref().unwrap().contains("none is taken for vanished"), "{poll:?}");
    }
    let events = test.events(topic::FEATURES).await;
    assert!(events.iter().all(|event| event.kind == EventType::FeatureObserved));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_licence_is_published_with_every_feature() {
    let test = TestLog::new().await;
    let sim = serve(Config { features: 100, ..Config::default() }).await.unwrap();
    let mut config = config(&sim);
    poll(&test, config.clone()).await;
    config.datasets[0].licence = "CC-BY-SA-4.0".to_owned();
    assert_eq!(counts(&poll(&test, config).await), (70, 30, 0));
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_property_that_is_not_there_is_named() {
    let test = TestLog::new().await;
    let sim = serve(Config { features: 10, ..Config::default() }).await.unwrap();
    let mut config = config(&sim);
    config.datasets[0].id_property = "sa2_main".to_owned();
    let summary = poll(&test, config.clone()).await;
    let reason = summary.polls[&config.datasets[0].type_name].reason.clone().unwrap();
    assert!(reason.contains("no property sa2_main") && reason.contains("sa2_code"), "{reason}");
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_is_told_to_stop_is_a_fact_too() {
    let test = TestLog::new().await;
    // It takes connections and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sim = serve(Config::default()).await.unwrap();
    let mut config = config(&sim);
    config.base_url = format!("http://{}/wfs", silent.local_addr().unwrap()).parse().unwrap();
    let (reporter, _status) = status("ingest-aurin");
    let cancel = CancellationToken::new();
    let polling = tokio::spawn(run(test.log.clone(), config, reporter, cancel.clone()));
    let _connection = silent.accept().await.unwrap();
    cancel.cancel();
    assert_eq!(polling.await.unwrap().unwrap().error, None);
    let polls = test.journal("poll.finished").await;
    assert_eq!((polls.len(), &polls[0]["outcome"]), (1, &json!("stopped")));
    sim.shutdown().await;
}
