//! `bowerbird sink`

use std::time::Duration;

use bowerbird_sink::projections::{fill, follow};
use bowerbird_sink::{Generations, Projection, SinkConfig, SinkReport};
use bowerbird_store::{AnyStore, DocumentStore as _};
use bowerbird_stream::AnyLog;
use clap::Args;
use serde::Serialize;
use tokio::time::timeout;

use crate::compliance;
use crate::crew::Stage;
use crate::failure::Outcome;
use crate::generations;
use crate::output;
use crate::parts;
use crate::report::Reports;
use crate::service::Service;
use crate::settings::Settings;
use crate::shutdown::Shutdown;

/// How often is looked whether everything is committed.
const LOOKED_AT_EVERY: Duration = Duration::from_millis(100);

/// What `sink` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Drain to the ends seen at start, then exit; what would be waited out fails at once
    #[arg(long)]
    once: bool,
    /// Only say what waits to be written
    #[arg(long)]
    dry_run: bool,
}

/// What waits for a projection.
#[derive(Debug, Serialize)]
struct Waiting {
    projection: &'static str,
    database: String,
    group: String,
    events: u64,
}

/// Runs the sinks.
pub async fn run(
    arguments: Arguments,
    settings: &Settings,
    shutdown: &Shutdown,
) -> anyhow::Result<Outcome> {
    if arguments.dry_run {
        let (log, store) = (parts::log(settings).await?, parts::store(settings)?);
        let generations = generations::of(settings, &store);
        let header = ["projection", "database", "group", "events waiting"];
        output::rows(settings.output, &waiting(&log, &generations).await?, &header, |waiting| {
            let Waiting { projection, database, group, events } = waiting;
            vec![(*projection).to_owned(), database.clone(), group.clone(), events.to_string()]
        })?;
        return Ok(Outcome::Done);
    }
    let mut service = Service::new(settings, shutdown.token()).await?;
    let (log, store) = (parts::log(settings).await?, parts::store(settings)?);
    match arguments.once {
        true => {
            parts::apply_topics(&log, settings).await?;
            // Said also where nothing waits to be written.
            store.ping().await?;
        }
        false => service.apply_topics(&log, settings).await?,
    }
    let config = SinkConfig { once: arguments.once, ..parts::sink(settings) };
    let reports = Reports::default();
    let generations = generations::of(settings, &store);
    spawn(&mut service, &log, &store, &generations, &config, &reports);
    if !arguments.once {
        compliance::spawn(&mut service, &log, &generations, settings);
    }
    let outcome = service.run(settings).await;
    reports.print(settings.output)?;
    outcome?;
    if arguments.once {
        parts::clean(&log).await?;
    }
    Ok(Outcome::Done)
}

/// Starts a sink for each projection, which fills whichever generation is live.
pub fn spawn(
    service: &mut Service,
    log: &AnyLog,
    store: &AnyStore,
    generations: &Generations<AnyStore>,
    config: &SinkConfig,
    reports: &Reports,
) {
    for projection in Projection::all() {
        let role = role(&projection);
        let reporter = service.role(role);
        let token = service.crew.token(Stage::Work);
        let (log, store, config) = (log.clone(), store.clone(), config.clone());
        let (generations, reports) = (generations.clone(), reports.clone());
        service.crew.spawn(Stage::Work, role, async move {
            let mut done = SinkReport::default();
            let sink = follow::follow(
                &mut done,
                &log,
                &store,
                &generations,
                &projection,
                &config,
                &reporter,
                token,
            );
            let outcome = Box::pin(sink).await;
            match &outcome {
                Ok(()) => reports.note(role, &done),
                Err(error) => reports.note_failure(role, &done, &error.to_string()),
            }
            Ok(outcome?)
        });
    }
}

/// The role of the sink that fills `projection`.
fn role(projection: &Projection) -> &'static str {
    match projection.name {
        "posts" => "sink-posts",
        "features" => "sink-features",
        "journal" => "sink-journal",
        other => other,
    }
}

/// Waits until the sinks have committed all that the log holds, or cannot within `limit`.
pub async fn settled(log: &AnyLog, generations: &Generations<AnyStore>, limit: Duration) {
    let level = async {
        loop {
            match waiting(log, generations).await {
                Ok(waiting) if waiting.iter().all(|waiting| waiting.events == 0) => break,
                Ok(_) => tokio::time::sleep(LOOKED_AT_EVERY).await,
                // A log that can't be asked will not be drained either.
                Err(_) => break,
            }
        }
    };
    if timeout(limit, level).await.is_err() {
        tracing::info!("what is left in the log is written next time");
    }
}

async fn waiting(
    log: &AnyLog,
    generations: &Generations<AnyStore>,
) -> anyhow::Result<Vec<Waiting>> {
    let mut all = Vec::new();
    for projection in generations.all_live().await? {
        let events = fill::standing(log, &projection).await?.behind();
        let Projection { name, database, group, .. } = projection;
        all.push(Waiting { projection: name, database, group, events });
    }
    Ok(all)
}
