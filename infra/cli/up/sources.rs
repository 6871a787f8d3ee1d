//! The sources of `up`: the real ones where they are configured, else the simulators.

use std::fmt;

use bowerbird_sim::{Running, x};
use bowerbird_stream::AnyLog;

use crate::crew::Stage;
use crate::ingest;
use crate::parts;
use crate::report::Reports;
use crate::service::Service;
use crate::settings::Settings;
use crate::sim;

/// A source, and why it is this one; for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The real one.
    Real {
        /// Its name.
        name: &'static str,
        /// Where it is.
        url: String,
    },
    /// A simulator, because no credentials are configured.
    Simulated {
        /// Its name.
        name: &'static str,
        /// Where it runs; nothing before it does.
        url: Option<String>,
        /// What to configure for the real one.
        key: &'static str,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Real { name, url } => write!(f, "{name}: {url}"),
            Self::Simulated { name, url, key } => {
                write!(f, "{name}: the built-in simulator")?;
                if let Some(url) = url {
                    write!(f, " at {url}")?;
                }
                write!(f, ", because {key} is not configured")
            }
        }
    }
}

/// The sources that would be harvested.
pub fn planned(settings: &Settings) -> Vec<Source> {
    vec![x_source(settings, None)]
}

fn x_source(settings: &Settings, simulator: Option<&Running>) -> Source {
    let section = &settings.config().x;
    match section.bearer_token {
        Some(_) => Source::Real { name: "x", url: section.base_url.base.clone() },
        None => {
            Source::Simulated { name: "x", url: simulator.map(Running::url), key: "x.bearer_token" }
        }
    }
}

/// Starts the simulators that are needed, and the harvest.
///
/// # Errors
/// When a simulator can't listen, or an address makes no sense.
pub async fn spawn(
    service: &mut Service,
    log: &AnyLog,
    settings: &Settings,
    reports: &Reports,
) -> anyhow::Result<Vec<Source>> {
    let section = &settings.config().x;
    let (simulator, config) = match &section.bearer_token {
        Some(token) => (None, parts::x(settings, &section.base_url.base, token)?),
        None => {
            let running = x::serve(sim::x_config(settings)).await?;
            let config = parts::x(settings, &running.url(), &ingest::any_token())?;
            (Some(running), config)
        }
    };
    let source = x_source(settings, simulator.as_ref());
    ingest::spawn_x(service, log.clone(), config, reports);
    if let Some(running) = simulator {
        keep(service, "the simulator of X", running);
    }
    Ok(vec![source])
}

/// Keeps a simulator until the harvest has ended.
fn keep(service: &mut Service, name: &'static str, running: Running) {
    let token = service.crew.token(Stage::Work);
    service.crew.spawn(Stage::Support, name, async move {
        token.cancelled().await;
        running.shutdown().await;
        Ok(())
    });
}

/// Deploys the design documents beside the harvest.
///
/// # Errors
/// When they can't be read.
pub fn deploy_views(_service: &mut Service, _settings: &Settings) -> anyhow::Result<()> {
    Ok(())
}
