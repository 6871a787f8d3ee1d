//! Where a service stands: its source and the log can each be in trouble, or the log too slow for
//! the source, and all of that is told.

use std::sync::{Arc, Mutex, PoisonError};

use bowerbird_stream::status::{Reporter, State};

use crate::publish::OnTrouble;

/// What is said while the source waits for the log.
const HELD: &str = "the event log takes less than the source gives: reading waits for it";

/// Reports one state out of all troubles.
#[derive(Debug)]
pub struct Standing {
    reporter: Reporter,
    troubles: Mutex<Troubles>,
}

#[derive(Debug, Default)]
struct Troubles {
    source: Option<String>,
    log: Option<String>,
    held: bool,
    ending: bool,
}

impl Standing {
    /// Nothing is known yet.
    pub fn new(reporter: Reporter) -> Arc<Self> {
        Arc::new(Self { reporter, troubles: Mutex::default() })
    }

    /// What is wrong with the source, if anything.
    pub fn source(&self, trouble: Option<String>) {
        self.change(|troubles| troubles.source = trouble);
    }

    /// Whether the source has to wait, because the log takes less than it gives.
    pub fn held(&self, held: bool) {
        self.change(|troubles| troubles.held = held);
    }

    /// What is worth knowing while all is well.
    pub fn note(&self, note: String) {
        self.reporter.note(note);
    }

    /// Hears of the log from the publisher.
    pub fn on_trouble(self: &Arc<Self>) -> OnTrouble {
        let standing = Arc::clone(self);
        Arc::new(move |error| {
            let trouble = error.map(ToString::to_string);
            standing.change(|troubles| troubles.log = trouble);
        })
    }

    /// It takes nothing new.
    pub fn draining(&self) {
        self.change(|troubles| troubles.ending = true);
        self.reporter.set(State::Draining);
    }

    /// It is done.
    pub fn stopped(&self) {
        self.reporter.set(State::Stopped);
    }

    fn change(&self, change: impl FnOnce(&mut Troubles)) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut troubles);
        if troubles.ending {
            return;
        }
        let held = troubles.held.then_some(HELD);
        let reasons: Vec<&str> = [troubles.log.as_deref(), held, troubles.source.as_deref()]
            .into_iter()
            .flatten()
            .collect();
        self.reporter.set(if reasons.is_empty() {
            State::Running
        } else {
            State::Paused { reason: reasons.join("; ") }
        });
    }
}
