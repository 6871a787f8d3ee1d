//! From input to answers.

use std::fs;

use crate::harness::{Ran, bowerbird, folder, run};

#[test]
fn an_archive_becomes_documents_and_answers() {
    let folder = folder();
    let folder = folder.path();
    let post = |id: u64, place: &str| {
        format!(
            r#"{{"id":"{id}","text":"two words","created_at":"2024-01-0{id}T00:00:00Z","author_id":"9","geo":{{"place_id":"p","id":"p","full_name":"{place}","country_code":"AU"}}}}"#
        )
    };
    let lines = [post(1, "Perth"), "{broken".to_owned(), post(2, "Perth"), post(3, "Hobart")];
    fs::write(folder.join("posts.jsonl"), lines.join("\n")).unwrap();

    // A dry run reads everything, publishes nothing, and says the same.
    let archive = ["ingest", "archive", "posts.jsonl"];
    let plan = run(folder, &[&archive[..], &["--dry-run"]].concat()).ends(0);
    assert!(
        plan.out.contains("nothing was published") && !folder.join("data").exists(),
        "{plan:?}"
    );
    assert!(plan.out.contains("not-json 1"), "{plan:?}");
    let plan = run(folder, &[&archive[..], &["--dry-run", "--output", "json"]].concat()).ends(0);
    let ran = run(folder, &["ingest", "archive", "posts.jsonl", "--output", "json"]).ends(0);
    let total = ran.json()["total"].clone();
    assert_eq!((total["lines"].as_u64(), total["posts"].as_u64()), (Some(4), Some(3)), "{total}");
    assert_eq!(total["dead_letters"].as_object().unwrap().len(), 1, "{total}");
    assert_eq!(plan.json()["total"], total);
    // It passes over what was imported, as the import would, and notes nothing.
    let resumed = ["ingest", "archive", "posts.jsonl", "--resume", "--dry-run", "--output", "csv"];
    assert!(run(folder, &resumed).ends(0).out.contains("posts.jsonl,skipped,"));

    let waiting = run(folder, &["sink", "--dry-run", "--output", "csv"]).ends(0).out;
    assert!(waiting.contains("posts,posts,bowerbird-posts,3\n"), "{waiting}");
    let sunk = run(folder, &["sink", "--once", "--output", "json"]).ends(0).json();
    assert_eq!(sunk["sink-posts"]["written"], 3, "{sunk}");
    // A second import changes nothing.
    run(folder, &["ingest", "archive", "posts.jsonl"]).ends(0);
    let again = run(folder, &["sink", "--once", "--output", "json"]).ends(0).json();
    assert_eq!(again["sink-posts"]["written"], 0, "{again}");
    run(folder, &["verify"]).ends(0);

    let missing = run(folder, &["mapreduce", "query", "posts/places/by_place"]).ends(1);
    missing.says(&["bowerbird mapreduce deploy"]);
    let planned = run(folder, &["mapreduce", "deploy", "--dry-run"]).ends(0).out;
    assert!(planned.contains("would be created"), "{planned}");
    run(folder, &["mapreduce", "deploy"]).ends(0);
    let query = ["mapreduce", "query", "posts/places/by_place", "--group", "--output", "csv"];
    let rows = run(folder, &query).ends(0).out;
    let expected = "key 1,key 2,value 1,value 2,value 3\nAU,Hobart,1,2,8\nAU,Perth,2,4,16\n";
    assert_eq!(rows, expected);
}

#[test]
fn up_goes_on_where_it_stopped() {
    let folder = folder();
    let folder = folder.path();
    let plan = run(folder, &["up", "--dry-run"]).ends(0).out;
    assert!(plan.contains("x: the built-in simulator, because x.bearer_token"), "{plan}");
    assert!(!folder.join("data").exists());

    let first = run(folder, &["up", "--for", "3s", "--output", "json"]).ends(0);
    let first = first.says(&["because x.bearer_token is not configured", "http://127.0.0.1"]);
    let posts = |ran: &Ran| ran.json()["documents"]["posts"].as_u64().unwrap();
    assert!(posts(&first) > 0, "{first:?}");
    let of_month = |ran: &Ran| ran.json()["tasks"]["ingest-x"]["month_posts"].as_u64().unwrap();
    assert_eq!(of_month(&first), posts(&first), "{first:?}");
    assert!(first.json()["documents"]["features"].as_u64().unwrap() > 0, "{first:?}");
    let second = run(folder, &["up", "--for", "3s", "--output", "json"]).ends(0);
    assert!(posts(&second) > posts(&first), "{first:?} {second:?}");
    assert_eq!(of_month(&second), posts(&second), "{second:?}");
    run(folder, &["up", "--take-over", "--for", "1s"]).ends(2).says(&["x.bearer_token"]);

    // What came in was written before it ended.
    let verified = run(folder, &["verify", "--output", "json"]).ends(0).json();
    assert_eq!(verified["projections"][0]["documents"], posts(&second));
    let lag = run(folder, &["lag", "--output", "json"]).ends(0).json();
    assert_eq!(lag["total"]["lag"], 0, "{lag}");
    let rows = run(folder, &["lag", "--output", "csv"]).ends(0).out;
    assert!(rows.starts_with("group,status,topic,partition,"), "{rows}");
    let topics = run(folder, &["topics", "list"]).ends(0).out;
    assert!(topics.contains("dead-letters"), "{topics}");
    let applied = run(folder, &["topics", "apply", "--dry-run"]).ends(0).out;
    assert!(applied.contains("unchanged") && !applied.contains("would be"), "{applied}");
}

#[test]
fn a_sink_that_fails_tells_what_each_projection_did() {
    let folder = folder();
    let folder = folder.path();
    fs::write(folder.join("posts.jsonl"), "{\"id\":\"1\",\"text\":\"a\"}\n").unwrap();
    run(folder, &["ingest", "archive", "posts.jsonl"]).ends(0);
    let mut sink = bowerbird(folder, &["sink", "--once", "--output", "json"]);
    let ran = sink.env("BOWERBIRD__STORE__CREATE_DATABASES", "false").output().unwrap();
    let ran = Ran::of(ran).ends(1).says(&["does not exist"]);
    let told = ran.json();
    assert_eq!(
        told["sink-posts"]["error"].as_str().map(|error| error.contains("posts")),
        Some(true)
    );
    assert_eq!(
        (&told["sink-posts"]["written"], &told["sink-features"]["records"]),
        (&0.into(), &0.into())
    );
}

#[test]
fn up_with_nothing_to_poll_says_so() {
    let folder = folder();
    let mut up = bowerbird(folder.path(), &["up", "--for", "1s"]);
    let ran = up.env("BOWERBIRD__AURIN__USER", "ada").output().unwrap();
    let ran =
        Ran::of(ran).ends(0).says(&["WARN", "no data sets are declared", "[[aurin.datasets]]"]);
    assert!(ran.out.contains("features 0"), "{ran:?}");
}
