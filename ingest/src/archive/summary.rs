//! What an import did, for people and for the journal.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What was found and acknowledged by the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Lines read, empty ones too; objects, where they do not stand on a line each.
    pub lines: u64,
    /// Lines with nothing on them.
    pub blank_lines: u64,
    /// Lines that a stream or an API writes about itself (`limit`, `warning`, empty responses).
    pub control_lines: u64,
    /// Posts published. A line may hold many.
    pub posts: u64,
    /// Those of the posts whose id was seen before in this import: of one import that was not
    /// interrupted, posts less duplicates are documents. Counted as far as memory reaches, which
    /// is about two million posts back.
    pub duplicates: u64,
    /// Compliance notices published.
    pub notices: u64,
    /// Those of the notices that a post or a user was deleted.
    pub deletes: u64,
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
        self.duplicates += other.duplicates;
        self.notices += other.notices;
        self.deletes += other.deletes;
        for (reason, count) in &other.dead_letters {
            self.add_dead_letters(reason, *count);
        }
        self.first_post = [self.first_post, other.first_post].into_iter().flatten().min();
        self.last_post = self.last_post.max(other.last_post);
    }

    pub(super) fn add_post(&mut self, created: Timestamp, seen: bool) {
        self.posts += 1;
        self.duplicates += u64::from(seen);
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

/// How many problems and names are kept one by one; the others are counted.
const MAX_NAMED: usize = 100;

/// What is wrong with a file, or with a member of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Its name, with the containers that it is in.
    pub member: String,
    /// What is wrong, and what to do; for people.
    pub error: String,
}

/// What was found in a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Findings {
    /// What the lines hold.
    #[serde(flatten)]
    pub counts: Counts,
    /// Files with lines: the members of a container, or the file itself.
    pub members: u64,
    /// Members that are damaged, cut, or in no form that is read here. What could be read of them
    /// is in the log, and each is a dead letter.
    pub damaged: u64,
    /// The first of these, with what is wrong.
    pub problems: Vec<Problem>,
    /// Members without any JSON object, such as pictures and notes: they were passed over.
    pub foreign: u64,
    /// The first of these.
    pub passed_over: Vec<String>,
    /// Members that only name other files, as symbolic links do. What they name is imported where
    /// it is a member itself.
    pub links: u64,
    /// The first of these.
    pub linked: Vec<String>,
}

impl Findings {
    /// Adds others to these.
    pub fn add(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        self.members += other.members;
        self.damaged += other.damaged;
        self.foreign += other.foreign;
        let room = MAX_NAMED.saturating_sub(self.problems.len());
        self.problems.extend(other.problems.iter().take(room).cloned());
        let room = MAX_NAMED.saturating_sub(self.passed_over.len());
        self.passed_over.extend(other.passed_over.iter().take(room).cloned());
        self.links += other.links;
        let room = MAX_NAMED.saturating_sub(self.linked.len());
        self.linked.extend(other.linked.iter().take(room).cloned());
    }

    pub(super) fn problem(&mut self, member: &str, error: &str) {
        self.damaged += 1;
        if self.problems.len() < MAX_NAMED {
            self.problems.push(Problem { member: member.to_owned(), error: error.to_owned() });
        }
    }

    pub(super) fn pass_over(&mut self, member: &str) {
        self.foreign += 1;
        if self.passed_over.len() < MAX_NAMED {
            self.passed_over.push(member.to_owned());
        }
    }

    pub(super) fn link(&mut self, member: &str) {
        self.links += 1;
        if self.linked.len() < MAX_NAMED {
            self.linked.push(member.to_owned());
        }
    }

    /// What is wrong with `file`, if anything; for people.
    pub(super) fn trouble(&self, file: &str) -> Option<String> {
        let first = self.problems.first()?;
        if self.damaged == 1 && first.member == file {
            return Some(first.error.clone());
        }
        let what = match self.damaged {
            1 => "one member is damaged or not read".to_owned(),
            damaged => format!("{damaged} members are damaged or not read, the first"),
        };
        Some(format!("{what}: {}: {}", first.member, first.error))
    }
}

/// `ce_type` of the fact that something of a file is about to come into the log.
pub(crate) const BEGUN: &str = "import.begun";
/// `ce_type` of the fact that a file was imported, so far as it can be.
pub(crate) const IMPORTED: &str = "import.finished";
/// `ce_type` of the fact that a file of which something has come can't be read to its end.
pub(crate) const FAILED: &str = "import.failed";

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
    /// It, or a member of it, ends too early or is damaged; everything else is in the log.
    Truncated,
    /// Nobody named it, and it holds no JSON object, or is no file.
    PassedOver,
    /// It was interrupted; `--resume` goes on.
    Interrupted,
    /// It can't be read, or the log refuses.
    Failed,
}

impl Outcome {
    /// Whether nothing of it that could be read is missing.
    pub fn is_whole(self) -> bool {
        match self {
            Self::Complete | Self::Empty | Self::Skipped | Self::PassedOver => true,
            Self::Truncated | Self::Interrupted | Self::Failed => false,
        }
    }

    /// Its name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Empty => "empty",
            Self::Skipped => "skipped",
            Self::Truncated => "truncated",
            Self::PassedOver => "passed_over",
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
        }
    }
}

/// What the import of one file did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FileSummary {
    /// Its place among the files of the import.
    #[serde(skip)]
    pub(super) number: u64,
    /// Its name.
    pub file: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, where it did not end well; for people.
    pub error: Option<String>,
    /// What was found; after a resumption with what was found before it.
    #[serde(flatten)]
    pub found: Findings,
    /// The line after which a resumption began.
    pub resumed_after_line: Option<u64>,
    /// How long it took.
    pub seconds: f64,
}

impl FileSummary {
    /// Of which nothing is known yet.
    pub(super) fn new(number: u64, file: String, outcome: Outcome) -> Self {
        Self {
            number,
            file,
            outcome,
            error: None,
            found: Findings::default(),
            resumed_after_line: None,
            seconds: 0.0,
        }
    }
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Each file, in order; of more than some 10,000 those that did not end well, and the first
    /// others.
    pub files: Vec<FileSummary>,
    /// How many files are not among them.
    pub more_files: u64,
    /// How many files did not end well.
    pub failed_files: u64,
    /// It was stopped before the end, perhaps before some files were begun.
    pub interrupted: bool,
    /// All of them together.
    pub total: Counts,
}

/// How many files a summary names that ended well, and how many others. It bounds memory; the
/// journal has a fact for each.
pub const MAX_FILES: usize = 10_000;

impl Summary {
    /// Whether everything in every file is in the log, as events or as dead letters.
    pub fn succeeded(&self) -> bool {
        self.failed_files == 0 && !self.interrupted
    }

    /// Of an import that could not begin.
    pub(super) fn failed(error: String) -> Self {
        let mut summary = Self::default();
        let file = FileSummary::new(0, "-".to_owned(), Outcome::Failed);
        summary.push(FileSummary { error: Some(error), ..file });
        summary
    }

    pub(super) fn push(&mut self, file: FileSummary) {
        self.total.add(&file.found.counts);
        self.failed_files += u64::from(!file.outcome.is_whole());
        let named = self.files.len() as u64;
        let failed = self.failed_files.min(MAX_FILES as u64);
        if named < MAX_FILES as u64 + failed {
            self.files.push(file);
        } else {
            self.more_files += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_of_very_many_files_is_bounded_and_names_what_went_wrong() {
        let mut summary = Summary::default();
        for number in 0..3 * MAX_FILES {
            let outcome = if number % 10 == 9 { Outcome::Failed } else { Outcome::Complete };
            let mut file = FileSummary::new(number as u64, number.to_string(), outcome);
            file.found.counts.lines = 1;
            summary.push(file);
        }
        assert!(!summary.succeeded());
        let named = |outcome| summary.files.iter().filter(|file| file.outcome == outcome).count();
        assert_eq!(named(Outcome::Failed), 3 * MAX_FILES / 10);
        assert_eq!(summary.files.len() as u64 + summary.more_files, 3 * MAX_FILES as u64);
        assert!(summary.files.len() <= 2 * MAX_FILES);
        assert_eq!(summary.total.lines, 3 * MAX_FILES as u64);
    }

    #[test]
    fn findings_are_bounded_and_count_all() {
        let mut one = Findings::default();
        for number in 0..70 {
            one.problem(&format!("a.tar/{number}"), "is cut");
            one.pass_over("a.tar/note");
            one.link("a.tar/link");
        }
        let mut all = one.clone();
        all.add(&one);
        assert_eq!((all.damaged, all.problems.len()), (140, MAX_NAMED));
        assert_eq!((all.foreign, all.passed_over.len()), (140, MAX_NAMED));
        assert_eq!((all.links, all.linked.len()), (140, MAX_NAMED));
        assert_eq!(
            all.trouble("a.tar").unwrap(),
            "140 members are damaged or not read, the first: a.tar/0: is cut"
        );
        assert_eq!(Findings::default().trouble("a.tar"), None);
    }
}
