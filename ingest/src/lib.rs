//! Sources to event log: X posts, archives, AURIN features.

mod again;
pub mod archive;
pub mod aurin;
mod error;
pub mod gaps;
pub mod metrics;
mod outbox;
pub mod post;
pub mod publish;
mod record;
mod renewal;
mod standing;
pub mod x;

pub use again::read_again;
pub use error::IngestError;
pub use renewal::Renewal;

/// What a text may begin with (Unicode 23.8); JSON too, by leave of RFC 8259, section 8.1.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
