//! What a platform asks to be removed.

use std::fs;

use crate::harness::{folder, run};

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
