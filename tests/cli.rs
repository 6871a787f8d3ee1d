//! The command as people meet it: what it says, where, and how it exits. The real binary, on the
//! embedded parts.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Nothing here should take nearly so long.
const DEADLINE: Duration = Duration::from_secs(60);

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
    fn json(&self) -> Value {
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
    fs::write(folder.path().join("bowerbird.toml"), "[log]\n\nurls = \"x\"\n").unwrap();
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
    let written = fs::read_to_string(folder.join("bowerbird.toml")).unwrap();
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
        let mut all = settings.as_array().unwrap().iter();
        all.find(|setting| setting["key"] == key).unwrap().clone()
    };
    assert_eq!(of("store.url")["value"], "http://localhost:5984");
    assert_eq!(of("store.url")["origin"], "BOWERBIRD__STORE__URL");
    assert_eq!(of("x.bearer_token")["value"], "(redacted)");
    assert_eq!(of("sink.writers")["origin"], Value::Null);
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

#[test]
fn a_port_in_use_is_said_with_the_key_to_change() {
    let (folder, taken) = (folder(), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = taken.local_addr().unwrap().to_string();
    let mut sink = bowerbird(folder.path(), &["sink", "--once"]);
    let ran = Ran::of(sink.env("BOWERBIRD__ADMIN__LISTEN", &address).output().unwrap());
    ran.ends(1).says(&[&address, "in use", "admin.listen"]);
    let ran = run(folder.path(), &["dashboard", "--listen", &address]).ends(1);
    ran.says(&[&address, "in use", "dashboard.listen"]);
    run(folder.path(), &["sim", "x", "--listen", &address]).ends(1).says(&[&address, "--listen"]);
}

#[test]
fn the_dashboard_refuses_to_listen_where_others_reach_it() {
    let folder = folder();
    let ran = run(folder.path(), &["dashboard", "--listen", "0.0.0.0:0"]).ends(2);
    ran.says(&["loopback only", "SSH tunnel"]);
}

#[test]
fn what_needs_credentials_or_parts_says_what_to_do_without() {
    let folder = folder();
    let folder = folder.path();
    run(folder, &["ingest", "x"]).ends(2).says(&["BOWERBIRD__X__BEARER_TOKEN"]);
    run(folder, &["ingest", "aurin", "--once"]).ends(2).says(&["[[aurin.datasets]]"]);
    run(folder, &["ingest", "archive", "none.jsonl"]).ends(1).says(&["none.jsonl can't be read"]);
    run(folder, &["mapreduce", "query", "posts/places"]).ends(2).says(&["DATABASE/DESIGN/VIEW"]);
    let mut sink = bowerbird(folder, &["sink", "--once"]);
    let ran = sink.env("BOWERBIRD__STORE__URL", "http://ada:hunter2@127.0.0.1:1").output().unwrap();
    let ran = Ran::of(ran).ends(1).says(&["http://127.0.0.1:1 can't be reached"]);
    assert!(!ran.err.contains("hunter2"), "{}", ran.err);
}

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

    let plan = run(folder, &["ingest", "archive", "--dry-run", "posts.jsonl"]).ends(0);
    assert!(plan.out.contains("posts.jsonl") && !folder.join("data").exists(), "{plan:?}");
    let ran = run(folder, &["ingest", "archive", "posts.jsonl", "--output", "json"]).ends(0);
    let total = ran.json()["total"].clone();
    assert_eq!((total["lines"].as_u64(), total["posts"].as_u64()), (Some(4), Some(3)), "{total}");
    assert_eq!(total["dead_letters"].as_object().unwrap().len(), 1, "{total}");

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
    assert!(first.json()["documents"]["features"].as_u64().unwrap() > 0, "{first:?}");
    let second = run(folder, &["up", "--for", "3s", "--output", "json"]).ends(0);
    assert!(posts(&second) > posts(&first), "{first:?} {second:?}");

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

/// A command that goes on until it is told to stop.
struct Service {
    child: Child,
    err: Arc<Mutex<String>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Service {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let err = Arc::new(Mutex::new(String::new()));
        let told = Arc::clone(&err);
        let reader = thread::spawn(move || {
            for line in lines {
                *told.lock().unwrap() += &(line.unwrap() + "\n");
            }
        });
        Self { child, err, reader: Some(reader) }
    }

    /// Waits until its log holds these words.
    fn logs(&self, words: &str) {
        eventually(words, || self.err.lock().unwrap().contains(words).then_some(()));
    }

    /// The first line on stdout.
    fn first_line(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Waits for its end, within the deadline.
    fn end(mut self) -> Ran {
        let status = eventually("it ends", || self.child.try_wait().unwrap());
        let mut out = String::new();
        self.child.stdout.as_mut().unwrap().read_to_string(&mut out).unwrap();
        self.reader.take().unwrap().join().unwrap();
        let err = self.err.lock().unwrap().clone();
        Ran { code: status.code(), out, err }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[track_caller]
fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(started.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn posts_in_log(folder: &Path) -> u64 {
    let lag = run(folder, &["lag", "--output", "json"]).json();
    let topics = lag["topics"].as_array().unwrap();
    let posts = topics.iter().find(|topic| topic["topic"] == "posts");
    posts.map_or(0, |posts| posts["records"].as_u64().unwrap())
}

#[test]
fn a_simulated_stream_is_harvested_until_a_signal() {
    let folder = folder();
    let folder = folder.path();
    let mut sim = Service::start(bowerbird(folder, &["sim", "x", "--listen", "127.0.0.1:0"]));
    let mut ingest = bowerbird(folder, &["ingest", "x"]);
    ingest
        .env("BOWERBIRD__X__BASE_URL", sim.first_line())
        .env("BOWERBIRD__X__BEARER_TOKEN", "hunter2");
    let ingest = Service::start(ingest);
    eventually("posts are in the log", || (posts_in_log(folder) > 20).then_some(()));
    ingest.signal("TERM");
    let ran = ingest.end().ends(0);
    assert!(ran.out.contains("ingest-x: ") && !ran.err.contains("hunter2"), "{ran:?}");
    sim.signal("INT");
    sim.end().ends(0);
}

#[test]
fn one_up_at_a_time_works_in_a_folder() {
    let folder = folder();
    let folder = folder.path();
    let up = Service::start(bowerbird(folder, &["up"]));
    eventually("it has begun", || folder.join("data/store.sqlite").exists().then_some(()));
    run(folder, &["up", "--for", "1s"]).ends(1).says(&["another `bowerbird up`", "--data DIR"]);
    eventually("posts are in the log", || (posts_in_log(folder) > 0).then_some(()));
    up.signal("INT");
    let ran = up.end().ends(0);
    assert!(ran.out.contains("documents now: "), "{ran:?}");
}

#[test]
fn a_second_signal_leaves_at_once() {
    let folder = folder();
    let folder = folder.path();
    fs::write(folder.join("posts.jsonl"), "{\"id\":\"1\",\"text\":\"a\"}\n").unwrap();
    run(folder, &["ingest", "archive", "posts.jsonl"]).ends(0);
    // What waits can't be written, so that the first signal begins a drain that lasts.
    let mut sink = bowerbird(folder, &["sink"]);
    sink.env("BOWERBIRD__STORE__URL", "http://127.0.0.1:1");
    sink.env("BOWERBIRD__ADMIN__LISTEN", "127.0.0.1:0");
    let sink = Service::start(sink);
    sink.logs("paused");
    sink.signal("TERM");
    sink.logs("a second signal leaves at once");
    sink.signal("TERM");
    sink.end().ends(130);
}
