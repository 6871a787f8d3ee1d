//! The JavaScript engine behind a bounded queue: one thread of its own, off the async ones.

mod machine;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

pub(crate) use machine::{Emitted, Failure, Input, Limits, Program};

use crate::quickjs::engine::machine::Machine;

/// How many calls may wait; who comes after them is slowed.
const QUEUE: usize = 4;
/// The thread's stack: more than the engine lets functions use, for the engine itself.
const STACK_BYTES: usize = 4 << 20;

enum Job {
    Map {
        program: Arc<Program>,
        documents: Vec<Input>,
        answer: oneshot::Sender<Result<Vec<Vec<Emitted>>, Failure>>,
    },
    Reduce {
        program: Arc<Program>,
        keys: String,
        values: String,
        rereduce: bool,
        answer: oneshot::Sender<Result<String, Failure>>,
    },
}

/// The handle of the thread; dropping it ends what runs there, and the thread.
#[derive(Debug)]
pub(crate) struct Engine {
    queue: Option<mpsc::Sender<Job>>,
    stop: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Engine {
    pub(crate) fn start(limits: Limits) -> Result<Self, Failure> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let stop = Arc::new(AtomicBool::new(false));
        let watched = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("views-engine".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || run(limits, watched, jobs))
            .map_err(|error| gone(&format!("no thread could be started: {error}")))?;
        Ok(Self { queue: Some(queue), stop, thread: Mutex::new(Some(thread)) })
    }

    /// Compiles a program, and runs nothing.
    pub(crate) async fn check(&self, program: Arc<Program>) -> Result<(), Failure> {
        self.map(program, Vec::new()).await.map(drop)
    }

    /// Runs the functions of a program on documents: of each document the rows of each.
    pub(crate) async fn map(
        &self,
        program: Arc<Program>,
        documents: Vec<Input>,
    ) -> Result<Vec<Vec<Emitted>>, Failure> {
        let (answer, answered) = oneshot::channel();
        let job = Job::Map { program, documents, answer };
        self.queue()?.send(job).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }

    /// Runs a reduce function on JSON texts. Blocks: not for async threads.
    pub(crate) fn reduce_blocking(
        &self,
        program: Arc<Program>,
        keys: String,
        values: String,
        rereduce: bool,
    ) -> Result<String, Failure> {
        let (answer, answered) = oneshot::channel();
        let job = Job::Reduce { program, keys, values, rereduce, answer };
        self.queue()?.blocking_send(job).map_err(|_| ended())?;
        answered.blocking_recv().map_err(|_| ended())?
    }

    fn queue(&self) -> Result<&mpsc::Sender<Job>, Failure> {
        self.queue.as_ref().ok_or_else(ended)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.queue = None;
        let thread = self.thread.get_mut().ok().and_then(Option::take);
        // What runs is interrupted. A panic of it has been told by its own hook.
        let _ = thread.map(JoinHandle::join);
    }
}

fn ended() -> Failure {
    gone("its thread is gone; start again")
}

fn gone(reason: &str) -> Failure {
    Failure { function: "the engine".to_owned(), reason: reason.to_owned() }
}

fn run(limits: Limits, stop: Arc<AtomicBool>, mut jobs: mpsc::Receiver<Job>) {
    let mut machine = match Machine::new(limits, stop) {
        Ok(machine) => machine,
        Err(Failure { reason, .. }) => {
            tracing::error!(reason, "no JavaScript engine");
            return;
        }
    };
    while let Some(job) = jobs.blocking_recv() {
        // Who asked may have given up waiting.
        match job {
            Job::Map { program, documents, answer } => {
                let _ = answer.send(machine.map(&program, &documents));
            }
            Job::Reduce { program, keys, values, rereduce, answer } => {
                let _ = answer.send(machine.reduce(&program, &keys, &values, rereduce));
            }
        }
    }
}

#[cfg(test)]
mod tests;
