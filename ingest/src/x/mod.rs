//! Harvesting X's v2 filtered stream.
//!
//! One connection at a time, by `twitter-stream` over a transport of ours; each item becomes an
//! event as it came. A pure policy decides when to connect again and what to say meanwhile. Every
//! connection, its end, and every time at which nobody listened is a fact in the journal, and so is
//! what the stream has cost.

mod body;
mod clock;
mod config;
mod connection;
mod exchange;
mod failure;
mod gap;
mod hide;
mod kept;
pub mod lines;
mod meter;
mod past;
mod reconnect;
pub mod rules;
mod service;
mod session;
mod transport;

pub use crate::outbox::OutboxConfig;
pub use clock::Clock;
pub use config::XConfig;
pub use exchange::{Exchange, Incoming, Reply};
pub use failure::Failure;
pub(crate) use gap::Gap;
pub use kept::Kept;
pub use meter::{Day, Limits, OfRule, Usage, month_name, usage};
pub(crate) use past::{heard_until, unheard};
pub use reconnect::Waits;
pub(crate) use service::GAP;
pub use service::{OfMonth, SOURCE, XSummary, run, run_over};
