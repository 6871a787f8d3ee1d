//! How many connections there may be, and their end from elsewhere.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Sim, lock};

/// The window of X's rate limits.
const WINDOW: SignedDuration = SignedDuration::from_mins(15);

/// `DELETE /2/connections/all`
pub async fn delete(State(sim): State<Arc<Sim>>) -> Json<Value> {
    let killed = lock(&sim.connections).kill();
    Json(json!({"data": {"successful_kills": killed, "failed_kills": 0}}))
}

/// Refuses an attempt where there are too many, or too many connections.
pub fn refused(sim: &Sim) -> Option<Response> {
    let now = sim.now();
    if let Some(most) = sim.config.attempts {
        let mut recent = lock(&sim.recent);
        recent.retain(|at| now.duration_since(*at) < WINDOW);
        if recent.len() >= most {
            let first = recent.front().copied().unwrap_or(now);
            let reset = first.as_second() + WINDOW.as_secs() + 1;
            let headers = [
                ("x-rate-limit-limit", most.to_string()),
                ("x-rate-limit-remaining", "0".to_owned()),
                ("x-rate-limit-reset", reset.to_string()),
            ];
            let body = json!({"title": "Too Many Requests", "status": 429, "type": "about:blank"});
            return Some((StatusCode::TOO_MANY_REQUESTS, headers, Json(body)).into_response());
        }
        recent.push_back(now);
    }
    let most = sim.config.connections?;
    if lock(&sim.connections).open(Instant::now()) < most {
        return None;
    }
    let body = json!({
        "title": "ConnectionException",
        "detail": "This stream is currently at the maximum allowed connection limit.",
        "connection_issue": "TooManyConnections",
        "type": "https://api.x.com/2/problems/streaming-connection",
    });
    Some((StatusCode::TOO_MANY_REQUESTS, Json(body)).into_response())
}
