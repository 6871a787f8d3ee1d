//! Reading, parsing and publishing one file, all at the same time.

use std::io;
use std::sync::{Arc, mpsc as thread_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bowerbird_stream::EventLog;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use tokio::sync::{mpsc, oneshot};

use super::blocks::{Block, Blocks, Broken};
use super::checkpoint::{Checkpoint, Store};
use super::config::Input;
use super::file::Import;
use super::input::{self, Opened};
use super::parse::{Batch, Parsed, Parser, ParserConfig};
use crate::post::Reader;
use crate::publish::Unpublished;

/// How often the checkpoint is written.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
/// Blocks, and batches, that wait for the next stage.
const QUEUE: usize = 2;

/// How reading a file ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// At its end.
    Complete,
    /// It is damaged or cut; what is before is imported.
    Broken(String),
    /// It can't be opened.
    Unreadable(String),
    /// The log refuses what is in it.
    Refused(String),
    /// Shutdown.
    Interrupted,
}

/// The import of one file at work.
pub struct Pipeline<'a, L> {
    pub import: &'a Import<'a, L>,
    pub store: Option<&'a Store>,
    pub source: &'a str,
}

/// What the reading thread hands on.
enum Read {
    /// A block; whether it is to be passed on as it comes.
    Block(Block, bool),
    End(Option<Broken>),
}

/// The threads of one file.
struct Threads {
    parsed: mpsc::Receiver<Parsed>,
    opened: oneshot::Receiver<Result<bool, String>>,
    handles: Vec<JoinHandle<()>>,
}

impl<L: EventLog> Pipeline<'_, L> {
    /// Imports from `checkpoint` on; gives how far everything is acknowledged.
    pub async fn run(
        &self,
        input: Input,
        plain: bool,
        reader: Reader,
        checkpoint: Checkpoint,
    ) -> (Checkpoint, Ending) {
        let threads = match self.start(input, plain, reader, &checkpoint) {
            Ok(threads) => threads,
            Err(error) => {
                return (checkpoint, Ending::Unreadable(format!("no thread for it: {error}")));
            }
        };
        let Threads { parsed, opened, handles } = threads;
        // A pipe opens when its writer comes, which may be never.
        let opened = tokio::select! {
            biased;
            opened = opened => opened,
            () = self.import.cancel.cancelled() => return (checkpoint, Ending::Interrupted),
        };
        let live = match opened {
            Ok(Ok(live)) => live,
            Ok(Err(error)) => return (checkpoint, Ending::Unreadable(error)),
            Err(_) => return (checkpoint, Ending::Unreadable("its reader stopped".to_owned())),
        };
        let done = self.publish(parsed, checkpoint).await;
        // A thread that waits for the next line of a pipe can't be woken; it ends with the process.
        if !live {
            tokio::task::spawn_blocking(|| handles.into_iter().for_each(|one| drop(one.join())))
                .await
                .ok();
        }
        done
    }

    fn start(
        &self,
        input: Input,
        plain: bool,
        reader: Reader,
        checkpoint: &Checkpoint,
    ) -> io::Result<Threads> {
        let config = self.import.config;
        let (sender, parsed) = mpsc::channel(QUEUE);
        let (opening, opened) = oneshot::channel();
        let (reading, blocks) = thread_channel::sync_channel(QUEUE);
        let parser = Parser::new(
            ParserConfig {
                reader,
                name: input.name(),
                source: self.source.to_owned(),
                started: self.import.started,
                max_line_bytes: config.max_line_bytes,
                batch_bytes: config.batch_bytes,
                offset: checkpoint.offset,
                line: checkpoint.counts.lines,
            },
            sender,
        );
        let (offset, max_line_bytes) = (checkpoint.offset, config.max_line_bytes);
        let (window_log_max, progress) =
            (config.zstd_window_log_max, Arc::clone(self.import.progress));
        let read = move || match input::open(&input, offset, plain, window_log_max, &progress) {
            Err(error) => drop(opening.send(Err(error.to_string()))),
            Ok(Opened { reader, live }) => {
                opening.send(Ok(live)).ok();
                read(Blocks::new(reader, max_line_bytes, live), live, &reading);
            }
        };
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        Ok(Threads {
            parsed,
            opened,
            handles: vec![
                thread("archive-read").spawn(read)?,
                thread("archive-parse").spawn(move || parse(parser, &blocks))?,
            ],
        })
    }

    /// Publishes batches as they come, several at a time, and acknowledges them in order.
    async fn publish(
        &self,
        mut parsed: mpsc::Receiver<Parsed>,
        mut checkpoint: Checkpoint,
    ) -> (Checkpoint, Ending) {
        let Import { publisher, config, cancel, .. } = self.import;
        let mut under_way = FuturesOrdered::new();
        let mut in_flight = 0;
        let mut ending = None;
        let mut saved = Instant::now();
        loop {
            tokio::select! {
                biased;
                Some((batch, result)) = under_way.next() => {
                    let batch: Batch = batch;
                    in_flight -= batch.bytes;
                    match result {
                        Ok(too_large) => self.acknowledged(&mut checkpoint, batch, too_large),
                        Err(Unpublished::Stopped) => return (checkpoint, Ending::Interrupted),
                        Err(Unpublished::Log(error)) => {
                            return (checkpoint, Ending::Refused(error.to_string()));
                        }
                    }
                    if saved.elapsed() >= CHECKPOINT_INTERVAL {
                        self.save(&checkpoint).await;
                        saved = Instant::now();
                    }
                }
                () = cancel.cancelled(), if ending.is_none() => {
                    ending = Some(Ending::Interrupted);
                }
                next = parsed.recv(), if ending.is_none() && in_flight < config.max_in_flight_bytes => {
                    match next {
                        Some(Parsed::Batch(mut batch)) => {
                            in_flight += batch.bytes;
                            let records = std::mem::take(&mut batch.records);
                            under_way.push_back(async move {
                                let result = publisher.publish(records, cancel).await;
                                (batch, result.map(|published| published.too_large))
                            });
                        }
                        Some(Parsed::End(None)) => ending = Some(Ending::Complete),
                        Some(Parsed::End(Some(error))) => ending = Some(Ending::Broken(error)),
                        None => ending = Some(Ending::Unreadable("its reader stopped".to_owned())),
                    }
                }
                else => break,
            }
        }
        (checkpoint, ending.unwrap_or(Ending::Interrupted))
    }

    fn acknowledged(&self, checkpoint: &mut Checkpoint, batch: Batch, too_large: u64) {
        let Batch { mut counts, end, .. } = batch;
        if too_large > 0 {
            // They were counted as what they were read as, most likely posts.
            counts.posts = counts.posts.saturating_sub(too_large);
            counts.add_dead_letters("too-large", too_large);
        }
        self.import.progress.add_counts(&counts);
        checkpoint.offset = end;
        checkpoint.counts.add(&counts);
    }

    /// Keeps the checkpoint. A folder that can't be written to is no reason to stop importing.
    pub async fn save(&self, checkpoint: &Checkpoint) {
        let kept = self.store.filter(|_| self.import.config.keep_checkpoints);
        let Some(store) = kept.cloned() else { return };
        let checkpoint: Checkpoint = checkpoint.clone();
        let saving = tokio::task::spawn_blocking(move || store.save(&checkpoint));
        if let Ok(Err(error)) = saving.await {
            tracing::warn!(%error, "checkpoint not written; a resumption begins further back");
        }
    }
}

fn read(
    mut blocks: Blocks<Box<dyn io::Read>>,
    live: bool,
    sender: &thread_channel::SyncSender<Read>,
) {
    loop {
        let (next, last) = match blocks.next() {
            Ok(Some(block)) => (Read::Block(block, live), false),
            Ok(None) => (Read::End(None), true),
            Err(broken) => (Read::End(Some(broken)), true),
        };
        // Nobody listens any more: the import was stopped.
        if sender.send(next).is_err() || last {
            return;
        }
    }
}

fn parse(mut parser: Parser, blocks: &thread_channel::Receiver<Read>) {
    for read in blocks {
        match read {
            Read::Block(block, live) => {
                if !parser.block(block, live) {
                    return;
                }
            }
            Read::End(broken) => return parser.finish(broken),
        }
    }
}
