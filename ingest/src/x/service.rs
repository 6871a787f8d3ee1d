//! Connects, harvests, and connects again, until it is stopped.

use std::sync::Arc;
use std::time::Duration;

use bowerbird_stream::journal;
use bowerbird_stream::retry::{RetryPolicy, Verdict, retry};
use bowerbird_stream::status::Reporter;
use bowerbird_stream::{EventLog, LogError};
use bytes::Bytes;
use http02::Uri;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::config::XConfig;
use super::connection::Connection;
use super::failure::Failure;
use super::gap::{Gap, Gaps};
use super::past::last_heard;
use super::reconnect::Failures;
use crate::error::{IngestError, chain};
use crate::metrics as names;
use crate::outbox::Outbox;
use crate::post::{Found, Place, Problem, Reader};
use crate::publish::{Publisher, Unpublished};
use crate::record::{ITEM_REFUSED, Refused};
use crate::standing::Standing;

/// `ce_source` of what comes from the stream, and the key of its facts in the journal.
pub const SOURCE: &str = "x:stream";
/// Who gives up items that are not understood, as dead letters name it.
const GROUP: &str = "ingest-x";
const PATH: &str = "2/tweets/search/stream";

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct XSummary {
    /// Connections made.
    pub connections: u64,
    /// Posts received.
    pub posts: u64,
    /// Compliance notices received.
    pub notices: u64,
    /// Items that became dead letters.
    pub dead_letters: u64,
    /// Whether the log acknowledged everything before the end.
    pub drained: bool,
}

/// Harvests the stream until `cancel`. Whatever goes wrong is told by `reporter`, and tried again.
///
/// # Errors
/// When the configuration makes no sense, or no HTTP client can be made.
pub async fn run<L: EventLog>(
    log: L,
    config: XConfig,
    reporter: Reporter,
    cancel: CancellationToken,
) -> Result<XSummary, IngestError> {
    let endpoint = endpoint(&config)?;
    let client = reqwest::Client::builder()
        .connect_timeout(config.connect_timeout)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("bowerbird/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| IngestError::Client(chain(&error)))?;
    let standing = Standing::new(reporter);
    let publisher =
        Publisher::new(log.clone(), GROUP, config.drain_timeout, standing.on_trouble()).patient();
    let harvester = Harvester {
        log: log.clone(),
        gaps: Gaps::default(),
        outbox: Outbox::new(publisher, config.outbox, cancel.clone()),
        reader: Reader::stream(SOURCE.to_owned(), Timestamp::now()),
        failures: Failures::default(),
        summary: XSummary::default(),
        client,
        endpoint,
        config,
        standing,
        cancel,
    };
    Ok(Box::pin(harvester.run()).await)
}

fn endpoint(config: &XConfig) -> Result<Uri, IngestError> {
    let wrong = |reason: String| IngestError::Config { key: "x.base_url", reason };
    let base = config.base_url.as_str();
    if !config.base_url.username().is_empty() || config.base_url.password().is_some() {
        return Err(wrong("it holds a user or password; X takes a bearer token".to_owned()));
    }
    if config.base_url.query().is_some() {
        return Err(wrong("it holds a query; fields have keys of their own".to_owned()));
    }
    format!("{}/{PATH}", base.trim_end_matches('/'))
        .parse()
        .map_err(|error| wrong(format!("{error}; it should be like https://api.x.com")))
}

struct Harvester<L> {
    log: L,
    gaps: Gaps,
    config: XConfig,
    client: reqwest::Client,
    endpoint: Uri,
    reader: Reader,
    outbox: Outbox<L>,
    standing: Arc<Standing>,
    failures: Failures,
    summary: XSummary,
    cancel: CancellationToken,
}

/// What one connection gave.
#[derive(Default)]
struct Given {
    posts: u64,
    problems: Vec<Problem>,
    /// When the last item was taken: a moment after its last byte came.
    last_item: Option<Timestamp>,
}

/// The shutdown began.
struct Stopped;

impl<L: EventLog> Harvester<L> {
    async fn run(mut self) -> XSummary {
        if self.remember().await.is_ok() {
            self.follow().await;
        }
        self.standing.draining();
        self.summary.drained = match self.outbox.drain().await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "items of the stream are lost");
                false
            }
        };
        self.standing.stopped();
        self.summary
    }

    /// Since nobody listens any more who has before: that gap is open.
    async fn remember(&mut self) -> Result<(), Stopped> {
        let trouble = self.standing.on_trouble();
        let notify = |error: &LogError, _: Duration| trouble(Some(error));
        let judge = |_: &LogError| Verdict::Again { after: None };
        let (policy, log) = (RetryPolicy::default(), self.log.clone());
        let asking = retry(&policy, judge, notify, || last_heard(&log));
        let past = self.outbox.meanwhile(asking).await.map_err(|_| Stopped)?;
        trouble(None);
        if let Ok(Some(past)) = past {
            self.gaps.begin(past.at, &past.cause, &past.reason);
        }
        Ok(())
    }

    /// Connects again and again, until the shutdown begins.
    async fn follow(&mut self) {
        while let Ok((failure, lasted)) = self.connect().await {
            let cause = failure.cause();
            metrics::counter!(names::X_DISCONNECTIONS, "cause" => cause).increment(1);
            let again = self.failures.next(&self.config.waits, &failure, lasted, Timestamp::now());
            tracing::info!(cause, wait = ?again.after, "not connected");
            // The first attempt after a loss is at once: nothing to tell unless it fails.
            if !again.after.is_zero() {
                self.standing.source(Some(again.reason));
            }
            if self.outbox.meanwhile(tokio::time::sleep(again.after)).await.is_err() {
                break;
            }
        }
    }

    /// One connection, from its beginning to its end: why it ended, and how long it lasted.
    async fn connect(&mut self) -> Result<(Failure, Option<Duration>), Stopped> {
        let (client, endpoint, config) =
            (self.client.clone(), self.endpoint.clone(), self.config.clone());
        let backfill = self.gaps.backfill(config.backfill_minutes, Timestamp::now());
        let opening = async move { Connection::open(client, &endpoint, &config, backfill).await };
        let mut connection = match self.outbox.meanwhile(opening).await.map_err(|_| Stopped)? {
            Ok(connection) => connection,
            Err(failure) => {
                self.gaps.failed(&failure.to_string());
                return Ok((failure, None));
            }
        };
        self.failures.connected();
        self.standing.source(None);
        self.summary.connections += 1;
        metrics::counter!(names::X_CONNECTIONS).increment(1);
        tracing::info!(endpoint = %self.endpoint, "connected");
        let query = self.config.query(backfill);
        let fact = json!({
            "endpoint": self.endpoint.to_string(), "query": query, "unheard_since": self.gaps.since(),
        });
        self.outbox.push(journal::fact("stream.connected", SOURCE, connection.since, &fact));

        let mut given = Given::default();
        let ended = self.harvest(&mut connection, &mut given).await;
        self.rejected(&connection);
        let now = Timestamp::now();
        let lasted = Duration::try_from(now.duration_since(connection.since)).unwrap_or_default();
        let failure = match ended {
            Err(Stopped) => {
                self.disconnected(&connection, &given, now, "shutdown", "it was stopped");
                return Err(Stopped);
            }
            // What it said before it closed is why.
            Ok(Failure::Ended(_)) => Failure::Ended(std::mem::take(&mut given.problems)),
            Ok(failure) => failure,
        };
        self.disconnected(&connection, &given, now, failure.cause(), &failure.to_string());
        Ok((failure, Some(lasted)))
    }

    /// Takes items until the connection ends. When the log is slow, so is this.
    async fn harvest(
        &mut self,
        connection: &mut Connection,
        given: &mut Given,
    ) -> Result<Failure, Stopped> {
        let watch = connection.watch.clone();
        loop {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Err(Stopped),
                at = watch.heard(), if self.gaps.since().is_some() => self.heard(at),
                sent = self.outbox.turn() => went_on(sent)?,
                item = connection.next(), if self.outbox.has_room() => match item {
                    Ok(item) => self.item(&item, given),
                    Err(failure) => return Ok(failure),
                },
            }
            self.rejected(connection);
        }
    }

    /// The first byte of a connection, if only of an empty line: the gap before it is over.
    fn heard(&mut self, at: Timestamp) {
        let Some(gap) = self.gaps.heard(at) else { return };
        let seconds = gap.to.duration_since(gap.from).as_secs_f64();
        metrics::counter!(names::X_GAPS).increment(1);
        let Gap { from, to, cause, .. } = &gap;
        tracing::warn!(%from, %to, seconds, cause, "nobody has listened to the stream");
        self.outbox.push(journal::fact("stream.gap", SOURCE, at, &json!(gap)));
    }

    fn item(&mut self, item: &Bytes, given: &mut Given) {
        let now = Timestamp::now();
        metrics::gauge!(names::X_LAST_BYTE).set(now.as_second() as f64);
        given.last_item = Some(now);
        let Self { reader, outbox, summary, .. } = self;
        reader.read(item, Place::Arrival(now), &mut |found| {
            let kind = match found {
                Found::Post { record, .. } => {
                    given.posts += 1;
                    summary.posts += 1;
                    outbox.push(record);
                    "post"
                }
                Found::Notice { record } => {
                    summary.notices += 1;
                    outbox.push(record);
                    "notice"
                }
                Found::Problems { problems, bytes } => {
                    let said = String::from_utf8_lossy(&bytes);
                    tracing::warn!(%said, "the stream reports problems");
                    let fact = json!({"problems": problems});
                    outbox.push(journal::fact("stream.problem", SOURCE, now, &fact));
                    given.problems.extend(problems);
                    "problem"
                }
                Found::Refused { refusal, bytes } => {
                    summary.dead_letters += 1;
                    outbox.push(refused(now, bytes, None).letter(&refusal, GROUP));
                    "refused"
                }
                Found::Control(_) | Found::Blank => "control",
            };
            metrics::counter!(names::X_ITEMS, "kind" => kind).increment(1);
        });
    }

    /// Items that the connection could not even hand out.
    fn rejected(&mut self, connection: &Connection) {
        loop {
            let Some(rejected) = connection.watch.seen().rejected.pop_front() else { return };
            self.summary.dead_letters += 1;
            metrics::counter!(names::X_ITEMS, "kind" => "refused").increment(1);
            let refused = refused(Timestamp::now(), rejected.bytes, Some(rejected.size));
            self.outbox.push(refused.letter(&rejected.refusal, GROUP));
        }
    }

    fn disconnected(
        &mut self,
        connection: &Connection,
        given: &Given,
        now: Timestamp,
        cause: &str,
        reason: &str,
    ) {
        let heard = connection.watch.seen().last_byte.max(given.last_item);
        self.gaps.begin(heard.unwrap_or(connection.since), cause, reason);
        let fact = {
            let seen = connection.watch.seen();
            json!({
                "connected": connection.since,
                "last_byte": seen.last_byte,
                // Earlier than this connection, if nothing was heard on it.
                "unheard_since": self.gaps.since(),
                "disconnected": now,
                "posts": given.posts,
                "cause": cause,
                "reason": reason,
                // Of an item that was cut off. Its content is no fact about the harvest.
                "incomplete_bytes": seen.incomplete_bytes,
            })
        };
        self.outbox.push(journal::fact("stream.disconnected", SOURCE, now, &fact));
    }
}

fn went_on(sent: Result<(), Unpublished>) -> Result<(), Stopped> {
    sent.map_err(|error| tracing::error!(%error, "not published")).map_err(|()| Stopped)
}

fn refused(now: Timestamp, value: Bytes, size: Option<usize>) -> Refused<'static> {
    let extensions = size.map(|size| ("bytes".to_owned(), size.to_string()));
    Refused {
        kind: ITEM_REFUSED,
        source: SOURCE,
        key: SOURCE.to_owned(),
        time: now,
        value,
        extensions: extensions.into_iter().collect(),
    }
}
