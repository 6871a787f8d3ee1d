//! `bowerbird dashboard`

use std::net::SocketAddr;

use bowerbird_infra::config::Listen;
use bowerbird_infra::dashboard::Dashboard;
use bowerbird_stream::EventLog as _;
use bowerbird_stream::status::{Reporter, State};
use clap::Args;

use crate::crew::Stage;
use crate::failure::Outcome;
use crate::generations;
use crate::output;
use crate::parts;
use crate::service::Service;
use crate::settings::Settings;
use crate::shutdown::Shutdown;
use crate::watch::Watch;

/// What `dashboard` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Where to listen, on loopback; port 0 takes any free one [default: dashboard.listen]
    #[arg(long, value_name = "IP:PORT", value_parser = listen)]
    listen: Option<SocketAddr>,
}

/// Serves the dashboard until a signal.
pub async fn run(
    arguments: Arguments,
    settings: &Settings,
    shutdown: &Shutdown,
) -> anyhow::Result<Outcome> {
    let address = arguments.listen.unwrap_or(settings.config().dashboard.listen.0);
    let dashboard = Dashboard::bind(address).await?;
    let mut service = Service::new(settings, shutdown.token()).await?;
    let reporter = service.role("dashboard");
    let url = dashboard.url();
    let (log, store) = (parts::log(settings).await?, parts::store(settings)?);
    let watch = Watch::new(log, generations::of(settings, &store), settings);
    spawn(&mut service, Stage::Work, dashboard, watch, reporter);
    output::one(settings.output, "dashboard", &serde_json::json!({ "url": url }), || url + "\n")?;
    service.run(settings).await.map(|()| Outcome::Done)
}

/// Starts the monitor and the server. The page shows the roles that `service` has so far.
pub fn spawn(
    service: &mut Service,
    stage: Stage,
    dashboard: Dashboard,
    watch: Watch,
    reporter: Reporter,
) -> tokio::sync::watch::Receiver<bowerbird_stream::lag::LagReport> {
    let token = service.crew.token(stage);
    let (address, reports) = (watch.log().address(), watch.reports());
    let (served, roles, cancel) = (reports.clone(), service.roles(), token.clone());
    service.crew.spawn(stage, "the lag monitor", async move {
        watch.run(token).await;
        Ok(())
    });
    service.crew.spawn(stage, "the dashboard", async move {
        reporter.set(State::Running);
        let outcome = dashboard.run(address, served, roles, cancel).await;
        reporter.set(State::Stopped);
        Ok(outcome?)
    });
    reports
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    Listen::try_from(text.to_owned()).map(|listen| listen.0)
}
