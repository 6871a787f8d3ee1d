//! Replaying what the log holds, and generations of projections.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use bowerbird_store::DocumentStore as _;
use bowerbird_store::sqlite::SqliteStore;
use serde_json::Value;

use crate::harness::{Service, bowerbird, eventually, folder, run};

fn import(folder: &Path, posts: u64) {
    let mut lines = String::new();
    for id in 1..=posts {
        let place = if id % 2 == 0 { "Perth" } else { "Hobart" };
        writeln!(
            lines,
            r#"{{"id":"{id}","text":"two words","created_at":"2024-01-01T00:00:00Z","author_id":"9","geo":{{"place_id":"p","id":"p","full_name":"{place}","country_code":"AU"}}}}"#
        )
        .unwrap();
    }
    fs::write(folder.join("posts.jsonl"), lines).unwrap();
    run(folder, &["ingest", "archive", "posts.jsonl"]).ends(0);
}

/// How many offsets of a replay are noted as done.
fn noted(store: &Path) -> Option<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let notes = runtime.block_on(async {
        let store = SqliteStore::open(store).unwrap();
        store.scan("bowerbird", Some("replay:"), 1).await.unwrap()
    });
    let note: Value = serde_json::from_str(notes.first()?.body.get()).unwrap();
    let next = note["work"]["next"].as_object().unwrap().values();
    Some(next.map(|offset| offset.as_u64().unwrap()).sum())
}

fn generations(folder: &Path) -> Vec<Value> {
    let all = run(folder, &["projections", "list", "--output", "json"]).ends(0).json();
    all.as_array().unwrap().iter().filter(|one| one["projection"] == "posts").cloned().collect()
}

#[test]
fn a_killed_replay_goes_on_and_nobody_else_does_it_meanwhile() {
    let folder = folder();
    let folder = folder.path();
    import(folder, 2_000);
    run(folder, &["sink", "--once"]).ends(0);

    let plan = ["replay", "--topic", "posts", "--where", "/id=17", "--dry-run", "--output", "json"];
    let plan = run(folder, &plan).ends(0).json();
    let sum = |name: &str| -> u64 {
        let rows = plan["partitions"].as_array().unwrap();
        rows.iter().map(|row| row[name].as_u64().unwrap()).sum()
    };
    assert_eq!((sum("records"), sum("matching"), sum("cut")), (2_000, 1, 0), "{plan}");

    let replay = ["replay", "--topic", "posts", "--of", "archive:posts.jsonl"];
    let slow = Service::start(bowerbird(folder, &[&replay[..], &["--rate", "200", "-v"]].concat()));
    slow.logs("replay begins");
    run(folder, &replay).ends(1).says(&["is under way in process", "stop it"]);
    // Its progress is noted every second.
    let store = folder.join("data/store.sqlite");
    eventually("some of it is noted", || noted(&store).filter(|done| *done > 100));
    slow.signal("KILL");
    assert_eq!(slow.end().code, None);

    // The same host sees at once that the process is dead. A signal leaves it in order.
    let slow = Service::start(bowerbird(folder, &[&replay[..], &["--rate", "200", "-v"]].concat()));
    slow.logs("replay begins");
    slow.signal("TERM");
    slow.end().ends(1).says(&["the same command goes on where it stopped"]);
    let ran = run(folder, &[&replay[..], &["--output", "json"]].concat()).ends(0).json();
    assert_eq!(ran["resumed"], true, "{ran}");
    let counts = &ran["work"]["counts"];
    // What was read and not yet noted is read again, and that is not much.
    let read = counts["read"].as_u64().unwrap();
    assert!((2_000..2_400).contains(&read) && counts["written"] == 0, "{ran}");
    run(folder, &["sink", "--once"]).ends(0);
    run(folder, &["verify"]).ends(0);
    let wrong = run(folder, &["replay", "--topic", "posts", "--from", "soon"]).ends(1);
    wrong.says(&["2h ago", "PARTITION@OFFSET"]);
    let unknown = ["replay", "--topic", "posts", "--of", "posts.jsonl", "--dry-run"];
    run(folder, &unknown).ends(1).says(&["it last tells of archive:posts.jsonl"]);
}

#[test]
fn a_topic_to_replay_into_is_made_where_that_is_allowed() {
    let folder = folder();
    let folder = folder.path();
    import(folder, 100);
    let replay = ["replay", "--topic", "posts", "--into", "topic:copy", "--output", "json"];
    run(folder, &[&replay[..], &["--dry-run"]].concat()).ends(0);
    let mut forbidden = bowerbird(folder, &replay);
    forbidden.env("BOWERBIRD__LOG__APPLY_TOPICS", "false");
    Service::start(forbidden).end().ends(1).says(&["no topic copy", "log.apply_topics"]);
    let ran = run(folder, &replay).ends(0).json();
    assert_eq!(ran["work"]["counts"]["published"], 100, "{ran}");
    let topics = run(folder, &["topics", "list", "--output", "json"]).ends(0).json();
    let partitions = |name: &str| {
        let all = topics.as_array().unwrap();
        all.iter().find(|one| one["name"] == name).map(|one| one["partitions"].clone())
    };
    assert_eq!(partitions("copy"), partitions("posts"), "{topics}");
    let copy = ["replay", "--topic", "copy", "--into", "topic:another", "--output", "json"];
    let ran = run(folder, &copy).ends(0).json();
    assert_eq!(ran["work"]["counts"]["published"], 100, "{ran}");
}

#[test]
fn a_generation_is_rebuilt_switched_to_gone_back_from_and_dropped() {
    let folder = folder();
    let folder = folder.path();
    import(folder, 300);
    run(folder, &["sink", "--once"]).ends(0);
    run(folder, &["mapreduce", "deploy"]).ends(0);
    let query = ["mapreduce", "query", "posts/places/by_place", "--group", "--output", "csv"];
    let before = run(folder, &query).ends(0).out;

    run(folder, &["projections", "switch", "posts"]).ends(1).says(&["projections rebuild posts"]);
    let plan = run(folder, &["projections", "rebuild", "posts", "--dry-run"]).ends(0).out;
    assert!(plan.contains("generation 2 would be filled from 300 records"), "{plan}");
    let built =
        run(folder, &["projections", "rebuild", "posts", "--output", "json"]).ends(0).json();
    assert_eq!((&built["ready"], &built["generation"]), (&true.into(), &2.into()), "{built}");
    assert_eq!(built["checked"]["live"]["differ"], 0, "{built}");
    let totals = built["views"].as_array().unwrap();
    assert!(!totals.is_empty() && totals.iter().all(|total| total["live"] == total["new"]));

    run(folder, &["projections", "switch", "posts"]).ends(0);
    let states: Vec<_> = generations(folder).iter().map(|one| one["state"].clone()).collect();
    assert_eq!(states, ["kept", "live"]);
    // Readers follow: what is taken from the former one is not missed.
    assert_eq!(run(folder, &query).ends(0).out, before);
    let waiting = run(folder, &["sink", "--dry-run", "--output", "csv"]).ends(0).out;
    assert!(waiting.contains("posts,posts-2,bowerbird-posts-2,0\n"), "{waiting}");
    let lag = run(folder, &["lag", "--output", "json"]).ends(0).json();
    let groups: Vec<_> =
        lag["groups"].as_array().unwrap().iter().map(|one| &one["group"]).collect();
    assert!(groups.contains(&&"bowerbird-posts-2".into()), "{groups:?}");
    assert!(!groups.contains(&&"bowerbird-posts".into()), "{groups:?}");
    run(folder, &["verify"]).ends(0);

    let documents = || generations(folder)[0]["documents"].as_u64().unwrap();
    let then = documents();
    import(folder, 310);
    run(folder, &["sink", "--once"]).ends(0);
    let back =
        run(folder, &["projections", "rollback", "posts", "--output", "json"]).ends(0).json();
    assert_eq!((&back["to"], &back["behind"]), (&1.into(), &0.into()), "{back}");
    assert_eq!(documents(), then + 10, "what arrived since");
    // Whoever does not know that it is done says it again, and it stays.
    for more in [&["--dry-run"][..], &[]] {
        let again = run(folder, &[&["projections", "rollback", "posts"], more].concat()).ends(0);
        assert!(
            again.out.contains("generation 1 is live, it was gone back to from 2"),
            "{}",
            again.out
        );
    }
    run(folder, &["verify"]).ends(0);

    run(folder, &["projections", "drop", "posts", "1"]).ends(1).says(&["roll back first"]);
    run(folder, &["projections", "drop", "posts", "2"]).ends(2).says(&["--yes drops it"]);
    run(folder, &["projections", "drop", "posts", "2", "--yes"]).ends(0);
    assert_eq!(generations(folder).len(), 1);
}

#[test]
fn a_running_up_follows_a_switch() {
    let folder = folder();
    let folder = folder.path();
    let mut up = bowerbird(folder, &["up"]);
    up.env("BOWERBIRD__ADMIN__LISTEN", "127.0.0.1:0");
    let up = Service::start(up);
    eventually("some posts are documents", || {
        folder.join("data/store.sqlite").exists().then_some(())?;
        let documents = generations(folder)[0]["documents"].as_u64();
        documents.filter(|count| *count > 20)
    });
    run(folder, &["projections", "rebuild", "posts"]).ends(0);
    run(folder, &["projections", "switch", "posts"]).ends(0);
    up.logs("another generation is live now");
    let then = generations(folder)[1]["documents"].as_u64();
    eventually("the new one grows", || {
        (generations(folder)[1]["documents"].as_u64() > then).then_some(())
    });
    run(folder, &["projections", "rollback", "posts", "--at-once"]).ends(0);
    up.signal("TERM");
    up.end().ends(0);
    run(folder, &["sink", "--once"]).ends(0);
    run(folder, &["verify"]).ends(0);
}

#[test]
fn a_store_that_was_lost_is_filled_from_the_log() {
    let folder = folder();
    let folder = folder.path();
    import(folder, 50);
    run(folder, &["sink", "--once"]).ends(0);
    for file in ["store.sqlite", "store.sqlite-wal", "store.sqlite-shm"] {
        fs::remove_file(folder.join("data").join(file)).ok();
    }
    run(folder, &["verify"]).ends(1);
    // What comes now makes the database anew, and it is told that something is missing in it.
    fs::write(folder.join("more.jsonl"), "{\"id\":\"900\",\"text\":\"more\"}\n").unwrap();
    run(folder, &["ingest", "archive", "more.jsonl"]).ends(0);
    run(folder, &["sink", "--once"]).ends(0).says(&["made anew", "verify --repair"]);
    fs::remove_file(folder.join("data/store.sqlite")).unwrap();
    for name in ["posts", "features", "journal"] {
        run(folder, &["projections", "rebuild", name]).ends(0);
        run(folder, &["projections", "switch", name]).ends(0);
    }
    run(folder, &["verify"]).ends(0);
    assert_eq!(generations(folder)[1]["documents"], 51);
}
