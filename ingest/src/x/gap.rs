//! The times at which nobody listened: pure. Each is a fact in the journal, so that a hole in the
//! data can be told from silence.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// The longest time that X fills in when it is asked to, in minutes.
const BACKFILL_WINDOW: i128 = 5;
/// A reason that keeps changing is told no more often than this.
const TOLD_EVERY: SignedDuration = SignedDuration::from_secs(60);

/// An interval without a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// When the stream was last heard.
    pub from: Timestamp,
    /// When it was heard again, or until when it is known that it was not.
    pub to: Timestamp,
    /// What began it, in a word.
    pub cause: String,
    /// What began it.
    pub reason: String,
    /// How often it was tried in vain to connect.
    #[serde(default)]
    pub failed: u64,
    /// Why the last of these tries failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
    /// How many minutes X was asked to fill in; what it has filled in is among the posts.
    #[serde(default)]
    pub backfill_minutes: u8,
}

impl Gap {
    /// One that begins.
    pub fn new(from: Timestamp, cause: &str, reason: &str) -> Self {
        Self {
            from,
            to: from,
            cause: cause.to_owned(),
            reason: reason.to_owned(),
            failed: 0,
            last_failure: None,
            backfill_minutes: 0,
        }
    }
}

/// Keeps account of when the stream was not heard.
#[derive(Clone, Debug, Default)]
pub struct Gaps {
    open: Option<Gap>,
    /// When it was last told what keeps it open, and what of it.
    told: Option<(Timestamp, u64, Option<String>)>,
    /// From when on X was asked to fill in, by a connection that may break before it has.
    asked_from: Option<Timestamp>,
}

impl Gaps {
    /// Nothing was heard after `from`. A gap that is open already has its beginning.
    pub fn begin(&mut self, from: Timestamp, cause: &str, reason: &str) {
        self.open.get_or_insert_with(|| Gap::new(from, cause, reason));
    }

    /// Goes on with one that was open before.
    pub fn resume(&mut self, gap: Gap) {
        self.told = None;
        self.open = Some(Gap { backfill_minutes: 0, ..gap });
    }

    /// What keeps one open, if that is to be told at `now`: another reason than before, or, with
    /// `all`, how often it was tried since. Whoever comes after a restart knows it then.
    pub fn tells(&mut self, now: Timestamp, all: bool) -> bool {
        let Some(Gap { failed: failed @ 1.., last_failure, .. }) = &self.open else {
            return false;
        };
        let tells = match &self.told {
            None => true,
            Some((_, before, _)) if all => before != failed,
            Some((at, _, before)) => {
                before != last_failure && now.duration_since(*at).abs() >= TOLD_EVERY
            }
        };
        if tells {
            self.told = Some((now, *failed, last_failure.clone()));
        }
        tells
    }

    /// The one that lasts, as it is at `now`.
    pub fn so_far(&self, now: Timestamp) -> Option<Gap> {
        let gap = self.open.clone()?;
        Some(Gap { to: now.max(gap.from), ..gap })
    }

    /// It was tried in vain to end it.
    pub fn failed(&mut self, why: &str) {
        if let Some(gap) = &mut self.open {
            gap.failed += 1;
            gap.last_failure = Some(why.to_owned());
        }
    }

    /// How many of the `allowed` minutes to ask for, when connecting at `now`.
    pub fn backfill(&mut self, allowed: u8, now: Timestamp) -> u8 {
        let Some(gap) = &mut self.open else { return 0 };
        let from = self.asked_from.map_or(gap.from, |asked| asked.min(gap.from));
        // A part of a minute is filled in by a whole one.
        let minutes = (now.duration_since(from).as_millis().max(1) + 59_999) / 60_000;
        gap.backfill_minutes =
            allowed.min(u8::try_from(minutes.min(BACKFILL_WINDOW)).unwrap_or_default());
        gap.backfill_minutes
    }

    /// Since when nothing was heard, if that is so.
    pub fn since(&self) -> Option<Timestamp> {
        self.open.as_ref().map(|gap| gap.from)
    }

    /// Something was heard: the gap that this ends.
    pub fn heard(&mut self, at: Timestamp) -> Option<Gap> {
        let gap = self.open.take()?;
        self.told = None;
        if gap.backfill_minutes > 0 {
            self.asked_from.get_or_insert(gap.from);
        }
        Some(Gap { to: at.max(gap.from), ..gap })
    }

    /// A connection has lasted so long that it has filled in what it was asked to.
    pub fn filled(&mut self) {
        self.asked_from = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_gap_lasts_from_the_last_that_was_heard_to_the_next() {
        let mut gaps = Gaps::default();
        assert_eq!(gaps.heard(at(1)), None, "nobody has listened before");
        gaps.begin(at(10), "network", "reset");
        gaps.failed("503");
        // A connection on which nothing was heard ends no gap and begins none.
        gaps.begin(at(20), "idle", "silence");
        gaps.failed("504");
        let gap = gaps.heard(at(30)).unwrap();
        assert_eq!((gap.from, gap.to, gap.failed), (at(10), at(30), 2));
        assert_eq!((gap.cause.as_str(), gap.last_failure.as_deref()), ("network", Some("504")));
        assert_eq!(gaps.heard(at(31)), None);
        // A clock that was set back makes no gap that ends before it began.
        gaps.begin(at(40), "idle", "silence");
        assert_eq!(gaps.heard(at(35)).map(|gap| (gap.from, gap.to)), Some((at(40), at(40))));
    }

    #[test]
    fn what_keeps_it_open_is_told_when_that_changes_and_not_all_the_time() {
        let mut gaps = Gaps::default();
        gaps.failed("503");
        assert!(!gaps.tells(at(1), true), "nothing is open");
        gaps.begin(at(10), "ended", "");
        assert!(!gaps.tells(at(10), true), "nothing was tried");
        for (second, why, tells) in
            [(11, "503", true), (12, "503", false), (90, "503", false), (91, "401", true)]
        {
            gaps.failed(why);
            assert_eq!(gaps.tells(at(second), false), tells, "{second}");
        }
        gaps.failed("503");
        assert!(!gaps.tells(at(95), false));
        gaps.failed("503");
        assert!(gaps.tells(at(151), false));
        assert!(!gaps.tells(at(152), true));
        gaps.failed("503");
        assert!(gaps.tells(at(153), true) && !gaps.tells(at(154), true));
        // Whoever goes on with it tells it once more.
        let so_far = gaps.so_far(at(160)).unwrap();
        assert_eq!((so_far.to, so_far.failed), (at(160), 7));
        let mut later = Gaps::default();
        later.resume(so_far);
        later.failed("403");
        assert!(later.tells(at(161), false));
        assert_eq!(later.heard(at(170)).unwrap().failed, 8);
    }

    #[test]
    fn so_many_minutes_are_filled_in_as_are_missing_and_allowed() {
        for (allowed, after, expected) in [
            (0, 30_000, 0),
            (5, 0, 1),
            (5, 60_000, 1),
            (5, 60_001, 2),
            (5, 300_000, 5),
            (5, 301_000, 5),
            (2, 250_000, 2),
            (5, 1_000_000_000_000, 5),
            (5, -60_000, 1),
        ] {
            let mut gaps = Gaps::default();
            assert_eq!(gaps.backfill(allowed, at(5)), 0);
            gaps.begin(at(1_000), "idle", "silence");
            let now = Timestamp::from_millisecond(1_000_000 + after).unwrap();
            assert_eq!(gaps.backfill(allowed, now), expected, "{allowed} {after}");
        }
    }
}
