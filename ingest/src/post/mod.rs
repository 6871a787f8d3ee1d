//! From one line of an archive, or one item of a stream, to events.
//!
//! [`Reader::read`] tells by content alone what it holds: a v2 response or stream item, a v2
//! flattened or v1.1 post, a v1.1 compliance notice, or something else. It never fails: whatever
//! is not understood is [`Found::Refused`] with its reason, so that nothing is dropped silently.
//!
//! A line with one post is that event's payload, its bytes untouched. A response with many posts
//! is carved.

mod carve;
mod notice;
pub mod problem;
mod reader;
mod scalar;
mod shape;
pub mod time;

use bowerbird_stream::log::Outgoing;
use bytes::Bytes;
use jiff::Timestamp;

#[cfg(test)]
mod tests;

pub use notice::About;
pub use problem::Problem;
pub use reader::Reader;
pub(crate) use scalar::Scalar;
pub(crate) use shape::Object;

/// Where and when something was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// This line of an archive, from 1.
    Line(u64),
    /// It arrived on a stream at this time.
    Arrival(Timestamp),
}

/// What a line or item held; one response may hold many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A post, as a record for the log.
    Post {
        /// The event.
        record: Outgoing,
        /// When the post was made, by its snowflake id.
        created: Timestamp,
    },
    /// A compliance notice, as a record for the log.
    Notice {
        /// The event.
        record: Outgoing,
    },
    /// A message of the source about itself, without content.
    Control(Control),
    /// `errors` with nothing beside them.
    Problems {
        /// What the platform said.
        problems: Vec<Problem>,
        /// The item as it came.
        bytes: Bytes,
    },
    /// Nothing but white space: an empty line, a keep-alive.
    Blank,
    /// Not understood, or not taken here; it belongs into the dead letters.
    Refused {
        /// Why.
        refusal: Refusal,
        /// The part that is refused, as it came.
        bytes: Bytes,
    },
}

/// A message without content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// `{"limit":…}`: posts that a v1.1 stream held back.
    Limit,
    /// `{"warning":…}`: a v1.1 client falls behind.
    Warning,
    /// `{"disconnect":…}`: a v1.1 stream closes.
    Disconnect,
    /// `{"friends":…}`: what a v1.1 user stream begins with.
    Friends,
    /// A response without results.
    Empty,
}

/// Why something is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// A short name to group by.
    pub reason: &'static str,
    /// In full: what, why, and what to do.
    pub error: String,
}

/// Names of [`Refusal::reason`].
pub mod reason {
    /// The bytes are not UTF-8.
    pub const NOT_UTF8: &str = "not-utf8";
    /// Not a JSON object.
    pub const NOT_JSON: &str = "not-json";
    /// A JSON object that is no post.
    pub const NO_POST: &str = "no-post";
    /// `errors` without any post.
    pub const ERRORS: &str = "errors";
    /// A line of a compliance result.
    pub const COMPLIANCE: &str = "compliance-result";
}
