//! When a data set is polled.

use std::fmt;
use std::time::Duration;

use cronexpr::{Crontab, FallbackTimezoneOption, ParseOptions};
use jiff::Timestamp;
use xxhash_rust::xxh3::xxh3_64;

/// A poll that failed is tried again no sooner than this.
const SOONEST_RETRY: Duration = Duration::from_secs(60);

/// When a data set is polled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// At start, and then again and again.
    Every {
        /// From the beginning of a poll to that of the next.
        interval: Duration,
        /// Up to so much later, so that data sets don't come all at once.
        jitter: Duration,
    },
    /// At the times of a cron expression.
    Cron(Cron),
}

/// A cron expression that was understood.
#[derive(Clone)]
pub struct Cron {
    expression: String,
    crontab: Box<Crontab>,
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.expression, f)
    }
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.expression == other.expression
    }
}

impl Eq for Cron {}

impl Default for Schedule {
    fn default() -> Self {
        Self::Every { interval: Duration::from_secs(24 * 3_600), jitter: Duration::ZERO }
    }
}

impl Schedule {
    /// By an expression: minute, hour, day, month, day of the week, and perhaps a time zone, which
    /// is UTC otherwise (`30 3 * * 1-5 Australia/Melbourne`).
    ///
    /// # Errors
    /// What is wrong with it, and what it should be like.
    pub fn cron(expression: &str) -> Result<Self, String> {
        let mut options = ParseOptions::default();
        options.fallback_timezone_option = FallbackTimezoneOption::UTC;
        match cronexpr::parse_crontab_with(expression, options) {
            Ok(crontab) => Ok(Self::Cron(Cron {
                expression: expression.to_owned(),
                crontab: Box::new(crontab),
            })),
            Err(error) => Err(format!(
                "{expression:?} is no cron expression ({}); it should be like \"30 3 * * 1-5 \
                 Australia/Melbourne\"",
                error.to_string().lines().last().unwrap_or_default()
            )),
        }
    }

    /// How long to wait for the first poll from `now` on.
    pub fn first(&self, now: Timestamp) -> Duration {
        match self {
            Self::Every { .. } => Duration::ZERO,
            Self::Cron(cron) => until(&cron.crontab, now),
        }
    }

    /// From the beginning of a poll to that of the next: sooner when it was not whole.
    pub fn wait(&self, type_name: &str, begun: Timestamp, whole: bool) -> Duration {
        let interval = match self {
            Self::Every { interval, .. } => *interval,
            Self::Cron(cron) => until(&cron.crontab, begun),
        };
        if !whole {
            return (interval / 8).max(SOONEST_RETRY).min(interval);
        }
        match self {
            Self::Every { jitter, .. } => interval + spread(type_name, begun, *jitter),
            Self::Cron(_) => interval,
        }
    }
}

/// To the next time of an expression. Some have none any more; that is looked at again in a day.
fn until(crontab: &Crontab, from: Timestamp) -> Duration {
    let next = crontab.find_next(from).ok().map(|next| next.timestamp().duration_since(from));
    next.and_then(|wait| Duration::try_from(wait).ok()).unwrap_or(Duration::from_secs(24 * 3_600))
}

/// A part of `jitter` that differs from data set to data set and from poll to poll.
fn spread(type_name: &str, begun: Timestamp, jitter: Duration) -> Duration {
    let share = xxh3_64(format!("{type_name} {begun}").as_bytes()) as f64 / u64::MAX as f64;
    jitter.mul_f64(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_that_failed_is_tried_sooner() {
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3_600));
        for (interval, whole, expected) in [
            (hour * 24, true, hour * 24),
            (hour * 24, false, hour * 3),
            (minute * 4, false, minute),
            (minute / 2, false, minute / 2),
        ] {
            let schedule = Schedule::Every { interval, jitter: Duration::ZERO };
            assert_eq!(schedule.wait("a:b", Timestamp::UNIX_EPOCH, whole), expected);
        }
    }

    #[test]
    fn jitter_spreads_within_its_bound() {
        let (interval, jitter) = (Duration::from_secs(600), Duration::from_secs(60));
        let schedule = Schedule::Every { interval, jitter };
        let waits: Vec<Duration> = (0..100)
            .map(|number| schedule.wait(&format!("a:{number}"), Timestamp::UNIX_EPOCH, true))
            .collect();
        assert!(waits.iter().all(|wait| (interval..=interval + jitter).contains(wait)));
        let early = waits.iter().filter(|wait| **wait < interval + jitter / 2).count();
        assert!((25..75).contains(&early), "{early}");
    }

    #[test]
    fn cron_expressions_name_times() {
        let from: Timestamp = "2024-05-01T10:00:00Z".parse().unwrap();
        for (expression, minutes) in [
            ("30 10 * * *", 30),
            ("0 10 * * *", 24 * 60),
            // Wednesday, 20:00 in Melbourne.
            ("30 3 * * 1-5 Australia/Melbourne", 7 * 60 + 30),
        ] {
            let schedule = Schedule::cron(expression).unwrap();
            let wait = Duration::from_secs(minutes * 60);
            assert_eq!((schedule.first(from), schedule.wait("a:b", from, true)), (wait, wait));
        }
        for wrong in ["", "daily", "61 * * * *", "0 3 * * * Mars/Base"] {
            let said = Schedule::cron(wrong).unwrap_err();
            assert!(said.contains("Australia/Melbourne"), "{said}");
        }
    }
}
