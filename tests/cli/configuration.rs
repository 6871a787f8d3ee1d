//! What is wrong is said, with what would be right.

use std::fs;
use std::net::TcpListener;

use serde_json::Value;

use crate::harness::{Ran, bowerbird, folder, run};

#[test]
fn wrong_use_is_exit_code_2_and_names_what_is_meant() {
    let folder = folder();
    let folder = folder.path();
    let ran = run(folder, &["synk"]).ends(2).says(&["synk", "sink"]);
    assert_eq!(ran.out, "");
    run(folder, &["up", "--for", "soon"]).ends(2).says(&["--for", "30s"]);
    run(folder, &["up", "--for", "0s"]).ends(2).says(&["longer than zero"]);
    run(folder, &[]).ends(2).says(&["Usage"]);
    run(folder, &["config", "check", "--output", "yaml"]).ends(2).says(&["text", "json", "csv"]);
    run(folder, &["--help"]).ends(0);
    assert!(run(folder, &["--version"]).ends(0).out.starts_with("bowerbird "));
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
    let folder = folder();
    fs::write(folder.path().join("bowerbird.toml"), "[log]\n\nurls = \"x\"\n").unwrap();
    let ran = run(folder.path(), &["config", "check"]).ends(2);
    let ran = ran.says(&["bowerbird.toml:3: there is no key log.urls; did you mean url?"]);
    assert_eq!(ran.out, "");
    let missing = run(folder.path(), &["config", "check", "--config", "none.toml"]).ends(2);
    missing.says(&["the configuration none.toml can't be read"]);
}

#[test]
fn an_unknown_variable_is_named_too() {
    let folder = folder();
    let mut command = bowerbird(folder.path(), &["config", "check"]);
    let ran = Ran::of(command.env("BOWERBIRD__SINK__BATCH_DOCUMENT", "9").output().unwrap());
    ran.ends(2).says(&["BOWERBIRD__SINK__BATCH_DOCUMENT", "did you mean batch_documents?"]);
}

#[test]
fn what_init_writes_passes_the_check_and_is_not_overwritten() {
    let folder = folder();
    let folder = folder.path();
    assert_eq!(run(folder, &["init"]).ends(0).out, "bowerbird.toml\n");
    let written = fs::read_to_string(folder.join("bowerbird.toml")).unwrap();
    assert_eq!(run(folder, &["init", "--dry-run"]).ends(0).out, written);
    let ran = run(folder, &["config", "check"]).ends(0);
    assert!(ran.out.contains("# configuration: bowerbird.toml"), "{}", ran.out);

    run(folder, &["init"]).ends(2).says(&["bowerbird.toml exists", "--yes"]);
    run(folder, &["init", "--yes"]).ends(0);
    run(folder, &["init", "--config", "other.toml"]).ends(0);
    run(folder, &["config", "check", "--config", "other.toml"]).ends(0);
}

#[test]
fn the_check_shows_origins_and_no_secret() {
    let folder = folder();
    let mut command = bowerbird(folder.path(), &["config", "check", "--output", "json"]);
    command
        .env("BOWERBIRD__STORE__URL", "http://ada:hunter2@localhost:5984")
        .env("BOWERBIRD__X__BEARER_TOKEN", "hunter2");
    let ran = Ran::of(command.output().unwrap()).ends(0);
    assert!(!ran.out.contains("hunter2"), "{}", ran.out);
    let settings = ran.json();
    let of = |key: &str| {
        let mut all = settings.as_array().unwrap().iter();
        all.find(|setting| setting["key"] == key).unwrap().clone()
    };
    assert_eq!(of("store.url")["value"], "http://localhost:5984");
    assert_eq!(of("store.url")["origin"], "BOWERBIRD__STORE__URL");
    assert_eq!(of("x.bearer_token")["value"], "(redacted)");
    assert_eq!(of("sink.writers")["origin"], Value::Null);
}

#[test]
fn the_committed_reference_is_current() {
    let folder = folder();
    let made = run(folder.path(), &["config", "reference"]).ends(0).out;
    let committed = include_str!("../../docs/CONFIGURATION.md");
    assert!(
        made == committed,
        "docs/CONFIGURATION.md is not current: \
         run `cargo run -- config reference > docs/CONFIGURATION.md`"
    );
}

#[test]
fn a_port_in_use_is_said_with_the_key_to_change() {
    let (folder, taken) = (folder(), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = taken.local_addr().unwrap().to_string();
    let mut sink = bowerbird(folder.path(), &["sink", "--once"]);
    let ran = Ran::of(sink.env("BOWERBIRD__ADMIN__LISTEN", &address).output().unwrap());
    ran.ends(1).says(&[&address, "in use", "admin.listen"]);
    let ran = run(folder.path(), &["dashboard", "--listen", &address]).ends(1);
    ran.says(&[&address, "in use", "dashboard.listen"]);
    run(folder.path(), &["sim", "x", "--listen", &address]).ends(1).says(&[&address, "--listen"]);
}

#[test]
fn the_dashboard_refuses_to_listen_where_others_reach_it() {
    let folder = folder();
    let ran = run(folder.path(), &["dashboard", "--listen", "0.0.0.0:0"]).ends(2);
    ran.says(&["loopback only", "SSH tunnel"]);
}

#[test]
fn what_needs_credentials_or_parts_says_what_to_do_without() {
    let folder = folder();
    let folder = folder.path();
    run(folder, &["ingest", "x"]).ends(2).says(&["BOWERBIRD__X__BEARER_TOKEN"]);
    run(folder, &["ingest", "aurin", "--once"]).ends(2).says(&["[[aurin.datasets]]"]);
    run(folder, &["ingest", "archive", "none.jsonl"]).ends(1).says(&["none.jsonl can't be read"]);
    run(folder, &["mapreduce", "query", "posts/places"]).ends(2).says(&["DATABASE/DESIGN/VIEW"]);
    let mut sink = bowerbird(folder, &["sink", "--once"]);
    let ran = sink.env("BOWERBIRD__STORE__URL", "http://ada:hunter2@127.0.0.1:1").output().unwrap();
    let ran = Ran::of(ran).ends(1).says(&["http://127.0.0.1:1 can't be reached"]);
    assert!(!ran.err.contains("hunter2"), "{}", ran.err);
}
