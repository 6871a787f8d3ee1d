//! `[store]`

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{Secret, StoreUrl};

/// The document store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StoreSection {
    /// Where it is: `sqlite:PATH` or `http(s)://host:port` of a CouchDB. Without it:
    /// `store.sqlite` in the data folder.
    #[schemars(example = &"http://couchdb:5984")]
    pub url: Option<StoreUrl>,
    /// The user towards CouchDB.
    #[schemars(example = &"bowerbird")]
    pub user: Option<String>,
    /// The password towards CouchDB.
    pub password: Option<Secret>,
    /// A file that holds the password, such as a Docker secret; read again while CouchDB refuses what
    /// it held.
    #[schemars(example = &"/run/secrets/couchdb_password")]
    pub password_file: Option<PathBuf>,
    /// How long CouchDB may take to answer a request, in milliseconds.
    #[schemars(range(min = 100, max = 3_600_000))]
    pub timeout_ms: u64,
    /// How long CouchDB may take to accept a connection, in milliseconds.
    #[schemars(range(min = 100, max = 600_000))]
    pub connect_timeout_ms: u64,
    /// Whether the sink makes databases that are missing. Without it, it pauses and says which.
    pub create_databases: bool,
}

impl Default for StoreSection {
    fn default() -> Self {
        Self {
            url: None,
            user: None,
            password: None,
            password_file: None,
            timeout_ms: 30_000,
            connect_timeout_ms: 5_000,
            create_databases: true,
        }
    }
}
