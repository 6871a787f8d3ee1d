//! The sinks of a run: how many there are, and what befalls them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use bowerbird_testbed::random::Random;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::members::{Commands, Member};
use crate::oracle::Wrongs;

const SINK: [&str; 3] = ["sink", "--output", "json"];

/// All sinks.
pub struct Crew {
    commands: Commands,
    named: bool,
    inner: Mutex<Inner>,
}

struct Inner {
    /// By place: a restarted sink takes the place, and the name, of the one before.
    members: Vec<Option<Member>>,
    random: Random,
    peak: u64,
    panics: Wrongs,
    /// Of those that were asked to stop: the files in which they told what they did.
    told: BTreeSet<PathBuf>,
}

impl Crew {
    /// None so far; with `named` each is known to the group by a name that stays.
    pub fn new(commands: Commands, named: bool, random: Random) -> Self {
        let inner = Inner {
            members: Vec::new(),
            random,
            peak: 0,
            panics: Wrongs::new(),
            told: BTreeSet::new(),
        };
        Self { commands, named, inner: Mutex::new(inner) }
    }

    fn start(&self, place: usize) -> Member {
        let name = format!("sink-{place}");
        match self.named {
            true => self.commands.with("BOWERBIRD__SINK__INSTANCE", &name).start(&name, &SINK),
            false => self.commands.start(&name, &SINK),
        }
    }

    /// Starts or stops sinks until there are so many.
    pub async fn scale(&self, wanted: usize) -> Wrongs {
        let mut inner = self.inner.lock().await;
        let mut wrongs = Wrongs::new();
        while inner.members.len() > wanted {
            if let Some(Some(mut member)) = inner.members.pop() {
                wrongs.extend(member.stop().await.err());
                inner.keep(&mut member);
            }
        }
        for place in inner.members.len()..wanted {
            inner.members.push(Some(self.start(place)));
        }
        wrongs
    }

    /// Starts one where none is left.
    pub async fn at_least_one(&self) {
        if self.inner.lock().await.members.iter().all(Option::is_none) {
            self.scale(0).await;
            self.scale(1).await;
        }
    }

    /// Kills one, and starts another in its place after a while.
    pub async fn kill_one(&self, lasts: Duration) {
        let Some((place, mut member)) = self.take().await else { return };
        member.kill().await;
        self.replace(place, member, lasts).await;
    }

    /// Asks one to stop, and starts another in its place after a while.
    pub async fn stop_one(&self, lasts: Duration) -> Wrongs {
        let Some((place, mut member)) = self.take().await else { return Wrongs::new() };
        let stopped = member.stop().await;
        self.replace(place, member, lasts).await;
        stopped.err().into_iter().collect()
    }

    async fn take(&self) -> Option<(usize, Member)> {
        let mut inner = self.inner.lock().await;
        let count = inner.members.len() as u64;
        let place = usize::try_from(inner.random.below(count)).unwrap();
        let member = inner.members.get_mut(place)?.take()?;
        Some((place, member))
    }

    async fn replace(&self, place: usize, mut gone: Member, after: Duration) {
        sleep(after).await;
        let mut inner = self.inner.lock().await;
        inner.keep(&mut gone);
        if let Some(empty) = inner.members.get_mut(place) {
            *empty = Some(self.start(place));
        }
    }

    /// Notes how much memory each has, and tells of those that have ended by themselves; others
    /// take their places.
    pub async fn look(&self) -> Wrongs {
        let mut inner = self.inner.lock().await;
        let mut wrongs = Wrongs::new();
        for place in 0..inner.members.len() {
            let Some(member) = &mut inner.members[place] else { continue };
            let ended = member.ended();
            let (peak, name) = (member.peak(), member.name.clone());
            inner.peak = inner.peak.max(peak);
            if let Some(status) = ended {
                wrongs.push(format!("{name} has ended by itself: {status}"));
                inner.members[place] = Some(self.start(place));
            }
        }
        wrongs
    }

    /// Asks all to stop.
    pub async fn stop(&self) -> Wrongs {
        let mut wrongs = self.scale(0).await;
        wrongs.append(&mut self.inner.lock().await.panics);
        wrongs
    }

    /// How many records all have settled that were asked to stop.
    pub async fn records(&self) -> u64 {
        let inner = self.inner.lock().await;
        let told = inner.told.iter().map(|path| std::fs::read_to_string(path).unwrap_or_default());
        told.map(|told| {
            let reports = serde_json::Deserializer::from_str(&told).into_iter::<Value>();
            let sinks = reports.filter_map(Result::ok).flat_map(|report| {
                let sinks = report.as_object().cloned().unwrap_or_default();
                sinks.into_iter().map(|(_, sink)| sink["records"].as_u64().unwrap_or(0))
            });
            sinks.sum::<u64>()
        })
        .sum()
    }

    /// The most memory that one had, in bytes.
    pub async fn peak(&self) -> u64 {
        self.inner.lock().await.peak
    }
}

impl Inner {
    /// What remains of one that has gone.
    fn keep(&mut self, member: &mut Member) {
        self.peak = self.peak.max(member.peak());
        self.panics.extend(member.panics());
        self.told.insert(member.out.clone());
    }
}
