//! Harvesting X's v2 filtered stream.
//!
//! One connection at a time, by `twitter-stream` over a reqwest transport; each item becomes
//! an event as it came. A pure policy decides when to connect again and what to say meanwhile.
//! Every connection, its end, and every time at which nobody listened is a fact in the journal.

mod body;
mod config;
mod connection;
mod failure;
mod gap;
pub mod lines;
mod past;
mod reconnect;
pub mod rules;
mod service;
mod transport;

pub use crate::outbox::OutboxConfig;
pub use config::XConfig;
pub use failure::Failure;
pub use reconnect::Waits;
pub use service::{SOURCE, XSummary, run};
