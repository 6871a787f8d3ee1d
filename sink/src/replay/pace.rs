//! How fast a replay may go. Pure, with time as an argument.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// A bucket of tokens, one for each event, that holds what one second gives: after a pause nothing
/// is made up for.
#[derive(Debug)]
pub struct Pace {
    per_second: Option<f64>,
    tokens: f64,
    at: Instant,
}

impl Pace {
    /// So many events a second; as many as go without.
    pub fn new(per_second: Option<NonZeroU32>, now: Instant) -> Self {
        Self { per_second: per_second.map(|rate| f64::from(rate.get())), tokens: 1.0, at: now }
    }

    /// How many events may go now, at most `max`, and they are gone; or how long to wait for the
    /// next.
    ///
    /// # Errors
    /// How long to wait.
    pub fn take(&mut self, max: usize, now: Instant) -> Result<usize, Duration> {
        let Some(rate) = self.per_second else { return Ok(max) };
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * rate;
        self.tokens = (self.tokens + gained).min(rate.max(1.0));
        self.at = self.at.max(now);
        if self.tokens < 1.0 {
            // A hair more, so that rounding does not ask again for nothing.
            return Err(Duration::from_secs_f64((1.0 - self.tokens) / rate + 1e-6));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole tokens, of which there are at least one and at most 2^32"
        )]
        let taken = (self.tokens.floor() as usize).min(max);
        #[expect(clippy::cast_precision_loss, reason = "at most 2^32")]
        let spent = taken as f64;
        self.tokens -= spent;
        Ok(taken)
    }

    /// Gives back what was taken and not used.
    pub fn give_back(&mut self, unused: usize) {
        #[expect(clippy::cast_precision_loss, reason = "at most what was taken")]
        let unused = unused as f64;
        self.tokens += unused;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn without_a_rate_everything_goes() {
        let now = Instant::now();
        assert_eq!(Pace::new(None, now).take(500, now), Ok(500));
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let start = Instant::now();
        let mut pace = Pace::new(NonZeroU32::new(10), start);
        assert_eq!(pace.take(500, start), Ok(1));
        let wait = pace.take(500, start).unwrap_err();
        assert!((0.09..0.11).contains(&wait.as_secs_f64()), "{wait:?}");
        assert_eq!(pace.take(500, start + Duration::from_secs(60)), Ok(10));
    }

    proptest! {
        #[test]
        fn never_more_than_the_rate(
            rate in 1..5_000_u32, asks in proptest::collection::vec((0..2_000_u64, 1..700_usize), 1..50),
        ) {
            let start = Instant::now();
            let mut pace = Pace::new(NonZeroU32::new(rate), start);
            let (mut now, mut gone) = (start, 0_usize);
            for (millis, max) in asks {
                now += Duration::from_millis(millis);
                gone += pace.take(max, now).unwrap_or(0);
            }
            let allowed = f64::from(rate) * now.duration_since(start).as_secs_f64() + 1.0;
            prop_assert!(gone as f64 <= allowed + 1e-6, "{gone} > {allowed}");
        }
    }
}
