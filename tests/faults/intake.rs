//! What comes in during a run: imports, and records as a source publishes them.

use std::time::Duration;

use bowerbird_stream::EventLog;
use tokio::time::{Instant, sleep, timeout};

use crate::corpus::{Archive, Corpus};
use crate::history::Stage;
use crate::oracle::{Acked, Oracle};
use crate::plan::Interrupted;

/// How long the log may take to have everything after the faults.
const IMPORT: Duration = Duration::from_secs(120);
/// How long a former generation may have members after that: those of killed sinks among them.
const LEFT: Duration = Duration::from_secs(60);

impl Stage {
    /// Imports the archives, one after the other over the run, and each again until it has
    /// succeeded.
    pub async fn import(&self, archives: &[Archive]) {
        let apart = self.plan.horizon() / u32::try_from(archives.len()).unwrap();
        let from = Instant::now();
        for (number, archive) in (0..).zip(archives) {
            tokio::time::sleep_until(from + apart * number).await;
            let path = archive.path.to_string_lossy();
            let arguments = ["ingest", "archive", "--resume", &path];
            let name = format!("ingest-{number}");
            let deadline = Instant::now() + IMPORT;
            let mut interrupted = self.plan.imports.get(number as usize).copied().flatten();
            loop {
                let mut importing = self.commands.start(&name, &arguments);
                match interrupted.take() {
                    Some(Interrupted::Killed(after)) => {
                        sleep(after).await;
                        importing.kill().await;
                    }
                    Some(Interrupted::Stopped(after)) => {
                        sleep(after).await;
                        importing.stop().await.unwrap_or_else(|wrong| self.wrong(wrong));
                    }
                    None => {
                        let limit = deadline.saturating_duration_since(Instant::now());
                        let ended = importing.end(limit).await;
                        importing.panics().into_iter().for_each(|panic| self.wrong(panic));
                        if ended.is_some_and(|status| status.success()) {
                            break;
                        }
                    }
                }
                if Instant::now() > deadline {
                    self.wrong(format!("{name} has not succeeded within {IMPORT:?}"));
                    break;
                }
                sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// Publishes records through the run, and keeps those that were acknowledged.
    pub async fn publish(&self, corpus: &mut Corpus) -> Acked {
        let log = self.services.log();
        let mut acked = Acked::default();
        let from = Instant::now();
        // What people do to generations is done beside what comes in.
        while from.elapsed() < self.plan.horizon() || self.keeps_up() {
            let records = corpus.records(12);
            let answers = log.publish(records.clone()).await;
            let taken = answers.into_iter().zip(records);
            acked.records.extend(taken.filter_map(|(answer, sent)| Some((answer.ok()?, sent))));
            let soon = if from.elapsed() < self.plan.horizon() { 150 } else { 1_000 };
            sleep(Duration::from_millis(soon)).await;
        }
        acked
    }

    /// Publishes posts that no former generation may get: everybody has left those.
    pub async fn publish_last(&self, corpus: &mut Corpus, oracle: &Oracle, acked: &mut Acked) {
        let left = async {
            while !oracle.former_are_left().await {
                sleep(Duration::from_millis(300)).await;
            }
        };
        if timeout(LEFT, left).await.is_err() {
            self.wrong(format!("a former generation is still filled {LEFT:?} after the switch"));
        }
        let log = self.services.log();
        for (id, record) in corpus.last(20) {
            acked.last.insert(id);
            let answers = log.publish(vec![record.clone()]).await;
            let taken = answers.into_iter().filter_map(Result::ok);
            acked.records.extend(taken.map(|answer| (answer, record.clone())));
        }
    }
}
