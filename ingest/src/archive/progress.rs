//! How far an import is, for a progress bar and for metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::summary::Counts;

/// Counters that the import writes and a display reads at any time.
#[derive(Debug, Default)]
pub struct Progress {
    bytes_read: AtomicU64,
    bytes_total: AtomicU64,
    lines: AtomicU64,
    posts: AtomicU64,
    notices: AtomicU64,
    dead_letters: AtomicU64,
    file: Mutex<String>,
    trouble: Mutex<Option<String>>,
}

/// The counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Bytes read of the files as they lie there, compressed.
    pub bytes_read: u64,
    /// Their size; 0 when there is none, as for standard input.
    pub bytes_total: u64,
    /// Lines whose events the log has acknowledged; the other counts likewise.
    pub lines: u64,
    /// Posts.
    pub posts: u64,
    /// Compliance notices.
    pub notices: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// The file under way.
    pub file: String,
    /// Why it stands still, if it does; for people.
    pub trouble: Option<String>,
}

impl Progress {
    /// The counters now.
    pub fn snapshot(&self) -> Snapshot {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot {
            bytes_read: load(&self.bytes_read),
            bytes_total: load(&self.bytes_total),
            lines: load(&self.lines),
            posts: load(&self.posts),
            notices: load(&self.notices),
            dead_letters: load(&self.dead_letters),
            file: self.file.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            trouble: self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    pub(super) fn add_bytes(&self, bytes: u64) {
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_total(&self, bytes: u64) {
        self.bytes_total.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_counts(&self, counts: &Counts) {
        self.lines.fetch_add(counts.lines, Ordering::Relaxed);
        self.posts.fetch_add(counts.posts, Ordering::Relaxed);
        self.notices.fetch_add(counts.notices, Ordering::Relaxed);
        self.dead_letters.fetch_add(counts.dead_letters_total(), Ordering::Relaxed);
    }

    pub(super) fn set_file(&self, name: &str) {
        name.clone_into(&mut self.file.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}
