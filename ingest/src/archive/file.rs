//! One file of an import: what identifies it, and how its import ended.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bowerbird_stream::journal;
use bowerbird_stream::log::Outgoing;
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use xxhash_rust::xxh3::xxh3_128;

use super::checkpoint::Store;
use super::config::ArchiveConfig;
use super::range::{Counter, Range};
use super::summary::{BEGUN, FAILED, FileSummary, Findings, IMPORTED, Outcome};
use super::tracker::Tracker;

/// RFC 3986 2.3: what stands for itself in a URI, and what separates the parts of a path.
const RESERVED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// How much of a file its identity covers.
const HEAD_BYTES: u64 = 64 << 10;

/// What identifies a file, wherever it lies and whatever it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its size in bytes, compressed as it lies there.
    pub size: u64,
    /// XXH3-128 of its first 64 KiB, in hexadecimal digits.
    pub head: String,
    /// When it was last written, if the system knows.
    pub written: Option<Timestamp>,
}

/// A file that is imported.
#[derive(Debug)]
pub struct File {
    /// Its place among the files of this import.
    pub number: u64,
    /// Its name; see [`super::name`].
    pub name: String,
    /// `ce_source` of its events.
    pub source: String,
    /// When it was last written, if that is known.
    pub written: Option<Timestamp>,
    /// Lines are passed on as they come.
    pub live: bool,
    /// What identifies it; nothing for pipes, which can't be read twice.
    pub identity: Option<Identity>,
    /// Counts what is read of it.
    pub counter: Arc<Counter>,
}

impl File {
    /// A file of this name.
    pub fn new(
        number: u64,
        name: String,
        identity: Option<Identity>,
        counter: Arc<Counter>,
    ) -> Self {
        Self {
            number,
            source: format!("archive:{}", utf8_percent_encode(&name, RESERVED)),
            name,
            written: identity.as_ref().and_then(|identity| identity.written),
            live: identity.is_none(),
            identity,
            counter,
        }
    }

    /// The fact that something of it is about to come into the log: what is killed after that has
    /// left a hole.
    pub fn begun(&self, started: Timestamp) -> Outgoing {
        let identity = self.identity.as_ref();
        let fact = serde_json::json!({
            "file": self.name,
            "size": identity.map(|identity| identity.size),
            "head": identity.map(|identity| &identity.head),
            "started": started,
        });
        journal::fact(BEGUN, &self.source, Timestamp::now(), &fact)
    }

    /// Its size as it lies there; 0 when it has none.
    pub fn size(&self) -> u64 {
        self.identity.as_ref().map_or(0, |identity| identity.size)
    }
}

/// Opens a file, and identifies it.
///
/// # Errors
/// What the system says.
pub fn open(path: &Path) -> io::Result<(Range, Identity)> {
    let file = std::fs::File::open(path)?;
    let metadata = file.metadata()?;
    let written = metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
    let range = Range::new(file, metadata.len());
    let head = format!("{:032x}", xxh3_128(&range.head(HEAD_BYTES)?));
    Ok((range, Identity { size: metadata.len(), head, written }))
}

/// Where the checkpoint of a file is kept, if it is.
pub fn store(config: &ArchiveConfig, identity: &Identity) -> Option<Store> {
    let folder: &PathBuf = config.checkpoint_dir.as_ref()?;
    Some(Store::new(folder, identity))
}

/// A file whose import is under way.
#[derive(Debug)]
pub struct Open {
    /// The file.
    pub file: Arc<File>,
    /// How far it is.
    pub tracker: Tracker,
    /// Where that is kept.
    pub store: Option<Store>,
    /// When it was begun.
    pub begun: Instant,
    /// When its checkpoint was last kept.
    pub saved: Instant,
    /// The lines that were read before an interruption.
    pub resumed_after_line: Option<u64>,
    /// What the system can't read of it, and why.
    pub unreadable: Option<String>,
}

impl Open {
    /// What has become of it.
    pub fn summary(&self) -> FileSummary {
        let found = self.tracker.checkpoint().all();
        let (outcome, error) = self.outcome(&found);
        FileSummary {
            error,
            found,
            resumed_after_line: self.resumed_after_line,
            seconds: self.begun.elapsed().as_secs_f64(),
            ..FileSummary::new(self.file.number, self.file.name.clone(), outcome)
        }
    }

    fn outcome(&self, found: &Findings) -> (Outcome, Option<String>) {
        if let Some(error) = &self.unreadable {
            return (Outcome::Failed, Some(error.clone()));
        }
        if !self.tracker.is_over() {
            let error = "interrupted; with --resume the import goes on here".to_owned();
            return (Outcome::Interrupted, Some(error));
        }
        match found.trouble(&self.file.name) {
            // Nothing of it could be read.
            Some(error) if found.members == 0 => (Outcome::Failed, Some(error)),
            Some(error) => (Outcome::Truncated, Some(error)),
            None if found.members == 0 && found.foreign > 0 => {
                (Outcome::PassedOver, Some("it holds no JSON object".to_owned()))
            }
            None if found.members == 0 && found.links > 0 => {
                (Outcome::PassedOver, Some("it holds nothing but links to other files".to_owned()))
            }
            None if found.counts.lines == 0 => {
                tracing::warn!(file = self.file.name, "the archive is empty");
                (Outcome::Empty, None)
            }
            None => (Outcome::Complete, None),
        }
    }

    /// The fact that a file was imported, so far as it can be.
    pub fn fact(&self, summary: &FileSummary, started: Timestamp) -> Outgoing {
        self.told(IMPORTED, summary, started)
    }

    /// The fact that a file of which something has come can't be read to its end.
    pub fn failed(&self, summary: &FileSummary, started: Timestamp) -> Outgoing {
        self.told(FAILED, summary, started)
    }

    fn told(&self, kind: &str, summary: &FileSummary, started: Timestamp) -> Outgoing {
        let now = Timestamp::now();
        let identity = self.file.identity.as_ref();
        let fact = serde_json::json!({
            "import": summary,
            "size": identity.map(|identity| identity.size),
            "head": identity.map(|identity| &identity.head),
            "started": started,
            "finished": now,
        });
        journal::fact(kind, &self.file.source, now, &fact)
    }
}

/// Whether everything that a file will ever give is in the log: that is a fact for the journal.
pub fn is_finished(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Complete | Outcome::Empty | Outcome::Truncated)
}
