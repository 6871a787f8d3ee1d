//! The threads that read: one lists what there is, and pairs of others each read and decompress
//! one member and parse it.

use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use tokio::sync::mpsc::Sender;

use super::config::{ArchiveConfig, Input};
use super::list::{Job, Lister, News, Place};
use super::parse::{Parser, ParserConfig};
use super::range::Counter;
use super::walk::{Piece, Stop, Walk};

/// Blocks that wait to be parsed, and members that wait for a worker.
const QUEUE: usize = 2;

/// Starts all threads. They end when there is nothing more to list, or nobody hears them.
///
/// # Errors
/// When the system has no thread for them.
pub fn start(
    lister: impl FnOnce(SyncSender<Job>) -> Lister,
    config: &Arc<ArchiveConfig>,
    parsing: &Arc<ParserConfig>,
    news: &Sender<News>,
) -> io::Result<Vec<JoinHandle<()>>> {
    let (sender, jobs) = sync_channel(QUEUE);
    let jobs = Arc::new(Mutex::new(jobs));
    let lister = lister(sender);
    let thread = |name: &str| Builder::new().name(format!("archive-{name}"));
    let mut threads = vec![thread("list").spawn(move || lister.run())?];
    for _ in 0..config.workers.get() {
        // One that is parsed may still have blocks waiting while the next is begun.
        let (hand_over, handed) = sync_channel(1);
        let (jobs, settings) = (Arc::clone(&jobs), Arc::clone(config));
        threads.push(thread("read").spawn(move || reads(&jobs, &settings, &hand_over))?);
        let (parsing, news) = (Arc::clone(parsing), news.clone());
        threads.push(thread("parse").spawn(move || parses(&handed, &parsing, &news))?);
    }
    Ok(threads)
}

/// A member that is being read.
struct Reading {
    job: Begun,
    pieces: Receiver<Piece>,
}

/// What the parser knows of a job.
struct Begun {
    file: Arc<super::file::File>,
    member: u64,
    from: super::checkpoint::Mark,
}

fn reads(jobs: &Mutex<Receiver<Job>>, config: &ArchiveConfig, hand_over: &SyncSender<Reading>) {
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        let (out, pieces) = sync_channel(QUEUE);
        let begun = Begun { file: Arc::clone(&job.file), member: job.member, from: job.from };
        if hand_over.send(Reading { job: begun, pieces }).is_err() {
            return;
        }
        // A decoder that panics on strange bytes costs one member, not the import.
        let read = catch_unwind(AssertUnwindSafe(|| read(job, config, &out)));
        let told = match read {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Stop::Gone)) => return,
            Ok(Err(Stop::Unreadable(error))) => {
                out.send(Piece::Unreadable(format!("it can't be read: {error}")))
            }
            Err(_) => out.send(Piece::Unreadable("its reader failed".to_owned())),
        };
        if told.is_err() {
            return;
        }
    }
}

fn read(job: Job, config: &ArchiveConfig, out: &SyncSender<Piece>) -> Result<(), Stop> {
    let Job { file, name, from, picky, place, .. } = job;
    let mut walk = Walk {
        out,
        from,
        max_line_bytes: config.max_line_bytes,
        window_log_max: config.zstd_window_log_max,
        picky,
        live: file.live,
        leaf: 0,
    };
    match place {
        Place::Member(member) => walk.member(member, &name, 0),
        Place::Live(input) => {
            let opened: io::Result<Box<dyn Read>> = match input {
                Input::Stdin => Ok(Box::new(io::stdin().lock())),
                // A pipe opens when its writer comes, which may be never.
                Input::Path(path) => {
                    std::fs::File::open(path).map(|file| Box::new(file) as Box<dyn Read>)
                }
            };
            let inner = opened.map_err(Stop::Unreadable)?;
            walk.stream(&mut Counted { inner, counter: &file.counter }, &name, 0)
        }
    }
}

fn parses(handed: &Receiver<Reading>, config: &ParserConfig, news: &Sender<News>) {
    for Reading { job, pieces } in handed {
        let mut parser = Parser::new(config, job.file, job.member, job.from, news);
        for piece in pieces {
            if !parser.piece(piece) {
                return;
            }
        }
        parser.finish();
    }
}

/// Counts the bytes of what comes live.
struct Counted<'a> {
    inner: Box<dyn Read>,
    counter: &'a Counter,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.counter.add(read as u64);
        Ok(read)
    }
}
