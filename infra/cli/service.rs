//! What every long-running command has: roles that report, health and metrics, tasks that are
//! joined.

use std::net::SocketAddr;

use bowerbird_infra::admin::Admin;
use bowerbird_stream::retry::{RetryPolicy, Verdict, retry};
use bowerbird_stream::status::{Reporter, State, Status, status};
use bowerbird_stream::{AnyLog, EventLog as _, LogError};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;

use crate::crew::{Crew, Stage};
use crate::parts;
use crate::settings::Settings;
use crate::telemetry;

/// A service that is being put together.
#[derive(Debug)]
pub struct Service {
    /// Its tasks.
    pub crew: Crew,
    roles: Vec<Status>,
    admin: Admin,
    metrics: PrometheusHandle,
    shutdown: CancellationToken,
}

impl Service {
    /// Takes the address of health and metrics and installs the metrics, before any work begins.
    ///
    /// # Errors
    /// When the address can't be had.
    pub async fn new(settings: &Settings, shutdown: CancellationToken) -> anyhow::Result<Self> {
        let admin = Admin::bind(settings.config().admin.listen.0).await?;
        let metrics = telemetry::metrics()?;
        let crew = Crew::new(shutdown.clone());
        Ok(Self { crew, roles: Vec::new(), admin, metrics, shutdown })
    }

    /// A new role, and its end to report to.
    pub fn role(&mut self, role: &'static str) -> Reporter {
        let (reporter, status) = status(role);
        self.roles.push(status);
        reporter
    }

    /// The roles so far.
    pub fn roles(&self) -> Vec<Status> {
        self.roles.clone()
    }

    /// Where health and metrics are served.
    pub fn address(&self) -> SocketAddr {
        self.admin.address()
    }

    /// Applies the topics, with patience: where the log can't be asked now, it goes on trying
    /// beside the other roles, which wait for their topics too.
    ///
    /// # Errors
    /// When trying again will not help.
    pub async fn apply_topics(&mut self, log: &AnyLog, settings: &Settings) -> anyhow::Result<()> {
        let applying = self.shutdown.run_until_cancelled(parts::apply_topics(log, settings));
        let error = match applying.await {
            None | Some(Ok(())) => return Ok(()),
            Some(Err(error)) if passes(&error) => error,
            Some(Err(error)) => return Err(error.into()),
        };
        let reporter = self.role("topics");
        reporter.set(State::Paused { reason: error.to_string() });
        let token = self.crew.token(Stage::Source);
        let (log, topics) = (log.clone(), parts::topics(settings));
        self.crew.spawn(Stage::Source, "topics", async move {
            let judge = |error: &LogError| match passes(error) {
                true => Verdict::Again { after: None },
                false => Verdict::GiveUp,
            };
            let notify =
                |error: &LogError, _| reporter.set(State::Paused { reason: error.to_string() });
            let policy = RetryPolicy::default();
            let applying = retry(&policy, judge, notify, || log.apply_topics(&topics, false));
            tokio::select! {
                applied = applying => drop(applied?),
                () = token.cancelled() => return Ok(()),
            }
            reporter.set(State::Running);
            Ok(())
        });
        Ok(())
    }

    /// Serves health and metrics, and waits for the tasks.
    ///
    /// # Errors
    /// The first task's that failed, or that some did not end inside the deadline.
    pub async fn run(mut self, settings: &Settings) -> anyhow::Result<()> {
        let token = self.crew.token(Stage::Support);
        let served = self.admin.run(self.roles, self.metrics, token);
        self.crew.spawn(Stage::Support, "health and metrics", async { Ok(served.await?) });
        self.crew.join(settings.drain_timeout()).await
    }
}

fn passes(error: &LogError) -> bool {
    error.is_transient() || error.pauses()
}
