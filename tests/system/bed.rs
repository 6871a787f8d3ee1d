//! What the whole system is tried on: the command itself, on the embedded pair or on real services.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use bowerbird_store::couch::{CouchConfig, CouchStore};
use bowerbird_store::sqlite::SqliteStore;
use bowerbird_store::{AnyStore, Document, DocumentStore};
use bowerbird_testbed::service;
use serde_json::Value;
use tempfile::TempDir;

/// The command with a configuration of its own.
pub struct Bed {
    pub folder: TempDir,
    settings: Vec<(String, String)>,
}

impl Bed {
    /// On the embedded log and store.
    pub fn embedded() -> Self {
        let settings = [
            ("BOWERBIRD__ADMIN__LISTEN", "127.0.0.1:0"),
            ("BOWERBIRD__DASHBOARD__LISTEN", "127.0.0.1:0"),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { folder: tempfile::tempdir().unwrap(), settings: settings.into() }
    }

    /// On Kafka and a CouchDB. They are shared: only one test may use them.
    pub fn real() -> Self {
        let kafka = format!("kafka://{}", service("BOWERBIRD_TEST_KAFKA"));
        Self::embedded()
            .with("BOWERBIRD__LOG__URL", &kafka)
            .with("BOWERBIRD__LOG__PARTITIONS", "6")
            .with("BOWERBIRD__STORE__URL", &service("BOWERBIRD_TEST_COUCHDB"))
    }

    pub fn with(mut self, variable: &str, value: &str) -> Self {
        self.settings.push((variable.to_owned(), value.to_owned()));
        self
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bowerbird"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BOWERBIRD__")) {
            command.env_remove(name);
        }
        command
            .current_dir(self.path())
            .envs(self.settings.iter().cloned())
            .arg("--data")
            .arg(self.path().join("data"))
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs it to its end, which must be a good one, and reads its answer.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--output", "json"]).collect();
        let output = self.run(&arguments);
        assert!(output.status.success(), "{arguments:?}: {}", told(&output));
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", told(&output)))
    }

    /// Every document of a database, asked of the store itself.
    pub fn scan(&self, database: &str) -> Vec<Document> {
        self.ask(async |store| {
            let mut documents: Vec<Document> = Vec::new();
            loop {
                let after = documents.last().map(|document| document.id.clone());
                let page = store.scan(database, after.as_deref(), 2_000).await.unwrap();
                if page.is_empty() {
                    return documents;
                }
                documents.extend(page);
            }
        })
    }

    /// How many documents a database has, if it is there.
    pub fn count(&self, database: &str) -> u64 {
        self.ask(async |store| {
            store.database(database).await.unwrap().map_or(0, |database| database.documents)
        })
    }

    fn ask<T>(&self, question: impl AsyncFnOnce(AnyStore) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(question(self.store()))
    }

    fn store(&self) -> AnyStore {
        match self.settings.iter().find(|(name, _)| name == "BOWERBIRD__STORE__URL") {
            Some((_, url)) => {
                AnyStore::Couch(CouchStore::new(CouchConfig::new(url).unwrap()).unwrap())
            }
            None => {
                AnyStore::Sqlite(SqliteStore::open(self.path().join("data/store.sqlite")).unwrap())
            }
        }
    }

    /// Starts it in the background; its stderr goes to a file.
    pub fn start(&self, name: &str, arguments: &[&str]) -> Running {
        let log = self.path().join(format!("{name}.log"));
        let stderr = fs::File::create(&log).unwrap();
        let child = self.command(arguments).stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
        Running { child, log }
    }
}

/// What a command said.
pub fn told(output: &Output) -> String {
    format!(
        "{}\n--- stdout\n{}\n--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A command in the background; it is killed when this is dropped.
pub struct Running {
    child: Child,
    log: std::path::PathBuf,
}

impl Running {
    /// As `kill -9` does.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for a line of its stderr that holds `text`.
    pub fn says(&mut self, text: &str) -> String {
        within(text, || {
            let log = BufReader::new(fs::File::open(&self.log).unwrap());
            let line = log.lines().map_while(Result::ok).find(|line| line.contains(text));
            if line.is_none() {
                let ended = self.child.try_wait().unwrap();
                assert!(ended.is_none(), "it has ended without {text:?}: {}", self.said());
            }
            line
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks again and again until there is an answer, but not for ever.
pub fn within<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(120);
    while Instant::now() < deadline {
        if let Some(answer) = ask() {
            return answer;
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
    panic!("waited 120 s for {what}");
}
