//! The HTTP service that `twitter-stream` calls.
//!
//! That crate signs requests by OAuth 1.0a; this service puts the bearer token in the place of
//! that, adds the query, keeps headers, and tells what a refusal says.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt;
use http02::{Request, Response};
use reqwest::Method;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use tower_service::Service;

use super::body::{ItemBody, Watch};
use super::config::XConfig;
use super::exchange::{Exchange, Incoming, Reply};
use super::failure::Failure;
use super::hide::hidden;
use super::kept::Kept;
use crate::post::problem;

/// The most that is read of an answer that is no stream.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// The most that is told in the journal of an answer that is no stream.
pub const MAX_TOLD: usize = 4 << 10;

/// Makes one connection.
#[derive(Clone)]
pub struct Transport<X> {
    exchange: X,
    config: XConfig,
    query: String,
    watch: Watch,
}

impl<X: Exchange> Transport<X> {
    /// A transport whose body tells `watch` what it sees.
    pub fn new(exchange: X, config: &XConfig, backfill_minutes: u8, watch: Watch) -> Self {
        Self { exchange, config: config.clone(), query: config.query(backfill_minutes), watch }
    }

    async fn connect(self, endpoint: String) -> Result<Response<ItemBody>, Failure> {
        let url = format!("{endpoint}?{}", self.query);
        let reply = ask(&self.exchange, Method::GET, url, &self.config).await?;
        if reply.status != 200 {
            return Err(refusal(reply, &self.config).await);
        }
        if let Some(other) = no_stream(&reply.headers) {
            return Err(Failure::Protocol(other));
        }
        self.watch.seen().headers = Kept::of(&reply.headers, &self.config.bearer);
        Ok(Response::new(ItemBody::new(reply.body, &self.config, self.watch)))
    }
}

impl<X: Exchange> Service<Request<Vec<u8>>> for Transport<X> {
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

/// Why what these headers announce is no stream of items, if it is none: what was not asked for is
/// not decompressed, and pages are what proxies and portals answer.
fn no_stream(headers: &HeaderMap) -> Option<String> {
    let value = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let encoding = value(CONTENT_ENCODING).filter(|encoding| {
        !encoding.trim().is_empty() && !encoding.eq_ignore_ascii_case("identity")
    });
    if let Some(encoding) = encoding {
        return Some(format!("it is in the encoding {encoding:.40}, which was not asked for"));
    }
    let kind = value(CONTENT_TYPE).filter(|kind| kind.to_ascii_lowercase().contains("html"));
    kind.map(|_| "it is a page of HTML".to_owned())
}

/// Asks, and waits for the beginning of the answer.
///
/// # Errors
/// When nobody answers.
pub async fn ask<X: Exchange>(
    exchange: &X,
    method: Method,
    url: String,
    config: &XConfig,
) -> Result<Reply, Failure> {
    // The answer begins at once, or there is nobody.
    tokio::time::timeout(config.idle_timeout, exchange.ask(method, url, config.bearer.clone()))
        .await
        .map_err(|_| Failure::Idle(config.idle_timeout))?
}

/// Status, headers, and what the body says.
pub async fn refusal(reply: Reply, config: &XConfig) -> Failure {
    let Reply { status, headers, body } = reply;
    let problems = problem::of_body(said(body, config).await.as_bytes());
    Failure::Http { status, headers: Kept::of(&headers, &config.bearer), problems }
}

/// What a body that is no stream says, as much of it as arrived in time and is worth it.
pub async fn said(body: Incoming, config: &XConfig) -> String {
    let body = whole(body, config.idle_timeout).await;
    hidden(&String::from_utf8_lossy(&body), &config.bearer)
}

async fn whole(mut body: Incoming, patience: Duration) -> Vec<u8> {
    let mut bytes = Vec::new();
    let reading = async {
        while let Some(Ok(piece)) = body.next().await {
            let room = MAX_ANSWER_BYTES - bytes.len();
            bytes.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.len() >= room {
                break;
            }
        }
    };
    // What arrived in time says enough.
    tokio::time::timeout(patience, reading).await.ok();
    bytes
}
