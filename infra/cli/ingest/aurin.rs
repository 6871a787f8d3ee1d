//! `bowerbird ingest aurin`

use bowerbird_ingest::aurin::{self, AurinConfig, AurinSummary, PollReport};
use bowerbird_stream::AnyLog;
use bowerbird_stream::status::status;
use clap::Args;
use serde_json::json;

use crate::args::Format;
use crate::crew::Stage;
use crate::failure::{Outcome, WrongUse};
use crate::output;
use crate::parts;
use crate::report::Reports;
use crate::service::Service;
use crate::settings::Settings;
use crate::shutdown::Shutdown;

/// The role of what polls.
pub const ROLE: &str = "ingest-aurin";

/// What `ingest aurin` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Poll each data set once, then exit: 1 if a poll was not whole
    #[arg(long)]
    pub once: bool,
    /// Only say what would be polled, and which log would be written
    #[arg(long)]
    dry_run: bool,
}

/// Polls until a signal, or once.
pub async fn run(
    arguments: Arguments,
    settings: &Settings,
    shutdown: &Shutdown,
) -> anyhow::Result<Outcome> {
    let section = &settings.config().aurin;
    if section.datasets.is_empty() {
        return Err(WrongUse(
            "no data sets are configured: declare each as [[aurin.datasets]]; `bowerbird init` \
             writes an example"
                .to_owned(),
        )
        .into());
    }
    let drain_timeout = settings.lone_source_drain();
    let config = AurinConfig { drain_timeout, ..parts::aurin(settings)? };
    if arguments.dry_run {
        plan(settings, &config)?;
        return Ok(Outcome::Done);
    }
    let log = parts::log(settings).await?;
    if arguments.once {
        return once(log, config, settings, shutdown).await;
    }
    let mut service = Service::new(settings, shutdown.token()).await?;
    service.apply_topics(&log, settings).await?;
    let reports = Reports::default();
    spawn(&mut service, log, config, &reports);
    let outcome = service.run(settings).await;
    reports.print(settings.output)?;
    outcome.map(|()| Outcome::Done)
}

/// Starts polling.
pub fn spawn(service: &mut Service, log: AnyLog, config: AurinConfig, reports: &Reports) {
    let reporter = service.role(ROLE);
    let (token, reports) = (service.crew.token(Stage::Source), reports.clone());
    service.crew.spawn(Stage::Source, ROLE, async move {
        let polling = aurin::run(log, config, reporter, token);
        let AurinSummary { polls, published, error } = Box::pin(polling).await?;
        reports.note(ROLE, &json!({ "data_sets": polls.len(), "published": published }));
        error.map_or(Ok(()), |error| Err(anyhow::anyhow!(error)))
    });
}

async fn once(
    log: AnyLog,
    config: AurinConfig,
    settings: &Settings,
    shutdown: &Shutdown,
) -> anyhow::Result<Outcome> {
    parts::apply_topics(&log, settings).await?;
    let (reporter, _status) = status(ROLE);
    let datasets = config.datasets.clone();
    let polling = aurin::once(log, config, reporter, shutdown.token());
    let summary = Box::pin(polling).await?;
    print(&summary, settings.output)?;
    match &summary.error {
        Some(error) => Err(anyhow::anyhow!(error.clone())),
        None if summary.is_complete(&datasets) => Ok(Outcome::Done),
        None => Ok(Outcome::FallsShort),
    }
}

fn print(summary: &AurinSummary, format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        return output::json(summary);
    }
    let polls: Vec<&PollReport> = summary.polls.values().collect();
    let header = [
        "data set",
        "outcome",
        "matched",
        "distinct",
        "published",
        "unchanged",
        "vanished",
        "dead letters",
        "reason",
    ];
    output::rows(format, &polls, &header, |poll| {
        let matched = poll.matched.map_or_else(|| "unknown".to_owned(), |count| count.to_string());
        vec![
            poll.dataset.clone(),
            poll.outcome.name().to_owned(),
            matched,
            poll.distinct.to_string(),
            poll.published.to_string(),
            poll.unchanged.to_string(),
            poll.vanished.to_string(),
            poll.dead_letters.to_string(),
            poll.reason.clone().unwrap_or_default(),
        ]
    })
}

fn plan(settings: &Settings, config: &AurinConfig) -> anyhow::Result<()> {
    let (wfs, log) = (&settings.config().aurin.base_url.base, settings.log_url().to_string());
    let datasets: Vec<&str> =
        config.datasets.iter().map(|dataset| dataset.type_name.as_str()).collect();
    let plan = json!({ "wfs": wfs, "datasets": datasets, "log": log });
    output::one(settings.output, "ingest aurin", &plan, || {
        let datasets = datasets.join("\n  ");
        format!("would poll at {wfs}, and write into {log}:\n  {datasets}\n")
    })
}
