//! `[mapreduce]`, `[dashboard]`, `[admin]`, `[sim]`

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Listen;

/// Design documents and their views.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MapreduceSection {
    /// A folder of design documents, `<database>/<design>/views/<view>/{map,reduce}.js`. Without
    /// it, those that are compiled into the binary.
    #[schemars(example = &"./designs")]
    pub designs: Option<PathBuf>,
    /// How long a query waits until its index is up to date, in milliseconds.
    #[schemars(range(min = 100, max = 86_400_000))]
    pub query_wait_ms: u64,
    /// How long the building of an index may take when it is deployed, in milliseconds.
    #[schemars(range(min = 100, max = 604_800_000))]
    pub build_wait_ms: u64,
    /// Memory of all functions together where the store is embedded, in bytes.
    #[schemars(range(min = 8_388_608, max = 17_179_869_184_u64))]
    pub memory_limit_bytes: usize,
    /// How long a function may take on one document where the store is embedded, in milliseconds.
    #[schemars(range(min = 10, max = 600_000))]
    pub script_timeout_ms: u64,
}

/// The lag dashboard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DashboardSection {
    /// Where the page is served. It has no login: loopback only. Port 0 takes any free port.
    pub listen: Listen,
    /// How often the log is asked, in milliseconds.
    #[schemars(range(min = 100, max = 600_000))]
    pub interval_ms: u64,
}

/// Health and metrics of each long-running role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AdminSection {
    /// Where they are served. Port 0 takes any free port and says which at start, so that several
    /// roles can run on one machine.
    pub listen: Listen,
}

/// The simulators.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SimSection {
    /// Posts per second that the simulated stream sends.
    #[schemars(range(min = 0.01, max = 1_000_000.0))]
    pub rate: f64,
    /// What the simulated posts are made from: the same seed gives the same posts.
    pub seed: u64,
    /// How many features the sample WFS holds.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub features: u32,
}

impl Default for MapreduceSection {
    fn default() -> Self {
        Self {
            designs: None,
            query_wait_ms: 600_000,
            build_wait_ms: 3_600_000,
            memory_limit_bytes: 128 << 20,
            script_timeout_ms: 5_000,
        }
    }
}

impl Default for DashboardSection {
    fn default() -> Self {
        Self { listen: Listen::loopback(7600), interval_ms: 1_000 }
    }
}

impl Default for AdminSection {
    fn default() -> Self {
        Self { listen: Listen::loopback(0) }
    }
}

impl Default for SimSection {
    fn default() -> Self {
        Self { rate: 20.0, seed: 1, features: 2_000 }
    }
}
