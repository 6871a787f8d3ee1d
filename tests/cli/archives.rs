//! Archives as people have them: in folders, tars and zips, and not always whole.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use crate::harness::{Ran, Service, bowerbird, eventually, folder, run};

/// So many posts, a line each, from this id on.
fn posts(first: u64, count: u64) -> Vec<u8> {
    let line = |id| format!("{{\"id\":\"{id}\",\"text\":\"a few words\",\"author_id\":\"9\"}}\n");
    (first..first + count).map(line).collect::<String>().into_bytes()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn tar(path: &Path, members: &[(&str, Vec<u8>)]) {
    let mut builder = tar::Builder::new(fs::File::create(path).unwrap());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    builder.finish().unwrap();
}

#[test]
fn a_grab_with_a_damaged_member_is_imported_and_says_what_is_missing() {
    let folder = folder();
    let folder = folder.path();
    let mut cut = bzip2(&posts(1_000, 20_000));
    cut.truncate(cut.len() / 2);
    fs::create_dir_all(folder.join("grabs/2020")).unwrap();
    let members = [
        ("01/00.json.bz2", bzip2(&posts(1, 10))),
        ("01/01.json.bz2", cut),
        ("01/02.json.bz2", bzip2(&posts(11, 10))),
        ("about.txt", b"no posts\n".to_vec()),
    ];
    tar(&folder.join("grabs/2020/01.tar"), &members);
    fs::write(folder.join("grabs/2020/note.md"), "# none\n").unwrap();

    // The shell has not seen the pattern.
    let ingest = ["ingest", "archive", "grabs/**/*.tar"];
    let ran = run(folder, &ingest).ends(1).says(&["grabs/2020/01.tar/01/01.json.bz2"]);
    for words in [
        "damaged: grabs/2020/01.tar/01/01.json.bz2: the file is damaged or cut off after line",
        "passed over, no JSON object in it: grabs/2020/01.tar/about.txt",
    ] {
        assert!(ran.out.contains(words), "{ran:#?}");
    }
    let told = run(folder, &[&ingest[..], &["--dry-run", "--output", "json"]].concat());
    let told = told.ends(1).json();
    let file = &told["files"][0];
    assert_eq!(
        (&file["file"], &file["outcome"]),
        (&"grabs/2020/01.tar".into(), &"truncated".into())
    );
    assert_eq!(file["problems"][0]["member"], "grabs/2020/01.tar/01/01.json.bz2");
    assert_eq!((&file["members"], &file["damaged"]), (&3.into(), &1.into()));
    assert!(file["posts"].as_u64().unwrap() > 1_000, "{told}");
    assert_eq!(file["dead_letters"]["truncated"], 1);

    // A folder has other files too; a tar comes through a pipe as well.
    let whole = run(folder, &["ingest", "archive", "grabs", "--output", "csv"]).ends(1).out;
    assert!(whole.contains("\ngrabs/2020/note.md,passed_over,"), "{whole}");
    let holes = run(folder, &["gaps", "--output", "csv"]).ends(0).out;
    let cut = "\narchive:grabs/2020/01.tar,-,-,-,truncated,0,";
    assert!(holes.contains(cut) && holes.lines().count() == 2, "{holes}");
    let mut piped = bowerbird(folder, &["ingest", "archive", "-", "--output", "json"]);
    let input = fs::File::open(folder.join("grabs/2020/01.tar")).unwrap();
    let piped = Ran::of(piped.stdin(Stdio::from(input)).output().unwrap()).ends(1).json();
    assert_eq!(piped["files"][0]["problems"][0]["member"], "stdin/01/01.json.bz2");
    assert_eq!(piped["total"], told["total"]);
}

#[test]
fn a_file_of_another_kind_is_told_of() {
    let folder = folder();
    let folder = folder.path();
    fs::write(folder.join("mixed.jsonl"), [posts(1, 2), b"{\"a\":1}\n".to_vec()].concat()).unwrap();
    fs::write(folder.join("users.jsonl"), "{\"id\":\"7\",\"username\":\"a\"}\n").unwrap();
    let result = "{\"id\":\"1\",\"action\":\"delete\",\"reason\":\"deleted\"}\n";
    fs::write(folder.join("tweets_result.jsonl"), result).unwrap();

    let files = ["mixed.jsonl", "users.jsonl", "tweets_result.jsonl"];
    let ran = run(folder, &[&["ingest", "archive"], &files[..]].concat()).ends(0);
    for words in [
        "\nusers.jsonl: nothing in it is a post or a notice\n",
        "\ntweets_result.jsonl: it has results of a batch compliance job, which `bowerbird ingest \
         compliance` takes\n",
        "\n3 dead letters: `bowerbird dead-letters list --each` tells why\n",
    ] {
        assert!(ran.out.contains(words), "{ran:#?}");
    }
    assert!(!ran.out.contains("\nmixed.jsonl: "), "{ran:#?}");
    let ran = run(folder, &["ingest", "compliance", "tweets_result.jsonl"]).ends(0);
    assert!(
        !ran.out.contains("compliance` takes") && !ran.out.contains("dead letters:"),
        "{ran:#?}"
    );
}

#[test]
fn a_killed_import_of_a_tar_goes_on_inside_it() {
    let folder = folder();
    let folder = folder.path();
    let names: Vec<String> = (0..6).map(|number| format!("{number:02}.json.bz2")).collect();
    let members: Vec<(&str, Vec<u8>)> = (0..6)
        .zip(&names)
        .map(|(number, name)| (name.as_str(), bzip2(&posts(1 + number * 10_000, 10_000))))
        .collect();
    tar(&folder.join("grab.tar"), &members);

    let importing = Service::start(bowerbird(folder, &["ingest", "archive", "grab.tar"]));
    let imports = folder.join("data/imports");
    eventually("a checkpoint", || fs::read_dir(&imports).ok()?.next()?.ok());
    importing.signal("KILL");
    importing.end();

    let resume = ["ingest", "archive", "grab.tar", "--resume", "--output", "json"];
    run(folder, &resume).ends(0);
    let again = run(folder, &resume).ends(0).json();
    assert_eq!(again["files"][0]["outcome"], "skipped");
    let sunk = run(folder, &["sink", "--once", "--output", "json"]).ends(0).json();
    assert_eq!(sunk["sink-posts"]["written"], 60_000, "{sunk}");
    run(folder, &["verify"]).ends(0);
}
