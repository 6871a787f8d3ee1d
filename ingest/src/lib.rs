//! Sources to event log: X posts, archives, AURIN features.

pub mod post;
