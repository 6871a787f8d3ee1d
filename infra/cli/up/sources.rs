//! The sources of `up`: the real ones where they are configured, else the simulators.

use std::fmt;
use std::time::Duration;

use bowerbird_ingest::aurin::{DatasetConfig, Schedule};
use bowerbird_sim::wfs::{self, SampleDataset};
use bowerbird_sim::{Running, x};
use bowerbird_stream::AnyLog;
use bowerbird_stream::status::State;

use crate::crew::Stage;
use crate::ingest;
use crate::parts;
use crate::report::Reports;
use crate::service::Service;
use crate::settings::Settings;
use crate::sim;

/// How often the sample is polled: often enough to be seen.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(60);

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
    /// The real one is configured, and nothing to ask it for.
    Idle {
        /// Its name.
        name: &'static str,
        /// What is missing, and what to do.
        reason: &'static str,
    },
}

const NO_DATASETS: &str = "nothing is polled, because no data sets are declared: declare each as \
                           [[aurin.datasets]] and start again, or take aurin.user away to poll the \
                           built-in sample";

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Real { name, url } => write!(f, "{name}: {url}"),
            Self::Idle { name, reason } => write!(f, "{name}: {reason}"),
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
    vec![x_source(settings, None), aurin_source(settings, None)]
}

/// Whether the WFS to poll is the sample. Data sets without credentials are an open WFS.
fn samples(settings: &Settings) -> bool {
    let section = &settings.config().aurin;
    section.user.is_none() && section.datasets.is_empty()
}

fn aurin_source(settings: &Settings, simulator: Option<&Running>) -> Source {
    let url = settings.config().aurin.base_url.base.clone();
    if samples(settings) {
        let url = simulator.map(wfs_url);
        Source::Simulated { name: "aurin", url, key: "aurin.user" }
    } else if settings.config().aurin.datasets.is_empty() {
        Source::Idle { name: "aurin", reason: NO_DATASETS }
    } else {
        Source::Real { name: "aurin", url }
    }
}

fn wfs_url(running: &Running) -> String {
    running.url() + sim::WFS_PATH
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

/// Starts the simulators that are needed, and the harvest; with `take_over` other connections of the
/// app are ended where there are too many.
///
/// # Errors
/// When a simulator can't listen, or an address makes no sense.
pub async fn spawn(
    service: &mut Service,
    log: &AnyLog,
    settings: &Settings,
    take_over: bool,
    reports: &Reports,
) -> anyhow::Result<Vec<Source>> {
    let x = spawn_x(service, log, settings, take_over, reports).await?;
    let aurin = spawn_aurin(service, log, settings, reports).await?;
    Ok(vec![x, aurin])
}

async fn spawn_x(
    service: &mut Service,
    log: &AnyLog,
    settings: &Settings,
    take_over: bool,
    reports: &Reports,
) -> anyhow::Result<Source> {
    let section = &settings.config().x;
    let (simulator, mut config) = match &section.bearer_token {
        Some(token) => (None, parts::x(settings, &section.base_url.base, token)?),
        None => {
            let running = x::serve(sim::x_config(settings)).await?;
            let config = parts::x(settings, &running.url(), &ingest::any_token())?;
            (Some(running), config)
        }
    };
    config.take_over = take_over;
    let source = x_source(settings, simulator.as_ref());
    ingest::spawn_x(service, log.clone(), config, reports);
    keep(service, "the simulator of X", simulator);
    Ok(source)
}

async fn spawn_aurin(
    service: &mut Service,
    log: &AnyLog,
    settings: &Settings,
    reports: &Reports,
) -> anyhow::Result<Source> {
    let mut config = parts::aurin(settings)?;
    let mut simulator = None;
    if samples(settings) {
        let running = wfs::serve(sim::wfs_config(settings)).await?;
        config.base_url = wfs_url(&running).parse()?;
        config.datasets = wfs::sample_datasets().map(sample).to_vec();
        simulator = Some(running);
    }
    let source = aurin_source(settings, simulator.as_ref());
    if let Source::Idle { reason, .. } = source {
        let reason = reason.to_owned();
        service.role(ingest::AURIN).set(State::Paused { reason });
        return Ok(source);
    }
    ingest::spawn_aurin(service, log.clone(), config, reports);
    keep(service, "the sample WFS", simulator);
    Ok(source)
}

fn sample(dataset: SampleDataset) -> DatasetConfig {
    DatasetConfig {
        type_name: dataset.type_name.to_owned(),
        id_property: dataset.id_property.to_owned(),
        licence: dataset.licence.to_owned(),
        attribution: dataset.attribution.to_owned(),
        schedule: Schedule::Every { interval: SAMPLE_INTERVAL, jitter: Duration::ZERO },
    }
}

/// Keeps a simulator until the harvest has ended.
fn keep(service: &mut Service, name: &'static str, simulator: Option<Running>) {
    let Some(running) = simulator else { return };
    let token = service.crew.token(Stage::Work);
    service.crew.spawn(Stage::Support, name, async move {
        token.cancelled().await;
        running.shutdown().await;
        Ok(())
    });
}
