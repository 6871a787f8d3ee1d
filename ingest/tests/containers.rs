//! Importing tars, zips and folders of archives, whole and damaged, at once and in two goes.

mod harness;

use std::collections::BTreeSet;
use std::sync::Arc;

use bowerbird_ingest::archive::{ArchiveConfig, Outcome, Progress, import};
use bowerbird_stream::topic;
use harness::archives::{
    bzip2, config, gzip, keys, lines_from, run, stored, tar, write, zip, zstd,
};
use harness::{TestLog, holes_of};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

/// Members of every kind, so many lines in each, and the posts in them.
fn members(count: u64) -> (Vec<(&'static str, Vec<u8>)>, BTreeSet<String>) {
    let mut ids = BTreeSet::new();
    let mut part = |number| {
        let (bytes, more) = lines_from(number, count);
        ids.extend(more);
        bytes
    };
    let day = |part: &mut dyn FnMut(u64) -> Vec<u8>, first| {
        vec![("00/00.json.bz2", bzip2(&part(first))), ("00/01.json.gz", gzip(&part(first + 1)))]
    };
    let (bzip_day, gzip_day) = (tar(&day(&mut part, 0)), zip(&day(&mut part, 2)));
    let other_day = zip(&day(&mut part, 4));
    let members = vec![
        ("./2020/01/01/00.json.bz2", bzip2(&part(6))),
        ("2020/01/02.json.gz", gzip(&part(7))),
        ("2020/01/03.json", part(8)),
        ("2020/01/04.tar", bzip_day.clone()),
        ("2020/01/05.tar.gz", gzip(&bzip_day)),
        ("2020/01/06.zip", gzip_day.clone()),
        ("2020/01/07.zip.zst", zstd(&gzip_day)),
        ("2020/01/08.zip", other_day),
        ("README.md", b"# Posts\n\nNone here.\n".to_vec()),
        ("empty.json", Vec::new()),
    ];
    (members, ids)
}

/// Lines in what [`members`] makes of one line each.
const FILES: u64 = 3 + 2 * 5;

#[tokio::test(flavor = "multi_thread")]
async fn every_container_gives_the_same() {
    let (members, ids) = members(50);
    let whole = tar(&members);
    for (name, bytes) in [
        ("tar", whole.clone()),
        ("tar in gzip", gzip(&whole)),
        ("tar in tar in bzip2", bzip2(&tar(&[("a.tar", whole.clone())]))),
        ("zip", zip(&members)),
        ("stored zip", stored(&members)),
        ("zip in gzip", gzip(&zip(&members))),
        ("zip without its end", {
            let mut bytes = zip(&members);
            let directory = bytes.windows(4).rposition(|at| at == b"PK\x05\x06").unwrap();
            bytes.truncate(directory);
            bytes
        }),
    ] {
        let test = TestLog::new().await;
        let path = write(test.folder.path(), "a grab", &bytes);
        let (summary, progress) = run(&test.log, config([path])).await;
        assert!(summary.succeeded(), "{name}: {summary:#?}");
        let file = &summary.files[0];
        assert_eq!((file.outcome, file.found.members), (Outcome::Complete, FILES + 1), "{name}");
        assert_eq!(file.found.counts.lines, 50 * FILES, "{name}");
        assert_eq!(file.found.counts.deletes, file.found.counts.notices, "{name}");
        assert_eq!(file.found.counts.duplicates, file.found.counts.posts - ids.len() as u64);
        assert_eq!(file.found.passed_over.len(), 1, "{name}: {:?}", file.found.passed_over);
        assert_eq!(summary.total.dead_letters_total(), 0, "{name}");
        assert_eq!(keys(&test, topic::POSTS).await, ids, "{name}");
        let seen = progress.snapshot();
        assert!(seen.bytes_read >= seen.bytes_total, "{name}: {seen:?}");

        let journal = test.journal("import.finished").await;
        assert_eq!(journal.len(), 1, "{name}: one fact for a file, whatever is in it");
        assert_eq!(journal[0]["import"]["members"], FILES + 1);
        let places: BTreeSet<(String, String)> = test
            .events(topic::POSTS)
            .await
            .into_iter()
            .map(|event| {
                assert_eq!(event.source, "archive:a%20grab");
                (event.extensions["file"].clone(), event.extensions["line"].clone())
            })
            .collect();
        assert!(
            places
                .iter()
                .any(|(file, line)| file.ends_with("2020/01/01/00.json.bz2") && line == "1")
        );
        for nested in ["04.tar/00/00.json.bz2", "07.zip.zst/00/01.json.gz"] {
            assert!(places.iter().any(|(file, _)| file.ends_with(nested)), "{name}: {nested}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_keeps_nothing_else_from_being_imported() {
    let part = |number| lines_from(number, 3_000).0;
    let (first, last) = (bzip2(&part(0)), gzip(&part(2)));
    let broken = {
        let mut whole = gzip(&part(1));
        whole.truncate(whole.len() * 3 / 4);
        whole
    };
    let members = [("a.json.bz2", first), ("b.json.gz", broken), ("c.json.gz", last)];
    let (tarred, zipped) = (tar(&members), zip(&members));
    let cut = |bytes: &[u8]| bytes[..bytes.len() * 4 / 5].to_vec();
    let flipped = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 0x55;
        bytes
    };
    let third = tarred.windows(9).position(|at| at == b"c.json.gz").unwrap();
    // What is wrong beside the second member, and how many members give posts.
    for (name, bytes, more, whole) in [
        ("a.tar", tarred.clone(), None, 2),
        ("a.tar.bz2", bzip2(&tarred), None, 2),
        ("a.zip", zipped.clone(), None, 2),
        ("cut.tar", cut(&tarred), Some(("/c.json.gz", "too early")), 1),
        ("cut.tar.gz", cut(&gzip(&tarred)), Some(("/c.json.gz", "")), 1),
        ("cut.zip", cut(&zipped), Some(("/c.json.gz", "")), 1),
        ("header.tar", flipped(&tarred, third), Some(("", "damaged or cut off")), 1),
    ] {
        let test = TestLog::new().await;
        let path = write(test.folder.path(), name, &bytes);
        let good = write(test.folder.path(), "good.jsonl", &part(9));
        let (summary, _) = run(&test.log, config([path, good])).await;
        assert!(!summary.succeeded(), "{name}");
        assert_eq!(summary.files[1].outcome, Outcome::Complete, "{name}");
        let file = &summary.files[0];
        assert_eq!(file.outcome, Outcome::Truncated, "{name}: {file:#?}");
        let problem = |member: &str| {
            let member = format!("{name}{member}");
            let found = file.found.problems.iter().find(|problem| problem.member == member);
            found.unwrap_or_else(|| panic!("{member}: {file:#?}")).error.clone()
        };
        assert!(problem("/b.json.gz").contains("damaged or cut off"), "{name}");
        if let Some((member, part)) = more {
            let error = problem(member);
            assert!(error.contains(part), "{name}: {error}");
        }
        let found = keys(&test, topic::POSTS).await;
        let ids = |number| lines_from(number, 3_000).1;
        let within = |number| ids(number).intersection(&found).count();
        assert_eq!(within(0), ids(0).len(), "{name}");
        assert!(within(1) > ids(1).len() / 4, "{name}: what is before the damage");
        assert_eq!(within(2) == ids(2).len(), whole == 2, "{name}");
        let letters = test.records(topic::DEAD_LETTERS).await;
        let reasons: Vec<_> =
            letters.iter().map(|letter| letter.headers.text("dl_reason").unwrap()).collect();
        assert!(reasons.contains(&"truncated"), "{name}: {reasons:?}");
        assert_eq!(reasons.len() as u64, file.found.damaged, "{name}: {reasons:?}");
        let journal = test.journal("import.finished").await;
        let outcomes: BTreeSet<&str> =
            journal.iter().map(|fact| fact["import"]["outcome"].as_str().unwrap()).collect();
        assert_eq!(outcomes, BTreeSet::from(["complete", "truncated"]), "{name}");
    }
}

/// Members beside one that is good: those that are damaged from their first byte or are something
/// else by now, and those that nothing is wrong with.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_what_its_name_says_is_damaged_and_what_lies_beside_is_not() {
    let (bytes, ids) = lines_from(0, 50);
    let (other, more) = lines_from(1, 2_000);
    let zeroed = |mut bytes: Vec<u8>| {
        bytes[..16].fill(0);
        bytes
    };
    let flipped = |mut bytes: Vec<u8>| {
        bytes[0] ^= 0xff;
        bytes
    };
    let html = b"<html><title>503</title>\n{\"a\":\"b\"}\n</html>\n".to_vec();
    let table = b"id,text\r\n1,a\r\n".to_vec();
    let damaged = [
        ("1.json.bz2", zeroed(bzip2(&other))),
        ("2.json.bz2", flipped(bzip2(&other))),
        ("3.JSONL.GZ", zeroed(gzip(&other))),
        ("4.ndjson.zst", flipped(zstd(&other))),
        ("5.json.gz", vec![0; 100_000]),
        ("6.json.gz", html),
        ("7.json.gz", table),
        ("8.tar.gz", b"busy\n".to_vec()),
        ("9.zip", zeroed(zip(&[("a.json", other.clone())]))),
    ];
    let beside = [
        ("README.txt", b"Posts of a day.\n".to_vec()),
        ("._1.json.bz2", [&[0, 5, 0x16, 7], &[0; 100][..]].concat()),
        ("picture.png", b"\x89PNG\r\n\x1a\n\0\0".to_vec()),
        ("page.html", b"<html>a</html>\n".to_vec()),
        ("note.json.gz", gzip(b"None here.\n")),
        ("page.gz", b"<html>b</html>\n".to_vec()),
    ];
    let plain = [("plain.json.gz", other.clone()), ("empty.json.gz", Vec::new())];
    let good = [("0.json.bz2", bzip2(&bytes))];
    for (sort, members, wrong, foreign) in
        [("damaged", &damaged[..], 9, 0), ("beside", &beside, 0, 6), ("plain", &plain, 0, 0)]
    {
        let all = [&good[..], members].concat();
        let ids = if sort == "plain" { ids.union(&more).cloned().collect() } else { ids.clone() };
        let tarred = tar(&all);
        for (name, bytes) in [
            ("a.tar", tarred.clone()),
            ("a.tgz", gzip(&tarred)),
            ("a.zip", zip(&all)),
            ("b.zip", stored(&all)),
            ("b.zip.gz", gzip(&zip(&all))),
            ("b.tar", tar(&[("in.tar", tarred)])),
        ] {
            let test = TestLog::new().await;
            let path = write(test.folder.path(), name, &bytes);
            let (summary, _) = run(&test.log, config([path])).await;
            let file = &summary.files[0];
            let outcome = if wrong > 0 { Outcome::Truncated } else { Outcome::Complete };
            assert_eq!(file.outcome, outcome, "{sort}, {name}: {file:#?}");
            assert_eq!(
                (file.found.damaged, file.found.foreign),
                (wrong, foreign),
                "{sort}, {name}: {file:#?}"
            );
            assert_eq!(keys(&test, topic::POSTS).await, ids, "{sort}, {name}");
            let letters = [("truncated".to_owned(), wrong)].into_iter().filter(|_| wrong > 0);
            assert_eq!(file.found.counts.dead_letters, letters.collect(), "{sort}, {name}");
            let holes = holes_of(&test.log, Timestamp::now()).await.holes;
            assert_eq!(holes.len(), usize::from(wrong > 0), "{sort}, {name}: {holes:#?}");
        }
        // Each by itself: found in a folder, and named.
        let test = TestLog::new().await;
        let folder = test.folder.path().join("grabs");
        std::fs::create_dir(&folder).unwrap();
        let paths: Vec<_> =
            members.iter().map(|(name, bytes)| write(&folder, name, bytes)).collect();
        let (summary, _) = run(&test.log, config([folder])).await;
        for file in &summary.files {
            let expected = match sort {
                "damaged" => Outcome::Truncated,
                "beside" => Outcome::PassedOver,
                _ if file.file.ends_with("empty.json.gz") => Outcome::Empty,
                _ => Outcome::Complete,
            };
            assert_eq!(file.outcome, expected, "{file:#?}");
        }
        let holes = holes_of(&test.log, Timestamp::now()).await.holes;
        assert_eq!(holes.len() as u64, wrong, "{holes:#?}");
        assert_eq!(summary.succeeded(), wrong == 0);
        let (summary, _) = run(&test.log, config(paths)).await;
        assert_eq!(summary.failed_files, wrong, "{summary:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_import_of_containers_goes_on_where_it_stopped() {
    let (members, mut ids) = members(600);
    let (alone, more) = lines_from(99, 4_000);
    ids.extend(more);
    let whole = tar(&members);
    for (name, bytes) in [
        ("tar", whole.clone()),
        ("tar.gz", gzip(&whole)),
        ("zip", zip(&members)),
        ("zip.gz", gzip(&zip(&members))),
    ] {
        let test = TestLog::new().await;
        let paths =
            [write(test.folder.path(), name, &bytes), write(test.folder.path(), "alone", &alone)];
        let config = ArchiveConfig {
            checkpoint_dir: Some(test.folder.path().join("checkpoints")),
            resume: true,
            batch_bytes: 8 << 10,
            max_in_flight_bytes: 32 << 10,
            workers: 3.try_into().unwrap(),
            ..config(paths)
        };
        // Many times: a killed import leaves a checkpoint of any moment.
        let mut goes = 0;
        let last = loop {
            let (cancel, progress) = (CancellationToken::new(), Arc::new(Progress::default()));
            let importing =
                import(test.log.clone(), config.clone(), Arc::clone(&progress), cancel.clone());
            goes += 1;
            assert!(goes < 50, "{name}: it does not come to an end");
            let enough = goes * 1_000;
            let stopping = async {
                while progress.snapshot().lines < enough {
                    tokio::task::yield_now().await;
                }
                cancel.cancel();
                std::future::pending::<()>().await;
            };
            let summary = tokio::select! {
                summary = importing => summary,
                () = stopping => unreachable!(),
            };
            if summary.succeeded() {
                break summary;
            }
        };
        assert!(goes > 3, "{name}: {goes}");
        assert_eq!(keys(&test, topic::POSTS).await, ids, "{name}");
        let counts: Vec<u64> = last.files.iter().map(|file| file.found.counts.lines).collect();
        // What was done in an earlier go counts there.
        for (count, all) in counts.into_iter().zip([600 * FILES, 4_000]) {
            assert!(count == all || count == 0, "{name}: {count} of {all}");
        }
        let journal = test.journal("import.finished").await;
        let mut lines: Vec<u64> =
            journal.iter().map(|fact| fact["import"]["lines"].as_u64().unwrap()).collect();
        lines.sort_unstable();
        assert_eq!(lines, [4_000, 600 * FILES], "{name}: a fact for each file, once and whole");

        let (again, _) = run(&test.log, config.clone()).await;
        let outcomes: Vec<Outcome> = again.files.iter().map(|file| file.outcome).collect();
        assert_eq!(outcomes, [Outcome::Skipped, Outcome::Skipped], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changed_since_is_imported_from_its_beginning() {
    let test = TestLog::new().await;
    let (bytes, ids) = lines_from(1, 100);
    let path = write(test.folder.path(), "a.jsonl", &bytes);
    let config = ArchiveConfig {
        checkpoint_dir: Some(test.folder.path().join("checkpoints")),
        resume: true,
        ..config([path.clone()])
    };
    run(&test.log, config.clone()).await;
    // Of the same length, the same beginning, and another end.
    let text = String::from_utf8(bytes).unwrap();
    let last = ids.last().unwrap();
    let text = text.replace(last, &last.replace(|digit: char| digit.is_ascii_digit(), "1"));
    std::fs::write(&path, text).unwrap();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
    let (second, _) = run(&test.log, config).await;
    assert_eq!(second.files[0].outcome, Outcome::Complete);
    assert_eq!(second.files[0].resumed_after_line, None);
    assert!(keys(&test, topic::POSTS).await.contains(&"1".repeat(last.len())));
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_told_again_when_it_is_passed_over() {
    let test = TestLog::new().await;
    let mut cut = gzip(&lines_from(1, 2_000).0);
    cut.truncate(cut.len() / 2);
    let path = write(test.folder.path(), "a.tar", &tar(&[("a.json.gz", cut)]));
    let config = ArchiveConfig {
        checkpoint_dir: Some(test.folder.path().join("checkpoints")),
        resume: true,
        ..config([path])
    };
    for _ in 0..2 {
        let (summary, _) = run(&test.log, config.clone()).await;
        assert_eq!(summary.files[0].outcome, Outcome::Truncated);
        assert_eq!(summary.files[0].found.problems[0].member, "a.tar/a.json.gz");
    }
    assert_eq!(test.records(topic::DEAD_LETTERS).await.len(), 1);
    assert_eq!(test.journal("import.finished").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_one_name_are_told_apart() {
    let test = TestLog::new().await;
    let root = test.folder.path().join("grabs");
    for (number, name) in ["a/x.json", "b/x.json"].into_iter().enumerate() {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, lines_from(number as u64, 5).0).unwrap();
    }
    std::fs::write(root.join("b/picture"), [0; 100]).unwrap();
    let (summary, _) = run(&test.log, config([root.clone()])).await;
    assert!(summary.succeeded());
    let seen: Vec<(&str, Outcome)> =
        summary.files.iter().map(|file| (file.file.as_str(), file.outcome)).collect();
    assert_eq!(
        seen,
        [
            ("grabs/a/x.json", Outcome::Complete),
            ("grabs/b/picture", Outcome::PassedOver),
            ("grabs/b/x.json", Outcome::Complete),
        ]
    );
    let events = test.events(topic::POSTS).await;
    let sources: BTreeSet<&str> = events.iter().map(|event| event.source.as_str()).collect();
    assert_eq!(sources, ["archive:grabs/a/x.json", "archive:grabs/b/x.json"].into());

    // A file that is named is read, whatever is in it; and two that are the same both are.
    let same = [root.join("a/x.json"), root.join("a/x.json"), root.join("b/picture")];
    let (summary, _) = run(&test.log, config(same)).await;
    assert_eq!(summary.total.duplicates, summary.total.posts / 2);
    assert_eq!(summary.total.dead_letters["not-json"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_hostile_or_broken_from_its_first_byte_is_told_and_bounded() {
    let (bytes, ids) = lines_from(1, 20);
    let good = ("good.json.gz", gzip(&bytes));
    // A name of 64 MiB, which is little when it is compressed.
    let mut name = tar::Header::new_gnu();
    name.set_entry_type(tar::EntryType::GNULongName);
    name.set_size(64 << 20);
    name.set_cksum();
    let mut named = tar(std::slice::from_ref(&good));
    named.truncate(named.len() - 1024);
    named.extend_from_slice(name.as_bytes());
    named.resize(named.len() + (64 << 20), b'x');
    let mut torn = gzip(&bytes);
    torn[3..].fill(0xff);
    let mut deep = bytes.clone();
    for _ in 0..12 {
        deep = tar(&[("a", deep)]);
    }
    for (name, bytes, member, part) in [
        ("name.tar", named.clone(), "", "before a member there are more"),
        ("name.tar.gz", gzip(&named), "", "before a member there are more"),
        ("torn.tar", tar(&[("a.json.gz", torn), good.clone()]), "/a.json.gz", "damaged"),
        ("deep.tar.gz", gzip(&tar(&[good.clone(), ("b", deep)])), "/b/a/a/a/a/a/a", "deep"),
    ] {
        let test = TestLog::new().await;
        let path = write(test.folder.path(), name, &bytes);
        let (summary, _) = run(&test.log, config([path])).await;
        let file = &summary.files[0];
        assert_eq!(file.outcome, Outcome::Truncated, "{name}: {file:#?}");
        let problem = &file.found.problems[0];
        assert!(problem.member.starts_with(&format!("{name}{member}")), "{problem:?}");
        assert!(problem.error.contains(part), "{problem:?}");
        assert_eq!(keys(&test, topic::POSTS).await, ids, "{name}");
    }
}
