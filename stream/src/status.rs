//! What a long-running role tells of itself while it works, for health checks and status lines.

use std::sync::{Arc, Mutex, PoisonError};

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
    sender: Arc<watch::Sender<State>>,
    note: Note,
}

type Note = Arc<Mutex<Option<String>>>;

/// The other end: health checks and status lines read here.
#[derive(Clone, Debug)]
pub struct Status {
    /// The role's name: `sink`, `ingest-x`, …
    pub role: &'static str,
    receiver: watch::Receiver<State>,
    note: Note,
}

/// A status that nobody has reported to yet.
pub fn status(role: &'static str) -> (Reporter, Status) {
    let (sender, receiver) = watch::channel(State::default());
    let note = Note::default();
    let reporter = Reporter { role, sender: Arc::new(sender), note: Arc::clone(&note) };
    (reporter, Status { role, receiver, note })
}

impl Reporter {
    /// Says where the role stands now; a change is logged once, a repetition is not.
    pub fn set(&self, state: State) {
        let role = self.role;
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

    /// Says something worth knowing whatever the state, such as what was used of a budget; it
    /// stands until another note.
    pub fn note(&self, note: String) {
        *self.note.lock().unwrap_or_else(PoisonError::into_inner) = Some(note);
    }

    /// Says that what the role was paused for is mended; nothing else if it was not paused.
    pub fn mended(&self) {
        if matches!(*self.sender.borrow(), State::Paused { .. }) {
            self.set(State::Running);
        }
    }
}

impl Status {
    /// Where the role stands.
    pub fn get(&self) -> State {
        self.receiver.borrow().clone()
    }

    /// What the role has noted last, if anything.
    pub fn note(&self) -> Option<String> {
        self.note.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the role stands elsewhere; `false` when it is gone.
    pub async fn changed(&mut self) -> bool {
        self.receiver.changed().await.is_ok()
    }
}
