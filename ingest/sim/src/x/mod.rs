//! A simulator of X's v2 filtered stream: `GET /2/tweets/search/stream` and its rules.
//!
//! It keeps to the protocol as X documents it: app-only bearer tokens, 409 without rules, an empty
//! line at least every 20 s. What it sends comes from a seed; ids are snowflakes of now, so they
//! go on upwards over restarts. A [`Step`] script makes it misbehave, connection by connection.

mod config;
mod connections;
mod faults;
mod history;
mod place;
mod post;
mod rules;
mod scenario;
mod stream;
mod text;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use config::{Config, Ending, Faults, LineFeed, Step};
pub use history::Heard;
pub use scenario::{ScenarioError, scenario};

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
    connections: Mutex<history::Connections>,
    /// Attempts to connect so far, and when the last of them were.
    attempts: AtomicU64,
    recent: Mutex<VecDeque<Timestamp>>,
    begun: (Timestamp, Instant),
    shutdown: CancellationToken,
}

impl Sim {
    /// Its own clock: it goes with tokio's, also where a test has paused that.
    fn now(&self) -> Timestamp {
        let since = SignedDuration::try_from(self.begun.1.elapsed()).unwrap_or_default();
        self.begun.0.checked_add(since).unwrap_or(Timestamp::MAX)
    }

    /// When a live post is due, by its number.
    fn due(&self, number: u64) -> Duration {
        Duration::try_from_secs_f64(number as f64 / self.config.rate).unwrap_or(Duration::MAX)
    }

    /// The first live post that is due after so much time.
    fn first_after(&self, time: Duration) -> u64 {
        let mut number = (time.as_secs_f64() * self.config.rate) as u64;
        while self.due(number) <= time {
            number += 1;
        }
        number
    }

    /// When a live post is made, and its id.
    fn made(&self, number: u64) -> (Timestamp, u64) {
        let since = SignedDuration::try_from(self.due(number)).unwrap_or_default();
        let made = self.begun.0.checked_add(since).unwrap_or(Timestamp::MAX);
        (made, post::snowflake(made) | (number & 0x003f_ffff))
    }
}

/// A simulator, serving or not.
#[derive(Clone)]
pub struct Simulator(Arc<Sim>);

impl Simulator {
    /// One that begins now.
    pub fn new(config: Config) -> Self {
        Self(Arc::new(Sim {
            rules: Mutex::new(rules::Rules::new(&config.rules)),
            script: Mutex::new(config.script.iter().cloned().collect()),
            snowflakes: post::Snowflakes::default(),
            made: AtomicU64::new(0),
            served: Arc::default(),
            connections: Mutex::default(),
            attempts: AtomicU64::new(0),
            recent: Mutex::default(),
            begun: (config.begins.unwrap_or_else(Timestamp::now), Instant::now()),
            shutdown: CancellationToken::new(),
            config,
        }))
    }

    /// What answers requests: for a server, or for whoever is in the same process.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/2/tweets/search/stream", get(stream::connect))
            .route("/2/tweets/search/stream/rules", get(rules::list).post(rules::change))
            .route("/2/connections/all", delete(connections::delete))
            .layer(middleware::from_fn_with_state(Arc::clone(&self.0), authorise))
            .with_state(Arc::clone(&self.0))
    }

    /// Serves.
    ///
    /// # Errors
    /// When it can't listen.
    pub async fn serve(&self) -> Result<Running, SimError> {
        let Sim { config, served, shutdown, .. } = &*self.0;
        server::serve(config.listen, self.router(), Arc::clone(served), shutdown.clone()).await
    }

    /// The time by its own clock.
    pub fn now(&self) -> Timestamp {
        self.0.now()
    }

    /// The connections that it gave, in their order.
    pub fn history(&self) -> Vec<Heard> {
        lock(&self.0.connections).all().to_vec()
    }

    /// How often it was tried to connect and it was not refused for that alone.
    pub fn attempts(&self) -> u64 {
        self.0.attempts.load(Ordering::Relaxed)
    }

    /// The live posts that were made within a time: when, and their ids.
    pub fn live(&self, from: Timestamp, to: Timestamp) -> Vec<(Timestamp, u64)> {
        let since = |time: Timestamp| {
            Duration::try_from(time.duration_since(self.0.begun.0)).unwrap_or_default()
        };
        let numbers = self.0.first_after(since(from))..self.0.first_after(since(to));
        numbers.map(|number| self.0.made(number)).collect()
    }
}

/// Starts the simulator.
///
/// # Errors
/// When it can't listen.
pub async fn serve(config: Config) -> Result<Running, SimError> {
    Simulator::new(config).serve().await
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
