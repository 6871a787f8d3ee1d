//! The real client of a WFS against a real server: MapServer, as tests/services/mapserver.sh serves
//! it. Its counts are known, and its pages are refused, capped and guarded as real ones are.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod harness;

use std::collections::BTreeMap;

use bowerbird_ingest::aurin::{
    AurinConfig, DatasetConfig, Outcome, PollReport, Schedule, Wfs, once,
};
use bowerbird_stream::status::status;
use bowerbird_stream::{EventType, topic};
use harness::TestLog;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const AREAS: u64 = 237;

/// The harvest of one layer, at a path of the server.
fn config(path: &str, layer: &str, id_property: &str) -> AurinConfig {
    let url = std::env::var("BOWERBIRD_TEST_WFS")
        .expect("BOWERBIRD_TEST_WFS names no WFS; tests/run starts one");
    let dataset = DatasetConfig {
        type_name: format!("ms:{layer}"),
        id_property: id_property.to_owned(),
        licence: "CC-BY-4.0".to_owned(),
        attribution: "Nobody".to_owned(),
        schedule: Schedule::default(),
    };
    AurinConfig {
        page_size: 150,
        ..AurinConfig::new(format!("{url}/{path}").parse().unwrap(), vec![dataset])
    }
}

async fn poll(test: &TestLog, config: AurinConfig) -> PollReport {
    let (reporter, _status) = status("ingest-aurin");
    let summary = once(test.log.clone(), config, reporter, CancellationToken::new()).await.unwrap();
    assert_eq!(summary.error, None);
    summary.polls.into_values().next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_server_caps_or_refuses_every_feature_comes_once() {
    for (path, layer, pages, sorted) in [
        ("wfs", "areas", 2, true),
        // Its hits are capped, its pages are not.
        ("wfs", "areas_capped", 2, true),
        ("capped", "areas", 3, true),
        ("capped", "areas_shp", 3, false),
        ("wfs", "areas_shp", 2, false),
        ("moved", "areas", 2, true),
    ] {
        let test = TestLog::new().await;
        let report = poll(&test, config(path, layer, "code")).await;
        assert_eq!((report.outcome, &report.reason), (Outcome::Complete, &None), "{path} {layer}");
        assert_eq!((report.matched, report.received), (Some(AREAS), AREAS));
        assert_eq!((report.distinct, report.published, report.dead_letters), (AREAS, AREAS, 0));
        assert_eq!((report.pages, report.sorted), (pages, sorted), "{path} {layer}");
        assert_eq!(test.journal("poll.finished").await, [json!(report)]);

        let events = test.events(topic::FEATURES).await;
        let by_key: BTreeMap<&str, Value> = events
            .iter()
            .map(|event| {
                (&*event.key, serde_json::from_slice(event.value.as_ref().unwrap()).unwrap())
            })
            .collect();
        assert_eq!((events.len() as u64, by_key.len() as u64), (AREAS, AREAS));
        for code in 1..=AREAS {
            let feature = &by_key[&*format!("ms:{layer}:{code}")];
            assert_eq!(feature["properties"]["name"], format!("Area {code} – Ñ"));
            // Longitude first, whatever the axes of EPSG:4326 are.
            let corner = &feature["geometry"]["coordinates"][0][0];
            let (x, y) = (corner[0].as_f64().unwrap(), corner[1].as_f64().unwrap());
            assert!((113.0..154.0).contains(&x) && (-44.0..-10.0).contains(&y), "{corner}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_and_what_vanished_is_published_and_nothing_else() {
    let test = TestLog::new().await;
    poll(&test, config("wfs", "areas", "code")).await;
    let again = poll(&test, config("capped", "areas", "code")).await;
    assert_eq!((again.published, again.unchanged, again.vanished), (0, AREAS, 0));
    let later = poll(&test, config("later", "areas", "code")).await;
    assert_eq!(later.outcome, Outcome::Complete);
    assert_eq!((later.published, later.unchanged, later.vanished), (1, 199, 37));
    let events = test.events(topic::FEATURES).await;
    let mut vanished: Vec<u64> = events
        .iter()
        .filter(|event| event.kind == EventType::FeatureVanished)
        .map(|event| event.key.strip_prefix("ms:areas:").unwrap().parse().unwrap())
        .collect();
    vanished.sort_unstable();
    assert_eq!(vanished, (201..=AREAS).collect::<Vec<_>>());
    // Back again, all of them.
    let back = poll(&test, config("wfs", "areas", "code")).await;
    assert_eq!((back.published, back.unchanged, back.vanished), (38, 199, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_unique_is_named_and_nothing_vanishes() {
    let test = TestLog::new().await;
    poll(&test, config("wfs", "areas", "code")).await;
    let report = poll(&test, config("wfs", "areas", "year")).await;
    assert_eq!((report.outcome, report.vanished), (Outcome::Incomplete, 0));
    assert_eq!((report.received, report.distinct), (AREAS, 3));
    let reason = report.reason.unwrap();
    assert!(reason.contains("year are not unique"), "{reason}");
    let report = poll(&test, config("wfs", "areas", "yaer")).await;
    assert_eq!((report.outcome, report.vanished), (Outcome::Failed, 0));
    let reason = report.reason.unwrap();
    assert!(reason.contains("no property yaer") && reason.contains("code, name, year"), "{reason}");
    let report = poll(&test, config("wfs", "Areas", "code")).await;
    let reason = report.reason.unwrap();
    assert!(reason.contains("it has ms:areas"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_login_is_asked_for() {
    let test = TestLog::new().await;
    let refused = poll(&test, config("auth", "areas", "code")).await;
    assert_eq!(refused.outcome, Outcome::Failed);
    let reason = refused.reason.unwrap();
    assert!(reason.contains("401") && reason.contains("adp-access.aurin.org.au"), "{reason}");
    let credentials = Some(("tester".to_owned(), "tester-secret".to_owned().into()));
    let config = AurinConfig { credentials, ..config("auth", "areas", "code") };
    assert_eq!(poll(&test, config).await.outcome, Outcome::Complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn capabilities_and_descriptions_are_read() {
    let wfs = Wfs::new(&config("wfs", "areas", "code")).unwrap();
    let capabilities = wfs.capabilities().await.unwrap();
    assert_eq!(capabilities.constraints.as_deref(), Some("CC-BY-4.0"));
    let names: Vec<&str> = capabilities.types.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["ms:areas", "ms:areas_shp", "ms:areas_capped"]);
    assert_eq!(capabilities.types[0].title, "Made-up areas (areas)");
    let [west, south, east, north] = capabilities.types[0].bounds().unwrap();
    assert!(west < 114.0 && east > 150.0 && south < -42.0 && north > -16.0);
    let columns = wfs.columns("ms:areas").await.unwrap();
    let names: Vec<&str> = columns
        .iter()
        .filter(|column| !column.is_geometry())
        .map(|column| column.name.as_str())
        .collect();
    assert_eq!(names, ["code", "name", "year", "note"]);
    assert_eq!(columns.len(), 5);
}
