//! When to connect again, and what to say meanwhile: pure decisions.
//!
//! Source: X developer documentation, "Consuming streaming data", reconnecting: at once, then
//! TCP/IP errors +250 ms linearly up to 16 s, HTTP errors from 5 s doubling up to 320 s, 429 from
//! one minute doubling, or until `x-rate-limit-reset`.

use std::time::Duration;

use bowerbird_stream::retry::RetryPolicy;
use jiff::{SignedDuration, Timestamp};

use super::failure::{Failure, Meaning};

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
    /// Rate limits without a time, and too many connections: at first; it doubles.
    pub rate_first: Duration,
    /// Rate limits without a time: at most.
    pub rate_max: Duration,
    /// Rate limits: at most, also where the server asks for more.
    pub told_max: Duration,
    /// While the stream has no rules, and at least while it is refused.
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
            // X's longest windows are those of a day.
            told_max: Duration::from_secs(25 * 3600),
            no_rules: Duration::from_secs(30),
            good_after: Duration::from_secs(10),
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event<'a> {
    /// The server took us.
    Connected,
    /// There is no connection, or none any more.
    Failed {
        /// Why.
        failure: &'a Failure,
        /// How long there was a connection, if there was one.
        lasted: Option<Duration>,
    },
    /// The other connections were to be ended, and could not be.
    NotTakenOver(&'a Failure),
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Take items.
    Listen,
    /// Connect again after this.
    Connect {
        /// How long to wait.
        after: Duration,
        /// What is wrong and what to do, for people.
        reason: String,
    },
    /// End the app's other connections, and then connect at once.
    TakeOver {
        /// What is wrong, for people.
        reason: String,
    },
}

/// Failures since the last good connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    network: u32,
    http: u32,
    rate: u32,
    /// Whether other connections may be ended.
    take_over: bool,
    /// When that was last done.
    taken_over: Option<Timestamp>,
}

impl Failures {
    /// None yet. With `take_over` other connections of the app are ended when there are too many.
    pub fn new(take_over: bool) -> Self {
        Self { take_over, ..Self::default() }
    }

    /// What to do after `event`, at `now`.
    pub fn next(&mut self, waits: &Waits, event: Event<'_>, now: Timestamp) -> Action {
        match event {
            Event::Connected => Action::Listen,
            Event::Failed { failure, lasted } => {
                if lasted.is_some() && !failure.refuses() {
                    // What the server refused before is over.
                    (self.http, self.rate) = (0, 0);
                }
                if lasted.is_some_and(|lasted| lasted >= waits.good_after) {
                    (self.network, self.http, self.rate) = (0, 0, 0);
                }
                if failure.meaning() == Meaning::TooManyConnections
                    && self.may_take_over(waits, now)
                {
                    self.taken_over = Some(now);
                    return Action::TakeOver { reason: failure.to_string() };
                }
                let (after, advice) = self.wait(waits, failure, now);
                connect(after, failure, advice)
            }
            Event::NotTakenOver(failure) => {
                let after = self.rate_limit(waits, failure, now);
                connect(after, failure, "another connection is open, and can't be ended")
            }
        }
    }

    /// Two harvesters that take over from each other must not do so all the time: X lets an app
    /// connect 50 times in a quarter of an hour.
    fn may_take_over(&self, waits: &Waits, now: Timestamp) -> bool {
        let least = SignedDuration::try_from(waits.rate_first).unwrap_or(SignedDuration::MAX);
        // A clock that was set back says nothing of how long ago it was.
        let long_ago = |at: Timestamp| now.duration_since(at).abs() >= least;
        self.take_over && self.taken_over.is_none_or(long_ago)
    }

    fn wait(
        &mut self,
        waits: &Waits,
        failure: &Failure,
        now: Timestamp,
    ) -> (Duration, &'static str) {
        let status = match failure {
            Failure::Http { status, .. } => *status,
            _ => 0,
        };
        match (failure.meaning(), status) {
            (Meaning::TooManyConnections, _) => (
                self.rate_limit(waits, failure, now),
                match self.take_over {
                    true => {
                        "another connection is open again, though it has been ended: stop the \
                             other harvester that uses this token"
                    }
                    false => {
                        "another connection is open: stop the other harvester that uses this \
                              token, or start this one with --take-over to end its connection"
                    }
                },
            ),
            (Meaning::UsedUp, _) => (
                self.rate_limit(waits, failure, now),
                "what the plan gives is used up: buy credits or raise the spending limit in X's \
                 console, or wait for the next period",
            ),
            (Meaning::NoRules, _) => (
                waits.no_rules,
                "the stream has no rules: declare some as x.rules and run `bowerbird rules sync`",
            ),
            (_, 429) => {
                (self.rate_limit(waits, failure, now), "the rate limit of this token is used up")
            }
            (_, 401) => (
                self.refused(waits),
                "the bearer token is refused: check x.bearer_token, and the app in X's console",
            ),
            (_, 403) => (
                self.refused(waits),
                "the app may not use the filtered stream: check its access in X's console, and \
                 that x.backfill_minutes is 0 unless the plan has backfill",
            ),
            (_, 400) => (
                self.refused(waits),
                "X does not take the request: check the fields and expansions in x, and that \
                 x.backfill_minutes is 0 unless the plan has backfill",
            ),
            (_, 300..=399 | 404) => (
                doubled(waits.http_first, waits.http_max, &mut self.http),
                "there is no stream at this address: check x.base_url",
            ),
            (_, 0) if *failure == Failure::Token => (self.refused(waits), "check x.bearer_token"),
            (_, 0) if matches!(failure, Failure::Protocol(_)) => (
                doubled(waits.http_first, waits.http_max, &mut self.http),
                "there is no stream of X at this address, or something between changes it: check \
                 x.base_url, and a proxy's settings",
            ),
            (_, 1..) => (doubled(waits.http_first, waits.http_max, &mut self.http), ""),
            (_, 0) => {
                let after = waits.network_step.saturating_mul(self.network);
                self.network = self.network.saturating_add(1);
                (after.min(waits.network_max), "")
            }
        }
    }

    /// What only an operator can mend: not asked again sooner than it can have been.
    fn refused(&mut self, waits: &Waits) -> Duration {
        let doubled = doubled(waits.http_first, waits.http_max, &mut self.http);
        doubled.max(waits.no_rules.min(waits.http_max))
    }

    fn rate_limit(&mut self, waits: &Waits, failure: &Failure, now: Timestamp) -> Duration {
        let told = match failure {
            Failure::Http { status: 429, headers, .. } => headers.rate_limited_for(now),
            _ => None,
        };
        match told {
            // One second more: the header has whole seconds.
            Some(seconds) => Duration::from_secs(seconds.saturating_add(1)).min(waits.told_max),
            None => doubled(waits.rate_first, waits.rate_max, &mut self.rate),
        }
    }
}

fn connect(after: Duration, failure: &Failure, advice: &str) -> Action {
    let mut reason = failure.to_string();
    if !advice.is_empty() {
        reason = format!("{reason}; {advice}");
    }
    Action::Connect { after, reason: format!("{reason}; connecting again in {after:.1?}") }
}

/// `first`, doubled for each failure before, up to `max`; without jitter, since X names the waits.
fn doubled(first: Duration, max: Duration, failures: &mut u32) -> Duration {
    *failures = failures.saturating_add(1);
    RetryPolicy { initial: first, max, ..RetryPolicy::default() }.delay(*failures)
}

#[cfg(test)]
mod tests {
    use super::super::kept::Kept;
    use super::*;
    use crate::post::Problem;

    fn http(status: u16) -> Failure {
        Failure::Http { status, headers: Kept::default(), problems: Vec::new() }
    }

    fn said(status: u16, issue: &str) -> Failure {
        let problem = Problem { issue: issue.to_owned(), ..Problem::default() };
        Failure::Http { status, headers: Kept::default(), problems: vec![problem] }
    }

    fn ended(issue: &str) -> Failure {
        Failure::Ended(vec![Problem { issue: issue.to_owned(), ..Problem::default() }])
    }

    fn network() -> Failure {
        Failure::Network("reset".into())
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn after(action: &Action) -> f64 {
        match action {
            Action::Connect { after, .. } => after.as_secs_f64(),
            other => panic!("{other:?}"),
        }
    }

    fn seconds(failures: &[Failure], lasted: Option<Duration>) -> Vec<f64> {
        let mut state = Failures::default();
        let mut next =
            |failure| state.next(&Waits::default(), Event::Failed { failure, lasted }, at(1_000));
        failures.iter().map(|failure| after(&next(failure))).collect()
    }

    #[test]
    fn waits_as_x_asks() {
        let waits = seconds(&vec![network(); 70], None);
        assert_eq!(waits[..4], [0.0, 0.25, 0.5, 0.75]);
        assert_eq!(waits[69], 16.0);
        for (failures, expected) in [
            (vec![Failure::Idle(Duration::from_secs(30)), ended("")], vec![0.0, 0.25]),
            (vec![ended("UpstreamOperationalDisconnect"), ended("SlowReader")], vec![0.0, 0.25]),
            (vec![ended("ForceDisconnect"), Failure::Protocol("?".into())], vec![0.0, 5.0]),
            (vec![http(503); 8], vec![5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 320.0]),
            (vec![http(500), http(502), http(404), http(302)], vec![5.0, 10.0, 20.0, 40.0]),
            (vec![http(429); 6], vec![60.0, 120.0, 240.0, 480.0, 960.0, 960.0]),
            (vec![http(401); 5], vec![30.0, 30.0, 30.0, 40.0, 80.0]),
            (vec![Failure::Token; 4], vec![30.0, 30.0, 30.0, 40.0]),
            (vec![http(403); 5], vec![30.0, 30.0, 30.0, 40.0, 80.0]),
            (vec![http(400); 2], vec![30.0, 30.0]),
            (vec![http(402), said(403, "TooManyConnections")], vec![60.0, 120.0]),
            (vec![http(409), said(200, "RulesInvalidIssue"), ended("InvalidRules")], vec![30.0; 3]),
            (vec![ended("TooManyConnections"); 3], vec![60.0, 120.0, 240.0]),
            // Each kind counts for itself.
            (
                vec![network(), http(503), network(), http(429), http(503)],
                vec![0.0, 5.0, 0.25, 60.0, 10.0],
            ),
        ] {
            assert_eq!(seconds(&failures, None), expected, "{failures:?}");
        }
        assert_eq!(seconds(&vec![http(503); 5_000], None)[4_999], 320.0);
    }

    #[test]
    fn a_good_connection_makes_the_next_failure_the_first() {
        let failures = vec![network(); 3];
        assert_eq!(seconds(&failures, Some(Duration::from_secs(60))), [0.0, 0.0, 0.0]);
        // One that breaks at once does not.
        assert_eq!(seconds(&failures, Some(Duration::from_secs(1))), [0.0, 0.25, 0.5]);
        let before = Failures { network: 3, http: 4, rate: 5, ..Failures::default() };
        for (failure, lasted, expected) in [
            // What was refused before is over when the server has taken us.
            (network(), Some(1), (4, 0, 0)),
            (network(), None, (4, 4, 5)),
            // It has taken us only to refuse us there.
            (ended("TooManyConnections"), Some(1), (3, 4, 6)),
            (Failure::Protocol("?".into()), Some(1), (3, 5, 5)),
            // For that it would not have let us listen so long.
            (ended("TooManyConnections"), Some(10), (0, 0, 1)),
        ] {
            let mut state = before.clone();
            assert_eq!(state.next(&Waits::default(), Event::Connected, at(0)), Action::Listen);
            let lasted = lasted.map(Duration::from_secs);
            state.next(&Waits::default(), Event::Failed { failure: &failure, lasted }, at(0));
            let Failures { network, http, rate, .. } = state;
            assert_eq!((network, http, rate), expected, "{failure:?} {lasted:?}");
        }
    }

    #[test]
    fn a_rate_limit_is_waited_for_and_never_without_bound_nor_at_once() {
        for (reset, remaining, expected) in [
            ("1090", "0", 91.0),
            // It is over, and yet we are refused.
            ("999", "0", 60.0),
            ("8200", "0", 7_201.0),
            ("1000000", "0", 90_000.0),
            // Not this limit.
            ("1090", "40", 60.0),
        ] {
            let pairs = [("x-rate-limit-reset", reset), ("x-rate-limit-remaining", remaining)];
            let parse = |(name, value): (&'static str, &str)| {
                (reqwest::header::HeaderName::from_static(name), value.parse().unwrap())
            };
            let headers = Kept::of(&pairs.into_iter().map(parse).collect(), &String::new().into());
            let failure = &Failure::Http { status: 429, headers, problems: Vec::new() };
            let event = Event::Failed { failure, lasted: None };
            let action = Failures::default().next(&Waits::default(), event, at(1_000));
            assert_eq!(after(&action), expected, "{reset} {remaining}");
        }
    }

    #[test]
    fn others_are_ended_where_that_is_wished_and_not_all_the_time() {
        let many = said(429, "TooManyConnections");
        let (limited, busy) = (http(429), http(503));
        fn failed(failure: &Failure) -> Event<'_> {
            Event::Failed { failure, lasted: None }
        }
        let takes = |action: &Action| matches!(action, Action::TakeOver { .. });
        let waits = Waits::default();
        let mut state = Failures::new(false);
        assert_eq!(after(&state.next(&waits, failed(&many), at(0))), 60.0);

        let mut state = Failures::new(true);
        assert!(!takes(&state.next(&waits, failed(&limited), at(0))), "a rate limit is another");
        let mut state = Failures { rate: 0, ..state };
        assert!(takes(&state.next(&waits, failed(&many), at(100))));
        // It did not help, or the other one is back.
        assert_eq!(after(&state.next(&waits, failed(&many), at(101))), 60.0);
        assert!(takes(&state.next(&waits, failed(&many), at(161))));
        // It can't be ended.
        assert_eq!(after(&state.next(&waits, Event::NotTakenOver(&busy), at(162))), 120.0);
        // The clock was set back: better once more than never.
        assert!(takes(&state.next(&waits, failed(&many), at(3))));
    }

    #[test]
    fn says_what_to_do() {
        for (failure, part) in [
            (http(401), "x.bearer_token"),
            (Failure::Token, "x.bearer_token"),
            (Failure::Protocol("?".into()), "x.base_url"),
            (http(403), "may not use"),
            (http(400), "fields"),
            (http(402), "credits"),
            (http(409), "no rules"),
            (http(404), "x.base_url"),
            (http(301), "x.base_url"),
            (http(429), "rate limit"),
            (said(429, "TooManyConnections"), "--take-over"),
            (http(500), "answered 500"),
        ] {
            let event = Event::Failed { failure: &failure, lasted: None };
            let action = Failures::default().next(&Waits::default(), event, at(0));
            let Action::Connect { reason, .. } = action else { panic!("{action:?}") };
            assert!(reason.contains(part), "{reason}");
        }
    }
}
