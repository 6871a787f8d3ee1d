//! The HTTP service that `twitter-stream` calls, over reqwest.
//!
//! That crate signs requests by OAuth 1.0a; this service puts the bearer token in the place of
//! that, adds the query, and tells what a refusal says.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt;
use http02::{Request, Response};
use jiff::Timestamp;
use reqwest::header::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use tower_service::Service;

use super::body::{ItemBody, Watch};
use super::config::XConfig;
use super::failure::Failure;
use crate::error::chain;
use crate::post::problem;

/// The most that is read of a refusal.
const MAX_REFUSAL_BYTES: usize = 64 << 10;

/// Makes one connection.
#[derive(Clone, Debug)]
pub struct Transport {
    client: reqwest::Client,
    bearer: SecretString,
    query: String,
    max_item_bytes: usize,
    idle_timeout: Duration,
    watch: Watch,
}

impl Transport {
    /// A transport whose body tells `watch` what it sees.
    pub fn new(
        client: reqwest::Client,
        config: &XConfig,
        backfill_minutes: u8,
        watch: Watch,
    ) -> Self {
        Self {
            client,
            bearer: config.bearer.clone(),
            query: config.query(backfill_minutes),
            max_item_bytes: config.max_item_bytes,
            idle_timeout: config.idle_timeout,
            watch,
        }
    }

    async fn connect(self, endpoint: String) -> Result<Response<ItemBody>, Failure> {
        let url = format!("{endpoint}?{}", self.query);
        let asking = self.client.get(url).bearer_auth(self.bearer.expose_secret()).send();
        // The answer begins at once, or there is nobody.
        let answer = tokio::time::timeout(self.idle_timeout, asking)
            .await
            .map_err(|_| Failure::Idle(self.idle_timeout))?
            .map_err(|error| Failure::Network(chain(&error.without_url())))?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(refusal(answer, self.idle_timeout).await);
        }
        let incoming = Box::pin(answer.bytes_stream());
        let body = ItemBody::new(incoming, self.max_item_bytes, self.idle_timeout, self.watch);
        Ok(Response::new(body))
    }
}

impl Service<Request<Vec<u8>>> for Transport {
    type Response = Response<ItemBody>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Vec<u8>>) -> Self::Future {
        // Without the OAuth 1.0a header; parameters none were set.
        let uri = request.uri().to_string();
        let endpoint = uri.split('?').next().unwrap_or_default().to_owned();
        Box::pin(self.clone().connect(endpoint))
    }
}

/// Status, time of the rate limit, and what the body says.
async fn refusal(answer: reqwest::Response, patience: Duration) -> Failure {
    let status = answer.status().as_u16();
    let reset = rate_limit_reset(answer.headers());
    let mut body = Vec::new();
    let mut pieces = answer.bytes_stream();
    let reading = async {
        while let Some(Ok(piece)) = pieces.next().await {
            body.extend_from_slice(&piece);
            if body.len() > MAX_REFUSAL_BYTES {
                break;
            }
        }
    };
    // What arrived in time says enough.
    tokio::time::timeout(patience, reading).await.ok();
    Failure::Http { status, reset, problems: problem::of_body(&body) }
}

fn rate_limit_reset(headers: &HeaderMap) -> Option<Timestamp> {
    let seconds = headers.get("x-rate-limit-reset")?.to_str().ok()?.parse().ok()?;
    Timestamp::from_second(seconds).ok()
}
