//! The tasks of a long-running command: joined, never detached, and ended in the order in which
//! data flows, inside one deadline.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// When a task is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Brings data in: ends first.
    Source,
    /// When nothing comes in any more: waits, within bounds, until what came in was worked on.
    Settle,
    /// Works on what came in.
    Work,
    /// Serves or watches the others: ends last, and is no reason to go on.
    Support,
}

const STAGES: [Stage; 4] = [Stage::Source, Stage::Settle, Stage::Work, Stage::Support];

type Ended = (Stage, &'static str, anyhow::Result<()>);

/// The tasks.
#[derive(Debug)]
pub struct Crew {
    shutdown: CancellationToken,
    tokens: [CancellationToken; STAGES.len()],
    tasks: JoinSet<Ended>,
    left: [usize; STAGES.len()],
}

impl Crew {
    /// Tasks that are asked to end when `shutdown` is cancelled.
    pub fn new(shutdown: CancellationToken) -> Self {
        Self {
            shutdown,
            tokens: Default::default(),
            tasks: JoinSet::new(),
            left: [0; STAGES.len()],
        }
    }

    /// What asks the tasks of `stage` to end.
    pub fn token(&self, stage: Stage) -> CancellationToken {
        self.tokens[stage as usize].clone()
    }

    /// Starts a task.
    pub fn spawn(
        &mut self,
        stage: Stage,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        self.left[stage as usize] += 1;
        self.tasks.spawn(async move { (stage, name, task.await) });
    }

    /// Waits until the shutdown, until a task fails, or until only support is left; then asks the
    /// stages one after the other to end, within `deadline` altogether.
    ///
    /// # Errors
    /// The first task's that failed, or that some did not end in time.
    pub async fn join(mut self, deadline: Duration) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        while outcome.is_ok() && self.has_purpose() {
            tokio::select! {
                () = self.shutdown.cancelled() => break,
                ended = self.tasks.join_next() => outcome = self.note(ended),
            }
        }
        let deadline = Instant::now() + deadline;
        for stage in STAGES {
            self.tokens[stage as usize].cancel();
            while self.left[stage as usize] > 0 {
                match timeout_at(deadline, self.tasks.join_next()).await {
                    Ok(ended) => outcome = outcome.and(self.note(ended)),
                    // What is still at work is aborted with the crew.
                    Err(_) => {
                        return outcome.and(Err(anyhow!(
                            "not everything was finished inside the deadline \
                         (sink.drain_timeout_ms); what was not committed is processed again next \
                         time"
                        )));
                    }
                }
            }
        }
        outcome
    }

    fn has_purpose(&self) -> bool {
        self.left[Stage::Source as usize] + self.left[Stage::Work as usize] > 0
    }

    fn note(&mut self, ended: Option<Result<Ended, JoinError>>) -> anyhow::Result<()> {
        match ended {
            Some(Ok((stage, name, result))) => {
                self.left[stage as usize] -= 1;
                result.with_context(|| format!("{name} ended"))
            }
            Some(Err(error)) => {
                // Which one it was is not known any more: nobody waits for it.
                self.left = [0; STAGES.len()];
                Err(error)
                    .context("a task crashed; this is a mistake in bowerbird, please report it")
            }
            None => {
                self.left = [0; STAGES.len()];
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    type Log = Arc<Mutex<Vec<&'static str>>>;

    fn until_asked(crew: &mut Crew, stage: Stage, name: &'static str, log: &Log) {
        let (token, log) = (crew.token(stage), log.clone());
        crew.spawn(stage, name, async move {
            token.cancelled().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            log.lock().unwrap().push(name);
            Ok(())
        });
    }

    #[tokio::test(start_paused = true)]
    async fn stages_end_one_after_the_other() {
        let (shutdown, log) = (CancellationToken::new(), Log::default());
        let mut crew = Crew::new(shutdown.clone());
        until_asked(&mut crew, Stage::Support, "dashboard", &log);
        until_asked(&mut crew, Stage::Work, "sink", &log);
        until_asked(&mut crew, Stage::Settle, "settle", &log);
        until_asked(&mut crew, Stage::Source, "ingest", &log);
        shutdown.cancel();
        crew.join(Duration::from_secs(10)).await.unwrap();
        assert_eq!(*log.lock().unwrap(), ["ingest", "settle", "sink", "dashboard"]);
    }

    #[tokio::test(start_paused = true)]
    async fn support_alone_is_no_reason_to_go_on() {
        let log = Log::default();
        let mut crew = Crew::new(CancellationToken::new());
        until_asked(&mut crew, Stage::Support, "dashboard", &log);
        crew.spawn(Stage::Work, "sink", async { Ok(()) });
        crew.join(Duration::from_secs(10)).await.unwrap();
        assert_eq!(*log.lock().unwrap(), ["dashboard"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_ends_the_others_and_is_told() {
        let log = Log::default();
        let mut crew = Crew::new(CancellationToken::new());
        until_asked(&mut crew, Stage::Work, "sink", &log);
        crew.spawn(Stage::Source, "ingest", async { Err(anyhow!("no")) });
        let error = crew.join(Duration::from_secs(10)).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "ingest ended: no");
        assert_eq!(*log.lock().unwrap(), ["sink"]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_holds() {
        let shutdown = CancellationToken::new();
        let mut crew = Crew::new(shutdown.clone());
        crew.spawn(Stage::Work, "sink", std::future::pending());
        shutdown.cancel();
        let started = Instant::now();
        let error = crew.join(Duration::from_secs(10)).await.unwrap_err();
        assert!(error.to_string().contains("inside the deadline"), "{error}");
        assert_eq!(started.elapsed(), Duration::from_secs(10));
    }
}
