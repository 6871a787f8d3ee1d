//! The lag dashboard: one page, the same numbers as JSON, and both live by server-sent events.

mod page;
mod stream;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bowerbird_stream::lag::LagReport;
use bowerbird_stream::status::Status;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::error::InfraError;
use crate::server::Server;

/// The most pages that are kept up to date at once.
const MOST_STREAMS: usize = 64;

/// The server, with its address taken.
#[derive(Debug)]
pub struct Dashboard(Server);

impl Dashboard {
    /// Takes the address; port 0 takes any free port.
    ///
    /// # Errors
    /// When the address is none of loopback, or can't be had.
    pub async fn bind(address: SocketAddr) -> Result<Self, InfraError> {
        if !address.ip().is_loopback() {
            return Err(InfraError::NotLoopback { address });
        }
        Server::bind("the dashboard", address, "dashboard.listen").await.map(Self)
    }

    /// Where the page is, with the port that was really taken.
    pub fn url(&self) -> String {
        format!("http://{}/", self.0.address())
    }

    /// Serves the reports of the log at `log` (its address, without secrets) until `cancel`, and
    /// where `roles` stand.
    ///
    /// # Errors
    /// When the server fails.
    pub async fn run(
        self,
        log: String,
        reports: watch::Receiver<LagReport>,
        roles: Vec<Status>,
        cancel: CancellationToken,
    ) -> Result<(), InfraError> {
        let feed = Arc::new(Feed {
            log,
            reports,
            roles,
            cancel: cancel.clone(),
            streams: Arc::new(Semaphore::new(MOST_STREAMS)),
        });
        let router = page::router()
            .route("/api/v1/lag", get(lag))
            .route("/api/v1/lag/stream", get(stream::stream))
            .with_state(feed);
        self.0.run(router, cancel).await
    }
}

/// What the handlers share.
#[derive(Debug)]
struct Feed {
    log: String,
    reports: watch::Receiver<LagReport>,
    roles: Vec<Status>,
    /// Open streams end with it, so that they don't hold up the shutdown.
    cancel: CancellationToken,
    streams: Arc<Semaphore>,
}

async fn lag(Shared(feed): Shared<Arc<Feed>>) -> Response {
    let report = feed.reports.borrow().clone();
    let code = match report.sampled_at {
        Some(_) => StatusCode::OK,
        None => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, Json(report)).into_response()
}
