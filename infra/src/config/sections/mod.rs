//! The sections of the configuration, by room. A doc comment here is what the reference says.

mod log;
mod serve;
mod sink;
mod sources;
mod store;

pub use log::{LogSection, SaslMechanism};
pub use serve::{AdminSection, DashboardSection, MapreduceSection, SimSection};
pub use sink::SinkSection;
pub use sources::{ArchiveSection, AurinSection, Dataset, StreamRule, XSection};
pub use store::StoreSection;
