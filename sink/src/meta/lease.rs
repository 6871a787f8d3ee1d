//! Who may do a job: pure, with time as an argument.
//!
//! A lease is for a while and is renewed while its holder lives. Who comes later is refused until
//! it has run out, or until its holder is seen dead. It guards against doing a job twice at the
//! same time by mistake; what makes it safe is that every step of a job is written over the revision
//! that was read, so who has lost the lease can't go on.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How long a lease lasts without being renewed.
pub const LASTS: Duration = Duration::from_secs(15);
/// How often it is renewed.
pub const RENEWED_EVERY: Duration = Duration::from_secs(4);

/// A process that does a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its machine's name.
    pub host: String,
    /// Its number there,
    pub pid: u32,
    /// as far as this space of numbers goes: containers may share a machine's name.
    pub space: String,
    /// What tells it from another of the same number, such as the first process of a container
    /// that was started anew.
    pub started: Timestamp,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {}", self.pid, self.host)
    }
}

/// The right to do a job, for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Whose.
    pub holder: Holder,
    /// Until when.
    pub until: Timestamp,
}

/// Why somebody may not do a job now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held(pub Lease);

impl Lease {
    /// A lease that begins now.
    pub fn begin(holder: Holder, now: Timestamp) -> Self {
        Self { holder, until: later(now, LASTS) }
    }

    /// Gives the lease to `me`, if nobody else holds it. `lives` says whether a process of this
    /// machine is alive.
    ///
    /// # Errors
    /// Who holds it.
    pub fn claim(
        held: Option<&Self>,
        me: &Holder,
        lives: impl Fn(u32) -> bool,
        now: Timestamp,
    ) -> Result<Self, Held> {
        match held {
            Some(lease) if lease.holds(now) && !lease.is_dead(me, lives) => {
                Err(Held(lease.clone()))
            }
            _ => Ok(Self::begin(me.clone(), now)),
        }
    }

    /// Whether it has not run out.
    pub fn holds(&self, now: Timestamp) -> bool {
        now < self.until
    }

    /// Whether it is time to renew it.
    pub fn is_due(&self, now: Timestamp) -> bool {
        later(now, LASTS) >= later(self.until, RENEWED_EVERY)
    }

    /// Whether its holder is `me`, or a process of this machine that is no more.
    fn is_dead(&self, me: &Holder, lives: impl Fn(u32) -> bool) -> bool {
        let Holder { host, pid, space, .. } = &self.holder;
        let is_near = (host, space) == (&me.host, &me.space);
        // Who has the number of a living process now is not the one that had it before.
        self.holder == *me || is_near && (*pid == me.pid || !lives(*pid))
    }
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn holder(host: &str, pid: u32, started: i64) -> Holder {
        let space = String::new();
        Holder { host: host.to_owned(), pid, space, started: at(started) }
    }

    #[test]
    fn a_lease_is_for_one_until_it_runs_out_or_its_holder_is_gone() {
        let me = holder("here", 7, 0);
        let alive = [3_u32, 7];
        for (other, now, allowed) in [
            (holder("here", 3, -9), 0, false),
            (holder("here", 3, -9), 14, false),
            (holder("here", 3, -9), 15, true),
            // Killed a moment ago.
            (holder("here", 4, -9), 0, true),
            // A container's first process, started anew under the same number.
            (holder("here", 7, -9), 0, true),
            (me.clone(), 0, true),
            // Nothing is known of the processes of another machine.
            (holder("there", 4, -9), 14, false),
            (holder("there", 4, -9), 15, true),
        ] {
            let lease = Lease::begin(other, at(0));
            let claimed = Lease::claim(Some(&lease), &me, |pid| alive.contains(&pid), at(now));
            match claimed {
                Ok(mine) => {
                    assert!(allowed, "{lease:?} at {now}");
                    assert_eq!(mine, Lease { holder: me.clone(), until: at(now + 15) });
                }
                Err(Held(by)) => assert!(!allowed && by == lease, "{lease:?} at {now}"),
            }
        }
        assert!(Lease::claim(None, &me, |_| true, at(0)).is_ok());
    }

    #[test]
    fn it_is_renewed_well_before_it_runs_out() {
        let lease = Lease::begin(holder("here", 1, 0), at(0));
        assert!(!lease.is_due(at(3)));
        assert!(lease.is_due(at(4)) && lease.holds(at(4)));
    }
}
