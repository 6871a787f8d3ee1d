//! What could not be processed: listed, shown, redriven and dropped.

use std::fs;
use std::path::Path;

use bowerbird_store::{Body, Document, DocumentStore as _};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::harness::{Service, bowerbird, eventually, folder, on_store, run};

const POSTS: u64 = 25;

fn json_of(folder: &Path, arguments: &[&str]) -> Value {
    run(folder, &[arguments, &["--output", "json"]].concat()).ends(0).json()
}

/// A broken line, and posts whose documents the store can't take: somebody else's stand there.
fn letters_in(folder: &Path) {
    let post = |id: u64| format!(r#"{{"id":"{id}","text":"number {id}","author_id":"9"}}"#);
    let lines: Vec<_> = (1..=POSTS).map(post).chain(["{broken".to_owned()]).collect();
    fs::write(folder.join("posts.jsonl"), lines.join("\n")).unwrap();
    run(folder, &["ingest", "archive", "posts.jsonl"]).ends(0);
    on_store(folder, async |store| {
        store.create_database("posts").await.unwrap();
        let foreign = |id: u64| Document {
            id: id.to_string(),
            revision: None,
            body: Body::of(&json!({"of": "somebody else"})).unwrap(),
        };
        let foreign: Vec<_> = (1..=POSTS).map(foreign).collect();
        store.write("posts", &foreign).await.unwrap();
    });
    let sunk = json_of(folder, &["sink", "--once"]);
    assert_eq!(sunk["sink-posts"]["dead_letters"], POSTS, "{sunk}");
}

/// Takes away what is in the way.
fn mend(folder: &Path) {
    on_store(folder, async |store| assert!(store.drop_database("posts").await.unwrap()));
}

/// Open letters by reason.
fn open(folder: &Path, reason: &str) -> u64 {
    let groups = json_of(folder, &["dead-letters", "list", "--reason", reason]);
    groups.as_array().unwrap().iter().map(|group| group["letters"].as_u64().unwrap()).sum()
}

fn posts_in_log(folder: &Path) -> u64 {
    let lag = json_of(folder, &["lag"]);
    let topics = lag["topics"].as_array().unwrap();
    topics.iter().find(|topic| topic["topic"] == "posts").unwrap()["records"].as_u64().unwrap()
}

/// Whoever writes to the dead letters waits there for as long as the triggers are in the file.
fn stall_letters(folder: &Path, stall: bool) {
    let file = Connection::open(folder.join("data/log.sqlite")).unwrap();
    file.busy_timeout(crate::harness::DEADLINE).unwrap();
    let mut select = file
        .prepare(
            "SELECT partitions.id FROM partitions JOIN topics ON topics.id = partitions.topic
             WHERE topics.name = 'dead-letters'",
        )
        .unwrap();
    let partitions: Vec<i64> =
        select.query_map([], |row| row.get(0)).unwrap().map(|id| id.unwrap()).collect();
    for id in partitions {
        let tables = ["sqlite_schema"; 12].join(" JOIN ");
        file.execute_batch(&if stall {
            format!(
                "CREATE TRIGGER stall_{id} BEFORE INSERT ON records_{id}
                 BEGIN SELECT count(*) FROM {tables}; END"
            )
        } else {
            format!("DROP TRIGGER stall_{id}")
        })
        .unwrap();
    }
}

#[test]
fn letters_are_listed_shown_and_dropped() {
    let folder = folder();
    let folder = folder.path();
    letters_in(folder);
    let groups = json_of(folder, &["dead-letters", "list"]);
    let told: Vec<_> = groups
        .as_array()
        .unwrap()
        .iter()
        .map(|group| (&group["reason"], &group["topic"], &group["letters"]))
        .collect();
    let expected = [
        (&json!("occupied"), &json!("posts"), &json!(POSTS)),
        (&json!("not-json"), &json!("-"), &json!(1)),
    ];
    assert_eq!(told, expected);
    let text = run(folder, &["dead-letters", "list", "--topic", "-"]).ends(0).out;
    assert!(text.contains("line.refused") && !text.contains("occupied"), "{text}");
    assert_eq!(json_of(folder, &["dead-letters", "list", "--from", "1h ago"]), groups);
    assert_eq!(json_of(folder, &["dead-letters", "list", "--to", "1h ago"]), json!([]));

    let seven = json_of(folder, &["dead-letters", "list", "--each", "--key", "7"]);
    let name = seven[0]["letter"].as_str().unwrap();
    let shown = json_of(folder, &["dead-letters", "show", name]);
    assert_eq!(shown[0]["state"], "open");
    assert!(shown[0]["value"].as_str().unwrap().contains("number 7"), "{shown}");
    assert!(shown[0]["origin"].as_str().unwrap().starts_with("posts/"), "{shown}");
    let bounded = ["dead-letters", "list", "--each", "--limit", "3", "--output", "csv"];
    let bounded = run(folder, &bounded).ends(0).says(&["--limit"]);
    assert_eq!(bounded.out.lines().count(), 4, "{bounded:?}");
    run(folder, &["dead-letters", "show", "0@999999"]).ends(1).says(&["list --each"]);
    run(folder, &["dead-letters", "show", "seven"]).ends(2).says(&["PARTITION@OFFSET"]);

    // Nobody is there to be asked.
    run(folder, &["dead-letters", "drop", name]).ends(2).says(&["1 dead letters", "--yes"]);
    assert_eq!(json_of(folder, &["dead-letters", "drop", name, "--dry-run"])["letters"], 1);
    assert_eq!(json_of(folder, &["dead-letters", "drop", name, "--yes"])["letters"], 1);
    assert_eq!(json_of(folder, &["dead-letters", "drop", name, "--yes"])["letters"], 0);
    assert_eq!(open(folder, "occupied"), POSTS - 1);
    let shown = run(folder, &["dead-letters", "show", name]).ends(0).out;
    assert!(shown.contains(&format!("{name}, dropped")), "{shown}");
}

#[test]
fn a_redrive_that_is_killed_before_it_marks_goes_on() {
    let folder = folder();
    let folder = folder.path();
    letters_in(folder);
    let redrive = ["dead-letters", "redrive", "--reason", "occupied"];
    let planned = json_of(folder, &[&redrive[..], &["--dry-run"]].concat());
    assert_eq!((&planned["letters"], open(folder, "occupied")), (&json!(POSTS), POSTS));

    // Its records are in the log again when it is killed, and nothing says so.
    stall_letters(folder, true);
    let killed = [&redrive[..], &["--rate", "100", "--no-wait"]].concat();
    let killed = Service::start(bowerbird(folder, &killed));
    eventually("the first batch is in the log", || (posts_in_log(folder) > POSTS).then_some(()));
    run(folder, &redrive).ends(1).says(&["is under way in process", "stop it"]);
    killed.signal("KILL");
    assert_eq!(killed.end().code, None);
    stall_letters(folder, false);
    assert_eq!((posts_in_log(folder), open(folder, "occupied")), (POSTS + 10, POSTS));

    mend(folder);
    let sink = Service::start(bowerbird(folder, &["sink"]));
    let done = json_of(folder, &redrive);
    assert_eq!((&done["letters"], &done["settled"]), (&json!(POSTS), &json!(true)), "{done}");
    assert_eq!(done["failed_again"], 0, "{done}");
    // Ten stand in the log once more than the others, and no letter is redriven a second time.
    assert_eq!(posts_in_log(folder), 2 * POSTS + 10);
    assert_eq!(json_of(folder, &redrive)["letters"], 0);
    assert_eq!(posts_in_log(folder), 2 * POSTS + 10);
    sink.signal("TERM");
    sink.end().ends(0);
    let verified = json_of(folder, &["verify"]);
    let posts = &verified["projections"][0];
    assert_eq!((&posts["documents"], &posts["redriven"]), (&json!(POSTS), &json!(POSTS)));

    // What never was in the log is read again, and is as broken as before.
    let refused = run(folder, &["dead-letters", "redrive", "--no-wait"]).ends(1).out;
    assert!(refused.contains("still refused: not-json"), "{refused}");
}

#[test]
fn what_fails_again_is_said() {
    let folder = folder();
    let folder = folder.path();
    letters_in(folder);
    let sink = Service::start(bowerbird(folder, &["sink"]));
    let redrive = ["dead-letters", "redrive", "--key", "7", "--output", "json"];
    let done = run(folder, &redrive).ends(1).json();
    assert_eq!((&done["letters"], &done["failed_again"]), (&json!(1), &json!(1)), "{done}");
    let again = done["troubles"][0]["again"].as_str().unwrap();
    sink.signal("TERM");
    sink.end().ends(0);
    let shown = json_of(folder, &["dead-letters", "show", again]);
    assert_eq!(
        (&shown[0]["state"], &shown[0]["again"]),
        (&json!("open"), &done["troubles"][0]["letter"])
    );
    assert_eq!(open(folder, "occupied"), POSTS);
    // Without a sink the wait ends, and that is said too.
    let waited = ["dead-letters", "redrive", "--key", "8", "--wait", "300ms"];
    let waited = run(folder, &waited).ends(1).out;
    assert!(waited.contains("is a sink running?"), "{waited}");
}
