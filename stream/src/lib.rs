//! The event log: what an event is, where it goes, and the two logs that keep it.
//!
//! [`EventLog`] is the one trait; [`kafka`] and [`sqlite`] implement it, and one behaviour suite
//! (`tests/behaviour.rs`) runs on both. Only [`kafka`] names rdkafka.

mod any;
mod blocks;
pub mod dead_letter;
mod envelope;
pub mod error;
pub mod event;
pub mod headers;
pub mod journal;
pub mod kafka;
pub mod lag;
pub mod log;
pub mod metrics;
pub mod range;
mod record;
pub mod retry;
pub mod sqlite;
pub mod status;
pub mod topic;

pub use any::{AnyConsumer, AnyLog};
pub use envelope::Envelope;
pub use error::LogError;
pub use event::{Event, EventType, EventView, Headers};
pub use log::{Delivery, EventConsumer, EventLog, Outgoing, Partition, Position, Record};
