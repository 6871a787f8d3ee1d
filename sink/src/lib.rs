//! Event log to documents: batches into the store, dead letters, merging, mapping, verifying.
//!
//! Decisions are pure: [`merge`] (what is known of an entity), [`mapping`] (what an event says),
//! [`batch`] (when to write), [`watermark`] (what may be committed). [`worker`] applies them.

pub mod batch;
pub mod compliance;
pub mod config;
pub mod document;
pub mod error;
mod journal;
mod json;
pub mod mapping;
pub mod merge;
pub mod meta;
pub mod metrics;
pub mod projections;
pub mod replay;
mod summary;
pub mod verify;
pub mod watermark;
pub mod worker;

pub use config::{Projection, SinkConfig};
pub use error::SinkError;
pub use projections::Generations;
pub use verify::{VerifyConfig, VerifyReport, verify};
pub use worker::{SinkReport, run, run_into};
