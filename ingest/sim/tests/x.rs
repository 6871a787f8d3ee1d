//! The simulated stream over real HTTP.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::time::Duration;

use bowerbird_sim::x::{Config, Ending, LineFeed, Step, serve};
use bowerbird_sim::{Running, SimError};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

const STREAM: &str = "/2/tweets/search/stream";
const RULES: &str = "/2/tweets/search/stream/rules";

async fn connect(sim: &Running) -> Response {
    Client::new().get(sim.url() + STREAM).bearer_auth("any").send().await.unwrap()
}

/// Reads items until there are so many, or the end.
async fn items(response: &mut Response, most: usize) -> Vec<Value> {
    let mut text = String::new();
    loop {
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let lines: Vec<&str> = whole.lines().filter(|line| !line.is_empty()).collect();
        if lines.len() >= most {
            return lines[..most].iter().map(|l| serde_json::from_str(l).unwrap()).collect();
        }
        match response.chunk().await.unwrap() {
            Some(chunk) => text.push_str(std::str::from_utf8(&chunk).unwrap()),
            None => return lines.iter().map(|l| serde_json::from_str(l).unwrap()).collect(),
        }
    }
}

#[tokio::test]
async fn gives_posts_at_its_rate_and_ids_that_grow() {
    let config = Config { rate: 500.0, total: Some(100), ..Config::default() };
    let sim = serve(config).await.unwrap();
    let begun = std::time::Instant::now();
    let mut response = connect(&sim).await;
    let items = items(&mut response, 100).await;
    let seconds = begun.elapsed().as_secs_f64();
    assert!((0.15..5.0).contains(&seconds), "100 posts at 500 a second took {seconds} s");
    let ids: Vec<u64> =
        items.iter().map(|item| item["data"]["id"].as_str().unwrap().parse().unwrap()).collect();
    assert!(ids.is_sorted_by(|a, b| a < b));
    for item in &items {
        assert!(item["data"]["text"].is_string());
        assert_eq!(item["includes"]["places"][0]["id"], item["data"]["geo"]["place_id"]);
        assert!(item["matching_rules"][0]["id"].is_string());
        let author = &item["data"]["author_id"];
        assert!(item["includes"]["users"].as_array().unwrap().iter().any(|u| u["id"] == *author));
    }
    assert_eq!(sim.served(), 100);
    // Ids go on upwards in another process.
    let again = serve(Config { rate: 1000.0, ..Config::default() }).await.unwrap();
    let later = self::items(&mut connect(&again).await, 1).await;
    assert!(later[0]["data"]["id"].as_str().unwrap().parse::<u64>().unwrap() > ids[99]);
    sim.shutdown().await;
    again.shutdown().await;
}

#[tokio::test]
async fn keeps_silent_connections_alive() {
    let config = Config { rate: 0.0, keep_alive: Duration::from_millis(20), ..Config::default() };
    let sim = serve(config).await.unwrap();
    let mut response = connect(&sim).await;
    for _ in 0..3 {
        assert_eq!(response.chunk().await.unwrap().unwrap(), "\r\n");
    }
    sim.shutdown().await;
}

#[tokio::test]
async fn asks_for_the_token_and_for_rules() {
    let bearer = Some("right".to_owned().into());
    let sim = serve(Config { bearer, rules: Vec::new(), ..Config::default() }).await.unwrap();
    let get = |token: &'static str| Client::new().get(sim.url() + STREAM).bearer_auth(token).send();
    let refused = get("wrong").await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(refused.json::<Value>().await.unwrap()["title"], "Unauthorized");
    let refused = get("right").await.unwrap();
    assert_eq!(refused.status(), StatusCode::CONFLICT);
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["connection_issue"], "RuleConfigurationIssue");
    sim.shutdown().await;
}

#[tokio::test]
async fn rules_are_added_listed_and_deleted() {
    let sim = serve(Config { rules: Vec::new(), ..Config::default() }).await.unwrap();
    let post = async |path: &str, body: Value| {
        let request = Client::new().post(sim.url() + path).bearer_auth("any");
        request.json(&body).send().await.unwrap().json::<Value>().await.unwrap()
    };
    let list = async || {
        let request = Client::new().get(sim.url() + RULES).bearer_auth("any");
        request.send().await.unwrap().json::<Value>().await.unwrap()
    };
    let new = json!({"add": [{"value": "place_country:AU", "tag": "au"}, {"value": "lang:en"}]});
    let dry = post(&format!("{RULES}?dry_run=true"), new.clone()).await;
    assert_eq!(dry["meta"]["summary"]["created"], 2);
    assert_eq!(list().await["meta"]["result_count"], 0);
    let added = post(RULES, new.clone()).await;
    assert_eq!(added["data"][0]["tag"], "au");
    let again = post(RULES, new).await;
    assert_eq!(again["errors"][0]["title"], "DuplicateRule");
    let ids = json!({"delete": {"ids": [added["data"][0]["id"]]}});
    assert_eq!(post(RULES, ids).await["meta"]["summary"]["deleted"], 1);
    let left = list().await;
    assert_eq!(left["data"][0]["value"], "lang:en");
    sim.shutdown().await;
}

#[tokio::test]
async fn follows_its_script() {
    let refusal = Step::Refuse {
        status: 429,
        headers: vec![("x-rate-limit-reset".into(), "1".into())],
        body: "{}".into(),
    };
    let disconnect = Step::Serve { posts: 2, ending: Ending::OperationalDisconnect };
    let config = Config {
        rate: 1000.0,
        script: vec![refusal, disconnect],
        line_feed: LineFeed::Lf,
        ..Config::default()
    };
    let sim = serve(config).await.unwrap();
    let refused = connect(&sim).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()["x-rate-limit-reset"], "1");
    let items = items(&mut connect(&sim).await, usize::MAX).await;
    assert_eq!(items.len(), 3);
    assert_eq!(items[2]["errors"][0]["title"], "operational-disconnect");
    sim.shutdown().await;
}

#[tokio::test]
async fn says_when_the_port_is_taken() {
    let sim = serve(Config::default()).await.unwrap();
    let config = Config { listen: sim.addr, ..Config::default() };
    let error = serve(config).await.unwrap_err();
    assert!(matches!(error, SimError::Listen { .. }));
    assert!(error.to_string().contains(&sim.addr.to_string()), "{error}");
    sim.shutdown().await;
}
