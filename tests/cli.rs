//! The command as people meet it: what it says, where, and how it exits. The real binary, on the
//! embedded parts.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The command in `folder`, with its data there and on free ports, whatever this shell has set.
fn bowerbird(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bowerbird"));
    for (name, _) in std::env::vars() {
        if name.starts_with("BOWERBIRD__") {
            command.env_remove(name);
        }
    }
    command
        .current_dir(folder)
        .env_remove("RUST_LOG")
        .env("BOWERBIRD__DASHBOARD__LISTEN", "127.0.0.1:0")
        .env("BOWERBIRD__SIM__RATE", "50")
        .arg("--data")
        .arg(folder.join("data"))
        .args(arguments)
        .stdin(Stdio::null());
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Ran {
    Ran::of(bowerbird(folder, arguments).output().unwrap())
}

/// How it ended, in text.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    #[track_caller]
    fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    #[track_caller]
    fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not in\n{}", self.err);
        }
        self
    }

    #[track_caller]
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn wrong_use_is_exit_code_2_and_names_what_is_meant() {
    let folder = folder();
    let folder = folder.path();
    let ran = run(folder, &["synk"]).ends(2).says(&["synk", "sink"]);
    assert_eq!(ran.out, "");
    run(folder, &["up", "--for", "soon"]).ends(2).says(&["--for", "30s"]);
    run(folder, &["up", "--for", "0s"]).ends(2).says(&["longer than zero"]);
    run(folder, &[]).ends(2).says(&["Usage"]);
    run(folder, &["config", "check", "--output", "yaml"]).ends(2).says(&["text", "json", "csv"]);
    run(folder, &["--help"]).ends(0);
    assert!(run(folder, &["--version"]).ends(0).out.starts_with("bowerbird "));
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
    let folder = folder();
    std::fs::write(folder.path().join("bowerbird.toml"), "[log]\n\nurls = \"x\"\n").unwrap();
    let ran = run(folder.path(), &["config", "check"]).ends(2);
    let ran = ran.says(&["bowerbird.toml:3: there is no key log.urls; did you mean url?"]);
    assert_eq!(ran.out, "");
    let missing = run(folder.path(), &["config", "check", "--config", "none.toml"]).ends(2);
    missing.says(&["the configuration none.toml can't be read"]);
}

#[test]
fn an_unknown_variable_is_named_too() {
    let folder = folder();
    let mut command = bowerbird(folder.path(), &["config", "check"]);
    let ran = Ran::of(command.env("BOWERBIRD__SINK__BATCH_DOCUMENT", "9").output().unwrap());
    ran.ends(2).says(&["BOWERBIRD__SINK__BATCH_DOCUMENT", "did you mean batch_documents?"]);
}

#[test]
fn what_init_writes_passes_the_check_and_is_not_overwritten() {
    let folder = folder();
    let folder = folder.path();
    assert_eq!(run(folder, &["init"]).ends(0).out, "bowerbird.toml\n");
    let written = std::fs::read_to_string(folder.join("bowerbird.toml")).unwrap();
    assert_eq!(run(folder, &["init", "--dry-run"]).ends(0).out, written);
    let ran = run(folder, &["config", "check"]).ends(0);
    assert!(ran.out.contains("# configuration: bowerbird.toml"), "{}", ran.out);

    run(folder, &["init"]).ends(2).says(&["bowerbird.toml exists", "--yes"]);
    run(folder, &["init", "--yes"]).ends(0);
    run(folder, &["init", "--config", "other.toml"]).ends(0);
    run(folder, &["config", "check", "--config", "other.toml"]).ends(0);
}

#[test]
fn the_check_shows_origins_and_no_secret() {
    let folder = folder();
    let mut command = bowerbird(folder.path(), &["config", "check", "--output", "json"]);
    command
        .env("BOWERBIRD__STORE__URL", "http://ada:hunter2@localhost:5984")
        .env("BOWERBIRD__X__BEARER_TOKEN", "hunter2");
    let ran = Ran::of(command.output().unwrap()).ends(0);
    assert!(!ran.out.contains("hunter2"), "{}", ran.out);
    let settings = ran.json();
    let of = |key: &str| {
        let all = settings.as_array().unwrap().iter();
        all.filter(|setting| setting["key"] == key).next_back().unwrap().clone()
    };
    assert_eq!(of("store.url")["value"], "http://localhost:5984");
    assert_eq!(of("store.url")["origin"], "BOWERBIRD__STORE__URL");
    assert_eq!(of("x.bearer_token")["value"], "(redacted)");
    assert_eq!(of("sink.writers")["origin"], serde_json::Value::Null);
}

#[test]
fn the_committed_reference_is_current() {
    let folder = folder();
    let made = run(folder.path(), &["config", "reference"]).ends(0).out;
    let committed = include_str!("../docs/CONFIGURATION.md");
    assert!(
        made == committed,
        "docs/CONFIGURATION.md is not current: \
         run `cargo run -- config reference > docs/CONFIGURATION.md`"
    );
}
