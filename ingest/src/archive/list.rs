//! Listing the files, and the members of each, on a thread of its own.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use tokio::sync::mpsc::Sender;

use super::checkpoint::{Checkpoint, Mark, Store};
use super::config::{ArchiveConfig, Input};
use super::file::{self, File};
use super::find::{self, Found};
use super::format::{Format, HEAD_BYTES};
use super::gate::{Gate, Shut};
use super::members::{self, Directory, Failed, Member, may_pass};
use super::name;
use super::parse::Report;
use super::progress::Progress;
use super::range::{Counter, Range};
use super::summary::{FileSummary, Outcome};

/// A file, or a member of one, to be read.
#[derive(Debug)]
pub struct Job {
    /// The file.
    pub file: Arc<File>,
    /// Which member.
    pub member: u64,
    /// What it is called.
    pub name: String,
    /// Where it goes on.
    pub from: Mark,
    /// Nobody named it.
    pub picky: bool,
    /// Where it is.
    pub place: Place,
}

/// Where a member is.
#[derive(Debug)]
pub enum Place {
    /// In a file.
    Member(Member),
    /// It comes from there.
    Live(Input),
}

/// What the threads tell the import, in order.
#[derive(Debug)]
pub enum News {
    /// The import of a file begins.
    Begun {
        /// The file.
        file: Arc<File>,
        /// From where.
        checkpoint: Box<Checkpoint>,
        /// Where that is kept.
        store: Option<Store>,
    },
    /// There is nothing to import.
    Ended(Box<FileSummary>),
    /// A file has so many members.
    Listed {
        /// Which file.
        file: u64,
        /// How many.
        members: u64,
        /// Why they are not all there are, if so.
        unreadable: Option<String>,
    },
    /// From a member.
    Member {
        /// Of which file.
        file: u64,
        /// Which member.
        member: u64,
        /// What.
        report: Report,
    },
}

/// Nobody is there any more.
#[derive(Debug)]
pub struct Gone;

/// Lists files.
pub struct Lister {
    /// How.
    pub config: Arc<ArchiveConfig>,
    /// To the import.
    pub news: Sender<News>,
    /// To the workers.
    pub jobs: SyncSender<Job>,
    /// How far it may go.
    pub gate: Arc<Gate>,
    /// Counts.
    pub progress: Arc<Progress>,
    /// The next file.
    pub number: u64,
}

impl Lister {
    /// Lists everything.
    pub fn run(mut self) {
        let config = Arc::clone(&self.config);
        // How much there is, before any of it is read: for whoever waits.
        let total = find::each(&config.inputs, |found| {
            if let Found::File { path, .. } = found
                && let Ok(metadata) = path.metadata()
            {
                self.progress.add_total(metadata.len());
            }
            self.gate.wait(0)
        });
        if total.is_ok() {
            // Where nobody is there any more, there is nobody to tell.
            find::each(&config.inputs, |found| self.found(found)).ok();
        }
    }

    fn found(&mut self, found: Found) -> Result<(), Gone> {
        let number = self.number;
        self.number += 1;
        match found {
            Found::File { path, name, named } => self.file(number, &path, name, named),
            Found::Live { input, name } => self.live(number, input, name),
            Found::Wrong { name, error } => self.ended(number, name, Outcome::Failed, error),
            Found::PassedOver { name, error } => {
                self.ended(number, name, Outcome::PassedOver, error)
            }
        }
    }

    fn ended(
        &self,
        number: u64,
        name: String,
        outcome: Outcome,
        error: String,
    ) -> Result<(), Gone> {
        let summary = FileSummary { error: Some(error), ..FileSummary::new(number, name, outcome) };
        self.tell(News::Ended(Box::new(summary)))
    }

    fn live(&self, number: u64, input: Input, name: String) -> Result<(), Gone> {
        let counter = Counter::new(Arc::clone(&self.progress));
        let file = Arc::new(File::new(number, name, None, counter));
        let checkpoint = self.begin(&file, Checkpoint::new(file.name.clone(), None), None)?;
        let mut members = Members { lister: self, file: &file, checkpoint: &checkpoint, count: 0 };
        let taken = members.take(file.name.clone(), false, Place::Live(input));
        let members = members.count;
        self.listed(&file, members, taken.map_err(Failed::Taker))
    }

    fn file(&self, number: u64, path: &Path, name: String, named: bool) -> Result<(), Gone> {
        let (range, identity) = match file::open(path) {
            Ok(opened) => opened,
            Err(error) => {
                let error = format!("{} can't be read: {error}", name::of_path(path));
                return self.ended(number, name, Outcome::Failed, error);
            }
        };
        let counter = Counter::new(Arc::clone(&self.progress));
        let store = file::store(&self.config, &identity);
        let written = identity.written;
        let file = Arc::new(File::new(number, name, Some(identity), counter));
        let resumed = store.as_ref().filter(|_| self.config.resume);
        let kept = resumed.and_then(|store| store.load(written));
        if let Some(kept) = kept.as_ref().filter(|kept| kept.finished) {
            return self.passed_over(&file, kept);
        }
        let checkpoint = kept.unwrap_or_else(|| Checkpoint::new(file.name.clone(), written));
        let checkpoint = self.begin(&file, checkpoint, store)?;
        let range = range.counted(&file.counter);
        let mut members = Members { lister: self, file: &file, checkpoint: &checkpoint, count: 0 };
        let taken = members.of(range, named);
        let members = members.count;
        self.listed(&file, members, taken)
    }

    /// It was imported before, which says nothing better of it than was found then.
    fn passed_over(&self, file: &File, kept: &Checkpoint) -> Result<(), Gone> {
        let lines = kept.found.counts.lines;
        tracing::info!(file = file.name, lines, "imported before, passed over");
        file.counter.fill(file.size());
        let mut summary = FileSummary::new(file.number, file.name.clone(), Outcome::Skipped);
        if let Some(error) = kept.found.trouble(&kept.file) {
            summary.outcome = Outcome::Truncated;
            summary.error = Some(format!("imported before, and {error}"));
            summary.found.damaged = kept.found.damaged;
            summary.found.problems.clone_from(&kept.found.problems);
        }
        self.tell(News::Ended(Box::new(summary)))
    }

    fn begin(
        &self,
        file: &Arc<File>,
        checkpoint: Checkpoint,
        store: Option<Store>,
    ) -> Result<Checkpoint, Gone> {
        self.gate.begin(file.number, checkpoint.before);
        self.tell(News::Begun {
            file: Arc::clone(file),
            checkpoint: Box::new(checkpoint.clone()),
            store,
        })?;
        Ok(checkpoint)
    }

    fn listed(
        &self,
        file: &File,
        members: u64,
        taken: Result<(), Failed<Shut>>,
    ) -> Result<(), Gone> {
        let unreadable = match taken {
            Ok(()) => None,
            Err(Failed::Taker(Shut::All)) => return Err(Gone),
            Err(Failed::Taker(Shut::File)) => Some("too many members can't be read".to_owned()),
            Err(Failed::Container(error)) => Some(format!("it can't be read: {error}")),
        };
        self.tell(News::Listed { file: file.number, members, unreadable })
    }

    fn tell(&self, news: News) -> Result<(), Gone> {
        self.news.blocking_send(news).map_err(|_| Gone)
    }
}

/// The members of one file.
struct Members<'a> {
    lister: &'a Lister,
    file: &'a Arc<File>,
    checkpoint: &'a Checkpoint,
    count: u64,
}

impl Members<'_> {
    /// Hands on what a file consists of: its members, or itself.
    fn of(&mut self, range: Range, named: bool) -> Result<(), Failed<Shut>> {
        let container = self.file.name.clone();
        let head = range.head(HEAD_BYTES as u64)?;
        let taken = match Format::of(&head) {
            Format::Tar => members::of_tar(&range, |path, member| {
                self.take(name::of_member(&container, path), true, Place::Member(member))
            }),
            Format::Zip => match Directory::find(&range) {
                Ok(directory) => directory.members(|path, member| {
                    self.take(name::of_member(&container, path), true, Place::Member(member))
                }),
                Err(error) if may_pass(&error) => Err(Failed::Container(error)),
                // It is read from its beginning instead.
                Err(_) => {
                    let member = Place::Member(Member::Plain(range, None));
                    self.take(container, !named, member).map_err(Failed::Taker)
                }
            },
            _ => {
                let member = Place::Member(Member::Plain(range, None));
                self.take(container, !named, member).map_err(Failed::Taker)
            }
        };
        match taken {
            // What is wrong with the container is told as what is wrong with a member is.
            Err(Failed::Container(error)) if !may_pass(&error) => {
                let text = members::cut_container(&error);
                let name = self.file.name.clone();
                self.take(name, true, Place::Member(Member::Unread(text))).map_err(Failed::Taker)
            }
            taken => taken,
        }
    }

    fn take(&mut self, name: String, picky: bool, place: Place) -> Result<(), Shut> {
        let member = self.count;
        self.count += 1;
        let Some(from) = self.checkpoint.from(member) else { return Ok(()) };
        self.lister.gate.wait(member)?;
        let file = Arc::clone(self.file);
        let job = Job { file, member, name, from, picky, place };
        self.lister.jobs.send(job).map_err(|_| Shut::All)
    }
}
