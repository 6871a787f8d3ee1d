//! The configuration: one `bowerbird.toml`, overridden by the environment, checked against one
//! schema, and immutable from then on.
//!
//! [`Config`] and its doc comments are the single source: the schema made of it drives parsing,
//! the environment overlay, every message about a wrong key, the reference
//! (`docs/CONFIGURATION.md`) and the file that `bowerbird init` writes.

mod account;
mod address;
mod effective;
mod env;
mod file;
mod key;
mod load;
mod reference;
mod secret;
mod sections;
mod template;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use account::{Account, MissingSecret};
pub use address::{HttpUrl, Listen, LogUrl, StoreUrl, Userinfo};
pub use effective::{Setting, settings, to_toml};
pub use load::{Loaded, Origin, Source, load};
pub use reference::reference;
pub use secret::Secret;
pub use sections::{
    AdminSection, ArchiveSection, AurinSection, DashboardSection, Dataset, LogSection,
    MapreduceSection, SaslMechanism, SimSection, SinkSection, StoreSection, StreamRule, XSection,
};
pub use template::template;

/// The JSON schema of the configuration.
pub fn schema() -> schemars::Schema {
    key::schema()
}

/// What the environment's variables of the configuration begin with.
pub const ENV_PREFIX: &str = "BOWERBIRD__";

/// Everything that can be configured, after parsing and checking.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// The event log: an SQLite file, or Apache Kafka.
    pub log: LogSection,
    /// The document store: an SQLite file, or CouchDB.
    pub store: StoreSection,
    /// X's filtered stream.
    pub x: XSection,
    /// AURIN's WFS, or any other that answers in GeoJSON.
    pub aurin: AurinSection,
    /// Archives of posts, as `bowerbird ingest archive` reads them.
    pub archive: ArchiveSection,
    /// The way from the log to the documents. The numbers bound memory, not the backlog.
    pub sink: SinkSection,
    /// Design documents and their views.
    pub mapreduce: MapreduceSection,
    /// The lag dashboard.
    pub dashboard: DashboardSection,
    /// Health and metrics of each long-running role: `/livez`, `/readyz`, `/metrics`.
    pub admin: AdminSection,
    /// The built-in simulators of X and of a WFS.
    pub sim: SimSection,
}
