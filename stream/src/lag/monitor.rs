//! Samples a log every second.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::evaluate::{self, Part};
use super::series::{Point, Series};
use super::{GroupLag, LagReport, TopicExtent, TopicLag};
use crate::error::LogError;
use crate::log::{EventLog, Extent, GroupInfo};

/// How often new groups and topics are looked for.
const DISCOVER: Duration = Duration::from_secs(15);
/// How often, while a group that is expected has no members: it is probably just starting, and
/// must not be called stopped for longer than needed.
const DISCOVER_SOON: Duration = Duration::from_secs(2);
/// How far back the log itself is asked where it was, when a topic is first seen: so that a
/// monitor that has just started knows how old a lag is.
const SEEDS: [Duration; 7] = [
    Duration::from_secs(60),
    Duration::from_secs(300),
    Duration::from_secs(1_800),
    Duration::from_secs(3 * 3_600),
    Duration::from_secs(24 * 3_600),
    Duration::from_secs(7 * 24 * 3_600),
    Duration::from_secs(60 * 24 * 3_600),
];

/// What to watch.
#[derive(Clone, Debug)]
pub struct LagConfig {
    /// The topics to show; those that do not exist yet are passed over.
    pub topics: Vec<String>,
    /// Groups that are expected, with the topics that each reads: they count as behind also before
    /// their first commit.
    pub expected: BTreeMap<String, Vec<String>>,
    /// Whether other groups with commits on these topics are shown too.
    pub discover: bool,
    /// How often to sample.
    pub interval: Duration,
}

impl LagConfig {
    /// Every second, these topics, and every group that reads them.
    pub fn new(topics: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            topics: topics.into_iter().map(Into::into).collect(),
            expected: BTreeMap::new(),
            discover: true,
            interval: Duration::from_secs(1),
        }
    }
}

/// A group's history.
#[derive(Debug, Default)]
struct Group {
    info: Option<GroupInfo>,
    topics: BTreeSet<String>,
    commits: BTreeMap<(String, i32), Series>,
    /// Sums over its partitions.
    lag: Series,
    moved: Series,
}

/// Watches a log, with a bounded history.
pub struct LagMonitor<L> {
    log: L,
    config: LagConfig,
    publish: watch::Sender<LagReport>,
    groups: BTreeMap<String, Group>,
    ends: BTreeMap<String, BTreeMap<i32, Series>>,
    discover_at: Option<Instant>,
    /// Groups without members that have nothing to do with our topics, as they were.
    passed_over: BTreeSet<String>,
    /// Groups that are never shown.
    hidden: BTreeSet<String>,
}

/// A group's committed offsets by topic and partition.
type Committed = BTreeMap<String, BTreeMap<i32, i64>>;

impl<L: EventLog> LagMonitor<L> {
    /// A monitor, and where its reports can be read.
    pub fn new(log: L, config: LagConfig) -> (Self, watch::Receiver<LagReport>) {
        let (publish, reports) = watch::channel(LagReport::default());
        let groups = config
            .expected
            .iter()
            .map(|(name, topics)| {
                let topics = topics.iter().cloned().collect();
                (name.clone(), Group { topics, ..Group::default() })
            })
            .collect();
        let monitor = Self {
            log,
            config,
            publish,
            groups,
            ends: BTreeMap::new(),
            discover_at: None,
            passed_over: BTreeSet::new(),
            hidden: BTreeSet::new(),
        };
        (monitor, reports)
    }

    /// From now on these groups are expected, with the topics that each reads, and the `hidden` ones
    /// are not shown: nobody is meant to read for them.
    pub fn expect(&mut self, expected: BTreeMap<String, Vec<String>>, hidden: BTreeSet<String>) {
        if expected == self.config.expected && hidden == self.hidden {
            return;
        }
        self.groups.retain(|name, _| !hidden.contains(name));
        for (name, topics) in &expected {
            let group = self.groups.entry(name.clone()).or_default();
            group.topics.extend(topics.iter().cloned());
        }
        (self.config.expected, self.hidden) = (expected, hidden);
        self.discover_at = None;
    }

    /// Samples until cancelled.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut ticks = tokio::time::interval(self.config.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
            if cancel.run_until_cancelled(self.sample()).await.is_none() {
                break;
            }
        }
    }

    /// Takes one sample, and publishes and returns the report. Where the log can't be asked, the
    /// last figures stay, and `errors` says so.
    pub async fn sample(&mut self) -> LagReport {
        let report = match self.measure().await {
            Ok(report) => report,
            Err(error) => {
                let last = self.publish.borrow().clone();
                LagReport { errors: vec![error.to_string()], ..last }
            }
        };
        self.publish.send_replace(report.clone());
        report
    }

    async fn measure(&mut self) -> Result<LagReport, LogError> {
        let mut errors = Vec::new();
        if self.discover_at.is_none_or(|at| at <= Instant::now()) {
            self.discover().await?;
            let wait = if self.misses_members() { DISCOVER_SOON } else { DISCOVER };
            self.discover_at = Some(Instant::now() + wait);
        }
        // Commits before ends: a lag is never negative then.
        let committed = self.committed(&mut errors).await?;
        let mut extents = BTreeMap::new();
        for topic in self.known_topics() {
            match self.log.extents(&topic).await {
                Ok(extent) => _ = extents.insert(topic, extent),
                Err(LogError::MissingTopic { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let now = Timestamp::now();
        for (topic, extents) in &extents {
            self.note_ends(topic, extents, now).await?;
        }
        let groups: Vec<_> = committed
            .into_iter()
            .map(|(name, committed)| self.group(name, &committed, &extents, now))
            .collect();
        let total = evaluate::total(groups.iter().map(|group| Part::Sum(&group.total)));
        let topics = extents.iter().map(|(topic, extents)| self.topic(topic, extents)).collect();
        Ok(LagReport { sampled_at: Some(now), groups, topics, total, errors })
    }

    fn misses_members(&self) -> bool {
        let members = |name| self.groups.get(name)?.info.as_ref().map(|info| info.members.len());
        self.config.expected.keys().any(|name| members(name).unwrap_or(0) == 0)
    }

    fn known_topics(&self) -> BTreeSet<String> {
        let of_groups = self.groups.values().flat_map(|group| &group.topics);
        self.config.topics.iter().chain(of_groups).cloned().collect()
    }

    /// Looks which groups there are, and which topics each has commits on.
    async fn discover(&mut self) -> Result<(), LogError> {
        let infos = self.log.groups().await?;
        if self.config.discover {
            let existing: BTreeSet<_> =
                self.log.topics().await?.into_iter().map(|topic| topic.name).collect();
            for info in infos.iter().filter(|info| !self.hidden.contains(&info.name)) {
                if info.members.is_empty() && self.passed_over.contains(&info.name) {
                    continue;
                }
                let mut topics = BTreeSet::new();
                for topic in self.config.topics.iter().filter(|topic| existing.contains(*topic)) {
                    if !self.log.committed(&info.name, topic).await?.is_empty() {
                        topics.insert(topic.clone());
                    }
                }
                if topics.is_empty() {
                    self.passed_over.insert(info.name.clone());
                } else {
                    self.passed_over.remove(&info.name);
                    self.groups.entry(info.name.clone()).or_default().topics.extend(topics);
                }
            }
        }
        // A group that is gone must not stay as a ghost.
        let expected = &self.config.expected;
        let live: BTreeMap<_, _> =
            infos.into_iter().map(|info| (info.name.clone(), info)).collect();
        self.groups.retain(|name, _| live.contains_key(name) || expected.contains_key(name));
        for (name, group) in &mut self.groups {
            group.info = live.get(name).cloned();
        }
        Ok(())
    }

    async fn committed(
        &self,
        errors: &mut Vec<String>,
    ) -> Result<BTreeMap<String, Committed>, LogError> {
        let mut committed = BTreeMap::new();
        for (name, group) in &self.groups {
            let mut of_group = Committed::new();
            for topic in &group.topics {
                match self.log.committed(name, topic).await {
                    Ok(offsets) => _ = of_group.insert(topic.clone(), offsets),
                    Err(error @ LogError::MissingTopic { .. }) => errors.push(error.to_string()),
                    Err(error) => return Err(error),
                }
            }
            committed.insert(name.clone(), of_group);
        }
        Ok(committed)
    }

    async fn note_ends(
        &mut self,
        topic: &str,
        extents: &BTreeMap<i32, Extent>,
        now: Timestamp,
    ) -> Result<(), LogError> {
        let recreated = self.ends.get(topic).is_some_and(|known| {
            let went_back = |(partition, ends): (&i32, &Series)| {
                let end = extents.get(partition).map_or(0, |extent| extent.end);
                ends.last().is_some_and(|last| end < last.offset)
            };
            known.iter().any(went_back)
        });
        if recreated {
            self.ends.remove(topic);
        }
        let new = !self.ends.contains_key(topic);
        let known = self.ends.entry(topic.to_owned()).or_default();
        for (&partition, extent) in extents {
            known.entry(partition).or_default().push(now, extent.end);
        }
        if !new {
            return Ok(());
        }
        let mut seeds: BTreeMap<i32, Vec<Point>> = BTreeMap::new();
        for back in SEEDS {
            let time = now - back;
            for (partition, offset) in self.log.offsets_at(topic, time).await? {
                seeds.entry(partition).or_default().push(Point { time, offset });
            }
        }
        for (partition, points) in seeds {
            if let Some(ends) = self.ends.get_mut(topic).and_then(|ends| ends.get_mut(&partition)) {
                ends.seed(points);
            }
        }
        Ok(())
    }

    fn group(
        &mut self,
        name: String,
        committed: &Committed,
        extents: &BTreeMap<String, BTreeMap<i32, Extent>>,
        now: Timestamp,
    ) -> GroupLag {
        let group = self.groups.entry(name.clone()).or_default();
        let (none, empty) = (BTreeMap::new(), Series::default());
        let mut topics = Vec::new();
        let mut moved: i64 = 0;
        for (topic, commits) in committed {
            let ends = self.ends.get(topic).unwrap_or(&none);
            let Some(extents) = extents.get(topic) else { continue };
            let mut partitions = Vec::new();
            for (&number, &extent) in extents {
                let commit = commits.get(&number).copied();
                let history = group.commits.entry((topic.clone(), number)).or_default();
                history.push(now, evaluate::next(extent, commit));
                moved = moved.saturating_add(commit.unwrap_or(0));
                let ends = ends.get(&number).unwrap_or(&empty);
                let lag = evaluate::partition(number, extent, commit, ends, history, now);
                partitions.push(lag);
            }
            let total = evaluate::total(partitions.iter().map(Part::Partition));
            topics.push(TopicLag { topic: topic.clone(), partitions, total });
        }
        let total = evaluate::total(topics.iter().map(|topic| Part::Sum(&topic.total)));
        group.lag.push(now, i64::try_from(total.lag).unwrap_or(i64::MAX));
        group.moved.push(now, moved);
        let (state, members) = match &group.info {
            Some(info) => (info.state.clone(), info.members.clone()),
            None => ("Unknown".to_owned(), Vec::new()),
        };
        let status = evaluate::status(&group.lag, &group.moved, members.len());
        GroupLag { group: name, status, state, members, topics, total }
    }

    fn topic(&self, topic: &str, extents: &BTreeMap<i32, Extent>) -> TopicExtent {
        let empty = Series::default();
        let ends = self.ends.get(topic);
        let ends = |number| ends.and_then(|ends| ends.get(number)).unwrap_or(&empty);
        let partitions: Vec<_> = extents
            .iter()
            .map(|(number, &extent)| evaluate::extent(*number, extent, ends(number)))
            .collect();
        TopicExtent {
            topic: topic.to_owned(),
            records: partitions.iter().map(|p| (p.end - p.earliest).max(0) as u64).sum(),
            in_rate: partitions.iter().fold(None, |rate, p| evaluate::sum(rate, p.in_rate)),
            partitions,
        }
    }
}
