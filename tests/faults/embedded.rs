//! The same on the embedded pair: processes that are killed, power that fails, disks that lie or
//! are full.
//!
//! What is promised, and judged here: both files are written with `synchronous=FULL`, so a power
//! cut takes nothing that was acknowledged; it leaves at most a torn tail, which must not be
//! noticed. A disk that loses what it has said to be synced breaks that promise. Then the files
//! still open and are whole; a log that lost its end is mended by importing again; documents that
//! are lost while the log says that they were written are told of by `verify`.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bowerbird_store::AnyStore;
use bowerbird_store::sqlite::SqliteStore;
use bowerbird_stream::AnyLog;
use bowerbird_stream::sqlite::SqliteLog;
use bowerbird_testbed::random::Random;
use rusqlite::Connection;
use tokio::time::{Instant, sleep};

use crate::clock::Clock;
use crate::corpus::{Archive, Corpus};
use crate::history::{Report, verify};
use crate::members::{Commands, Member};
use crate::oracle::{Acked, Oracle, Wrongs};

const PATIENCE: Duration = Duration::from_secs(60);
const FILES: [&str; 2] = ["log.sqlite", "store.sqlite"];
/// A disk that is soon full, in bytes.
const SMALL_DISK: u64 = 48 << 20;

/// What happens in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `up` and imports are killed or stopped at random moments, and power fails.
    Killed,
    /// The disk is full for a while.
    Full,
    /// The wall clock goes on and back by an hour.
    Clock,
    /// The log's disk loses what it has said to be synced.
    LogLost,
    /// The store's disk does.
    StoreLost,
}

impl Kind {
    pub fn of(seed: u64) -> Self {
        match seed % 6 {
            1 => Self::Full,
            4 => Self::Clock,
            3 => Self::LogLost,
            5 => Self::StoreLost,
            _ => Self::Killed,
        }
    }
}

struct History {
    folder: PathBuf,
    commands: Commands,
    random: Random,
    wrongs: Wrongs,
    /// What the disks have lost.
    lost: Vec<String>,
    /// The most memory that a process had, in bytes.
    peak: u64,
}

/// Carries the history of a seed out in `folder`.
pub async fn run(seed: u64, folder: &Path) -> Report {
    let mut random = Random::new(seed);
    let archives = Corpus::new(seed, random.branch()).without_refusals().archives(folder);
    let settings = [
        ("BOWERBIRD__ADMIN__LISTEN", "127.0.0.1:0".to_owned()),
        ("BOWERBIRD__DASHBOARD__LISTEN", "127.0.0.1:0".to_owned()),
        ("BOWERBIRD__SIM__RATE", "300".to_owned()),
        ("BOWERBIRD__LOG__PARTITIONS", "6".to_owned()),
        ("BOWERBIRD__SINK__COMMIT_INTERVAL_MS", "100".to_owned()),
    ];
    let commands = Commands::new(folder, &settings);
    let mut history = History {
        folder: folder.to_owned(),
        commands,
        random,
        wrongs: Wrongs::new(),
        lost: Vec::new(),
        peak: 0,
    };
    let from = Instant::now();
    match Kind::of(seed) {
        Kind::Killed => history.killed(&archives).await,
        Kind::Full => history.full(&archives).await,
        Kind::Clock => history.stepped(&archives).await,
        Kind::LogLost => history.lost(&archives, "log.sqlite-wal").await,
        Kind::StoreLost => history.lost(&archives, "store.sqlite-wal").await,
    }
    let work = from.elapsed();
    let report = history.judged(Kind::of(seed), &archives).await;
    Report { phases: [Duration::ZERO, work], ..report }
}

impl History {
    /// Everything that is under way is ended in one way or another, several times.
    async fn killed(&mut self, archives: &[Archive]) {
        for archive in archives {
            let mut up = self.commands.start("up", &["up"]);
            self.pass(200, 2_500).await;
            let mut importing = self.importing(archive, true);
            self.pass(20, 1_500).await;
            if self.random.percent(50) {
                importing.kill().await;
            }
            self.end(&mut up).await;
            importing.kill().await;
            self.cut_power();
            self.whole().await;
            self.import(archive, true).await;
        }
    }

    /// The disk is filled up while everything runs, and emptied again.
    async fn full(&mut self, archives: &[Archive]) {
        let data = self.folder.join("data");
        std::fs::create_dir_all(&data).unwrap();
        if !mount(&data) {
            self.lost.push("no small disk, only root may mount one: killed instead".to_owned());
            return self.killed(archives).await;
        }
        let mut up = self.commands.start("up", &["up"]);
        self.pass(1_500, 2_500).await;
        let ballast = data.join("ballast");
        fill(&ballast);
        let mut importing = self.importing(&archives[0], true);
        self.pass(2_500, 4_500).await;
        for (name, member) in [("up", &mut up), ("the import", &mut importing)] {
            if let Some(status) = member.ended() {
                let told = format!("{name} has ended on a full disk: {status}");
                self.wrongs.push(told);
            }
        }
        std::fs::remove_file(&ballast).unwrap();
        if importing.end(PATIENCE).await.is_none_or(|status| !status.success()) {
            self.wrongs.push("the import has not gone on when there was room again".to_owned());
        }
        self.end(&mut up).await;
        self.whole().await;
        for archive in archives {
            self.import(archive, true).await;
        }
    }

    /// The clock is stepped again and again while everything runs, and is killed now and then.
    async fn stepped(&mut self, archives: &[Archive]) {
        let Some(clock) = Clock::new(&self.folder) else {
            self.lost.push("no clock that can be stepped: killed instead".to_owned());
            return self.killed(archives).await;
        };
        let right = self.commands.clone();
        self.commands = clock.ruling(&right);
        for (archive, by) in archives.iter().zip([3_600, -7_200, 86_400, -82_800]) {
            let mut up = self.commands.start("up", &["up"]);
            self.pass(1_500, 2_500).await;
            clock.step(by);
            self.pass(1_100, 1_500).await;
            // What had begun before must be done after.
            self.import(archive, true).await;
            clock.step(-by / 2);
            self.pass(1_100, 1_500).await;
            self.end(&mut up).await;
        }
        self.whole().await;
        self.commands = right;
    }

    /// A file loses some of its end, though it was synced; everything is imported again.
    async fn lost(&mut self, archives: &[Archive], file: &str) {
        for archive in &archives[..2] {
            let mut sink = self.commands.start("sink", &["sink"]);
            let mut importing = self.importing(archive, false);
            self.pass(300, 2_500).await;
            importing.kill().await;
            sink.kill().await;
            let path = self.folder.join("data").join(file);
            if let Ok(data) = std::fs::metadata(&path) {
                let kept = self.random.below(data.len() + 1);
                File::options().write(true).open(&path).unwrap().set_len(kept).unwrap();
                self.lost.push(format!("{} of {} bytes of {file}", data.len() - kept, data.len()));
            }
            self.intact();
        }
        for archive in archives {
            self.import(archive, false).await;
        }
    }

    async fn judged(mut self, kind: Kind, archives: &[Archive]) -> Report {
        let mut sink = self.commands.start("once", &["sink", "--once"]);
        let from = Instant::now();
        match sink.end(PATIENCE).await {
            Some(status) if status.success() => {}
            ended => self.wrongs.push(format!("sink --once ended with {ended:?}")),
        }
        let mut report = Report { recovery: from.elapsed(), peak: self.peak, ..Report::default() };
        self.wrongs.extend(sink.panics());
        self.intact();
        let oracle = self.oracle().await;
        let mut oracle = match kind {
            Kind::LogLost => oracle.without_places(),
            Kind::Clock => oracle.without_clocks(),
            _ => oracle,
        };
        let (found, wrongs) = oracle.judge(archives, &Acked::default()).await;
        drop(oracle);
        let differences = verify(&self.commands).await;
        report.found = found;
        report.wrongs = self.wrongs;
        report.struck = format!("{:?}", self.lost);
        // An import that is done again is another fact: what told of the first is lost with it.
        let lost = |wrong: &String| kind == Kind::LogLost && wrong.starts_with("journal/");
        let (told, untold): (Wrongs, Wrongs) = wrongs.into_iter().partition(lost);
        let must_tell = !told.is_empty() || (kind == Kind::StoreLost && !untold.is_empty());
        if must_tell == differences.is_empty() {
            report.wrongs.push("verify does not agree with the oracle".to_owned());
            report.wrongs.extend(told.into_iter().chain(differences));
        }
        if kind != Kind::StoreLost {
            report.wrongs.extend(untold);
        }
        let data = self.folder.join("data");
        // Only what was mounted can be unmounted.
        let _ = Command::new("umount").arg(&data).output();
        report
    }

    async fn pass(&mut self, from: u64, to: u64) {
        sleep(Duration::from_millis(self.random.between(from, to))).await;
    }

    fn importing(&self, archive: &Archive, resume: bool) -> Member {
        let path = archive.path.to_string_lossy();
        let name = format!("ingest-{}", archive.path.file_stem().unwrap().display());
        match resume {
            true => self.commands.start(&name, &["ingest", "archive", "--resume", &path]),
            false => self.commands.start(&name, &["ingest", "archive", &path]),
        }
    }

    async fn import(&mut self, archive: &Archive, resume: bool) {
        let ended = self.importing(archive, resume).end(PATIENCE).await;
        if ended.is_none_or(|status| !status.success()) {
            self.wrongs
                .push(format!("the import of {} ended with {ended:?}", archive.path.display()));
        }
    }

    async fn end(&mut self, member: &mut Member) {
        if let Some(status) = member.ended() {
            self.wrongs.push(format!("{} has ended by itself: {status}", member.name));
        }
        match self.random.percent(75) {
            true => member.kill().await,
            false => self.wrongs.extend(member.stop().await.err()),
        }
        self.peak = self.peak.max(member.peak());
        self.wrongs.extend(member.panics());
    }

    /// What a power cut leaves of a write that was under way: some of it, or something else.
    fn cut_power(&mut self) {
        for name in FILES {
            let path = self.folder.join("data").join(format!("{name}-wal"));
            let Ok(wal) = std::fs::read(&path) else { continue };
            let torn = usize::try_from(self.random.below(20_000)).unwrap().min(wal.len());
            let mut tail = wal[..torn].to_vec();
            let from = usize::try_from(self.random.below(1 + torn as u64)).unwrap();
            tail[from..].fill(0);
            File::options().append(true).open(&path).unwrap().write_all(&tail).unwrap();
        }
    }

    /// Both files must be whole, and the committed offsets must be kept by the documents.
    async fn whole(&mut self) {
        self.intact();
        match self.oracle().await.sample().await {
            Some(wrongs) => self.wrongs.extend(wrongs),
            None => self.wrongs.push("log or store can't be read".to_owned()),
        }
    }

    fn intact(&mut self) {
        for name in FILES {
            let path = self.folder.join("data").join(name);
            if !path.exists() {
                continue;
            }
            let checked = Connection::open(&path).and_then(|connection| {
                connection.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0))
            });
            if checked.as_deref() != Ok("ok") {
                self.wrongs.push(format!("{name} is damaged: {checked:?}"));
            }
        }
    }

    async fn oracle(&self) -> Oracle {
        let data = self.folder.join("data");
        let log = SqliteLog::open(data.join(FILES[0])).await.unwrap();
        let store = SqliteStore::open(data.join(FILES[1])).unwrap();
        Oracle::new(AnyLog::Sqlite(log), AnyStore::Sqlite(store))
    }
}

/// Whether a small disk could be had in this folder: only root may mount one.
fn mount(folder: &Path) -> bool {
    let size = format!("size={SMALL_DISK}");
    let mounting =
        Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(folder).output();
    mounting.is_ok_and(|mounted| mounted.status.success())
}

/// Takes all room that is left on a disk.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    let mut piece = vec![0_u8; 1 << 20];
    while !piece.is_empty() {
        if file.write_all(&piece).is_err() {
            piece.truncate(piece.len() / 4);
        }
    }
}
