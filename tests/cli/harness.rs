//! The real binary in a folder of its own, and how it ended.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bowerbird_store::sqlite::SqliteStore;
use serde_json::Value;

/// Nothing here should take nearly so long.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The command in `folder`, with its data there and on free ports, whatever this shell has set.
pub fn bowerbird(folder: &Path, arguments: &[&str]) -> Command {
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

pub fn run(folder: &Path, arguments: &[&str]) -> Ran {
    Ran::of(bowerbird(folder, arguments).output().unwrap())
}

/// How it ended, in text.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not in\n{}", self.err);
        }
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// A command that goes on until it is told to stop.
pub struct Service {
    child: Child,
    err: Arc<Mutex<String>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Service {
    pub fn start(mut command: Command) -> Self {
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
    pub fn logs(&self, words: &str) {
        eventually(words, || self.err.lock().unwrap().contains(words).then_some(()));
    }

    /// The first line on stdout.
    pub fn first_line(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Waits for its end, within the deadline.
    pub fn end(mut self) -> Ran {
        let status = eventually("it ends", || self.child.try_wait().unwrap());
        let mut out = String::new();
        self.child.stdout.as_mut().unwrap().read_to_string(&mut out).unwrap();
        self.reader.take().unwrap().join().unwrap();
        let err = self.err.lock().unwrap().clone();
        Ran { code: status.code(), out, err }
    }
}

impl Drop for Service {
    #[expect(clippy::print_stdout, reason = "shown with a test that fails")]
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
        if thread::panicking() {
            println!("a service told until then:\n{}", self.err.lock().unwrap());
        }
    }
}

#[track_caller]
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(started.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Does something with the store of a folder.
pub fn on_store(folder: &Path, work: impl AsyncFnOnce(SqliteStore)) {
    let store = SqliteStore::open(folder.join("data/store.sqlite")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(work(store));
}
