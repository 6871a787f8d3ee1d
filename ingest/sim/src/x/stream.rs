//! The stream itself.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::{StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep_until};

use super::config::{Ending, LineFeed, Step};
use super::history::Seat;
use super::{Sim, connections, faults, lock, post, problem};

/// The most posts sent in one piece when the reader was slow.
const MAX_BURST: u64 = 100;
/// Of an item that trickles, so much comes at a time.
const TRICKLE: usize = 16;
const CUT: &str =
    "{\"data\":{\"id\":\"1\",\"text\":\"cut off before it ends, which it never does\"";

/// What the address asks.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Options {
    backfill_minutes: u64,
}

/// `GET /2/tweets/search/stream`
pub async fn connect(
    State(sim): State<Arc<Sim>>,
    Query(options): Query<Options>,
    headers: HeaderMap,
) -> Response {
    if let Some(refused) = connections::refused(&sim) {
        return refused;
    }
    let attempt = sim.attempts.fetch_add(1, Ordering::Relaxed);
    let (mut posts, mut until, mut ending) = (None, None, Ending::Close);
    let by_chance = || {
        sim.config.faults.map(|faults| faults::step(&faults, sim.config.seed, attempt, sim.now()))
    };
    let scripted = lock(&sim.script).pop_front();
    match scripted.or_else(by_chance) {
        Some(Step::Refuse { status, headers, body }) => return refuse(status, &headers, body),
        Some(Step::Serve { posts: some, ending: how }) => (posts, ending) = (Some(some), how),
        Some(Step::Last { lasts, ending: how }) => {
            (until, ending) = (Some(Instant::now() + lasts), how);
        }
        None => {}
    }
    if lock(&sim.rules).all().is_empty() {
        let body = json!({
            "title": "ConnectionException",
            "detail": "You must define rules before connecting to the stream.",
            "connection_issue": "RuleConfigurationIssue",
            "type": "https://api.x.com/2/problems/streaming-connection",
        });
        return (StatusCode::CONFLICT, axum::Json(body)).into_response();
    }
    let minutes = options.backfill_minutes;
    if minutes > 5 || (minutes > 0 && !sim.config.backfill) {
        let detail = "The backfill_minutes query parameter is not available to this plan.";
        return problem(StatusCode::BAD_REQUEST, "Invalid Request", detail);
    }
    let zipped = sim.config.gzip
        && headers
            .get(header::ACCEPT_ENCODING)
            .is_some_and(|accepts| accepts.to_str().is_ok_and(|accepts| accepts.contains("gzip")));
    let connection = Connection::new(sim, posts, until, ending, minutes);
    let pieces = stream::unfold(connection, Connection::next);
    let kind = (header::CONTENT_TYPE, "application/json; charset=utf-8");
    if zipped {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        let pieces = pieces.map(move |piece| piece.and_then(|piece| zip(&mut encoder, &piece)));
        let encoding = (header::CONTENT_ENCODING, "gzip");
        return ([kind, encoding], Body::from_stream(pieces)).into_response();
    }
    ([kind], Body::from_stream(pieces)).into_response()
}

/// Compresses a piece so that it can be read at once.
fn zip(encoder: &mut GzEncoder<Vec<u8>>, piece: &[u8]) -> io::Result<Bytes> {
    encoder.write_all(piece)?;
    encoder.flush()?;
    Ok(Bytes::from(std::mem::take(encoder.get_mut())))
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
    seat: Seat,
    begun: Instant,
    /// When something was last written.
    written: Instant,
    /// Posts sent on this connection.
    sent: u64,
    /// How many it gets.
    posts: Option<u64>,
    /// How long it lasts.
    until: Option<Instant>,
    /// The next live post.
    live: u64,
    ending: Ending,
    /// Of an item that trickles, how much has come.
    trickled: usize,
    over: bool,
}

impl Connection {
    fn new(
        sim: Arc<Sim>,
        posts: Option<u64>,
        until: Option<Instant>,
        ending: Ending,
        backfill_minutes: u64,
    ) -> Self {
        let (seat, now) = (Seat::take(&sim), Instant::now());
        let missed = Duration::from_secs(60 * backfill_minutes);
        let live = match now.duration_since(sim.begun.1).checked_sub(missed) {
            _ if !sim.config.live => 0,
            Some(from) => sim.first_after(from),
            None => 0,
        };
        let (begun, written) = (now, now);
        let (sent, trickled, over) = (0, 0, false);
        Self { sim, seat, begun, written, sent, posts, until, live, ending, trickled, over }
    }

    /// The next piece of the body.
    async fn next(mut self) -> Option<(io::Result<Bytes>, Self)> {
        if self.over {
            return None;
        }
        let now = Instant::now();
        let late = self.due().is_some_and(|due| due + self.sim.config.slow_reader < now);
        // What is filled in was due before.
        if self.sim.config.live && late && self.sent > 0 && self.caught_up() {
            self.ending = Ending::SlowReader;
            self.until = Some(now);
        }
        let quiet = self.written + self.sim.config.keep_alive;
        let due = self.due().filter(|_| !self.ends(now));
        let soonest = [due, self.until, Some(quiet)].into_iter().flatten().min().unwrap_or(quiet);
        if !self.ends(now) {
            let (shutdown, kill) = (self.sim.shutdown.clone(), self.seat.kill.clone());
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return None,
                () = kill.cancelled() => {
                    self.ending = Ending::ForceDisconnect;
                    self.until = Some(Instant::now());
                }
                () = sleep_until(soonest) => {}
            }
        }
        self.written = Instant::now();
        if self.ends(self.written) {
            let piece = self.end().await?;
            return Some((piece, self));
        }
        let piece = if due.is_some_and(|due| due <= self.written) {
            self.burst()
        } else {
            Bytes::from_static(b"\r\n")
        };
        Some((Ok(piece), self))
    }

    fn ends(&self, now: Instant) -> bool {
        self.posts.is_some_and(|posts| self.sent >= posts)
            || self.until.is_some_and(|until| until <= now)
    }

    /// Whether what it asked to be filled in has been sent.
    fn caught_up(&self) -> bool {
        self.sim.due(self.live) > self.begun.duration_since(self.sim.begun.1)
    }

    /// When the next post is due; nothing when there are no more.
    fn due(&self) -> Option<Instant> {
        let Sim { config, made, begun, .. } = &*self.sim;
        if config.rate <= 0.0 {
            return None;
        }
        if config.live {
            let more = config.total.is_none_or(|total| self.live < total);
            return more.then(|| begun.1 + self.sim.due(self.live));
        }
        if config.total.is_some_and(|total| made.load(Ordering::Relaxed) >= total) {
            return None;
        }
        let after = Duration::try_from_secs_f64((self.sent + 1) as f64 / config.rate).ok()?;
        Some(self.begun + after)
    }

    /// All posts that are due.
    fn burst(&mut self) -> Bytes {
        let (mut piece, before) = (Vec::new(), self.sent);
        for _ in 0..MAX_BURST {
            if self.due().is_none_or(|due| due > self.written)
                || self.posts.is_some_and(|posts| self.sent >= posts)
            {
                break;
            }
            let Some((number, item)) = self.item() else { break };
            piece.extend_from_slice(item.to_string().as_bytes());
            piece.extend_from_slice(self.line_feed());
            if number % 100 < u64::from(self.sim.config.notices_percent) {
                let notice = json!({"delete": {"status": {"id": number + 1, "user_id": 7}}});
                piece.extend_from_slice(notice.to_string().as_bytes());
                piece.extend_from_slice(self.line_feed());
            }
            self.sent += 1;
        }
        let sent = self.sent - before;
        self.sim.served.fetch_add(sent, Ordering::Relaxed);
        self.seat.sent(sent);
        Bytes::from(piece)
    }

    fn item(&mut self) -> Option<(u64, Value)> {
        let Sim { config, made, snowflakes, rules, .. } = &*self.sim;
        let (number, at, id) = if config.live {
            let (at, id) = self.sim.made(self.live);
            self.live += 1;
            (self.live - 1, at, id)
        } else {
            let now = self.sim.now();
            (made.fetch_add(1, Ordering::Relaxed), now, snowflakes.next(now))
        };
        if config.total.is_some_and(|total| number >= total) {
            return None;
        }
        Some((number, post::item(config.seed, number, id, at, lock(rules).all())))
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
    async fn end(&mut self) -> Option<io::Result<Bytes>> {
        if self.ending == Ending::Trickle {
            return self.trickle().await;
        }
        self.over = true;
        self.seat.lingers = matches!(self.ending, Ending::Reset | Ending::Stall);
        self.seat.over();
        let (kind, detail) = match self.ending {
            Ending::Close | Ending::Trickle => return None,
            Ending::CutItem => return Some(Ok(Bytes::from_static(CUT.as_bytes()))),
            Ending::Reset => return Some(Err(io::ErrorKind::ConnectionReset.into())),
            Ending::Stall => {
                self.sim.shutdown.cancelled().await;
                return None;
            }
            Ending::OperationalDisconnect => (
                "UpstreamOperationalDisconnect",
                "This stream has been disconnected upstream for operational reasons.",
            ),
            Ending::ForceDisconnect => {
                ("ForceDisconnect", "This stream has been disconnected on request.")
            }
            Ending::SlowReader => {
                ("SlowReader", "This stream has been disconnected, the client reads too slowly.")
            }
        };
        let item = json!({"errors": [{
            "title": "operational-disconnect",
            "disconnect_type": kind,
            "detail": detail,
            "type": "https://api.x.com/2/problems/operational-disconnect",
        }]});
        Some(Ok(Bytes::from(format!("{item}\r\n"))))
    }

    /// The next piece of an item that never ends, in time to be no silence.
    async fn trickle(&mut self) -> Option<io::Result<Bytes>> {
        let rest = CUT.as_bytes().get(self.trickled..).filter(|rest| !rest.is_empty());
        let Some(rest) = rest else {
            self.over = true;
            self.seat.over();
            return None;
        };
        if self.trickled > 0 {
            let shutdown = self.sim.shutdown.clone();
            tokio::select! {
                () = shutdown.cancelled() => return None,
                () = tokio::time::sleep(self.sim.config.keep_alive / 2) => {}
            }
        }
        let piece = &rest[..rest.len().min(TRICKLE)];
        self.trickled += piece.len();
        Some(Ok(Bytes::copy_from_slice(piece)))
    }
}
