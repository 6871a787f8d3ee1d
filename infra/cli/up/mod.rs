//! `bowerbird up`: everything in one process.

mod live;
mod sources;
mod summary;

use std::time::Duration;

use bowerbird_infra::dashboard::Dashboard;
use clap::Args;
use tokio_util::sync::CancellationToken;

use crate::args::duration;
use crate::compliance;
use crate::crew::Stage;
use crate::dashboard;
use crate::failure::{Outcome, WrongUse};
use crate::folder::Lock;
use crate::generations;
use crate::mapreduce;
use crate::parts;
use crate::report::Reports;
use crate::service::Service;
use crate::settings::Settings;
use crate::shutdown::Shutdown;
use crate::sink;
use crate::watch;

use live::Live;
use summary::Summary;

/// What `up` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// End by itself after this long, such as 30s or 5m
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    r#for: Option<Duration>,
    /// When X says that too many connections are open, end the app's others, whosever they are
    #[arg(long)]
    take_over: bool,
    /// Only say what would be started, and where the data would lie
    #[arg(long)]
    dry_run: bool,
}

/// Runs everything until a signal, or for as long as was asked.
pub async fn run(
    arguments: Arguments,
    settings: &Settings,
    shutdown: &Shutdown,
) -> anyhow::Result<Outcome> {
    if arguments.take_over && settings.config().x.bearer_token.is_none() {
        let message = "--take-over is for X itself, and x.bearer_token is not configured: without it \
                       the built-in simulator is harvested";
        return Err(WrongUse(message.to_owned()).into());
    }
    if arguments.dry_run {
        summary::plan(settings)?;
        return Ok(Outcome::Done);
    }
    let _lock = Lock::take(&settings.data)?;
    let stop = shutdown.token().child_token();
    let mut service = Service::new(settings, stop.clone()).await?;
    let page = Dashboard::bind(settings.config().dashboard.listen.0).await?;
    let (log, store) = (parts::log(settings).await?, parts::store(settings)?);
    let views = parts::views(settings, &store)?;
    service.apply_topics(&log, settings).await?;
    let before = Summary::begin(&log, settings).await;

    let reports = Reports::default();
    let take_over = arguments.take_over;
    let sources = sources::spawn(&mut service, &log, settings, take_over, &reports).await?;
    let generations = generations::of(settings, &store);
    sink::spawn(&mut service, &log, &store, &generations, &parts::sink(settings), &reports);
    compliance::spawn(&mut service, &log, &generations, settings);
    let watched = generations.clone();
    let (settling, token) = (log.clone(), service.crew.token(Stage::Settle));
    let limit = settings.source_drain();
    service.crew.spawn(Stage::Settle, "the last events", async move {
        token.cancelled().await;
        sink::settled(&settling, &watched, limit).await;
        Ok(())
    });
    let designs = parts::designs(settings.config().mapreduce.designs.as_deref())?;
    mapreduce::spawn(&mut service, settings, store, views, designs);
    let live = Live::new(sources, page.url(), service.address(), settings);
    let reporter = service.role("dashboard");
    let lag = dashboard::spawn(
        &mut service,
        Stage::Support,
        page,
        watch::Watch::new(log.clone(), generations.clone(), settings),
        reporter,
    );
    let (roles, token) = (service.roles(), service.crew.token(Stage::Support));
    let watching = generations.clone();
    service.crew.spawn(Stage::Support, "the live status", async move {
        live.run(watching, lag, roles, token).await;
        Ok(())
    });
    if let Some(time) = arguments.r#for {
        service.crew.spawn(Stage::Support, "the end of --for", end_after(time, stop));
    }

    let outcome = service.run(settings).await;
    before.end(&log, &generations, &reports).await.print(settings)?;
    outcome.map(|()| Outcome::Done)
}

async fn end_after(time: Duration, stop: CancellationToken) -> anyhow::Result<()> {
    if stop.run_until_cancelled(tokio::time::sleep(time)).await.is_some() {
        stop.cancel();
    }
    Ok(())
}
