//! Importing archives into the embedded log.

mod harness;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use bowerbird_ingest::archive::{ArchiveConfig, Input, Outcome, Progress, import};
use bowerbird_stream::topic;
use harness::archives::{COMPRESSIONS, config, gzip, interrupted, keys, lines, run, write};
use harness::{TestLog, holes_of};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn every_compression_gives_the_same() {
    let (bytes, ids) = lines(500);
    for (name, compress) in COMPRESSIONS {
        let test = TestLog::new().await;
        // In two parts: files that were appended to, and shards put together.
        let half = bytes.len() / 2;
        let parts = if name == "plain" {
            bytes.clone()
        } else {
            [compress(&bytes[..half]), compress(&bytes[half..])].concat()
        };
        // The name tells nothing.
        let path = write(test.folder.path(), "some archive", &parts);
        let (summary, progress) = run(&test.log, config([path])).await;
        assert!(summary.succeeded(), "{name}: {summary:?}");
        assert_eq!(summary.total.lines, 500, "{name}");
        assert_eq!(summary.total.posts, ids.len() as u64);
        assert_eq!(summary.total.notices, 100);
        assert_eq!(summary.total.dead_letters_total(), 0);
        assert_eq!(keys(&test, topic::POSTS).await, ids);
        assert_eq!(keys(&test, topic::NOTICES).await.len(), 100);
        let seen = progress.snapshot();
        assert_eq!((seen.bytes_read, seen.bytes_total), (parts.len() as u64, parts.len() as u64));
        assert_eq!((seen.posts, seen.lines), (ids.len() as u64, 500));
        let journal = test.journal("import.finished").await;
        assert_eq!(journal[0]["import"]["posts"], ids.len());
        assert_eq!(journal[0]["import"]["outcome"], "complete");
        let post = &test.events(topic::POSTS).await[0];
        assert_eq!(post.source, "archive:some%20archive");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_file_gives_what_is_before_the_cut() {
    let (bytes, ids) = lines(12_000);
    for (name, compress) in COMPRESSIONS.into_iter().skip(1) {
        let test = TestLog::new().await;
        let mut cut = compress(&bytes);
        cut.truncate(cut.len() * 3 / 4);
        let path = write(test.folder.path(), name, &cut);
        let (summary, _) = run(&test.log, config([path])).await;
        assert!(!summary.succeeded());
        assert_eq!(summary.files[0].outcome, Outcome::Truncated, "{name}");
        assert!(summary.files[0].error.as_ref().unwrap().contains("cut off"), "{summary:?}");
        let found = keys(&test, topic::POSTS).await;
        assert!(found.is_subset(&ids));
        assert!(found.len() > ids.len() / 4, "{name}: {} of {}", found.len(), ids.len());
        assert_eq!(found.len() as u64, summary.total.posts);
        let letters = test.records(topic::DEAD_LETTERS).await;
        assert_eq!(letters.len(), 1);
        assert_eq!(letters[0].headers.text("dl_reason"), Some("truncated"));
        assert_eq!(test.journal("import.finished").await[0]["import"]["outcome"], "truncated");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_lines_are_dead_letters_and_the_import_goes_on() {
    let test = TestLog::new().await;
    let huge = format!("{{\"id\":\"12\",\"text\":\"{}\"}}", "x".repeat(3 << 20));
    let post_too_large = format!("{{\"id\":\"14\",\"text\":\"{}\"}}", "y".repeat(1 << 20));
    let parts: [&[u8]; 9] = [
        b"\xef\xbb\xbf{\"id\":\"11\",\"text\":\"after a mark\"}",
        b"not json",
        b"",
        huge.as_bytes(),
        b"{\"id\":\"13\",\"text\":\"\xff\"}",
        post_too_large.as_bytes(),
        b"{\"errors\":[{\"title\":\"Not Found Error\",\"detail\":\"gone\"}]}",
        b"{\"id\":\"15\",\"action\":\"delete\",\"reason\":\"deleted\"}",
        b"{\"id\":\"16\",\"text\":\"without a line feed\"}",
    ];
    let path = write(test.folder.path(), "a.jsonl", &parts.join(&b'\n'));
    let config = ArchiveConfig { max_line_bytes: 2 << 20, ..config([path]) };
    let (summary, _) = run(&test.log, config).await;
    assert!(summary.succeeded());
    assert_eq!((summary.total.lines, summary.total.blank_lines), (9, 1));
    assert_eq!(keys(&test, topic::POSTS).await, ["11", "16"].map(str::to_owned).into());
    assert_eq!(summary.total.posts, 2);
    let letters = test.records(topic::DEAD_LETTERS).await;
    let found: BTreeMap<String, String> = letters
        .iter()
        .map(|letter| {
            let text = |name| letter.headers.text(name).unwrap_or_default().to_owned();
            assert_eq!(
                (text("ce_file"), text("dl_group")),
                ("a.jsonl".into(), "ingest-archive".into())
            );
            assert!(!text("dl_error").is_empty());
            (text("ce_line"), text("dl_reason"))
        })
        .collect();
    let expected = [
        ("2", "not-json"),
        ("4", "line-too-long"),
        ("5", "not-utf8"),
        ("6", "too-large"),
        ("7", "errors"),
        ("8", "compliance-result"),
    ];
    assert_eq!(found, expected.map(|(line, reason)| (line.to_owned(), reason.to_owned())).into());
    for (reason, count) in expected.map(|(_, reason)| (reason, 1)) {
        assert_eq!(summary.total.dead_letters.get(reason), Some(&count), "{reason}");
    }
    let value = |line: &str| {
        let letter = letters.iter().find(|l| l.headers.text("ce_line") == Some(line)).unwrap();
        let bytes = letter.headers.text("ce_bytes").map(|bytes| bytes.parse::<usize>().unwrap());
        (letter.value.clone().unwrap(), bytes)
    };
    assert_eq!(value("2").0, "not json");
    assert_eq!((value("4").0.len(), value("4").1), (64 << 10, Some(huge.len())));
    assert_eq!((value("6").0.len(), value("6").1), (64 << 10, Some(post_too_large.len())));
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_of_posts_and_users_are_counted_and_other_notices_are_not() {
    let test = TestLog::new().await;
    let lines = [
        r#"{"delete":{"status":{"id":11,"user_id":3}}}"#,
        r#"{"user_delete":{"id":3}}"#,
        r#"{"data":{"delete":{"tweet":{"id":"12"},"event_at":"2021-07-06T18:40:40.000Z"}}}"#,
        r#"{"data":{"user_delete":{"user":{"id":"3"},"event_at":"2021-07-06T18:40:40.000Z"}}}"#,
        r#"{"data":{"user_undelete":{"user":{"id":"3"},"event_at":"2021-07-06T18:40:40.000Z"}}}"#,
        r#"{"status_withheld":{"id":13,"withheld_in_countries":["DE"]}}"#,
    ];
    let path = write(test.folder.path(), "a.jsonl", lines.join("\n").as_bytes());
    let (summary, _) = run(&test.log, config([path])).await;
    assert_eq!((summary.total.notices, summary.total.deletes), (6, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn importing_twice_is_the_same_again() {
    let test = TestLog::new().await;
    let (bytes, ids) = lines(100);
    let path = write(test.folder.path(), "a.jsonl", &bytes);
    run(&test.log, config([path.clone()])).await;
    run(&test.log, config([path])).await;
    let mut seen = BTreeMap::<_, usize>::new();
    for event in test.events(topic::POSTS).await {
        *seen.entry((event.id, event.time, event.key)).or_default() += 1;
    }
    assert_eq!(seen.len(), ids.len());
    assert!(seen.values().all(|count| *count == 2));
}

/// What the journal has of files that are not whole, by source and cause.
async fn not_whole(test: &TestLog) -> Vec<String> {
    let holes = holes_of(&test.log, Timestamp::now()).await.holes;
    holes.into_iter().map(|hole| format!("{} {}", hole.source, hole.cause)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_import_goes_on_where_it_stopped() {
    let (bytes, ids) = lines(8_000);
    for (name, compress) in COMPRESSIONS {
        let test = TestLog::new().await;
        let path = write(test.folder.path(), name, &compress(&bytes));
        let checkpoints = test.folder.path().join("checkpoints");
        let config = ArchiveConfig {
            checkpoint_dir: Some(checkpoints),
            resume: true,
            batch_bytes: 8 << 10,
            max_in_flight_bytes: 32 << 10,
            ..config([path.clone()])
        };
        let first = interrupted(&test.log, config.clone(), 500).await;
        assert_eq!(first.files[0].outcome, Outcome::Interrupted, "{name}");
        assert_eq!(not_whole(&test).await, [format!("archive:{name} begun")]);
        assert!((500..8_000).contains(&first.total.lines), "{name}: {}", first.total.lines);
        let acknowledged = test.records(topic::POSTS).await.len();
        assert!(acknowledged as u64 >= first.total.posts);

        // Wherever it lies now.
        let moved = test.folder.path().join("moved");
        std::fs::rename(&path, &moved).unwrap();
        let config = ArchiveConfig { inputs: vec![Input::Path(moved)], ..config };
        let (second, _) = run(&test.log, config.clone()).await;
        assert!(second.succeeded(), "{second:?}");
        assert_eq!(second.files[0].resumed_after_line, Some(first.total.lines));
        assert_eq!(not_whole(&test).await, [""; 0]);
        assert_eq!((second.total.lines, second.total.posts), (8_000, ids.len() as u64));
        assert_eq!(keys(&test, topic::POSTS).await, ids, "{name}");
        let repeated = test.records(topic::POSTS).await.len() - ids.len();
        assert!(repeated < 1_000, "{name}: {repeated} posts twice");

        let (third, _) = run(&test.log, config).await;
        assert!(third.succeeded());
        assert_eq!(third.files[0].outcome, Outcome::Skipped);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_archive_is_said_and_the_others_are_imported() {
    let test = TestLog::new().await;
    let folder = test.folder.path();
    let (bytes, ids) = lines(10);
    let paths = [
        folder.join("missing.jsonl"),
        folder.join("missing*.jsonl"),
        write(folder, "a.xz", b"\xfd7zXZ\0rest"),
        write(folder, "a.7z.gz", &gzip(b"7z\xbc\xaf\x27\x1crest")),
        write(folder, "empty.jsonl", b""),
        write(folder, "blank.jsonl", b"\n\n \n"),
        write(folder, "good.jsonl", &bytes),
    ];
    let (summary, _) = run(&test.log, config(paths)).await;
    assert!(!summary.succeeded());
    assert_eq!(summary.failed_files, 4);
    let errors: Vec<&str> =
        summary.files.iter().map(|file| file.error.as_deref().unwrap_or_default()).collect();
    for (error, part) in
        errors.iter().zip(["can't be read", "no file matches", "xz file", "7z archive"])
    {
        assert!(error.contains(part), "{error}");
    }
    let outcomes: Vec<Outcome> = summary.files[4..].iter().map(|file| file.outcome).collect();
    assert_eq!(outcomes, [Outcome::Empty, Outcome::Complete, Outcome::Complete]);
    assert_eq!(keys(&test, topic::POSTS).await, ids);
    // What nothing came of leaves no hole.
    assert_eq!(not_whole(&test).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_is_passed_on_as_it_comes_and_can_be_left() {
    let test = TestLog::new().await;
    let pipe = |name| {
        let path = test.folder.path().join(name);
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    };
    // Nobody ever writes to this one.
    let (cancel, progress) = (CancellationToken::new(), Arc::new(Progress::default()));
    let importing = import(test.log.clone(), config([pipe("silent")]), progress, cancel.clone());
    let stopping = async { cancel.cancel() };
    // Perhaps before it was begun.
    let summary = tokio::join!(importing, stopping).0;
    assert!(summary.interrupted && !summary.succeeded());
    assert!(summary.files.iter().all(|file| file.outcome == Outcome::Interrupted));

    let path = pipe("lively");
    let (cancel, progress) = (CancellationToken::new(), Arc::new(Progress::default()));
    let importing = import(test.log.clone(), config([path.clone()]), progress, cancel.clone());
    let writing = async {
        let opening = tokio::task::spawn_blocking(move || {
            std::fs::OpenOptions::new().write(true).open(path).unwrap()
        });
        let mut pipe = opening.await.unwrap();
        pipe.write_all(b"{\"id\":\"11\",\"text\":\"\"}\n{\"id\":\"12\",\"te").unwrap();
        harness::until("the first post", async || keys(&test, topic::POSTS).await.len() == 1).await;
        pipe.write_all(b"xt\":\"\"}\n").unwrap();
        harness::until("the second", async || keys(&test, topic::POSTS).await.len() == 2).await;
        cancel.cancel();
        pipe
    };
    // The writer is still there: the import ends all the same.
    let (summary, _pipe) = tokio::join!(importing, writing);
    assert_eq!(summary.files[0].outcome, Outcome::Interrupted);
    assert_eq!(summary.total.posts, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_ends_it_with_what_to_do() {
    let test = TestLog::new().await;
    let log =
        bowerbird_stream::sqlite::SqliteLog::open(test.folder.path().join("other")).await.unwrap();
    let (bytes, _) = lines(10);
    let path = write(test.folder.path(), "a.jsonl", &bytes);
    let (summary, _) = run(&log, config([path.clone(), path])).await;
    assert!(!summary.succeeded());
    // Others that were begun by then say the same.
    for file in &summary.files {
        let error = file.error.as_ref().unwrap();
        assert!(error.contains("bowerbird topics apply"), "{error}");
    }
}
