//! Keeps refused credentials from being tried again and again.
//!
//! CouchDB locks an account for the address that asks at its fifth failed login, until five minutes
//! after the first (`chttpd_auth_lockout`), so a client that only retries would lock out the operator
//! who is mending the password. Until a login has gone through, requests go one at a time; after a
//! failed one they are answered here for a while, without asking.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as Queue, MutexGuard as Turn};

use crate::error::StoreError;

/// How long failed logins are taken as standing, one after the other, and so on round. The first is
/// short, since a server that has just started may not know its users yet; all take longer than
/// CouchDB counts, so that there never is a fifth.
const STAND: [Duration; 4] = [
    Duration::from_secs(5),
    Duration::from_secs(75),
    Duration::from_secs(75),
    Duration::from_secs(150),
];
/// The same of a lock-out: trying does not prolong it.
const LOCKED: Duration = Duration::from_secs(30);

/// What is known of our credentials.
#[derive(Debug, Default)]
pub(super) struct Door {
    state: Mutex<State>,
    queue: Queue<()>,
}

#[derive(Debug, Default)]
enum State {
    /// Never tried, or worth another try.
    #[default]
    Unknown,
    /// They went through.
    Open,
    /// They were refused, but that was no failed login: whoever waits may try again.
    Doubted,
    /// So many logins failed, and the last stands until then.
    Refused { times: usize, until: Instant, error: StoreError },
}

impl State {
    /// After an answer of this status and error. A 403 is mostly about the rights to one thing; of a
    /// lock-out it says so. Other reasons of a 401 than CouchDB's for a failed login come from
    /// something between, or are about a right, and are not counted.
    fn after(&self, status: u16, error: &StoreError, now: Instant) -> Self {
        let says = |what: &str| error.to_string().contains(what);
        let refused =
            |times, stands| Self::Refused { times, until: now + stands, error: error.clone() };
        match status {
            401 if says("Name or password is incorrect") => {
                let before = if let Self::Refused { times, .. } = self { *times } else { 0 };
                refused(before + 1, STAND[before % STAND.len()])
            }
            403 if says("locked") => refused(0, LOCKED),
            401 => Self::Doubted,
            _ => Self::Open,
        }
    }
}

impl Door {
    /// Whether a request may go. While it is not known whether the credentials are good, it has to
    /// hold its turn until it is answered.
    pub(super) async fn enter(&self) -> Result<Option<Turn<'_, ()>>, StoreError> {
        if self.look(Instant::now())? {
            return Ok(None);
        }
        let turn = self.queue.lock().await;
        // Whoever was before us may have found out.
        Ok((!self.look(Instant::now())?).then_some(turn))
    }

    /// Whether the credentials are known to be good; an error while a refusal stands.
    fn look(&self, now: Instant) -> Result<bool, StoreError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &*state {
            State::Open => Ok(true),
            State::Refused { until, error, .. } if now < *until => Err(error.clone()),
            State::Refused { .. } | State::Doubted | State::Unknown => Ok(false),
        }
    }

    /// Whether the last answer was a refusal.
    pub(super) fn is_refused(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(&*state, State::Doubted | State::Refused { .. })
    }

    /// The credentials are others now.
    pub(super) fn exchanged(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Unknown;
    }

    /// The server has taken the credentials.
    pub(super) fn opened(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Open;
    }

    /// The server has answered with an error.
    pub(super) fn failed(&self, status: u16, error: &StoreError) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.after(status, error, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(reason: &str) -> StoreError {
        StoreError::Unauthorised { address: "http://db".to_owned(), reason: reason.to_owned() }
    }

    /// How long the next request has to wait, in seconds.
    fn stands(state: &State, now: Instant) -> Option<u64> {
        match state {
            State::Refused { until, .. } => Some(until.duration_since(now).as_secs()),
            _ => None,
        }
    }

    #[test]
    fn failed_logins_are_so_rare_that_none_locks_the_account() {
        let failed = said("401 unauthorized: Name or password is incorrect.");
        let (mut state, mut now) = (State::Open, Instant::now());
        let mut tries = Vec::new();
        for _ in 0..20 {
            state = state.after(401, &failed, now);
            tries.push(now);
            now += Duration::from_secs(stands(&state, now).unwrap());
        }
        // CouchDB counts from the first failure that it knows of, for 300 s.
        let mut begun = tries[0];
        let mut counted = 0;
        for at in tries {
            if at.duration_since(begun) > Duration::from_secs(300) {
                (begun, counted) = (at, 0);
            }
            counted += 1;
            assert!(counted < 5);
        }
    }

    #[test]
    fn what_is_no_failed_login_may_be_asked_again() {
        let now = Instant::now();
        let failed = said("401 unauthorized: Name or password is incorrect.");
        for (before, status, reason, expected) in [
            (State::Open, 401, "unauthorized: Name or password is incorrect.", Some(5)),
            (
                State::Unknown.after(401, &failed, now),
                401,
                "Name or password is incorrect.",
                Some(75),
            ),
            (State::Open, 401, "You are not authorized to access this db.", None),
            (State::Open, 401, "<html>gateway</html>", None),
            (State::Open, 403, "Account is temporarily locked due to multiple failures", Some(30)),
            (State::Open, 403, "You are not allowed to access this db.", None),
            (State::Unknown.after(401, &failed, now), 500, "unknown_error", None),
        ] {
            let after = before.after(status, &said(reason), now);
            assert_eq!(stands(&after, now), expected, "{before:?}, {status} {reason}");
        }
    }
}
