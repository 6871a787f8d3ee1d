//! The wall clock of the commands, which may be stepped: `clock.c`, compiled and named by
//! `tests/faults/run`, reads from a file by how much it is off.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};

use crate::members::Commands;

/// A clock for all commands of a run.
pub struct Clock {
    path: PathBuf,
    file: File,
    library: PathBuf,
    /// By how many seconds it is off.
    off: AtomicI64,
}

/// The library, if there is one.
pub fn library() -> Option<PathBuf> {
    std::env::var_os("BOWERBIRD_FAULTS_CLOCK").map(PathBuf::from)
}

impl Clock {
    /// A clock that is right so far; nothing where the library is missing.
    pub fn new(folder: &Path) -> Option<Self> {
        let library = library()?;
        let path = folder.join("clock");
        let clock =
            Self { file: File::create(&path).unwrap(), path, library, off: AtomicI64::new(0) };
        clock.step(0);
        Some(clock)
    }

    /// It goes on by so many seconds, or back.
    pub fn step(&self, by: i64) {
        let seconds = self.off.fetch_add(by, Ordering::Relaxed) + by;
        self.file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    /// The same commands by this clock.
    pub fn ruling(&self, commands: &Commands) -> Commands {
        commands
            .with("LD_PRELOAD", &self.library.to_string_lossy())
            .with("FAULTS_CLOCK", &self.path.to_string_lossy())
    }
}
