//! Documents to answers: design documents as files, deployed and queried.
//!
//! [`Views`] is the one trait; [`couch`] hands the work to `CouchDB`'s own view server, [`quickjs`]
//! runs the same JavaScript over any document store and keeps the index in a `SQLite` file. One
//! behaviour suite (`tests/behaviour/`) runs on both.

pub mod any;
mod collation;
pub mod couch;
pub mod design;
pub mod error;
pub mod metrics;
pub mod query;
pub mod quickjs;
pub mod views;

pub use any::AnyViews;
pub use design::Design;
pub use error::ViewError;
pub use query::{Group, Query, Row};
pub use views::{DeployOptions, Deployment, Progress, Views};
