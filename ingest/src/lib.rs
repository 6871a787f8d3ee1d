//! Sources to event log: X posts, archives, AURIN features.

pub mod archive;
pub mod metrics;
pub mod post;
pub mod publish;
