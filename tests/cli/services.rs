//! What goes on until it is told to stop.

use std::fs;
use std::path::Path;

use bowerbird_testbed::wire::{http, serve};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::harness::{Service, bowerbird, eventually, folder, run};

fn posts_in_log(folder: &Path) -> u64 {
    // It may not have begun.
    let lag = run(folder, &["lag", "--output", "json"]);
    if lag.code != Some(0) {
        return 0;
    }
    let lag = lag.json();
    let topics = lag["topics"].as_array().unwrap();
    let posts = topics.iter().find(|topic| topic["topic"] == "posts");
    posts.map_or(0, |posts| posts["records"].as_u64().unwrap())
}

#[test]
fn a_simulated_stream_is_harvested_until_a_signal() {
    let folder = folder();
    let folder = folder.path();
    let mut sim = Service::start(bowerbird(folder, &["sim", "x", "--listen", "127.0.0.1:0"]));
    let mut ingest = bowerbird(folder, &["ingest", "x"]);
    ingest
        .env("BOWERBIRD__X__BASE_URL", sim.first_line())
        .env("BOWERBIRD__X__BEARER_TOKEN", "hunter2");
    let ingest = Service::start(ingest);
    eventually("posts are in the log", || (posts_in_log(folder) > 20).then_some(()));
    ingest.signal("TERM");
    let ran = ingest.end().ends(0);
    assert!(ran.out.contains("ingest-x: ") && !ran.err.contains("hunter2"), "{ran:?}");
    sim.signal("INT");
    sim.end().ends(0);
}

#[test]
fn what_the_log_does_not_take_before_the_end_fails_the_run() {
    let folder = folder();
    let folder = folder.path();
    let mut sim = Service::start(bowerbird(folder, &["sim", "x", "--listen", "127.0.0.1:0"]));
    let mut ingest = bowerbird(folder, &["ingest", "x"]);
    ingest
        .env("BOWERBIRD__X__BASE_URL", sim.first_line())
        .env("BOWERBIRD__X__BEARER_TOKEN", "hunter2")
        .env("BOWERBIRD__SINK__DRAIN_TIMEOUT_MS", "1000");
    let ingest = Service::start(ingest);
    eventually("posts are in the log", || (posts_in_log(folder) > 20).then_some(()));
    let other = rusqlite::Connection::open(folder.join("data/log.sqlite")).unwrap();
    other.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    ingest.signal("TERM");
    ingest.end().ends(1).says(&["they are lost", "in the journal"]);
}

#[test]
fn what_a_stream_brings_is_counted_and_capped_also_after_a_kill() {
    let folder = folder();
    let folder = folder.path();
    let scenario =
        "rate = 100.0\nlive = true\n[[steps]]\nposts = 30\nending = \"operational-disconnect\"\n";
    fs::write(folder.join("scenario.toml"), scenario).unwrap();
    let sim = ["sim", "x", "--listen", "127.0.0.1:0", "--scenario", "scenario.toml"];
    let mut sim = Service::start(bowerbird(folder, &sim));
    let url = sim.first_line();
    let ingest = |cap: &str| {
        let mut ingest = bowerbird(folder, &["ingest", "x", "--take-over"]);
        ingest
            .env("BOWERBIRD__X__BASE_URL", &url)
            .env("BOWERBIRD__X__BEARER_TOKEN", "hunter2")
            .env("BOWERBIRD__X__MONTHLY_CAP_POSTS", cap);
        Service::start(ingest)
    };
    let usage = || run(folder, &["usage", "--output", "json"]).ends(0).json();
    let first = ingest("1000000");
    eventually("posts are in the log", || (posts_in_log(folder) > 61).then_some(()));
    first.signal("KILL");
    drop(first);
    let posts = usage()["posts"].as_u64().unwrap();
    assert_eq!(posts, posts_in_log(folder));
    let second = ingest("61");
    second.logs("x.monthly_cap_posts");
    second.signal("TERM");
    second.end().ends(0);
    let told = usage();
    assert_eq!((&told["posts"], &told["deliveries"]), (&posts.into(), &posts.into()), "{told}");
    assert_eq!(told["days"][0]["rules"][0]["posts"], told["days"][0]["posts"], "{told}");
    let along = told["included"].as_u64().unwrap();
    assert!(along > 0 && told["cost_usd"].as_f64().unwrap() > 0.005 * posts as f64, "{told}");
    let rows = run(folder, &["usage", "--output", "csv"]).ends(0).out;
    assert!(rows.starts_with("day,rule,tag,posts,") && rows.contains(",australia,"), "{rows}");
    assert!(rows.contains(&format!(",included,,{along},")), "{rows}");
    let text = run(folder, &["usage", "--month", "2020-02"]).ends(0).out;
    assert!(text.contains("0 posts in 2020-02"), "{text}");
    run(folder, &["usage", "--month", "soon"]).ends(2).says(&["2026-11"]);

    // The kill is the first gap, and nobody has listened since the end.
    let told = run(folder, &["gaps", "--output", "json"]).ends(0).json();
    let holes = told["holes"].as_array().unwrap();
    assert!(holes.len() as u64 == told["stream"]["gaps"] && holes.len() >= 2, "{told}");
    assert!(holes.iter().any(|hole| hole["cause"] == "killed"), "{told}");
    assert_eq!(
        (&holes.last().unwrap()["to"], &told["stream"]["open"]),
        (&Value::Null, &true.into())
    );
    let rows = run(folder, &["gaps", "--output", "csv", "--limit", "1"]).ends(0).says(&["--limit"]);
    assert!(rows.out.starts_with("source,from,to,seconds,") && rows.out.lines().count() == 2);
    let text = run(folder, &["gaps", "--to", "2020-02-01"]).ends(0).out;
    assert!(text.starts_with("X's stream since") && text.contains(": 0 gaps; "), "{text}");
    run(folder, &["gaps", "--from", "soon"]).ends(2).says(&["2h ago"]);
    let turned = ["gaps", "--from", "2026-02-01", "--to", "2026-01-01"];
    run(folder, &turned).ends(2).says(&["--from 2026-02-01", "--to 2026-01-01"]);
    fs::write(folder.join("wrong.toml"), "rat = 1").unwrap();
    let wrong = run(folder, &["sim", "x", "--scenario", "wrong.toml"]).ends(2);
    wrong.says(&["wrong.toml", "rat"]);
}

#[test]
fn one_up_at_a_time_works_in_a_folder() {
    let folder = folder();
    let folder = folder.path();
    let up = Service::start(bowerbird(folder, &["up"]));
    eventually("it has begun", || folder.join("data/store.sqlite").exists().then_some(()));
    run(folder, &["up", "--for", "1s"]).ends(1).says(&["another `bowerbird up`", "--data DIR"]);
    eventually("posts are in the log", || (posts_in_log(folder) > 0).then_some(()));
    up.signal("INT");
    let ran = up.end().ends(0);
    assert!(ran.out.contains("documents now: "), "{ran:?}");
}

#[test]
fn a_second_signal_leaves_at_once() {
    let folder = folder();
    let folder = folder.path();
    fs::write(folder.join("posts.jsonl"), "{\"id\":\"1\",\"text\":\"a\"}\n").unwrap();
    run(folder, &["ingest", "archive", "posts.jsonl"]).ends(0);
    // What waits can't be written, so that the first signal begins a drain that lasts. That nothing
    // is noted of another generation must be known before.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut tasks = JoinSet::new();
    let serving = serve(&mut tasks, |request| match request.contains(" /bowerbird/") {
        true => {
            let body = r#"{"error":"not_found","reason":"Database does not exist."}"#;
            http("404 Object Not Found", "", body)
        }
        false => http("503 Service Unavailable", "", "{}"),
    });
    let address = runtime.block_on(serving);
    let mut sink = bowerbird(folder, &["sink"]);
    sink.env("BOWERBIRD__STORE__URL", format!("http://{address}"));
    sink.env("BOWERBIRD__ADMIN__LISTEN", "127.0.0.1:0");
    let sink = Service::start(sink);
    sink.logs("paused");
    sink.signal("TERM");
    sink.logs("a second signal leaves at once");
    sink.signal("TERM");
    sink.end().ends(130);
}
