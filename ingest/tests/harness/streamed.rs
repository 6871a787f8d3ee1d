//! A client of the stream in one process with its server and its log.

use std::collections::BTreeSet;

use bowerbird_ingest::gaps::Hole;
use bowerbird_ingest::x::{XConfig, XSummary, run_over};
use bowerbird_sim::x::{Config, Heard};
use bowerbird_stream::status::{State, Status, status};
use bowerbird_stream::topic;
use jiff::Timestamp;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::holes_of;
use super::inside::Inside;
use super::memory::MemoryLog;

/// A server, a log, and how the client between them is configured.
pub struct Bed {
    pub x: Inside,
    pub log: MemoryLog,
    pub config: XConfig,
}

pub struct Client {
    cancel: CancellationToken,
    pub status: Status,
    task: JoinHandle<XSummary>,
}

impl Bed {
    pub fn new(config: Config) -> Self {
        // In the middle of a month, whenever it runs.
        let begins = Some("2026-11-10T12:00:00Z".parse().unwrap());
        let x = Inside::new(Config { begins, ..config });
        let base = "http://x.test".parse().unwrap();
        let clock = x.clock();
        let log = MemoryLog::new(clock.clone());
        let config = XConfig { clock, ..XConfig::new(base, "token".to_owned().into()) };
        Self { x, log, config }
    }

    pub fn start(&self) -> Client {
        let (reporter, status) = status("ingest-x");
        let cancel = CancellationToken::new();
        let (log, config) = (self.log.clone(), self.config.clone());
        let running = run_over(log, config, self.x.clone(), reporter, cancel.clone());
        let task = tokio::spawn(async move { running.await.unwrap() });
        Client { cancel, status, task }
    }

    /// The gaps that the log tells of, and the one that is open.
    pub async fn gaps(&self) -> Vec<(Timestamp, Timestamp)> {
        let holes = holes_of(&self.log, self.x.sim.now()).await.holes;
        let ends = |hole: Hole| (hole.from.unwrap(), hole.to.unwrap_or(Timestamp::MAX));
        holes.into_iter().map(ends).collect()
    }

    /// What is in the log of what the server made while there was a client, and what is not though
    /// no gap says so; and each time without a connection that no gap covers.
    pub async fn wrongs(&self) -> Vec<String> {
        let (gaps, heard) = (self.gaps().await, self.x.sim.history());
        let begun = heard.first().map_or(Timestamp::MAX, |first| first.from);
        let there: BTreeSet<u64> = self.log.records(topic::POSTS).iter().map(id).collect();
        let covered = |from: Timestamp, to: Timestamp| {
            gaps.iter().any(|(first, last)| *first <= from && to <= *last)
        };
        let mut wrongs = Vec::new();
        for (at, id) in self.x.sim.live(begun, self.x.sim.now()) {
            if !there.contains(&id) && !covered(at, at) {
                wrongs.push(format!("post {id} of {at} is neither in the log nor in a gap"));
            }
        }
        for pair in heard.windows(2) {
            let [Heard { to: Some(to), .. }, Heard { from, .. }] = pair else { continue };
            if to < from && !covered(*to, *from) {
                wrongs
                    .push(format!("nobody was connected from {to} to {from}, and no gap says so"));
            }
        }
        wrongs
    }
}

impl Client {
    pub async fn stop(self) -> XSummary {
        self.cancel.cancel();
        self.task.await.unwrap()
    }

    /// As kill -9 would.
    pub async fn kill(self) {
        self.task.abort();
        self.task.await.ok();
    }

    pub fn reason(&self) -> String {
        match self.status.get() {
            State::Paused { reason } => reason,
            other => format!("{other:?}"),
        }
    }
}

pub fn id(record: &bowerbird_stream::Record) -> u64 {
    std::str::from_utf8(record.key.as_ref().unwrap()).unwrap().parse().unwrap()
}
