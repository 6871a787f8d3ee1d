//! `bowerbird ingest x`

use anyhow::Context as _;
use bowerbird_infra::config::Secret;
use bowerbird_ingest::x;
use clap::Args;
use serde_json::json;

use crate::crew::Stage;
use crate::failure::Outcome;
use crate::output;
use crate::parts;
use crate::report::Reports;
use crate::service::Service;
use crate::settings::Settings;
use crate::shutdown::Shutdown;

/// What `ingest x` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only say what would be connected to, and which log would be written
    #[arg(long)]
    dry_run: bool,
    /// When X says that too many connections are open, end the app's others, whosever they are
    #[arg(long)]
    take_over: bool,
}

/// Follows the stream until a signal.
pub async fn run(
    arguments: Arguments,
    settings: &Settings,
    shutdown: &Shutdown,
) -> anyhow::Result<Outcome> {
    let token =
        settings.config().x.bearer_token.as_ref().context("there is no bearer token for X")?;
    let base_url = &settings.config().x.base_url.base;
    if arguments.dry_run {
        let log = settings.log_url().to_string();
        let plan = json!({ "stream": base_url, "log": log });
        let told = || format!("would follow the stream at {base_url}, and write it into {log}\n");
        output::one(settings.output, "ingest x", &plan, told)?;
        return Ok(Outcome::Done);
    }
    let take_over = arguments.take_over;
    let drain_timeout = settings.lone_source_drain();
    let config = x::XConfig { take_over, drain_timeout, ..parts::x(settings, base_url, token)? };
    let mut service = Service::new(settings, shutdown.token()).await?;
    let log = parts::log(settings).await?;
    service.apply_topics(&log, settings).await?;
    let reports = Reports::default();
    spawn(&mut service, log, config, &reports);
    let outcome = service.run(settings).await;
    reports.print(settings.output)?;
    outcome.map(|()| Outcome::Done)
}

/// Starts following the stream.
pub fn spawn(
    service: &mut Service,
    log: bowerbird_stream::AnyLog,
    config: x::XConfig,
    reports: &Reports,
) {
    let reporter = service.role("ingest-x");
    let (token, reports) = (service.crew.token(Stage::Source), reports.clone());
    service.crew.spawn(Stage::Source, "ingest-x", async move {
        let summary = x::run(log, config, reporter, token).await?;
        reports.note("ingest-x", &summary);
        anyhow::ensure!(
            summary.drained,
            "the log did not take the last items of the stream before the deadline: they are lost, \
             and the next start notes in the journal what is missing"
        );
        Ok(())
    });
}

/// A token for the simulator, which takes any.
pub fn any_token() -> Secret {
    Secret::new("simulator")
}
