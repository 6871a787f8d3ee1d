//! What a platform asks to be removed.

use std::fs;

use bowerbird_store::{Body, Document, DocumentStore as _};
use serde_json::json;

use crate::harness::{Service, bowerbird, eventually, folder, on_store, run};

/// A post of a user, with an id of its own.
fn post(id: u64, user: u64) -> String {
    format!("{{\"id\":\"{id}\",\"text\":\"a few words\",\"author_id\":\"{user}\"}}\n")
}

fn result(id: u64, reason: &str) -> String {
    format!(
        "{{\"id\":\"{id}\",\"action\":\"delete\",\"created_at\":\"2013-06-04T16:25:04Z\",\
         \"reason\":\"{reason}\"}}\n"
    )
}

#[test]
fn results_of_jobs_remove_posts_and_the_posts_of_users() {
    let folder = folder();
    let folder = folder.path();
    let posts = [post(11, 1), post(12, 1), post(13, 2), post(14, 3)].concat();
    fs::write(folder.join("posts.jsonl"), posts).unwrap();
    run(folder, &["ingest", "archive", "posts.jsonl"]).ends(0);
    run(folder, &["sink", "--once"]).ends(0);
    let ids = run(folder, &["compliance", "export-ids"]).ends(0).out;
    assert_eq!(ids, "11\n12\n13\n14\n");
    assert_eq!(run(folder, &["compliance", "export-ids", "--users"]).ends(0).out, "1\n2\n3\n");

    // An archive has no such lines, and says which command takes them.
    fs::write(folder.join("job.jsonl"), result(13, "deleted")).unwrap();
    let refused = run(folder, &["ingest", "archive", "job.jsonl", "--dry-run"]).ends(0).out;
    assert!(refused.contains("compliance-result 1"), "{refused}");
    run(folder, &["ingest", "compliance", "--about", "posts", "job.jsonl"]).ends(0);
    fs::write(folder.join("users.jsonl"), result(1, "suspended")).unwrap();
    run(folder, &["ingest", "compliance", "users.jsonl"]).ends(0);
    let status = ["compliance", "status", "--output", "json"];
    let told = run(folder, &status).ends(0).json();
    assert_eq!((&told["notices"], &told["waiting_for_sink"]), (&1.into(), &2.into()), "{told}");
    // Nobody has written the notices yet.
    let apply = ["compliance", "apply", "--wait", "1s"];
    run(folder, &apply).ends(1).says(&["bowerbird-posts", "is a sink running?"]);
    run(folder, &["sink", "--once"]).ends(0);
    run(folder, &apply).ends(0);
    run(folder, &["sink", "--once"]).ends(0);
    assert_eq!(run(folder, &["compliance", "export-ids"]).ends(0).out, "14\n");
    let told = run(folder, &status).ends(0).json();
    assert_eq!((&told["notices"], &told["last_sweep"]["removed"]), (&0.into(), &2.into()));

    // Imported again they stay away.
    run(folder, &["ingest", "archive", "posts.jsonl"]).ends(0);
    run(folder, &["sink", "--once"]).ends(0);
    assert_eq!(run(folder, &["compliance", "export-ids"]).ends(0).out, "14\n");
    run(folder, &["verify"]).ends(0);
}

/// Also where no process ever lives long: what is due is erased when one ends.
#[test]
fn what_is_removed_leaves_the_log_also_where_only_short_commands_run() {
    for last in [&["sink", "--once"][..], &["compliance", "apply"]] {
        let folder = folder();
        let folder = folder.path();
        fs::write(folder.join("posts.jsonl"), [post(11, 1), post(12, 2)].concat()).unwrap();
        fs::write(folder.join("tweets.jsonl"), result(11, "deleted")).unwrap();
        run(folder, &["ingest", "archive", "posts.jsonl"]).ends(0);
        run(folder, &["ingest", "compliance", "tweets.jsonl"]).ends(0);
        run(folder, &["sink", "--once"]).ends(0);
        run(folder, &["sink", "--once"]).ends(0);
        let is_said = |id: u64| {
            let said = format!("\"id\":\"{id}\",\"text\"");
            let log = fs::read(folder.join("data/log.sqlite")).unwrap();
            log.windows(said.len()).any(|window| window == said.as_bytes())
        };
        assert!(is_said(11) && is_said(12), "it is not due yet");
        let log = rusqlite::Connection::open(folder.join("data/log.sqlite")).unwrap();
        let numbers = log.prepare("SELECT id FROM partitions").unwrap();
        let numbers: Vec<i64> =
            { numbers }.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        // A day later.
        for number in numbers {
            let earlier = format!("UPDATE records_{number} SET appended = appended - 86400000");
            log.execute(&earlier, []).unwrap();
        }
        drop(log);
        run(folder, last).ends(0);
        assert!(!is_said(11) && is_said(12), "{last:?}");
    }
}

/// Nobody asks for it: a running sink looks by itself.
#[test]
fn a_running_sink_removes_the_posts_of_users_and_what_is_imported_later() {
    let folder = folder();
    let folder = folder.path();
    fs::write(folder.join("posts.jsonl"), [post(11, 1), post(12, 2)].concat()).unwrap();
    run(folder, &["ingest", "archive", "posts.jsonl"]).ends(0);
    let mut sink = bowerbird(folder, &["sink"]);
    sink.env("BOWERBIRD__ADMIN__LISTEN", "127.0.0.1:0")
        .env("BOWERBIRD__SINK__COMMIT_INTERVAL_MS", "100")
        .env("BOWERBIRD__SINK__SWEEP_INTERVAL_MS", "200");
    let sink = Service::start(sink);
    let ids = |expected: &str| {
        eventually(expected, || {
            let ids = run(folder, &["compliance", "export-ids"]).ends(0).out;
            (ids == expected).then_some(())
        });
    };
    ids("11\n12\n");
    fs::write(folder.join("users.jsonl"), result(1, "suspended")).unwrap();
    run(folder, &["ingest", "compliance", "users.jsonl"]).ends(0);
    ids("12\n");
    fs::write(folder.join("late.jsonl"), [post(13, 1), post(14, 2)].concat()).unwrap();
    run(folder, &["ingest", "archive", "late.jsonl"]).ends(0);
    // It was never among them.
    eventually("the late ones", || {
        let ids = run(folder, &["compliance", "export-ids"]).ends(0).out;
        assert!(!ids.contains("13"), "{ids}");
        (ids == "12\n14\n").then_some(())
    });
    sink.signal("TERM");
    sink.end().ends(0).says(&["notices about users carried to posts"]);
    run(folder, &["sink", "--once"]).ends(0);
    run(folder, &["verify"]).ends(0);
}

/// A letter that is known by its name is shown and sent on its way under it, also after others have
/// lost their content.
#[test]
fn what_was_removed_leaves_the_dead_letters_and_the_others_keep_their_names() {
    let folder = folder();
    let folder = folder.path();
    let ids = 11..=19;
    let posts: String = ids.clone().map(|id| post(id, id)).collect();
    fs::write(folder.join("posts.jsonl"), posts).unwrap();
    run(folder, &["ingest", "archive", "posts.jsonl"]).ends(0);
    // Somebody else's documents are in the way.
    let foreign = |id: u64| Document {
        id: id.to_string(),
        revision: None,
        body: Body::of(&json!({"of": "somebody else"})).unwrap(),
    };
    on_store(folder, async |store| {
        store.create_database("posts").await.unwrap();
        store.write("posts", &ids.clone().map(foreign).collect::<Vec<_>>()).await.unwrap();
    });
    run(folder, &["sink", "--once"]).ends(0);
    on_store(folder, async |store| assert!(store.drop_database("posts").await.unwrap()));
    let json = |arguments: &[&str]| {
        run(folder, &[arguments, &["--output", "json"]].concat()).ends(0).json()
    };
    let name = |id: &str| {
        let letters = json(&["dead-letters", "list", "--each", "--done", "--key", id]);
        letters[0]["letter"].as_str().unwrap().to_owned()
    };
    let names: Vec<String> = ids.clone().map(|id| name(&id.to_string())).collect();

    let notices: String = [11, 12, 19].map(|id| result(id, "deleted")).concat();
    fs::write(folder.join("job.jsonl"), notices).unwrap();
    run(folder, &["ingest", "compliance", "--about", "posts", "job.jsonl"]).ends(0);
    run(folder, &["sink", "--once"]).ends(0);
    let status = json(&["compliance", "status"]);
    assert_eq!(status["dead_letters"]["letters"], 9, "{status}");
    let apply = ["compliance", "apply", "--wait", "1s"];
    let would = json(&[&apply[..], &["--dry-run"]].concat());
    assert_eq!(would["dead_letters"]["erased"], 3, "{would}");
    let did = json(&apply);
    assert_eq!(did["dead_letters"]["erased"], 3, "{did}");
    let shown = run(folder, &["dead-letters", "show", &names[0]]).ends(0).out;
    assert!(shown.contains("dropped") && shown.contains("by notice"), "{shown}");
    assert!(shown.contains("as the platform asks") && !shown.contains("a few words"), "{shown}");
    let shown = run(folder, &["dead-letters", "show", &names[4]]).ends(0).out;
    assert!(shown.contains(&format!("{}, open", names[4])) && shown.contains("a few words"));
    let now: Vec<String> = ids.clone().map(|id| name(&id.to_string())).collect();
    assert_eq!(now, names);

    let redriven = json(&["dead-letters", "redrive", &names[4], &names[0], "--no-wait"]);
    assert_eq!(redriven["letters"], 1, "{redriven}");
    run(folder, &["sink", "--once"]).ends(0);
    assert_eq!(run(folder, &["compliance", "export-ids"]).ends(0).out, "15\n");
    let status = json(&["compliance", "status"]);
    assert_eq!(status["last_look_at_dead_letters"]["erased"], 3, "{status}");
    run(folder, &["verify"]).ends(0);
}
