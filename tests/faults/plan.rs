//! What happens in a run, decided by its seed before it begins.

use std::time::Duration;

use crate::proxy::Mood;
use crate::random::Random;

/// How long faults are begun, in milliseconds.
const HORIZON_MS: u64 = 8_000;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The way to the store.
    Store(Mood),
    /// The store is killed with -9, and started again.
    StoreKilled,
    /// The store hangs with its connections open.
    StorePaused,
    /// A broker is killed with -9, and started again.
    BrokerKilled,
    /// Two of three brokers are: nothing is acknowledged until one is back.
    QuorumKilled,
    /// A broker hangs with its connections open.
    BrokerPaused,
    /// Every connection of every broker is cut, again and again.
    BrokersCut,
    /// A sink is killed with -9, and started again.
    SinkKilled,
    /// A sink is asked to stop, and started again.
    SinkStopped,
    /// There are so many sinks from now on.
    Scaled(usize),
}

/// The parts of the system that suffer beside each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    Store,
    Brokers,
    Sinks,
}

/// A fault, how long after the one before it begins, and how long it lasts.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub after: Duration,
    pub lasts: Duration,
    pub what: What,
}

/// How an import is interrupted.
#[derive(Clone, Copy, Debug)]
pub enum Interrupted {
    Killed(Duration),
    Stopped(Duration),
}

/// A run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    /// Sinks at the beginning.
    pub members: usize,
    /// Whether each has a name that stays over restarts (static membership).
    pub named: bool,
    pub store: Vec<Fault>,
    pub brokers: Vec<Fault>,
    pub sinks: Vec<Fault>,
    /// For each import.
    pub imports: Vec<Option<Interrupted>>,
    /// What everything else that is left to chance is drawn from.
    pub random: Random,
}

impl What {
    fn lane(self) -> Lane {
        match self {
            Self::Store(_) | Self::StoreKilled | Self::StorePaused => Lane::Store,
            Self::BrokerKilled | Self::QuorumKilled | Self::BrokerPaused | Self::BrokersCut => {
                Lane::Brokers
            }
            Self::SinkKilled | Self::SinkStopped | Self::Scaled(_) => Lane::Sinks,
        }
    }

    /// Every kind. Twelve seeds in a row, each with two of them in turn, have had all.
    fn kinds() -> Vec<Self> {
        let others = [
            Self::SinkKilled,
            Self::BrokerKilled,
            Self::Scaled(3),
            Self::StoreKilled,
            Self::BrokersCut,
            Self::SinkStopped,
            Self::BrokerPaused,
            Self::StorePaused,
            Self::QuorumKilled,
        ];
        let moods = Mood::FAULTS.map(Self::Store);
        let (first, rest) = moods.split_at(others.len());
        let mixed = first.iter().zip(&others).flat_map(|(mood, other)| [*mood, *other]);
        mixed.chain(rest.iter().copied()).collect()
    }
}

impl Plan {
    pub fn of(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let kinds = What::kinds();
        let turn =
            |nth: u64| kinds[usize::try_from((seed * 2 + nth) % kinds.len() as u64).unwrap()];
        let mut chosen = vec![turn(0), turn(1)];
        for _ in 0..random.between(1, 4) {
            chosen.push(match random.below(3) {
                0 => What::Scaled(usize::try_from(random.between(1, 4)).unwrap()),
                _ => random.pick(&kinds),
            });
        }
        let mut lane = |lane: Lane| -> Vec<Fault> {
            let what: Vec<What> =
                chosen.iter().copied().filter(|what| what.lane() == lane).collect();
            // Brokers come back slowly: one trouble of theirs is enough for a run.
            let most = if lane == Lane::Brokers { 1 } else { 4 };
            let share = HORIZON_MS / what.len().clamp(1, most) as u64;
            let fault = |what| Fault {
                after: Duration::from_millis(random.between(100, share / 4)),
                lasts: Duration::from_millis(random.between(share / 4, share * 3 / 4)),
                what,
            };
            what.into_iter().take(most).map(fault).collect()
        };
        let (store, brokers, sinks) = (lane(Lane::Store), lane(Lane::Brokers), lane(Lane::Sinks));
        let mut interrupted = || {
            let after = Duration::from_millis(random.between(50, 900));
            match random.below(10) {
                0..=2 => Some(Interrupted::Killed(after)),
                3 => Some(Interrupted::Stopped(after)),
                _ => None,
            }
        };
        let imports = (0..4).map(|_| interrupted()).collect();
        let members = usize::try_from(random.between(1, 4)).unwrap();
        let named = random.percent(50);
        Self { seed, members, named, store, brokers, sinks, imports, random }
    }

    /// How long the work is spread over.
    pub fn horizon(&self) -> Duration {
        Duration::from_millis(HORIZON_MS)
    }

    /// In a line.
    pub fn told(&self) -> String {
        let faults = [&self.store, &self.brokers, &self.sinks];
        let told: Vec<String> = faults
            .into_iter()
            .flatten()
            .map(|fault| format!("{:?} {:.1}s", fault.what, fault.lasts.as_secs_f64()))
            .collect();
        let named = if self.named { " named" } else { "" };
        format!("{}{named} sinks; {}", self.members, told.join(", "))
    }
}
