//! The document store: databases of JSON documents, written in bulk, read by id, scanned in order.
//!
//! [`DocumentStore`] is the one trait; [`couch`] and [`sqlite`] implement it, and one behaviour
//! suite (`tests/behaviour/`) runs on both. This crate knows nothing of events or logs.

pub mod any;
pub mod body;
pub mod couch;
pub mod document;
pub mod error;
pub mod metrics;
pub mod name;
pub mod sqlite;
pub mod store;

pub use any::AnyStore;
pub use document::{Body, Document, Revision};
pub use error::StoreError;
pub use store::{Change, Changes, DatabaseInfo, DocumentStore, WriteOutcome};
