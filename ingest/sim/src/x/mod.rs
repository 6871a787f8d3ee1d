//! A simulator of X's v2 filtered stream: `GET /2/tweets/search/stream` and its rules.
//!
//! It keeps to the protocol as X documents it: app-only bearer tokens, 409 without rules, an empty
//! line at least every 20 s. What it sends comes from a seed; ids are snowflakes of now, so they
//! go on upwards over restarts. A [`Step`] script makes it misbehave, connection by connection.

mod config;
mod place;
mod post;
mod rules;
mod stream;
mod text;

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use tokio_util::sync::CancellationToken;

pub use config::{Config, Ending, LineFeed, Step};

use crate::server::{self, Running, SimError};

/// What all requests share.
struct Sim {
    config: Config,
    rules: Mutex<rules::Rules>,
    script: Mutex<VecDeque<Step>>,
    snowflakes: post::Snowflakes,
    /// Posts made so far: the content of each follows from the seed and this number.
    made: AtomicU64,
    served: Arc<AtomicU64>,
    shutdown: CancellationToken,
}

/// Starts the simulator.
///
/// # Errors
/// When it can't listen.
pub async fn serve(config: Config) -> Result<Running, SimError> {
    let (listen, shutdown) = (config.listen, CancellationToken::new());
    let served = Arc::new(AtomicU64::new(0));
    let sim = Arc::new(Sim {
        rules: Mutex::new(rules::Rules::new(&config.rules)),
        script: Mutex::new(config.script.iter().cloned().collect()),
        snowflakes: post::Snowflakes::default(),
        made: AtomicU64::new(0),
        served: Arc::clone(&served),
        shutdown: shutdown.clone(),
        config,
    });
    let router = Router::new()
        .route("/2/tweets/search/stream", get(stream::connect))
        .route("/2/tweets/search/stream/rules", get(rules::list).post(rules::change))
        .layer(middleware::from_fn_with_state(Arc::clone(&sim), authorise))
        .with_state(sim);
    server::serve(listen, router, served, shutdown).await
}

async fn authorise(State(sim): State<Arc<Sim>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    let expected = sim.config.bearer.as_ref().map(SecretString::expose_secret);
    if given.is_empty() || expected.is_some_and(|expected| expected != given) {
        return problem(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized");
    }
    next.run(request).await
}

/// A problem as X answers it (RFC 9457).
fn problem(status: StatusCode, title: &str, detail: &str) -> Response {
    let body = json!({
        "title": title, "type": "about:blank", "status": status.as_u16(), "detail": detail,
    });
    (status, axum::Json(body)).into_response()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
