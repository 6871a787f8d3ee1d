//! Where a service stands: its source and the log can each be in trouble, and both are told.

use std::sync::{Arc, Mutex, PoisonError};

use bowerbird_stream::status::{Reporter, State};

use crate::publish::OnTrouble;

/// Reports one state out of two troubles.
#[derive(Debug)]
pub struct Standing {
    reporter: Reporter,
    troubles: Mutex<Troubles>,
}

#[derive(Debug, Default)]
struct Troubles {
    source: Option<String>,
    log: Option<String>,
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
        let reasons: Vec<&str> = [&troubles.log, &troubles.source]
            .into_iter()
            .filter_map(|one| one.as_deref())
            .collect();
        self.reporter.set(if reasons.is_empty() {
            State::Running
        } else {
            State::Paused { reason: reasons.join("; ") }
        });
    }
}
