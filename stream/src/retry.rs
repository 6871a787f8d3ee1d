//! Trying again: the one place that does it, and the one that names the `backoff` crate.
//!
//! Errors classify themselves; a caller turns that into a [`Verdict`]. Waits grow exponentially
//! with jitter, so that members that failed together do not come back together.

use std::time::Duration;

use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use tokio::time::Instant;

/// The longest that a server's own `Retry-After` is honoured.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// How long to wait between tries, and how long to go on.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// The first wait.
    pub initial: Duration,
    /// The longest wait.
    pub max: Duration,
    /// Each wait is so many times the one before.
    pub multiplier: f64,
    /// A wait is spread by this share around its value, from 0 to 1.
    pub jitter: f64,
    /// Give up after so many tries; nothing: never.
    pub max_attempts: Option<u32>,
    /// Give up when so much time has gone by; nothing: never.
    pub max_elapsed: Option<Duration>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(30),
            multiplier: 2.0,
            jitter: 0.3,
            max_attempts: None,
            max_elapsed: None,
        }
    }
}

impl RetryPolicy {
    /// The wait after the `attempt`-th failure, from 1, without jitter.
    pub fn delay(&self, attempt: u32) -> Duration {
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.initial.as_secs_f64() * self.multiplier.powi(exponent);
        Duration::try_from_secs_f64(seconds).unwrap_or(self.max).min(self.max)
    }

    fn waits(&self) -> ExponentialBackoff {
        ExponentialBackoffBuilder::new()
            .with_initial_interval(self.initial)
            .with_max_interval(self.max)
            .with_multiplier(self.multiplier)
            .with_randomization_factor(self.jitter)
            .with_max_elapsed_time(self.max_elapsed)
            .build()
    }

    /// Whether the bounds allow a wait of this length after so many tries in so much time.
    fn allows(&self, attempts: u32, elapsed: Duration, wait: Duration) -> bool {
        self.max_attempts.is_none_or(|most| attempts < most)
            && self.max_elapsed.is_none_or(|most| elapsed.saturating_add(wait) <= most)
    }
}

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Try again: after this long if the other side asked for it, else as the policy says.
    Again {
        /// The wait that was asked for; honoured up to [`LONGEST_RETRY_AFTER`], and never shorter
        /// than the policy's own.
        after: Option<Duration>,
    },
    /// It will not help.
    GiveUp,
}

/// Calls `attempt` until it succeeds, `judge` gives up, or the policy's bounds are met. `notify`
/// hears of each failure that is followed by another try, and of the wait. Dropping the future
/// cancels it.
///
/// # Errors
/// The last error of `attempt`.
pub async fn retry<T, E, A, F>(
    policy: &RetryPolicy,
    judge: impl Fn(&E) -> Verdict,
    mut notify: impl FnMut(&E, Duration),
    mut attempt: A,
) -> Result<T, E>
where
    A: FnMut() -> F,
    F: Future<Output = Result<T, E>>,
{
    let (begun, mut attempts) = (Instant::now(), 0_u32);
    let judged = || {
        let trying = attempt();
        attempts = attempts.saturating_add(1);
        let (judge, attempts) = (&judge, attempts);
        async move {
            trying.await.map_err(|error| match judge(&error) {
                Verdict::Again { after } => {
                    // The crate takes a wait that was asked for as it is, without its own bounds.
                    let after = after
                        .map(|after| after.min(LONGEST_RETRY_AFTER).max(policy.delay(attempts)));
                    match policy.allows(attempts, begun.elapsed(), after.unwrap_or_default()) {
                        false => backoff::Error::permanent(error),
                        true => backoff::Error::Transient { err: error, retry_after: after },
                    }
                }
                Verdict::GiveUp => backoff::Error::permanent(error),
            })
        }
    };
    backoff::future::retry_notify(policy.waits(), judged, |error, wait| notify(&error, wait)).await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[derive(Debug, PartialEq)]
    enum Fault {
        Passing,
        Asked(u64),
        Final,
    }

    fn judge(fault: &Fault) -> Verdict {
        match fault {
            Fault::Passing => Verdict::Again { after: None },
            Fault::Asked(seconds) => Verdict::Again { after: Some(Duration::from_secs(*seconds)) },
            Fault::Final => Verdict::GiveUp,
        }
    }

    async fn run(policy: RetryPolicy, faults: Vec<Fault>) -> (Result<u32, Fault>, Vec<Duration>) {
        let calls = Cell::new(0);
        let mut faults = faults.into_iter();
        let mut waits = Vec::new();
        let result = retry(
            &policy,
            judge,
            |_, wait| waits.push(wait),
            || {
                calls.set(calls.get() + 1);
                let answer = faults.next().map_or(Ok(calls.get()), Err);
                async { answer }
            },
        )
        .await;
        (result, waits)
    }

    #[tokio::test(start_paused = true)]
    async fn waits_grow_and_are_capped() {
        let policy =
            RetryPolicy { jitter: 0.0, max: Duration::from_millis(300), ..RetryPolicy::default() };
        let faults = (0..4).map(|_| Fault::Passing).collect();
        let (result, waits) = run(policy.clone(), faults).await;
        assert_eq!(result, Ok(5));
        assert_eq!(waits, [100, 200, 300, 300].map(Duration::from_millis));
        assert_eq!((1..=4).map(|n| policy.delay(n)).collect::<Vec<_>>(), waits);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_was_asked_for_is_honoured_within_reason() {
        let faults = vec![Fault::Asked(7), Fault::Asked(100_000)];
        let (result, waits) = run(RetryPolicy::default(), faults).await;
        assert_eq!(result, Ok(3));
        assert_eq!(waits, [Duration::from_secs(7), LONGEST_RETRY_AFTER]);
    }

    #[tokio::test(start_paused = true)]
    async fn it_gives_up_when_told_or_bounded() {
        let (result, waits) = run(RetryPolicy::default(), vec![Fault::Final]).await;
        assert_eq!((result, waits.len()), (Err(Fault::Final), 0));
        let policy = RetryPolicy { max_attempts: Some(3), ..RetryPolicy::default() };
        let faults = (0..9).map(|_| Fault::Passing).collect();
        let (result, waits) = run(policy, faults).await;
        assert_eq!((result, waits.len()), (Err(Fault::Passing), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_asked_to_wait_gives_up_at_the_same_bounds_and_is_never_hasty() {
        let policy = RetryPolicy { max_attempts: Some(3), jitter: 0.0, ..RetryPolicy::default() };
        let (result, waits) = run(policy, (0..9).map(|_| Fault::Asked(0)).collect()).await;
        assert_eq!((result, waits), (Err(Fault::Asked(0)), vec![ms(100), ms(200)]));
        let policy = RetryPolicy { max_elapsed: Some(ms(20_000)), ..RetryPolicy::default() };
        let (result, waits) = run(policy, (0..9).map(|_| Fault::Asked(7)).collect()).await;
        assert_eq!((result, waits), (Err(Fault::Asked(7)), vec![ms(7_000); 2]));
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }
}
