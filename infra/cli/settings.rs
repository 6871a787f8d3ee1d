//! What every command works with: the configuration, and where the data lies. The only place that
//! reads the environment.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use bowerbird_infra::InfraError;
use bowerbird_infra::config::{self, Config, ENV_PREFIX, Loaded, LogUrl, StoreUrl};

use crate::args::{Format, Global};
use crate::failure::WrongUse;
use crate::folder;

const DEFAULT_FILE: &str = "bowerbird.toml";

/// The configuration and the command line's choices that every command shares.
#[derive(Debug)]
pub struct Settings {
    /// The configuration, with the origin of each value.
    pub loaded: Loaded,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// The data folder.
    pub data: PathBuf,
    /// How data is written to stdout.
    pub output: Format,
}

impl Settings {
    /// Loads them from the file, the environment and the command line.
    ///
    /// # Errors
    /// When anything in them is wrong; everything that is wrong is told.
    pub fn load(global: Global) -> anyhow::Result<Self> {
        let file = read_file(global.config.as_deref())?;
        let text = file.as_ref().map(|(path, text)| (path.as_path(), text.as_str()));
        let loaded = config::load(text, variables()?)?;
        let data = match global.data {
            Some(folder) => folder,
            None => folder::default()?,
        };
        Ok(Self { loaded, file: file.map(|(path, _)| path), data, output: global.output })
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.loaded.config
    }

    /// Where the event log is: as configured, else a file in the data folder.
    pub fn log_url(&self) -> LogUrl {
        let embedded = || LogUrl::Sqlite(self.data.join("log.sqlite"));
        self.config().log.url.clone().unwrap_or_else(embedded)
    }

    /// Where the document store is: as configured, else a file in the data folder.
    pub fn store_url(&self) -> StoreUrl {
        let embedded = || StoreUrl::Sqlite(self.data.join("store.sqlite"));
        self.config().store.url.clone().unwrap_or_else(embedded)
    }

    /// How long finishing may take altogether. Tasks end one after the other in the order in which
    /// data flows, so each has a share of it.
    pub fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.config().sink.drain_timeout_ms)
    }

    /// How long a source may take to hand over what it has; and then the sinks to get to its end.
    pub fn source_drain(&self) -> Duration {
        self.drain_timeout() / 5
    }

    /// How long a source may take to hand over what it has when nothing has to end after it. What
    /// it can't hand over is a hole, so it has nearly all of the time.
    pub fn lone_source_drain(&self) -> Duration {
        self.drain_timeout() * 4 / 5
    }

    /// How long a sink may take to settle what it has.
    pub fn sink_drain(&self) -> Duration {
        self.drain_timeout() * 2 / 5
    }
}

/// Who runs the command, as the system names them.
pub fn user() -> String {
    let name = ["USER", "LOGNAME"].into_iter().find_map(|name| env::var(name).ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "somebody".to_owned())
}

fn read_file(named: Option<&Path>) -> Result<Option<(PathBuf, String)>, InfraError> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE));
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some((path.to_owned(), text))),
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(InfraError::Unreadable {
            what: "the configuration".to_owned(),
            path: path.to_owned(),
            reason: error.to_string(),
        }),
    }
}

fn variables() -> anyhow::Result<Vec<(String, String)>> {
    let ours = env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok().filter(|name| name.starts_with(ENV_PREFIX))?;
        Some((name, value))
    });
    ours.map(|(name, value)| match value.into_string() {
        Ok(value) => Ok((name, value)),
        Err(_) => Err(anyhow!(WrongUse(format!("{name} is not UTF-8")))),
    })
    .collect()
}
