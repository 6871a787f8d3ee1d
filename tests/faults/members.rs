//! The command itself, started, killed and asked to stop.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

/// How long finishing may take after a signal: the drain's deadline, and room for a machine that
/// is busy.
const DRAIN: Duration = Duration::from_secs(10);
const ROOM: Duration = Duration::from_secs(10);
/// Who is asked to stop before it listens for that ends like any other process.
const YOUTH: Duration = Duration::from_secs(2);

/// How the command is run.
#[derive(Clone, Debug)]
pub struct Commands {
    program: String,
    folder: PathBuf,
    settings: Vec<(String, String)>,
}

impl Commands {
    /// In a folder, with these settings (`BOWERBIRD__…`).
    pub fn new(folder: &Path, settings: &[(&str, String)]) -> Self {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let program = std::env::var("BOWERBIRD_FAULTS_COMMAND")
            .unwrap_or_else(|_| env!("CARGO_BIN_EXE_bowerbird").to_owned());
        Self { program, folder: folder.to_owned(), settings: settings.collect() }
    }

    /// The same with one more setting.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut more = self.clone();
        more.settings.retain(|(known, _)| known != name);
        more.settings.push((name.to_owned(), value.to_owned()));
        more
    }

    /// Starts it; what it says goes to files named after `name`.
    pub fn start(&self, name: &str, arguments: &[&str]) -> Member {
        let open = |ending: &str| {
            let path = self.folder.join(format!("{name}.{ending}"));
            (File::options().create(true).append(true).open(&path).unwrap(), path)
        };
        let ((stdout, out), (stderr, log)) = (open("out"), open("log"));
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BOWERBIRD")) {
            command.env_remove(name);
        }
        let child = command
            .current_dir(&self.folder)
            .env_remove("RUST_LOG")
            .envs(self.settings.iter().cloned())
            .arg("--data")
            .arg(self.folder.join("data"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Member { name: name.to_owned(), child, began: Instant::now(), out, log, peak: 0 }
    }
}

/// A process of ours.
#[derive(Debug)]
pub struct Member {
    pub name: String,
    child: Child,
    began: Instant,
    pub out: PathBuf,
    log: PathBuf,
    peak: u64,
}

impl Member {
    /// The most memory that it has had, in bytes (`VmHWM`).
    pub fn peak(&mut self) -> u64 {
        let status = self.child.id().map(|id| format!("/proc/{id}/status"));
        let status = status.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: Option<u64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        self.peak = self.peak.max(kib.unwrap_or(0) << 10);
        self.peak
    }

    /// Whether it has ended by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// As `kill -9` does.
    pub async fn kill(&mut self) {
        self.peak();
        self.child.kill().await.unwrap();
    }

    /// Asks it to stop, and tells how it did: it must, inside its deadline.
    pub async fn stop(&mut self) -> Result<(), String> {
        self.peak();
        let Some(id) = self.child.id() else { return Ok(()) };
        let asked = Command::new("kill").arg(id.to_string()).status().await;
        asked.unwrap();
        let from = Instant::now();
        let name = &self.name;
        let young = self.began.elapsed() < YOUTH;
        match timeout(DRAIN + ROOM, self.child.wait()).await {
            Ok(Ok(status)) if young || status.code().is_some() => Ok(()),
            Ok(status) => Err(format!("{name} was asked to stop and ended with {status:?}")),
            Err(_) => {
                self.child.kill().await.unwrap();
                Err(format!("{name} has not stopped within {:?}", from.elapsed()))
            }
        }
    }

    /// Waits for its end.
    pub async fn end(&mut self, limit: Duration) -> Option<ExitStatus> {
        timeout(limit, self.child.wait()).await.ok().map(Result::unwrap)
    }

    /// What it and its predecessors of this name wrote to stdout.
    pub fn answered(&self) -> String {
        std::fs::read_to_string(&self.out).unwrap_or_default()
    }

    fn told(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The lines in which it complains of itself.
    pub fn panics(&self) -> Vec<String> {
        self.told().lines().filter(|line| line.contains("panicked at")).map(str::to_owned).collect()
    }
}
