//! Harvesting data sets of AURIN, or of any WFS 2.0 that gives GeoJSON.
//!
//! A poll asks whether the type is there, whether it has the key, and how many features, then for
//! pages sorted by that key, each beginning where the features received so far end: servers give
//! fewer than they are asked for without a word. It goes on until a page is empty, whatever number
//! the server named, or has nothing but what came before: a server that does not page gives all at
//! once, or never. Pages are cut into features while they arrive, and what differs from what the
//! log has is published. At the end the distinct ids are compared with the number that there should
//! be, asked for once more; where the server names none, the last feature has to come alone when it is
//! asked for again. What a whole poll did not have is published as vanished; and the poll is
//! a fact in the journal, whole or not.

pub(crate) mod axes;
mod config;
mod fault;
pub mod feature;
mod memory;
mod poll;
mod report;
pub mod scan;
mod schedule;
mod service;
mod shape;
mod there;
mod wfs;
pub mod xml;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

pub use config::{AurinConfig, DatasetConfig};
pub use fault::Fault;
pub(crate) use report::{BEGUN, POLLED};
pub use report::{Outcome, PollReport};
pub use schedule::Schedule;
pub use service::{AurinSummary, once, run};
pub use wfs::{Page, Wfs};
pub use xml::{Capabilities, Column, FeatureType};

/// RFC 3986 3.3: what may stand in a path as it is; a type name's colon may.
const RESERVED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// `ce_source` of a data set's events, and the key of its facts in the journal.
pub fn source(type_name: &str) -> String {
    format!("aurin:{}", utf8_percent_encode(type_name, RESERVED))
}
