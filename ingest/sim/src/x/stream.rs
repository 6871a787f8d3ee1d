//! The stream itself.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use jiff::Timestamp;
use serde_json::json;
use tokio::time::{Duration, Instant, sleep_until};

use super::config::{Ending, LineFeed, Step};
use super::{Sim, lock, post};

/// The most posts sent in one piece when the reader was slow.
const MAX_BURST: u64 = 100;

/// `GET /2/tweets/search/stream`
pub async fn connect(State(sim): State<Arc<Sim>>) -> Response {
    let step = lock(&sim.script).pop_front();
    let (posts, ending) = match step {
        Some(Step::Refuse { status, headers, body }) => return refuse(status, &headers, body),
        Some(Step::Serve { posts, ending }) => (Some(posts), ending),
        None => (None, Ending::Close),
    };
    if lock(&sim.rules).all().is_empty() {
        let body = json!({
            "title": "ConnectionException",
            "detail": "You must define rules before connecting to the stream.",
            "connection_issue": "RuleConfigurationIssue",
            "type": "https://api.x.com/2/problems/streaming-connection",
        });
        return (StatusCode::CONFLICT, axum::Json(body)).into_response();
    }
    let now = Instant::now();
    let connection =
        Connection { sim, begun: now, written: now, sent: 0, posts, ending, over: false };
    let body = Body::from_stream(stream::unfold(connection, Connection::next));
    ([(header::CONTENT_TYPE, "application/json; charset=utf-8")], body).into_response()
}

fn refuse(status: u16, headers: &[(String, String)], body: String) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, body).into_response();
    for (name, value) in headers {
        let pair = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str()));
        if let (Ok(name), Ok(value)) = pair {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

struct Connection {
    sim: Arc<Sim>,
    begun: Instant,
    /// When something was last written.
    written: Instant,
    /// Posts sent on this connection.
    sent: u64,
    /// How many it gets.
    posts: Option<u64>,
    ending: Ending,
    over: bool,
}

impl Connection {
    /// The next piece of the body.
    async fn next(mut self) -> Option<(Result<Bytes, io::Error>, Self)> {
        if self.over {
            return None;
        }
        if self.posts.is_some_and(|posts| self.sent >= posts) {
            let piece = self.end().await?;
            return Some((piece, self));
        }
        let quiet = self.written + self.sim.config.keep_alive;
        let due = self.due();
        let shutdown = self.sim.shutdown.clone();
        tokio::select! {
            () = shutdown.cancelled() => return None,
            () = sleep_until(due.map_or(quiet, |due| due.min(quiet))) => {}
        }
        self.written = Instant::now();
        let piece = if due.is_some_and(|due| due <= self.written) {
            self.burst()
        } else {
            Bytes::from_static(b"\r\n")
        };
        Some((Ok(piece), self))
    }

    /// When the next post is due; nothing when there are no more.
    fn due(&self) -> Option<Instant> {
        let rate = self.sim.config.rate;
        let made = self.sim.made.load(Ordering::Relaxed);
        if rate <= 0.0 || self.sim.config.total.is_some_and(|total| made >= total) {
            return None;
        }
        let after = Duration::try_from_secs_f64((self.sent + 1) as f64 / rate).ok()?;
        Some(self.begun + after)
    }

    /// All posts that are due.
    fn burst(&mut self) -> Bytes {
        let mut piece = Vec::new();
        for _ in 0..MAX_BURST {
            if self.due().is_none_or(|due| due > self.written)
                || self.posts.is_some_and(|posts| self.sent >= posts)
            {
                break;
            }
            let Some(item) = self.item() else { break };
            piece.extend_from_slice(item.as_bytes());
            piece.extend_from_slice(self.line_feed());
            self.sent += 1;
            self.sim.served.fetch_add(1, Ordering::Relaxed);
        }
        Bytes::from(piece)
    }

    fn item(&self) -> Option<String> {
        let Sim { config, made, snowflakes, rules, .. } = &*self.sim;
        let number = made.fetch_add(1, Ordering::Relaxed);
        if config.total.is_some_and(|total| number >= total) {
            return None;
        }
        let now = Timestamp::now();
        let rules = lock(rules).all().to_vec();
        Some(post::item(config.seed, number, snowflakes.next(now), now, &rules).to_string())
    }

    fn line_feed(&self) -> &'static [u8] {
        match self.sim.config.line_feed {
            LineFeed::CrLf => b"\r\n",
            LineFeed::Lf => b"\n",
            LineFeed::Mixed if self.sent.is_multiple_of(3) => b"\r\n",
            LineFeed::Mixed => b"\n",
        }
    }

    /// The last piece.
    async fn end(&mut self) -> Option<Result<Bytes, io::Error>> {
        self.over = true;
        match self.ending {
            Ending::Close => None,
            Ending::CutItem => {
                Some(Ok(Bytes::from_static("{\"data\":{\"id\":\"1\",\"text\":\"cut o".as_bytes())))
            }
            Ending::Reset => Some(Err(io::ErrorKind::ConnectionReset.into())),
            Ending::Stall => {
                self.sim.shutdown.cancelled().await;
                None
            }
            Ending::OperationalDisconnect => {
                let item = json!({"errors": [{
                    "title": "operational-disconnect",
                    "disconnect_type": "UpstreamOperationalDisconnect",
                    "detail": "This stream has been disconnected upstream for operational reasons.",
                    "type": "https://api.x.com/2/problems/operational-disconnect",
                }]});
                Some(Ok(Bytes::from(format!("{item}\r\n"))))
            }
        }
    }
}
