//! What an import did, for people and for the journal.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What was found and acknowledged by the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Lines read, empty ones too.
    pub lines: u64,
    /// Lines with nothing on them.
    pub blank_lines: u64,
    /// Lines that a stream or an API writes about itself (`limit`, `warning`, empty responses).
    pub control_lines: u64,
    /// Posts published. A line may hold many.
    pub posts: u64,
    /// Compliance notices published.
    pub notices: u64,
    /// Dead letters published, by reason.
    pub dead_letters: BTreeMap<String, u64>,
    /// When the first of the posts was made.
    pub first_post: Option<Timestamp>,
    /// When the last of the posts was made.
    pub last_post: Option<Timestamp>,
}

impl Counts {
    /// All dead letters.
    pub fn dead_letters_total(&self) -> u64 {
        self.dead_letters.values().sum()
    }

    /// Adds others to these.
    pub fn add(&mut self, other: &Self) {
        self.lines += other.lines;
        self.blank_lines += other.blank_lines;
        self.control_lines += other.control_lines;
        self.posts += other.posts;
        self.notices += other.notices;
        for (reason, count) in &other.dead_letters {
            self.add_dead_letters(reason, *count);
        }
        self.first_post = [self.first_post, other.first_post].into_iter().flatten().min();
        self.last_post = self.last_post.max(other.last_post);
    }

    pub(super) fn add_post(&mut self, created: Timestamp) {
        self.posts += 1;
        self.first_post = Some(self.first_post.map_or(created, |first| first.min(created)));
        self.last_post = self.last_post.max(Some(created));
    }

    pub(super) fn add_dead_letters(&mut self, reason: &str, count: u64) {
        if let Some(counted) = self.dead_letters.get_mut(reason) {
            *counted += count;
        } else if count > 0 {
            self.dead_letters.insert(reason.to_owned(), count);
        }
    }
}

/// How the import of one file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Everything in it is in the log.
    Complete,
    /// There was nothing in it.
    Empty,
    /// It was imported completely before, and this import goes on from there.
    Skipped,
    /// It ends too early or is damaged; everything before that is in the log.
    Truncated,
    /// It was interrupted; `--resume` goes on.
    Interrupted,
    /// It can't be read, or the log refuses.
    Failed,
}

/// What the import of one file did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FileSummary {
    /// Its name.
    pub file: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, where it did not end well; for people.
    pub error: Option<String>,
    /// What was found; after a resumption with what was found before it.
    #[serde(flatten)]
    pub counts: Counts,
    /// The line after which a resumption began.
    pub resumed_after_line: Option<u64>,
    /// How long it took.
    pub seconds: f64,
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Each file, in order.
    pub files: Vec<FileSummary>,
    /// All of them together.
    pub total: Counts,
}

impl Summary {
    /// Whether everything in every file is in the log, as events or as dead letters.
    pub fn succeeded(&self) -> bool {
        let fine =
            |outcome| matches!(outcome, Outcome::Complete | Outcome::Empty | Outcome::Skipped);
        self.files.iter().all(|file| fine(file.outcome))
    }

    pub(super) fn push(&mut self, file: FileSummary) {
        self.total.add(&file.counts);
        self.files.push(file);
    }
}
