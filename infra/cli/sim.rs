//! `bowerbird sim`

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use bowerbird_infra::config::Listen;
use bowerbird_sim::{Running, wfs, x};
use clap::{Args, Subcommand};

use crate::failure::{Outcome, WrongUse};
use crate::output;
use crate::settings::Settings;
use crate::shutdown::Shutdown;

/// What `sim` takes.
#[derive(Debug, Subcommand)]
pub enum Arguments {
    /// Simulate X's v2 filtered stream
    X(X),
    /// Serve a sample WFS
    Aurin(Aurin),
}

/// What `sim x` takes.
#[derive(Debug, Args)]
pub struct X {
    /// Where to listen; port 0 takes any free one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:7610", value_parser = listen)]
    listen: SocketAddr,
    /// Posts a second [default: sim.rate]
    #[arg(long, value_name = "POSTS", value_parser = rate)]
    rate: Option<f64>,
    /// What the posts, and faults by chance, are made from [default: sim.seed]
    #[arg(long)]
    seed: Option<u64>,
    /// A file in TOML that says how it behaves: refusals, endings, limits, faults by chance
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
}

/// What `sim aurin` takes.
#[derive(Debug, Args)]
pub struct Aurin {
    /// Where to listen; port 0 takes any free one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:7611", value_parser = listen)]
    listen: SocketAddr,
    /// Features over all data sets [default: sim.features]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    features: Option<u32>,
    /// What the features are made from [default: sim.seed]
    #[arg(long)]
    seed: Option<u64>,
}

/// Runs a simulator until a signal.
pub async fn run(
    arguments: Arguments,
    settings: &Settings,
    shutdown: &Shutdown,
) -> anyhow::Result<Outcome> {
    let (running, path) = match arguments {
        Arguments::X(X { listen, rate, seed, scenario }) => {
            let defaults = match scenario {
                None => x_config(settings),
                Some(file) => {
                    let named = || file.display().to_string();
                    let text = std::fs::read_to_string(&file).with_context(named)?;
                    let read = x::scenario(&text, x_config(settings));
                    read.map_err(|error| WrongUse(format!("{}: {error}", named())))?
                }
            };
            let (rate, seed) = (rate.unwrap_or(defaults.rate), seed.unwrap_or(defaults.seed));
            (x::serve(x::Config { listen, rate, seed, ..defaults }).await?, "")
        }
        Arguments::Aurin(Aurin { listen, features, seed }) => {
            let defaults = wfs_config(settings);
            let features = features.unwrap_or(defaults.features);
            let seed = seed.unwrap_or(defaults.seed);
            (wfs::serve(wfs::Config { listen, features, seed, ..defaults }).await?, WFS_PATH)
        }
    };
    let url = running.url() + path;
    output::one(settings.output, "sim", &serde_json::json!({ "url": url }), || format!("{url}\n"))?;
    shutdown.token().cancelled().await;
    told(running).await;
    Ok(Outcome::Done)
}

/// Where the sample WFS answers.
pub const WFS_PATH: &str = "/wfs";

/// The simulator of X as configured, on any free port.
pub fn x_config(settings: &Settings) -> x::Config {
    let section = &settings.config().sim;
    x::Config { rate: section.rate, seed: section.seed, ..x::Config::default() }
}

/// The sample WFS as configured, on any free port.
pub fn wfs_config(settings: &Settings) -> wfs::Config {
    let section = &settings.config().sim;
    wfs::Config { features: section.features, seed: section.seed, ..wfs::Config::default() }
}

async fn told(running: Running) {
    tracing::info!(served = running.served(), "simulator ends");
    running.shutdown().await;
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    Listen::try_from(text.to_owned()).map(|listen| listen.0)
}

fn rate(text: &str) -> anyhow::Result<f64> {
    let rate: f64 = text.parse()?;
    if rate.is_finite() && rate > 0.0 { Ok(rate) } else { Err(anyhow!("must be greater than 0")) }
}
