//! What each long-running role serves for its operators: `/livez`, `/readyz` and `/metrics`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bowerbird_stream::status::{State, Status};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::error::InfraError;
use crate::server::Server;

/// How often the metrics' histograms are tidied, so that they don't grow between two scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// A role and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleState {
    /// The role's name: `sink`, `ingest-x`, …
    pub role: String,
    /// Where it stands.
    #[serde(flatten)]
    pub state: State,
    /// What it noted last, such as what was used of a budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What `/readyz` answers: 200 when every role is at work, else 503.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether every role is at work.
    pub ready: bool,
    /// Each role; the reasons are with those that are paused.
    pub roles: Vec<RoleState>,
}

impl Readiness {
    /// Where these roles stand just now.
    pub fn of(statuses: &[Status]) -> Self {
        let roles: Vec<RoleState> = statuses
            .iter()
            .map(|status| RoleState {
                role: status.role.to_owned(),
                state: status.get(),
                note: status.note(),
            })
            .collect();
        Self { ready: roles.iter().all(|role| role.state == State::Running), roles }
    }
}

/// The server, with its address taken.
#[derive(Debug)]
pub struct Admin(Server);

impl Admin {
    /// Takes the address; port 0 takes any free port.
    ///
    /// # Errors
    /// When the address can't be had, with what to change.
    pub async fn bind(address: SocketAddr) -> Result<Self, InfraError> {
        Server::bind("health and metrics", address, "admin.listen").await.map(Self)
    }

    /// The address, with the port that was really taken.
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Serves until `cancel`.
    ///
    /// # Errors
    /// When the server fails.
    pub async fn run(
        self,
        roles: Vec<Status>,
        metrics: PrometheusHandle,
        cancel: CancellationToken,
    ) -> Result<(), InfraError> {
        let router = router(Arc::from(roles), metrics.clone());
        tokio::select! {
            served = self.0.run(router, cancel) => served,
            () = upkeep(&metrics) => Ok(()),
        }
    }
}

async fn upkeep(metrics: &PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        metrics.run_upkeep();
    }
}

fn router(roles: Arc<[Status]>, metrics: PrometheusHandle) -> Router {
    let ready = Router::new().route("/readyz", get(readyz)).with_state(roles);
    let metrics = Router::new().route("/metrics", get(render)).with_state(metrics);
    Router::new().route("/livez", get(async || "ok\n")).merge(ready).merge(metrics)
}

async fn readyz(Shared(roles): Shared<Arc<[Status]>>) -> Response {
    let readiness = Readiness::of(&roles);
    let code = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(readiness)).into_response()
}

async fn render(Shared(metrics): Shared<PrometheusHandle>) -> Response {
    // The version of the text format that Prometheus expects to be named.
    let kind = (header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    ([kind], metrics.render()).into_response()
}
