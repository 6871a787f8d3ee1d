//! The meter: what the stream costs, what may be spent in a month, and what is to be told of it.
//!
//! Pure. It lives in the journal: a fact now and then says what a day has brought so far. What came
//! after the last fact is in the log's posts, so whoever starts after a kill knows it again (`fold`).

mod count;
mod fold;

use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

pub use count::{Day, OfRule};
pub use fold::{Usage, usage};

use super::failure::Failure;
use count::{Count, day_of};

/// `ce_type` of what a day has brought so far.
pub const COUNTED: &str = "usage.counted";
/// `ce_type` of a month that comes near its cap.
pub const WARNING: &str = "usage.warning";
/// `ce_type` of a month that has reached its cap, so that nothing more is taken.
pub const CAPPED: &str = "usage.capped";
/// `ce_type` of the end of that: there is room again.
pub const UNCAPPED: &str = "usage.uncapped";

/// How often it is told what a day has brought, and at the end of each connection. Whoever starts
/// after a kill has to count no more than this anew.
const EVERY: Duration = Duration::from_secs(300);

/// What the stream may bring, and what that costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// The most posts in a month of UTC; nothing: as many as come.
    pub monthly_cap_posts: Option<u64>,
    /// At how many percent of them it is warned.
    pub warn_at_percent: u8,
    /// What a post costs, in US dollars.
    pub price_per_post_usd: f64,
}

impl Default for Limits {
    /// No cap, and X's price of pay-per-use plans.
    fn default() -> Self {
        Self { monthly_cap_posts: None, warn_at_percent: 80, price_per_post_usd: 0.005 }
    }
}

impl Limits {
    /// What so many billed posts cost, in US dollars, as far as the configured price is right.
    pub fn cost_usd(&self, posts: u64) -> f64 {
        // Sums of prices have no more places than a price has.
        (posts as f64 * self.price_per_post_usd * 1e6).round() / 1e6
    }

    fn warns_at(&self, cap: u64) -> u64 {
        let posts = u128::from(cap) * u128::from(self.warn_at_percent) / 100;
        u64::try_from(posts).unwrap_or(cap).max(1)
    }
}

/// A fact for the journal: its type and what it says.
pub type Fact = (&'static str, Value);

/// Counts and judges.
#[derive(Clone, Debug)]
pub struct Meter {
    limits: Limits,
    count: Count,
    /// The day of which was told last, and how much of it had been delivered.
    told: Option<(Date, u64)>,
    told_at: Option<Timestamp>,
    /// The first day of the month that was warned of.
    warned: Option<Date>,
    /// The first day of the month of which the cap is told.
    capped: Option<Date>,
}

impl Meter {
    /// A meter that goes on from what the log says of the month in which `usage` is.
    pub fn new(limits: Limits, usage: Usage) -> Self {
        let Usage { month, warned, capped, told, count } = usage;
        // A warning of a cap that was lower is none of this one.
        let warned = warned.is_some() && warned == limits.monthly_cap_posts;
        Self {
            limits,
            count,
            told,
            told_at: None,
            warned: warned.then_some(month),
            capped: capped.then_some(month),
        }
    }

    /// Counts a post that arrived at `at`. Gives the rules that it matched, if it counts.
    pub fn add(&mut self, at: Timestamp, id: u64, item: &[u8]) -> Option<Vec<OfRule>> {
        self.count.add(at, id, item)
    }

    /// Posts of today and of this month.
    pub fn posts(&self, now: Timestamp) -> (u64, u64) {
        let day = day_of(now);
        (self.count.days.get(&day).map_or(0, |day| day.posts), self.count.month(day))
    }

    /// What this month costs by now, in US dollars.
    pub fn cost_usd(&self, now: Timestamp) -> f64 {
        self.limits.cost_usd(self.count.billed(day_of(now)))
    }

    /// Why nothing more may be taken now, and until when; nothing where more may.
    pub fn capped(&self, now: Timestamp) -> Option<(Failure, Timestamp)> {
        let cap = self.limits.monthly_cap_posts?;
        let day = day_of(now);
        (self.count.month(day) >= cap).then(|| {
            let failure = Failure::Capped { cap, month: month_name(day) };
            (failure, next_month(day).unwrap_or(Timestamp::MAX))
        })
    }

    /// Whether the month has come so near its cap that it is to be warned of, and was not.
    pub fn warns(&self, now: Timestamp) -> bool {
        let today = day_of(now);
        let near = |cap| self.count.month(today) >= self.limits.warns_at(cap);
        self.warned != Some(today.first_of_month())
            && self.limits.monthly_cap_posts.is_some_and(near)
    }

    /// When something is to be told at the latest, seen from `now`.
    fn tells_after(&self, now: Timestamp) -> Duration {
        let told_at = self.told_at.unwrap_or(now);
        EVERY.saturating_sub(Duration::try_from(now.duration_since(told_at)).unwrap_or_default())
    }

    /// What is to be told at `now`; with `all` also what could wait.
    pub fn tell(&mut self, now: Timestamp, all: bool) -> Vec<Fact> {
        let mut facts = Vec::new();
        let today = day_of(now);
        let due = all || self.tells_after(now).is_zero();
        for (day, of_day) in &self.count.days {
            // What was told at the end of a day can have been told before its last post.
            let told = self.told.is_some_and(|(told, deliveries)| {
                *day < told || (*day == told && of_day.deliveries == deliveries)
            });
            if told || !(due || *day < today) {
                continue;
            }
            let mut fact = json!(of_day);
            fact["day"] = json!(day);
            fact["counted_to"] = json!(self.count.counted_to);
            fact["cost_usd"] = json!(self.limits.cost_usd(of_day.billed()));
            facts.push((COUNTED, fact));
            self.told = Some((*day, of_day.deliveries));
        }
        if due || self.told_at.is_none() {
            self.told_at = Some(now);
        }
        // The month before has no end of its own here: it may be needed on its last day's evening.
        let keeps = today.first_of_month().yesterday().map_or(today, Date::first_of_month);
        self.count.days.retain(|day, _| *day >= keeps);
        facts.extend(self.judge(now, today));
        facts
    }

    fn judge(&mut self, now: Timestamp, today: Date) -> Vec<Fact> {
        let (mut facts, month) = (Vec::new(), today.first_of_month());
        let Some(cap) = self.limits.monthly_cap_posts else { return facts };
        let mut fact = json!({
            "month": month_name(today), "posts": self.count.month(today), "cap_posts": cap,
            "cost_usd": self.cost_usd(now),
        });
        if self.warns(now) {
            self.warned = Some(month);
            facts.push((WARNING, fact.clone()));
        }
        match self.capped(now) {
            Some((_, until)) if self.capped != Some(month) => {
                self.capped = Some(month);
                fact["until"] = json!(until);
                facts.push((CAPPED, fact));
            }
            None if self.capped.is_some() => {
                self.capped = None;
                facts.push((UNCAPPED, fact));
            }
            _ => {}
        }
        facts
    }

    /// For people: what today and this month brought.
    pub fn note(&self, now: Timestamp) -> String {
        let (today, month) = self.posts(now);
        let of_cap = self.limits.monthly_cap_posts.map(|cap| format!(" of {cap}"));
        format!(
            "posts delivered: {today} today, {month}{} this month, about {:.2} US$",
            of_cap.unwrap_or_default(),
            self.cost_usd(now)
        )
    }
}

/// `2026-11`.
pub fn month_name(day: Date) -> String {
    format!("{:04}-{:02}", day.year(), day.month())
}

fn next_month(day: Date) -> Option<Timestamp> {
    start_of(day.last_of_month().tomorrow().ok()?)
}

fn start_of(day: Date) -> Option<Timestamp> {
    Offset::UTC.to_timestamp(day.at(0, 0, 0, 0)).ok()
}

/// A while before a time: what is read again, to know what came before it.
fn before(time: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or_default();
    time.checked_sub(by).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn meter(cap: Option<u64>) -> Meter {
        let limits = Limits { monthly_cap_posts: cap, ..Limits::default() };
        Meter::new(limits, Usage::empty(day_of(at("2026-11-01T00:00:00Z"))))
    }

    fn kinds(facts: &[Fact]) -> Vec<&'static str> {
        facts.iter().map(|(kind, _)| *kind).collect()
    }

    #[test]
    fn a_day_is_told_now_and_then_and_at_its_end() {
        let mut meter = meter(None);
        assert!(meter.tell(at("2026-11-30T23:50:00Z"), false).is_empty());
        assert!(meter.add(at("2026-11-30T23:50:01Z"), 1, b"{}").is_some());
        assert!(meter.tell(at("2026-11-30T23:50:01Z"), false).is_empty());
        assert_eq!(meter.tells_after(at("2026-11-30T23:54:00Z")), Duration::from_secs(60));
        let facts = meter.tell(at("2026-11-30T23:55:00Z"), false);
        assert_eq!((kinds(&facts), &facts[0].1["posts"]), (vec![COUNTED], &json!(1)));
        assert!(meter.tell(at("2026-11-30T23:56:00Z"), true).is_empty(), "nothing is new");
        meter.add(at("2026-11-30T23:57:00Z"), 2, b"{}");
        meter.add(at("2026-12-01T00:00:00Z"), 3, b"{}");
        // The day before is over, the new one can wait.
        let facts = meter.tell(at("2026-12-01T00:00:00Z"), false);
        assert_eq!((kinds(&facts), &facts[0].1["day"]), (vec![COUNTED], &json!("2026-11-30")));
        assert_eq!((&facts[0].1["posts"], &facts[0].1["cost_usd"]), (&json!(2), &json!(0.01)));
        assert_eq!(kinds(&meter.tell(at("2026-12-01T00:00:01Z"), true)), [COUNTED]);
        assert_eq!(meter.posts(at("2026-12-01T00:00:01Z")), (1, 1));
    }

    #[test]
    fn a_month_is_warned_of_and_capped_once_and_the_next_is_free() {
        let mut meter = meter(Some(5));
        let now = at("2026-11-10T00:00:00Z");
        for (id, expected) in [
            (1, vec![]),
            (2, vec![]),
            (3, vec![]),
            (4, vec![WARNING]),
            (5, vec![CAPPED]),
            (6, vec![]),
        ] {
            meter.add(now, id, b"{}");
            assert_eq!(kinds(&meter.tell(now, false)), expected, "{id}");
            assert_eq!(meter.capped(now).is_some(), id >= 5);
        }
        let (failure, until) = meter.capped(now).unwrap();
        assert_eq!(until, at("2026-12-01T00:00:00Z"));
        assert!(failure.to_string().contains("5 posts") && failure.to_string().contains("2026-11"));
        assert_eq!(meter.capped(until), None);
        assert_eq!(kinds(&meter.tell(until, false)), [COUNTED, UNCAPPED]);
        assert!(meter.tell(until, false).is_empty());
    }

    #[test]
    fn a_cap_of_any_size_is_warned_of() {
        let limits = Limits { warn_at_percent: 80, ..Limits::default() };
        assert_eq!(
            [0, 1, 5, u64::MAX].map(|cap| limits.warns_at(cap)),
            [1, 1, 4, 14_757_395_258_967_641_292]
        );
    }
}
