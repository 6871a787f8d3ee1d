//! What happens in a run, decided by its seed before it begins.

use std::time::Duration;

use bowerbird_testbed::random::Random;

use crate::proxy::Mood;
use crate::upkeep::Step;

/// How long faults are begun, in milliseconds.
const HORIZON_MS: u64 = 8_000;
/// How many sinks there are, one after the other, where nothing else happens to them.
pub const SCALED: [usize; 4] = [1, 6, 2, 4];

/// A fault, or something that is done while there are faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The way to the store.
    Store(Mood),
    /// The store is killed with -9, and started again.
    StoreKilled,
    /// The store hangs with its connections open.
    StorePaused,
    /// The store's disk is full, and has room again.
    StoreFull,
    /// A broker is killed with -9, and started again.
    BrokerKilled,
    /// Two of three brokers are: nothing is acknowledged until one is back.
    QuorumKilled,
    /// A broker hangs with its connections open.
    BrokerPaused,
    /// Every connection of every broker is cut, again and again.
    BrokersCut,
    /// One broker and the others don't reach each other; clients reach all.
    BrokerParted,
    /// No broker reaches another; clients reach all.
    BrokersParted,
    /// A broker's disk is full, and has room again.
    BrokerFull,
    /// A sink is killed with -9, and started again.
    SinkKilled,
    /// A sink is asked to stop, and started again.
    SinkStopped,
    /// There are so many sinks from now on.
    Scaled(usize),
    /// There are as many sinks as [`SCALED`] says, and nothing else happens.
    ScaledInSteps,
    /// The stream's harvester is killed with -9, and started again.
    HarvesterKilled,
    /// The stream's harvester is asked to stop, and started again.
    HarvesterStopped,
    /// The source of the stream is killed with -9, and started again.
    SourceKilled,
    /// The wall clock of every process of ours is so many seconds on from now. Back it goes by
    /// seconds only: what librdkafka waits for, it waits for by the wall clock, so each of its
    /// threads may stand still for as long as that goes back (its issue 2145).
    ClockStepped(i64),
    /// The posts are made anew, switched to and gone back from, and each of it is killed.
    Rebuilt,
    /// The posts are replayed, and that is killed.
    Replayed,
}

/// The parts of the system that suffer beside each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    Store,
    Brokers,
    Sinks,
    Stream,
    Clock,
    Upkeep,
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
    /// What happens one after the other, in lanes beside each other.
    pub lanes: Vec<Vec<Fault>>,
    /// For each import.
    pub imports: Vec<Option<Interrupted>>,
    /// What is done to the generations of posts meanwhile.
    pub upkeep: Vec<Step>,
    /// What everything else that is left to chance is drawn from.
    pub random: Random,
}

/// Twelve seeds in a row have had every kind. Of brokers' troubles a run has one.
const ROUND: [&[What]; 12] = {
    use Mood::*;
    use What::*;
    [
        &[Store(ResetRequest), BrokerParted, SinkKilled],
        &[Store(LoseAnswer), BrokerKilled, HarvesterKilled],
        &[ScaledInSteps],
        &[Store(Refuse), QuorumKilled, Store(Trickle), SinkStopped],
        &[Store(FailAfter), Rebuilt, SinkKilled],
        &[Store(Unauthorised), BrokersCut, ClockStepped(3_600), Store(Fail)],
        &[Store(ResetAnswer), BrokerFull, Scaled(3)],
        &[Store(Silence), StoreFull, HarvesterStopped],
        &[Store(Busy), BrokersParted, StoreKilled],
        &[Store(Full), Store(Twice), Replayed, SinkStopped],
        &[Store(Gateway), BrokerPaused, SourceKilled, Store(Delay)],
        &[Store(Rows), StorePaused, ClockStepped(-8), HarvesterKilled],
    ]
};

const LANES: [Lane; 6] =
    [Lane::Store, Lane::Brokers, Lane::Sinks, Lane::Stream, Lane::Clock, Lane::Upkeep];

impl What {
    fn lane(self) -> Lane {
        match self {
            Self::Store(_) | Self::StoreKilled | Self::StorePaused | Self::StoreFull => Lane::Store,
            Self::BrokerKilled
            | Self::QuorumKilled
            | Self::BrokerPaused
            | Self::BrokersCut
            | Self::BrokerParted
            | Self::BrokersParted
            | Self::BrokerFull => Lane::Brokers,
            Self::SinkKilled | Self::SinkStopped | Self::Scaled(_) | Self::ScaledInSteps => {
                Lane::Sinks
            }
            Self::HarvesterKilled | Self::HarvesterStopped | Self::SourceKilled => Lane::Stream,
            Self::ClockStepped(_) => Lane::Clock,
            Self::Rebuilt | Self::Replayed => Lane::Upkeep,
        }
    }

    /// Whether it may come by chance into a run whose turn is another's.
    fn comes_by_chance(self) -> bool {
        !matches!(self.lane(), Lane::Upkeep) && self != Self::ScaledInSteps
    }
}

impl Plan {
    pub fn of(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let turn = ROUND[usize::try_from(seed % ROUND.len() as u64).unwrap()];
        let mut chosen = turn.to_vec();
        let quiet = chosen.contains(&What::ScaledInSteps);
        let more: Vec<What> =
            ROUND.iter().copied().flatten().copied().filter(|one| one.comes_by_chance()).collect();
        for _ in 0..random.between(1, 4) {
            let by_chance = match random.below(3) {
                0 => What::Scaled(usize::try_from(random.between(1, 4)).unwrap()),
                _ => random.pick(&more),
            };
            chosen.extend((!quiet).then_some(by_chance));
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
        let lanes: Vec<Vec<Fault>> = LANES.into_iter().map(&mut lane).collect();
        let upkeep = Step::all(
            chosen.contains(&What::Rebuilt),
            chosen.contains(&What::Replayed),
            &mut random,
        );
        let mut interrupted = || {
            let after = Duration::from_millis(random.between(50, 900));
            match random.below(10) {
                0..=2 => Some(Interrupted::Killed(after)),
                3 => Some(Interrupted::Stopped(after)),
                _ => None,
            }
        };
        let imports = (0..4).map(|_| interrupted()).collect();
        let members = match quiet {
            true => SCALED[0],
            false => usize::try_from(random.between(1, 4)).unwrap(),
        };
        let named = random.percent(50);
        Self { seed, members, named, lanes, imports, upkeep, random }
    }

    /// How long the work is spread over.
    pub fn horizon(&self) -> Duration {
        Duration::from_millis(HORIZON_MS)
    }

    /// Whether something of this lane happens.
    pub fn has(&self, lane: Lane) -> bool {
        self.lanes.iter().flatten().any(|fault| fault.what.lane() == lane)
    }

    /// Whether the sinks are scaled, and nothing else happens to anything: what is written again
    /// is written again because of that.
    pub fn only_scales(&self) -> bool {
        self.lanes.iter().flatten().any(|fault| fault.what == What::ScaledInSteps)
    }

    /// In a line.
    pub fn told(&self) -> String {
        let faults = self.lanes.iter().flatten().filter(|fault| fault.what.lane() != Lane::Upkeep);
        let mut told: Vec<String> = faults
            .map(|fault| format!("{:?} {:.1}s", fault.what, fault.lasts.as_secs_f64()))
            .collect();
        told.extend(self.upkeep.iter().map(|step| format!("{step:?}")));
        let named = if self.named { " named" } else { "" };
        format!("{}{named} sinks; {}", self.members, told.join(", "))
    }
}
