//! Importing what people's tools and systems make of archives: padding, lists, other encodings,
//! tables, links.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use std::collections::BTreeSet;
use std::path::Path;

use bowerbird_ingest::archive::{ArchiveConfig, FileSummary, Outcome, Problem, Summary};
use bowerbird_stream::topic;
use harness::TestLog;
use harness::archives::{
    COMPRESSIONS, bzip2, config, gzip, interrupted, keys, lines_from, run, tar, write,
};
use rawzip::ZipArchiveWriter;
use serde_json::Value;

/// Posts one by one, as values; and their ids.
fn posts(count: u64) -> (Vec<Value>, BTreeSet<String>) {
    let (lines, _) = lines_from(0, count * 5);
    let lines = String::from_utf8(lines).unwrap();
    let all = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let posts: Vec<Value> = all.filter(|value| value["author"].is_object()).collect();
    let ids = posts.iter().map(|post| post["id"].as_str().unwrap().to_owned()).collect();
    (posts, ids)
}

fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

fn utf16(text: &str) -> Vec<u8> {
    let units = std::iter::once(0xfeff).chain(text.encode_utf16());
    units.flat_map(u16::to_le_bytes).collect()
}

async fn import(test: &TestLog, path: impl AsRef<Path>) -> Summary {
    run(&test.log, config([path.as_ref().to_owned()])).await.0
}

/// The only file of an import.
async fn one(test: &TestLog, name: &str, bytes: &[u8]) -> FileSummary {
    let path = write(test.folder.path(), name, bytes);
    import(test, path).await.files.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn padding_is_nothing_and_what_else_stands_behind_a_compression_is_told() {
    let (bytes, ids) = lines_from(0, 500);
    for (name, compressed) in [("a.gz", gzip(&bytes)), ("a.bz2", bzip2(&bytes))] {
        let half = bytes.len() / 2;
        let two = match name {
            "a.gz" => [gzip(&bytes[..half]), vec![0; 3_000], gzip(&bytes[half..])].concat(),
            _ => [bzip2(&bytes[..half]), vec![0; 3_000], bzip2(&bytes[half..])].concat(),
        };
        for (padded, outcome) in [
            ([compressed.clone(), vec![0; 200_000]].concat(), Outcome::Complete),
            (two, Outcome::Complete),
            ([compressed.clone(), b"rubbish".to_vec()].concat(), Outcome::Truncated),
        ] {
            let test = TestLog::new().await;
            let file = one(&test, name, &padded).await;
            assert_eq!(file.outcome, outcome, "{name}: {file:#?}");
            assert_eq!(keys(&test, topic::POSTS).await, ids, "{name}");
            assert_eq!(file.found.counts.lines, 500);
            let letters = test.records(topic::DEAD_LETTERS).await.len();
            assert_eq!(letters, usize::from(outcome == Outcome::Truncated));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_and_objects_over_many_lines_give_what_lines_give() {
    let (posts, ids) = posts(300);
    let spread: Vec<String> = posts.iter().map(pretty).collect();
    for (name, text) in [
        ("list", serde_json::to_string(&posts).unwrap()),
        ("list over lines", format!("\u{feff}{}", pretty(&posts).replace('\n', "\r\n"))),
        ("objects over lines", spread.join("\n")),
        ("a list a line", {
            let halves = posts.chunks(150).map(|half| serde_json::to_string(half).unwrap());
            halves.collect::<Vec<_>>().join("\n")
        }),
    ] {
        for (compression, compress) in COMPRESSIONS {
            let test = TestLog::new().await;
            let file = one(&test, "posts.json", &compress(text.as_bytes())).await;
            assert_eq!(file.outcome, Outcome::Complete, "{name}, {compression}: {file:#?}");
            assert_eq!((file.found.counts.lines, file.found.counts.posts), (300, 300), "{name}");
            assert_eq!(keys(&test, topic::POSTS).await, ids, "{name}");
        }
        // Also where nobody has named it; and its bytes are as they were.
        let test = TestLog::new().await;
        let folder = test.folder.path().join("grabs");
        std::fs::create_dir(&folder).unwrap();
        write(&folder, "posts.tar", &tar(&[("a.json", text.clone().into_bytes())]));
        let summary = import(&test, &folder).await;
        assert!(summary.succeeded() && summary.total.posts == 300, "{name}: {summary:#?}");
        for event in test.events(topic::POSTS).await {
            let value = String::from_utf8(event.value.unwrap().to_vec()).unwrap();
            assert!(text.contains(&value), "{name}");
        }
    }
    // What is cut off is told, and what is no post is a dead letter of its own.
    for (text, outcome, reason) in [
        ("[{\"id\":\"11\",\"text\":\"a\"},\n{\"id\":", Outcome::Truncated, "truncated"),
        ("[{\"id\":\"11\",\"text\":\"a\"},", Outcome::Truncated, "truncated"),
        ("[{\"id\":\"11\",\"text\":\"a\"}, 7]", Outcome::Complete, "not-json"),
        ("{\n\"id\":\"11\",\"text\":\"a\"}\n{\"b\":1}", Outcome::Complete, "no-post"),
    ] {
        let test = TestLog::new().await;
        let file = one(&test, "posts.json", text.as_bytes()).await;
        assert_eq!((file.outcome, file.found.counts.posts), (outcome, 1), "{text}: {file:#?}");
        assert_eq!(file.found.counts.dead_letters, [(reason.to_owned(), 1)].into(), "{text}");
    }
    let test = TestLog::new().await;
    let long = format!("[{{\"a\":\"{}\"}},{{\"id\":\"11\",\"text\":\"a\"}}]", "x".repeat(200_000));
    let path = write(test.folder.path(), "long.json", long.as_bytes());
    let config = ArchiveConfig { max_line_bytes: 100_000, ..config([path]) };
    let (summary, _) = run(&test.log, config).await;
    assert_eq!(summary.total.dead_letters, [("line-too-long".to_owned(), 1)].into());
    assert_eq!(summary.total.posts, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_import_of_a_list_goes_on_where_it_stopped() {
    let (posts, ids) = posts(3_000);
    for (name, compress) in COMPRESSIONS {
        let test = TestLog::new().await;
        let path = write(test.folder.path(), name, &compress(pretty(&posts).as_bytes()));
        let config = ArchiveConfig {
            checkpoint_dir: Some(test.folder.path().join("checkpoints")),
            resume: true,
            batch_bytes: 8 << 10,
            max_in_flight_bytes: 32 << 10,
            ..config([path])
        };
        let first = interrupted(&test.log, config.clone(), 500).await;
        assert_eq!(first.files[0].outcome, Outcome::Interrupted, "{name}");
        let (second, _) = run(&test.log, config).await;
        let file = &second.files[0];
        assert_eq!(file.outcome, Outcome::Complete, "{name}: {file:#?}");
        assert_eq!(file.resumed_after_line, Some(first.total.lines), "{name}");
        assert_eq!((second.total.lines, second.total.posts), (3_000, 3_000), "{name}");
        assert_eq!(keys(&test, topic::POSTS).await, ids, "{name}");
        let repeated = test.records(topic::POSTS).await.len() - ids.len();
        assert!(repeated < 1_000, "{name}: {repeated} posts twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_no_posts_as_they_are_read_says_what_to_do_once() {
    let table = "id,conversation_id,created_at,text\r\n1,1,2021,a\r\n".repeat(1_000);
    let ids = "1212092628029698048\n".repeat(1_000);
    for (bytes, part, beside) in [
        (table.into_bytes(), "it is a table", Outcome::PassedOver),
        (ids.into_bytes(), "hydrate", Outcome::PassedOver),
        (utf16("{\"id\":\"11\",\"text\":\"a\"}\r\n"), "iconv -f UTF-16", Outcome::Failed),
    ] {
        let test = TestLog::new().await;
        let folder = test.folder.path().join("grabs");
        std::fs::create_dir(&folder).unwrap();
        let path = write(&folder, "posts", &bytes);
        let file = import(&test, &path).await.files.remove(0);
        assert_eq!(file.outcome, Outcome::Failed, "{file:#?}");
        assert!(file.error.as_ref().unwrap().contains(part), "{file:#?}");
        // What may well be posts is not passed over beside others either.
        let file = import(&test, &folder).await.files.remove(0);
        assert_eq!(file.outcome, beside, "{file:#?}");
        assert_eq!(test.records(topic::DEAD_LETTERS).await.len(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_put_together_have_their_marks_in_the_middle() {
    let test = TestLog::new().await;
    let part = "\u{feff}{\"id\":\"11\",\"text\":\"a\"}\r\n\r\n";
    let file = one(&test, "a.jsonl", format!("{part}{part}\u{feff}").as_bytes()).await;
    assert_eq!((file.found.counts.posts, file.found.counts.blank_lines), (2, 3), "{file:#?}");
    assert_eq!(file.found.counts.dead_letters_total(), 0, "{file:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn links_in_containers_are_told() {
    let (bytes, ids) = lines_from(0, 20);
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    builder.append_data(&mut header, "day/a.json", &bytes[..]).unwrap();
    for (kind, name) in [(tar::EntryType::Symlink, "day/b"), (tar::EntryType::Link, "day/c")] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        builder.append_link(&mut header, name, "day/a.json").unwrap();
    }
    let tarred = builder.into_inner().unwrap();
    let mut archive = ZipArchiveWriter::new(Vec::new());
    for (name, content, mode) in [
        ("day/a.json", &bytes[..], 0o100_644),
        ("day/b", b"a.json", 0o120_777),
        ("day/c", b"../elsewhere", 0o120_777),
    ] {
        let (mut entry, config) = archive.new_file(name).unix_permissions(mode).start().unwrap();
        let mut writer = config.wrap(&mut entry);
        std::io::Write::write_all(&mut writer, content).unwrap();
        let (_, output) = writer.finish().unwrap();
        entry.finish(output).unwrap();
    }
    let zipped = archive.finish().unwrap();
    let within = tar(&[("in.zip", zipped.clone()), ("in.tar", tarred.clone())]);
    for (name, bytes, links) in [
        ("a.tar", tarred.clone(), vec!["a.tar/day/b", "a.tar/day/c"]),
        ("a.tgz", gzip(&tarred), vec!["a.tgz/day/b", "a.tgz/day/c"]),
        ("a.zip", zipped, vec!["a.zip/day/b", "a.zip/day/c"]),
        (
            "b.tar",
            within,
            vec![
                "b.tar/in.zip/day/b",
                "b.tar/in.zip/day/c",
                "b.tar/in.tar/day/b",
                "b.tar/in.tar/day/c",
            ],
        ),
        (
            "links.tar",
            {
                let mut only = tarred;
                only.drain(..512 + bytes.len().next_multiple_of(512));
                only
            },
            vec!["links.tar/day/b", "links.tar/day/c"],
        ),
    ] {
        let test = TestLog::new().await;
        let file = one(&test, name, &bytes).await;
        assert_eq!(file.found.linked, links, "{file:#?}");
        assert_eq!(file.found.links, links.len() as u64);
        let found = keys(&test, topic::POSTS).await;
        match name {
            "links.tar" => assert_eq!((file.outcome, found.len()), (Outcome::PassedOver, 0)),
            _ => assert_eq!((file.outcome, found), (Outcome::Complete, ids.clone())),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tar_does_not_hold_as_it_is_is_told_and_what_is_of_no_known_type_is_a_file() {
    let (bytes, ids) = lines_from(0, 50);
    let packed = gzip(&bytes);
    // As GNU tar and bsdtar write a file with holes: the map of them stands before its content.
    let mut map = format!("1\n0\n{}\n", packed.len()).into_bytes();
    map.resize(512, 0);
    let with_holes = [map, packed.clone()].concat();
    let records: [(&str, &[u8]); 2] = [("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0")];
    let mut builder = tar::Builder::new(Vec::new());
    let mut append = |name: &str, kind: u8, content: &[u8], sparse: bool| {
        if sparse {
            builder.append_pax_extensions(records).unwrap();
        }
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_entry_type(tar::EntryType::new(kind));
        builder.append_data(&mut header, name, content).unwrap();
    };
    append("holes.json.gz", b'0', &with_holes, true);
    append("volume.json", b'M', &bytes[7..], false);
    append("label", b'V', b"", false);
    append("odd.json.gz", b'Z', &packed, false);
    let tarred = builder.into_inner().unwrap();
    let within = tar(&[("in.tar", tarred.clone())]);
    for (name, bytes) in [("a.tar", tarred.clone()), ("a.tgz", gzip(&tarred)), ("b.tar", within)] {
        let test = TestLog::new().await;
        let file = one(&test, name, &bytes).await;
        assert_eq!(file.outcome, Outcome::Truncated, "{file:#?}");
        let told = |part: &str, why: &str| {
            let is = |one: &Problem| one.member.contains(part) && one.error.contains(why);
            file.found.problems.iter().any(is)
        };
        assert!(told("holes.json.gz", "--sparse") && told("volume", "--multi-volume"), "{file:#?}");
        assert_eq!((file.found.damaged, file.found.foreign), (2, 0), "{file:#?}");
        assert_eq!(keys(&test, topic::POSTS).await, ids, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_that_begin_within_a_long_line_are_no_foreign_files() {
    let page = |first: u64| {
        let post =
            |n: u64| serde_json::json!({"id": (first + n).to_string(), "text": "x".repeat(900)});
        let posts: Vec<Value> = (0..200).map(post).collect();
        serde_json::json!({ "data": posts }).to_string() + "\n"
    };
    let all: String = (1..=4).map(|number| page(number * 1_000)).collect();
    let test = TestLog::new().await;
    let folder = test.folder.path().join("grabs");
    std::fs::create_dir(&folder).unwrap();
    // As `split -b` does it. A line is cut in each, and another is whole.
    let (one, two) = all.as_bytes().split_at(page(1_000).len() + 70_000);
    write(&folder, "part-aa", one);
    write(&folder, "part-ab", two);
    write(
        &folder,
        "blank",
        [&[b' '; 70_000], "\n".as_bytes(), page(9_000).as_bytes()].concat().as_slice(),
    );
    write(&folder, "picture", &[0xff, 0xd8, 0, b'"', b':'].repeat(20_000));
    write(&folder, "note", "not of that: \"a\"".repeat(20_000).as_bytes());
    let summary = import(&test, &folder).await;
    assert_eq!(summary.total.posts, 4 * 200, "{summary:#?}");
    assert_eq!(summary.total.dead_letters, [("not-json".to_owned(), 2)].into(), "{summary:#?}");
    let passed = summary.files.iter().filter(|file| file.outcome == Outcome::PassedOver);
    assert_eq!(passed.count(), 2, "{summary:#?}");
}
