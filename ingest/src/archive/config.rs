//! How archives are imported.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;
use std::time::Duration;

use jiff::Timestamp;

use crate::post::About;

/// What to import and how.
#[derive(Clone, Debug)]
pub struct ArchiveConfig {
    /// What to import.
    pub inputs: Vec<Input>,
    /// How many files, or members of one, are read at once. Each has a thread that reads and
    /// decompresses and one that parses, and some 7 MiB of memory (bzip2 needs most).
    pub workers: NonZeroUsize,
    /// The longest line that is read, in bytes; a longer one becomes a dead letter.
    pub max_line_bytes: usize,
    /// Records are handed to the log in batches of about so many bytes.
    pub batch_bytes: usize,
    /// The most bytes handed to the log and not yet acknowledged.
    pub max_in_flight_bytes: usize,
    /// The largest window that a .zst may need, as a power of two in bytes. Files made with
    /// `zstd --long=31` need 31, which is 2 GiB of memory for each of the workers.
    pub zstd_window_log_max: u32,
    /// Where checkpoints are kept, so that an interrupted import can go on; without it none are.
    pub checkpoint_dir: Option<PathBuf>,
    /// Whether checkpoints are written; without it they are only read, as for a dry run.
    pub keep_checkpoints: bool,
    /// Go on from the checkpoints, and pass over files that were imported completely.
    pub resume: bool,
    /// Take the lines of batch compliance results for notices about these; without it they are
    /// refused. [`About::Either`] lets the name of each file say what they are about.
    pub results: Option<About>,
    /// When notices without a time of their own were given; without it, when each file was last
    /// changed.
    pub as_of: Option<Timestamp>,
    /// How long the log may take, after the shutdown began, to acknowledge what it has been given.
    pub drain_timeout: Duration,
}

/// More workers than this are not needed to keep a log busy, and would take memory.
const MAX_USUAL_WORKERS: usize = 4;

impl ArchiveConfig {
    /// Sound values for `inputs`.
    pub fn new(inputs: Vec<Input>) -> Self {
        Self {
            inputs,
            workers: usual_workers(),
            max_line_bytes: 16 << 20,
            batch_bytes: 512 << 10,
            max_in_flight_bytes: 8 << 20,
            zstd_window_log_max: 27,
            checkpoint_dir: None,
            keep_checkpoints: true,
            resume: false,
            results: None,
            as_of: None,
            drain_timeout: Duration::from_secs(5),
        }
    }
}

/// One worker for each processor, at most four.
pub fn usual_workers() -> NonZeroUsize {
    let processors = available_parallelism().unwrap_or(NonZeroUsize::MIN);
    NonZeroUsize::new(MAX_USUAL_WORKERS).map_or(processors, |most| most.min(processors))
}

/// Something to import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A file, a folder of files, a pipe with a path, or a pattern that files match.
    Path(PathBuf),
    /// Standard input.
    Stdin,
}

impl Input {
    /// Reads `-` as standard input, all else as a path.
    pub fn from_argument(argument: &Path) -> Self {
        if argument.as_os_str() == "-" { Self::Stdin } else { Self::Path(argument.to_owned()) }
    }
}
