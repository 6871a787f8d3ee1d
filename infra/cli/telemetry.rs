//! Logs to stderr, around whatever is drawn there.

use std::env;
use std::io::{self, IsTerminal as _, Write};
use std::sync::LazyLock;

use anyhow::Context as _;
use indicatif::MultiProgress;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::args::{Cli, Command, LogFormat};

/// What is drawn on stderr: progress bars and the live status. Logs go above it.
pub static SCREEN: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Buckets of durations: from a bulk write's milliseconds to a stalled store's minute.
const SECONDS: [f64; 11] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0];
/// Buckets of sizes: from a post to the largest batch.
const BYTES: [f64; 6] = [1024.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 8_388_608.0];

/// Installs the log for this process.
///
/// # Errors
/// When `RUST_LOG` can't be read.
pub fn install(cli: &Cli) -> anyhow::Result<()> {
    let filter = match env::var("RUST_LOG") {
        Ok(directives) if !directives.is_empty() => {
            directives.parse::<EnvFilter>().context("RUST_LOG can't be read")?
        }
        _ => EnvFilter::new(level(cli)),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(AroundScreen)
        .with_ansi(io::stderr().is_terminal());
    match cli.global.log_format {
        LogFormat::Text => builder.with_target(false).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

/// Services speak by their logs; other commands by what they print. Libraries only when something
/// is wrong, unless everything is asked for.
fn level(cli: &Cli) -> &'static str {
    match (cli.global.quiet, cli.global.verbose) {
        (true, _) => "error",
        // Its live status tells the rest.
        (false, 0) if matches!(cli.command, Command::Up(_)) => {
            "warn,bowerbird::up=info,bowerbird_stream::status=info,bowerbird_sink::projections=info"
        }
        (false, 0) if cli.command.is_service() => "warn,bowerbird=info",
        (false, 0) => "warn",
        (false, 1) => "info,bowerbird=debug",
        _ => "trace",
    }
}

/// Writes to stderr with everything drawn there out of the way.
#[derive(Clone, Copy, Debug)]
struct AroundScreen;

impl<'a> MakeWriter<'a> for AroundScreen {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}

impl Write for AroundScreen {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        SCREEN.suspend(|| io::stderr().lock().write(line))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

/// Installs the metrics of this process.
///
/// # Errors
/// When they are installed already.
pub fn metrics() -> anyhow::Result<PrometheusHandle> {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), &BYTES)
        })
        .context("the buckets of the metrics are empty")?;
    builder.install_recorder().context("metrics can't be installed")
}
