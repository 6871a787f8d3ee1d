//! Keeps refused credentials from being tried again and again.
//!
//! CouchDB locks an account for five minutes at its fifth failed login within that time
//! (`chttpd_auth_lockout`), so a client that only retries would lock out the operator who is
//! mending the password. Until a login has gone through, requests go one at a time; after a refusal
//! they are answered here for a while, without asking.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as Queue, MutexGuard as Turn};

use crate::error::StoreError;

/// How long a refusal is taken as standing: five tries take longer than the lock-out counts.
pub(super) const STANDS: Duration = Duration::from_secs(75);

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
    /// They were refused.
    Refused { at: Instant, error: StoreError },
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
            State::Refused { at, error } if now.duration_since(*at) < STANDS => Err(error.clone()),
            State::Refused { .. } | State::Unknown => Ok(false),
        }
    }

    /// Whether a refusal stands.
    pub(super) fn is_shut(&self) -> bool {
        self.look(Instant::now()).is_err()
    }

    /// The credentials are others now.
    pub(super) fn exchanged(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Unknown;
    }

    /// The server has taken the credentials.
    pub(super) fn opened(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Open;
    }

    /// The server has answered with an error. A 403 is mostly about the rights to one thing; of a
    /// lock-out it says so.
    pub(super) fn failed(&self, status: u16, error: &StoreError) {
        if status == 401 || (status == 403 && error.to_string().contains("locked")) {
            let refused = State::Refused { at: Instant::now(), error: error.clone() };
            *self.state.lock().unwrap_or_else(PoisonError::into_inner) = refused;
        } else {
            self.opened();
        }
    }
}
