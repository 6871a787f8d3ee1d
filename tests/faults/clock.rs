//! The wall clock of the commands, which may be stepped.
//!
//! Debian's `faketime` is a library before libc that reads from a file by how much the wall clock
//! is off; what measures how long something takes (`CLOCK_MONOTONIC`) stays as it is.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};

use crate::members::Commands;

/// A clock for all commands of a run.
pub struct Clock {
    file: PathBuf,
    library: PathBuf,
    /// By how many seconds it is off.
    off: AtomicI64,
}

/// Where the library is, if it is.
pub fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok);
    let mut paths = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    paths.find(|path| path.exists())
}

impl Clock {
    /// A clock that is right so far; nothing where the library is missing.
    pub fn new(folder: &Path) -> Option<Self> {
        let (file, library) = (folder.join("clock"), library()?);
        let clock = Self { file, library, off: AtomicI64::new(0) };
        clock.step(0);
        Some(clock)
    }

    /// It goes on by so many seconds, or back. A reader sees the file before or after.
    pub fn step(&self, by: i64) {
        let seconds = self.off.fetch_add(by, Ordering::Relaxed) + by;
        let next = self.file.with_extension("next");
        std::fs::write(&next, format!("{seconds:+}s\n")).unwrap();
        std::fs::rename(&next, &self.file).unwrap();
    }

    /// The same commands by this clock.
    pub fn ruling(&self, commands: &Commands) -> Commands {
        commands
            .with("LD_PRELOAD", &self.library.to_string_lossy())
            .with("FAKETIME_TIMESTAMP_FILE", &self.file.to_string_lossy())
            .with("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .with("FAKETIME_CACHE_DURATION", "1")
            // A process that is killed leaves none of it behind.
            .with("FAKETIME_DISABLE_SHM", "1")
            .with("NO_FAKE_STAT", "1")
    }
}
