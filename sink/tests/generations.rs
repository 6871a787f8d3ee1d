//! Replaying, rebuilding, switching and going back, with events arriving all the time and with
//! processes that are killed between any two steps.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod generations {
    pub mod bed;
    mod killed;
    mod replaying;
    mod switching;
}
