//! The stream of a run: a source of posts, the command that harvests it, and what befalls both.

use std::time::Duration;

use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::members::{Commands, Member};
use crate::oracle::Wrongs;

const PATIENCE: Duration = Duration::from_secs(60);
/// Posts a second.
const RATE: &str = "40";

/// Source and harvester.
pub struct Harvest {
    /// How the source is run: no clock of ours is its clock.
    source: Commands,
    harvester: Commands,
    address: String,
    seed: String,
    inner: Mutex<Inner>,
}

struct Inner {
    source: Member,
    harvester: Option<Member>,
    wrongs: Wrongs,
}

impl Harvest {
    /// Starts both.
    pub async fn start(source: &Commands, harvester: &Commands, seed: u64) -> Self {
        let seed = seed.to_string();
        let first = begin(source, "127.0.0.1:0", &seed);
        let deadline = Instant::now() + PATIENCE;
        let url = loop {
            let told = first.answered();
            if let Some(url) = told.lines().next().filter(|_| told.ends_with('\n')) {
                break url.to_owned();
            }
            assert!(Instant::now() < deadline, "the source of the stream has not begun");
            sleep(Duration::from_millis(50)).await;
        };
        let address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let harvester = harvester
            .with("BOWERBIRD__X__BASE_URL", &url)
            .with("BOWERBIRD__X__BEARER_TOKEN", "any");
        let inner =
            Inner { source: first, harvester: Some(follow(&harvester)), wrongs: Wrongs::new() };
        Self { source: source.clone(), harvester, address, seed, inner: Mutex::new(inner) }
    }

    /// Kills the harvester, or asks it to stop, and starts another after a while.
    pub async fn interrupt(&self, kills: bool, lasts: Duration) {
        let taken = self.inner.lock().await.harvester.take();
        let Some(mut member) = taken else { return };
        match kills {
            true => member.kill().await,
            // What it could not bring into the log before its deadline is lost, and it says so.
            false => self.inner.lock().await.wrongs.extend(member.stop().await.err()),
        }
        sleep(lasts).await;
        let mut inner = self.inner.lock().await;
        inner.wrongs.extend(member.panics());
        inner.harvester = Some(follow(&self.harvester));
    }

    /// Kills the source, and starts another after a while.
    pub async fn lose_source(&self, lasts: Duration) {
        self.inner.lock().await.source.kill().await;
        sleep(lasts).await;
        self.inner.lock().await.source = begin(&self.source, &self.address, &self.seed);
    }

    /// Looks whether the harvester has ended by itself.
    pub async fn look(&self) -> Wrongs {
        let mut inner = self.inner.lock().await;
        let Some(status) = inner.harvester.as_mut().and_then(Member::ended) else {
            return Wrongs::new();
        };
        inner.harvester = Some(follow(&self.harvester));
        vec![format!("the harvester has ended by itself: {status}")]
    }

    /// Asks the harvester to stop, when all faults are over: then it must bring in all that it has.
    pub async fn stop(&self) -> Wrongs {
        let mut inner = self.inner.lock().await;
        let mut wrongs = std::mem::take(&mut inner.wrongs);
        if let Some(mut member) = inner.harvester.take() {
            wrongs.extend(member.stop().await.err());
            wrongs.extend(member.panics());
            let answered = member.answered();
            let told = serde_json::Deserializer::from_str(&answered).into_iter::<Value>();
            let last = told.filter_map(Result::ok).last().unwrap_or_default();
            if last["ingest-x"]["drained"] == false {
                wrongs.push(format!("the harvester has not brought in what it had: {last}"));
            }
        }
        wrongs
    }
}

fn begin(commands: &Commands, address: &str, seed: &str) -> Member {
    commands.start("source", &["sim", "x", "--listen", address, "--rate", RATE, "--seed", seed])
}

fn follow(commands: &Commands) -> Member {
    commands.start("harvester", &["ingest", "x", "--output", "json"])
}
