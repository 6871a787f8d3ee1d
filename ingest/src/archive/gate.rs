//! How far the listing of members may be ahead of what is in the log.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::tracker::WINDOW;

/// Between the thread that lists members, one file after the other, and the import.
#[derive(Debug, Default)]
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The file that is listed.
    file: u64,
    /// Its first member that is not done.
    first: u64,
    /// The rest of it is given up.
    given_up: bool,
    /// Nothing more is wanted.
    closed: bool,
}

/// Why the listing does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shut {
    /// The rest of this file is given up.
    File,
    /// Nothing more is wanted.
    All,
}

impl Gate {
    /// The listing of a file begins; its members before `first` are done.
    pub fn begin(&self, file: u64, first: u64) {
        let mut state = self.lock();
        *state = State { file, first, given_up: false, closed: state.closed };
    }

    /// Waits until a member may be begun.
    ///
    /// # Errors
    /// When it need not be.
    pub fn wait(&self, member: u64) -> Result<(), Shut> {
        let far = |state: &mut State| {
            !state.closed && !state.given_up && member >= state.first.saturating_add(WINDOW)
        };
        let state = self.changed.wait_while(self.lock(), far);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        match (state.closed, state.given_up) {
            (true, _) => Err(Shut::All),
            (false, true) => Err(Shut::File),
            (false, false) => Ok(()),
        }
    }

    /// Of a file, members before `first` are done.
    pub fn advance(&self, file: u64, first: u64) {
        self.change(file, |state| state.first = first);
    }

    /// The rest of a file need not be listed.
    pub fn give_up(&self, file: u64) {
        self.change(file, |state| state.given_up = true);
    }

    /// Nothing more is wanted.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn change(&self, file: u64, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        if state.file == file {
            change(&mut state);
            drop(state);
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_wait_for_those_far_before_them() {
        let gate = Gate::default();
        gate.begin(3, 5);
        assert_eq!(gate.wait(5 + WINDOW - 1), Ok(()));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| gate.wait(5 + WINDOW));
            gate.advance(2, 99);
            gate.advance(3, 6);
            assert_eq!(waiting.join().unwrap(), Ok(()));
            let waiting = scope.spawn(|| gate.wait(1_000));
            gate.give_up(3);
            assert_eq!(waiting.join().unwrap(), Err(Shut::File));
            gate.begin(4, 0);
            let waiting = scope.spawn(|| gate.wait(1_000));
            gate.close();
            assert_eq!(waiting.join().unwrap(), Err(Shut::All));
        });
    }
}
