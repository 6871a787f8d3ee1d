//! Watching the lag, as `lag`, the dashboard and `up` do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bowerbird_sink::projections::{Pointer, Standing};
use bowerbird_sink::{Generations, Projection};
use bowerbird_store::AnyStore;
use bowerbird_stream::lag::{LagConfig, LagMonitor, LagReport};
use bowerbird_stream::{AnyLog, topic};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

use crate::settings::Settings;

/// How long the store may take to say which generations are live; after that the last word counts.
const LONGEST_ASKING: Duration = Duration::from_secs(1);

/// A monitor of every group on our topics. Those that fill the live generations are expected, also
/// before their first commit; those of generations that nobody fills are no lag.
pub struct Watch {
    log: AnyLog,
    generations: Generations<AnyStore>,
    monitor: LagMonitor<AnyLog>,
    reports: watch::Receiver<LagReport>,
    interval: Duration,
}

impl Watch {
    /// Watches `log`, and asks `generations` which are live.
    pub fn new(log: AnyLog, generations: Generations<AnyStore>, settings: &Settings) -> Self {
        let interval = Duration::from_millis(settings.config().dashboard.interval_ms);
        let bases = Projection::all();
        let expected = bases.iter().map(|base| group(base, base.group.clone())).collect();
        let config = LagConfig { expected, interval, ..LagConfig::new(topic::ALL) };
        let (monitor, reports) = LagMonitor::new(log.clone(), config);
        Self { log, generations, monitor, reports, interval }
    }

    /// The log that it watches.
    pub fn log(&self) -> &AnyLog {
        &self.log
    }

    /// Where its reports can be read.
    pub fn reports(&self) -> watch::Receiver<LagReport> {
        self.reports.clone()
    }

    /// Takes one sample, publishes and returns it.
    pub async fn sample(&mut self) -> LagReport {
        match timeout(LONGEST_ASKING, resolve(&self.generations)).await {
            Ok(Ok((expected, hidden))) => self.monitor.expect(expected, hidden),
            Ok(Err(error)) => tracing::debug!(%error, "the live generations are not known"),
            Err(_) => tracing::debug!("the store does not say in time which generations are live"),
        }
        self.monitor.sample().await
    }

    /// Samples until cancelled.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
            if cancel.run_until_cancelled(self.sample()).await.is_none() {
                break;
            }
        }
    }
}

type Groups = BTreeMap<String, Vec<String>>;

async fn resolve(
    generations: &Generations<AnyStore>,
) -> Result<(Groups, BTreeSet<String>), bowerbird_sink::SinkError> {
    let (mut expected, mut hidden) = (Groups::new(), BTreeSet::new());
    for base in Projection::all() {
        let pointer = generations.look(&base).await?;
        expected.extend(
            pointer.generations.get(&pointer.live).map(|live| group(&base, live.group.clone())),
        );
        hidden.extend(idle(&base, &pointer));
    }
    Ok((expected, hidden))
}

/// The groups of generations that nobody fills: kept, ready or gone.
fn idle(base: &Projection, pointer: &Pointer) -> impl Iterator<Item = String> {
    let filled = |number: &u32| {
        let state = pointer.generations.get(number).map(|generation| generation.state);
        matches!(state, Some(Standing::Live | Standing::Filling))
    };
    (1..=pointer.last)
        .filter(move |number| !filled(number))
        .map(|number| base.clone().generation(number).group)
}

fn group(base: &Projection, group: String) -> (String, Vec<String>) {
    (group, base.topics.iter().map(|&topic| topic.to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use bowerbird_sink::mapping::Mapping;
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn groups_that_nobody_fills_are_no_lag() {
        let base = Projection::posts();
        let (now, mapping) = (Timestamp::UNIX_EPOCH, Mapping::CURRENT);
        let (filling, number) = Pointer::first(&base).begin(&base, &mapping, 0, None, now).unwrap();
        assert_eq!(idle(&base, &filling).count(), 0);
        let switched = filling.ready(&base, number, now).unwrap().switch(&base, number, now);
        let switched = switched.unwrap();
        assert_eq!(idle(&base, &switched).collect::<Vec<_>>(), ["bowerbird-posts"]);
        let gone = switched.dropping(&base, 1, now).unwrap().dropped(1);
        assert_eq!(idle(&base, &gone).collect::<Vec<_>>(), ["bowerbird-posts"]);
    }
}
