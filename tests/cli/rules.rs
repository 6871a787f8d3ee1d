//! The rules of X's stream, against a server that imitates X as its emulator does: it takes a dry
//! run for a change, and says under 200 that it deletes nothing.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bowerbird_testbed::wire::{Act, http, serve};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{Ran, bowerbird, folder, run};

#[derive(Default)]
struct Imitation {
    rules: Mutex<Vec<Value>>,
    deletes: AtomicBool,
}

fn imitates(Imitation { rules, deletes }: &Imitation, request: &str) -> Act {
    let mut rules = rules.lock().unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let change: Value = serde_json::from_str(body).unwrap_or_default();
    let answer = match change["add"].as_array() {
        Some(added) => {
            let added = added.iter().zip(rules.len() + 1..).map(|(rule, id)| {
                json!({"id": id.to_string(), "value": rule["value"], "tag": rule["tag"]})
            });
            let added: Vec<Value> = added.collect();
            rules.extend(added.iter().cloned());
            json!({ "data": added })
        }
        None if head.starts_with("GET") => json!({ "data": *rules }),
        None if deletes.load(Ordering::Relaxed) => {
            let ids = change["delete"]["ids"].as_array().unwrap();
            rules.retain(|rule| !ids.contains(&rule["id"]));
            json!({})
        }
        None => json!({"errors": [{"title": "Invalid Request", "detail": "`add` is required"}]}),
    };
    http("200 OK", "", &answer.to_string())
}

fn sync(folder: &Path, url: &str, options: &[&str]) -> Ran {
    let mut command = bowerbird(folder, &[&["rules", "sync"], options].concat());
    command.env("BOWERBIRD__X__BASE_URL", url).env("BOWERBIRD__X__BEARER_TOKEN", "hunter2");
    Ran::of(command.output().unwrap())
}

#[test]
fn a_dry_run_changes_nothing_and_what_is_not_done_is_told() {
    let folder = folder();
    let folder = folder.path();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut tasks = JoinSet::new();
    let server = Arc::new(Imitation::default());
    let Imitation { rules, deletes } = &*server;
    rules.lock().unwrap().push(json!({"id": "1", "value": "cat"}));
    let imitation = Arc::clone(&server);
    let serving = serve(&mut tasks, move |request| imitates(&imitation, request));
    let url = format!("http://{}", runtime.block_on(serving));
    let declared = "[[x.rules]]\nvalue = \"dog\"\ntag = \"dogs\"\n";
    fs::write(folder.join("bowerbird.toml"), declared).unwrap();

    let plan = sync(folder, &url, &["--dry-run", "--no-check"]).ends(0).out;
    assert!(plan.contains("would be added    dog") && plan.contains("would be deleted  cat"));
    assert_eq!(rules.lock().unwrap().len(), 1);
    let checked = sync(folder, &url, &["--dry-run"]).ends(1);
    checked.says(&["added 1 rules", "could not be deleted again", "--no-check"]);
    rules.lock().unwrap().pop();
    deletes.store(true, Ordering::Relaxed);
    sync(folder, &url, &["--dry-run"]).ends(1).says(&["added 1 rules", "were deleted again"]);
    assert_eq!(rules.lock().unwrap().len(), 1);
    deletes.store(false, Ordering::Relaxed);
    sync(folder, &url, &["--no-check"]).ends(2).says(&["--dry-run"]);
    sync(folder, &url, &[]).ends(2).says(&["--yes deletes 1 rules", "cat"]);
    assert_eq!(rules.lock().unwrap().len(), 1);

    let part = sync(folder, &url, &["--yes"]).ends(1);
    part.says(&["only a part is done", "added    dog", "`add` is required"]);
    let lag = run(folder, &["lag", "--output", "json"]).json();
    let topics = lag["topics"].as_array().unwrap();
    assert!(topics.iter().any(|topic| topic["topic"] == "journal" && topic["records"] == 1));
    rules.lock().unwrap().retain(|rule| rule["value"] != "cat");
    let done = sync(folder, &url, &[]).ends(0).out;
    assert_eq!(done, "1 rules are as declared\n");
}
