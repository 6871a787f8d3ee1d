//! What a long-running role tells of itself while it works, for health checks and status lines.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Where a role stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum State {
    /// Not yet at work.
    #[default]
    Starting,
    /// At work.
    Running,
    /// Waiting until something is mended, and then going on by itself.
    Paused {
        /// What is wrong and what to do; for people, without secrets.
        reason: String,
    },
    /// Taking no new input, finishing what it has.
    Draining,
    /// Done.
    Stopped,
}

/// A role's end: it reports here.
#[derive(Clone, Debug)]
pub struct Reporter {
    role: &'static str,
    shared: Arc<Mutex<Shared>>,
    sender: Arc<watch::Sender<State>>,
}

/// What stands behind the state that is shown.
#[derive(Debug, Default)]
struct Shared {
    /// Where the role stands when nothing pauses it.
    state: State,
    /// What pauses it, the longest waiting first.
    pauses: BTreeMap<u64, String>,
    next: u64,
    note: Option<String>,
}

impl Shared {
    fn shown(&self) -> State {
        match (&self.state, self.pauses.values().next()) {
            (State::Stopped, _) | (_, None) => self.state.clone(),
            (_, Some(reason)) => State::Paused { reason: reason.clone() },
        }
    }
}

/// One of those that wait, perhaps beside others that work: while it is there the role is paused.
#[derive(Debug)]
pub struct Pause {
    reporter: Reporter,
    number: u64,
}

/// The other end: health checks and status lines read here.
#[derive(Clone, Debug)]
pub struct Status {
    /// The role's name: `sink`, `ingest-x`, …
    pub role: &'static str,
    receiver: watch::Receiver<State>,
    shared: Arc<Mutex<Shared>>,
}

/// A status that nobody has reported to yet.
pub fn status(role: &'static str) -> (Reporter, Status) {
    let (sender, receiver) = watch::channel(State::default());
    let shared = Arc::<Mutex<Shared>>::default();
    let reporter = Reporter { role, shared: Arc::clone(&shared), sender: Arc::new(sender) };
    (reporter, Status { role, receiver, shared })
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reporter {
    /// Says where the role stands now; a change is logged once, a repetition is not.
    pub fn set(&self, state: State) {
        self.change(|shared| shared.state = state);
    }

    /// Says that somebody waits for something to be mended, until the pause is dropped.
    pub fn pause(&self, reason: String) -> Pause {
        let mut number = 0;
        self.change(|shared| {
            number = shared.next;
            shared.next += 1;
            shared.pauses.insert(number, reason);
        });
        Pause { reporter: self.clone(), number }
    }

    /// The same for somebody who may wait already.
    pub fn pausing(&self, pause: &mut Option<Pause>, reason: String) {
        match pause {
            Some(pause) => pause.because(reason),
            None => *pause = Some(self.pause(reason)),
        }
    }

    /// Says something worth knowing whatever the state, such as what was used of a budget; it
    /// stands until another note.
    pub fn note(&self, note: String) {
        lock(&self.shared).note = Some(note);
    }

    fn change(&self, change: impl FnOnce(&mut Shared)) {
        let role = self.role;
        // Held until it is shown: else the older of two changes could be shown last.
        let mut shared = lock(&self.shared);
        change(&mut shared);
        let state = shared.shown();
        self.sender.send_if_modified(|old| {
            if *old == state {
                return false;
            }
            match &state {
                State::Paused { reason } => tracing::warn!(role, reason, "paused"),
                state => tracing::info!(role, ?state, "state changed"),
            }
            *old = state;
            true
        });
    }
}

impl Pause {
    /// It still waits, and this is why.
    pub fn because(&self, reason: String) {
        self.reporter.change(|shared| {
            shared.pauses.insert(self.number, reason);
        });
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        self.reporter.change(|shared| {
            shared.pauses.remove(&self.number);
        });
    }
}

impl Status {
    /// Where the role stands.
    pub fn get(&self) -> State {
        self.receiver.borrow().clone()
    }

    /// What the role has noted last, if anything.
    pub fn note(&self) -> Option<String> {
        lock(&self.shared).note.clone()
    }

    /// Waits until the role stands elsewhere; `false` when it is gone.
    pub async fn changed(&mut self) -> bool {
        self.receiver.changed().await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paused(reason: &str) -> State {
        State::Paused { reason: reason.to_owned() }
    }

    #[test]
    fn it_is_paused_while_anybody_waits_whatever_others_do() {
        let (reporter, status) = status("role");
        reporter.set(State::Running);
        let one = reporter.pause("no journal".to_owned());
        let two = reporter.pause("no store".to_owned());
        assert_eq!(status.get(), paused("no journal"));
        drop(two);
        assert_eq!(status.get(), paused("no journal"), "who is mended speaks for himself");
        one.because("a full disk".to_owned());
        let three = reporter.pause("no store".to_owned());
        assert_eq!(status.get(), paused("a full disk"));
        // The role goes on; who waits still does.
        reporter.set(State::Draining);
        assert_eq!(status.get(), paused("a full disk"));
        drop(one);
        assert_eq!(status.get(), paused("no store"));
        drop(three);
        assert_eq!(status.get(), State::Draining);
        let _late = reporter.pause("no store".to_owned());
        reporter.set(State::Stopped);
        assert_eq!(status.get(), State::Stopped);
    }

    #[tokio::test]
    async fn a_repetition_is_no_change() {
        let (reporter, mut status) = status("role");
        let pause = reporter.pause("no store".to_owned());
        assert!(status.changed().await);
        pause.because("no store".to_owned());
        drop(reporter.pause("another".to_owned()));
        assert!(!status.receiver.has_changed().unwrap());
        drop(pause);
        assert!(status.changed().await);
    }
}
