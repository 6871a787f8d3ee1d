//! The sample WFS over real HTTP.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::collections::BTreeSet;

use bowerbird_sim::Running;
use bowerbird_sim::wfs::{Config, Fault, sample_datasets, serve};
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;

async fn ask(sim: &Running, query: &str) -> Response {
    let url = format!("{}/wfs?service=WFS&version=2.0.0&{query}", sim.url());
    Client::new().get(url).send().await.unwrap()
}

fn page(number: usize, start: usize, count: usize) -> String {
    let dataset = &sample_datasets()[number];
    format!(
        "request=GetFeature&typeNames={}&outputFormat=application/json&srsName=EPSG:4326\
         &startIndex={start}&count={count}&sortBy={}",
        dataset.type_name, dataset.id_property
    )
}

#[tokio::test]
async fn gives_every_feature_once_in_pages() {
    let sim = serve(Config { max_count: Some(150), ..Config::default() }).await.unwrap();
    let mut total = 0;
    for (number, dataset) in sample_datasets().iter().enumerate() {
        let mut ids = BTreeSet::new();
        let mut start = 0;
        loop {
            // The server gives fewer than it is asked for.
            let body: Value = ask(&sim, &page(number, start, 400)).await.json().await.unwrap();
            let features = body["features"].as_array().unwrap();
            if features.is_empty() {
                assert_eq!(body["numberMatched"], start);
                break;
            }
            for feature in features {
                assert!(ids.insert(feature["id"].as_str().unwrap().to_owned()));
                assert!(feature["properties"][dataset.id_property].is_string());
                let position = &feature["geometry"]["coordinates"][0][0][0];
                assert!((112.0..155.0).contains(&position[0].as_f64().unwrap()), "longitude first");
            }
            start += features.len();
        }
        let query = format!("request=GetFeature&typeNames={}&resultType=hits", dataset.type_name);
        let hits = ask(&sim, &query).await.text().await.unwrap();
        assert!(hits.contains(&format!("numberMatched=\"{}\"", ids.len())), "{hits}");
        total += ids.len();
    }
    assert_eq!(total, 2_000);
    assert_eq!(sim.served(), 2_000);
    sim.shutdown().await;
}

#[tokio::test]
async fn describes_itself() {
    let sim = serve(Config::default()).await.unwrap();
    let capabilities = ask(&sim, "request=GetCapabilities").await.text().await.unwrap();
    for dataset in sample_datasets() {
        assert!(capabilities.contains(&format!("<Name>{}</Name>", dataset.type_name)));
        let query = format!("request=DescribeFeatureType&typeNames={}", dataset.type_name);
        let description = ask(&sim, &query).await.text().await.unwrap();
        assert!(description.contains(&format!("name=\"{}\"", dataset.id_property)));
    }
    sim.shutdown().await;
}

#[tokio::test]
async fn refuses_as_servers_do() {
    let credentials = Some(("user".to_owned(), "pass".to_owned().into()));
    let sim = serve(Config { credentials, ..Config::default() }).await.unwrap();
    assert_eq!(ask(&sim, "request=GetCapabilities").await.status(), StatusCode::UNAUTHORIZED);
    let get = async |query: &str| {
        let url = format!("{}/wfs?service=WFS&{query}", sim.url());
        Client::new().get(url).basic_auth("user", Some("pass")).send().await.unwrap()
    };
    let unknown = get("request=GetFeature&typeNames=x&outputFormat=json").await;
    assert_eq!(unknown.status(), StatusCode::BAD_REQUEST);
    assert!(unknown.text().await.unwrap().contains("ExceptionReport"));
    let unsorted = page(0, 10, 5);
    let unsorted = get(unsorted.split("&sortBy").next().unwrap()).await;
    assert_eq!(unsorted.status(), StatusCode::BAD_REQUEST);
    assert!(unsorted.text().await.unwrap().contains("primary key"));
    sim.shutdown().await;
}

#[tokio::test]
async fn misbehaves_when_told_to() {
    let faults = vec![
        Fault::ExceptionUnder200,
        Fault::ExceptionInBody,
        Fault::Truncated,
        Fault::HtmlPage,
        Fault::Unavailable,
    ];
    let sim = serve(Config { faults, ..Config::default() }).await.unwrap();
    let mut answers = Vec::new();
    for _ in 0..6 {
        let answer = ask(&sim, &page(0, 0, 3)).await;
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        answers.push((status, serde_json::from_str::<Value>(&text).is_ok()));
    }
    let expected = [200, 200, 200, 200, 503, 200].map(|status| (status, false));
    assert_eq!(answers[..5], expected[..5]);
    assert_eq!(answers[5], (200, true));
    sim.shutdown().await;
}
