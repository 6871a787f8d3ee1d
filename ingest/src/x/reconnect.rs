//! When to connect again, and what to say meanwhile: pure decisions.
//!
//! Source: X developer documentation, "Consuming streaming data", reconnecting: at once, then
//! TCP/IP errors +250 ms linearly up to 16 s, HTTP errors from 5 s doubling up to 320 s, 429 from
//! one minute doubling, or until `x-rate-limit-reset`.

use std::time::Duration;

use jiff::Timestamp;

use super::failure::Failure;

/// How long to wait; the default is what X asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waits {
    /// Network errors: so much more each time.
    pub network_step: Duration,
    /// Network errors: at most.
    pub network_max: Duration,
    /// HTTP errors: at first; it doubles.
    pub http_first: Duration,
    /// HTTP errors: at most.
    pub http_max: Duration,
    /// Rate limits without a time: at first; it doubles.
    pub rate_first: Duration,
    /// Rate limits: at most, also where the server asks for more.
    pub rate_max: Duration,
    /// While the stream has no rules.
    pub no_rules: Duration,
    /// A connection that lasted so long was a good one: the next failure is the first again.
    pub good_after: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            network_step: Duration::from_millis(250),
            network_max: Duration::from_secs(16),
            http_first: Duration::from_secs(5),
            http_max: Duration::from_secs(320),
            rate_first: Duration::from_secs(60),
            rate_max: Duration::from_secs(16 * 60),
            no_rules: Duration::from_secs(30),
            good_after: Duration::from_secs(10),
        }
    }
}

/// Failures since the last good connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    network: u32,
    http: u32,
    rate: u32,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Again {
    /// Connect again after this.
    pub after: Duration,
    /// What is wrong and what to do, for people.
    pub reason: String,
}

impl Failures {
    /// The server took us: what it refused before is over.
    pub fn connected(&mut self) {
        self.http = 0;
        self.rate = 0;
    }

    /// What to do after `failure`; `lasted` is how long there was a connection, if there was one.
    pub fn next(
        &mut self,
        waits: &Waits,
        failure: &Failure,
        lasted: Option<Duration>,
        now: Timestamp,
    ) -> Again {
        if lasted.is_some_and(|lasted| lasted >= waits.good_after) {
            *self = Self::default();
        }
        let (after, advice) = match failure {
            Failure::Http { status: 429, reset, problems } => {
                let after = reset.map_or_else(
                    || doubled(waits.rate_first, &mut self.rate),
                    |reset| until(reset, now),
                );
                let too_many = problems.iter().any(|problem| problem.issue == "TooManyConnections");
                let advice = if too_many {
                    "another connection is open: stop the other harvester that uses this token"
                } else {
                    "the rate limit of this token is used up"
                };
                (after.min(waits.rate_max), advice)
            }
            Failure::Http { status: 401, .. } => (
                doubled(waits.http_first, &mut self.http).max(waits.no_rules).min(waits.http_max),
                "the bearer token is refused: check x.bearer_token, and the app in X's console",
            ),
            Failure::Http { status: 403, .. } => (
                doubled(waits.http_first, &mut self.http).max(waits.no_rules).min(waits.http_max),
                "the app may not use the filtered stream: check its access in X's console",
            ),
            Failure::Http { status: 409, .. } => (
                waits.no_rules,
                "the stream has no rules: declare some as x.rules and run `bowerbird rules sync`",
            ),
            Failure::Http { .. } => {
                (doubled(waits.http_first, &mut self.http).min(waits.http_max), "")
            }
            _ => {
                let after = waits.network_step.saturating_mul(self.network);
                self.network = self.network.saturating_add(1);
                (after.min(waits.network_max), "")
            }
        };
        let mut reason = failure.to_string();
        if !advice.is_empty() {
            reason = format!("{reason}; {advice}");
        }
        Again { after, reason: format!("{reason}; connecting again in {after:.1?}") }
    }
}

/// `first`, doubled for each failure before.
fn doubled(first: Duration, failures: &mut u32) -> Duration {
    let after = first.saturating_mul(2_u32.saturating_pow(*failures));
    *failures = failures.saturating_add(1);
    after
}

fn until(reset: Timestamp, now: Timestamp) -> Duration {
    // One second more: the header has whole seconds.
    Duration::try_from(reset.duration_since(now)).unwrap_or_default() + Duration::from_secs(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::post::Problem;

    fn http(status: u16) -> Failure {
        Failure::Http { status, reset: None, problems: Vec::new() }
    }

    fn seconds(failures: &[Failure], lasted: Option<Duration>) -> Vec<f64> {
        let mut state = Failures::default();
        let now = Timestamp::UNIX_EPOCH;
        let waits = Waits::default();
        let each = failures.iter().map(|failure| state.next(&waits, failure, lasted, now));
        each.map(|again| again.after.as_secs_f64()).collect()
    }

    #[test]
    fn waits_as_x_asks() {
        let network = vec![Failure::Network("reset".into()); 70];
        let waits = seconds(&network, None);
        assert_eq!(waits[..4], [0.0, 0.25, 0.5, 0.75]);
        assert_eq!(waits[69], 16.0);
        let idle = vec![Failure::Idle(Duration::from_secs(30)), Failure::Ended(Vec::new())];
        assert_eq!(seconds(&idle, None), [0.0, 0.25]);
        assert_eq!(
            seconds(&vec![http(503); 8], None),
            [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 320.0]
        );
        assert_eq!(seconds(&vec![http(429); 6], None), [60.0, 120.0, 240.0, 480.0, 960.0, 960.0]);
        assert_eq!(seconds(&vec![http(401); 5], None), [30.0, 30.0, 30.0, 40.0, 80.0]);
        assert_eq!(seconds(&vec![http(409); 3], None), [30.0, 30.0, 30.0]);
        assert_eq!(seconds(&vec![http(503); 5_000], None)[4_999], 320.0);
    }

    #[test]
    fn a_good_connection_makes_the_next_failure_the_first() {
        let network = vec![Failure::Network("reset".into()); 3];
        assert_eq!(seconds(&network, Some(Duration::from_secs(60))), [0.0, 0.0, 0.0]);
        // One that breaks at once does not.
        assert_eq!(seconds(&network, Some(Duration::from_secs(1))), [0.0, 0.25, 0.5]);
        let mut failures = Failures { network: 3, http: 4, rate: 5 };
        failures.connected();
        assert_eq!(failures, Failures { network: 3, http: 0, rate: 0 });
    }

    #[test]
    fn a_rate_limit_is_waited_for() {
        let now = Timestamp::from_second(1_000).unwrap();
        for (reset, expected) in [(1_090, 91), (999, 1), (1_000_000, 960)] {
            let reset = Some(Timestamp::from_second(reset).unwrap());
            let failure = Failure::Http { status: 429, reset, problems: Vec::new() };
            let again = Failures::default().next(&Waits::default(), &failure, None, now);
            assert_eq!(again.after, Duration::from_secs(expected));
        }
    }

    #[test]
    fn says_what_to_do() {
        let many = Problem { issue: "TooManyConnections".into(), ..Problem::default() };
        let many = Failure::Http { status: 429, reset: None, problems: vec![many] };
        for (failure, part) in [
            (http(401), "x.bearer_token"),
            (http(403), "may not use"),
            (http(409), "no rules"),
            (http(429), "rate limit"),
            (many, "stop the other"),
            (http(500), "answered 500"),
        ] {
            let now = Timestamp::UNIX_EPOCH;
            let again = Failures::default().next(&Waits::default(), &failure, None, now);
            assert!(again.reason.contains(part), "{}", again.reason);
        }
    }
}
