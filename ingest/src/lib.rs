//! Sources to event log: X posts, archives, AURIN features.

mod again;
pub mod archive;
pub mod aurin;
mod error;
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
