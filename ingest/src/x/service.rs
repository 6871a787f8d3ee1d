//! Connects, harvests, and connects again, until it is stopped.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bowerbird_stream::journal;
use bowerbird_stream::log::Outgoing;
use bowerbird_stream::retry::{RetryPolicy, Verdict, retry};
use bowerbird_stream::status::Reporter;
use bowerbird_stream::{EventLog, LogError};
use http02::Uri;
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde::Serialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::config::XConfig;
use super::exchange::{Exchange, Web};
use super::failure::Failure;
use super::gap::Gaps;
use super::meter::{Meter, Usage, usage};
use super::past::{LastHeard, last_heard};
use super::reconnect::{Action, Event, Failures};
use super::transport;
use crate::error::IngestError;
use crate::metrics as names;
use crate::outbox::Outbox;
use crate::post::Reader;
use crate::publish::Publisher;
use crate::standing::Standing;

/// `ce_source` of what comes from the stream, and the key of its facts in the journal.
pub const SOURCE: &str = "x:stream";
/// Who gives up items that are not understood, as dead letters name it.
pub(super) const GROUP: &str = "ingest-x";
/// `ce_type` of the very first fact: from then on it is known when nobody listened. And of the first
/// after a kill, of which nothing else says since when nobody did.
pub(super) const BEGUN: &str = "stream.begun";
/// `ce_type` of a fact: a connection was made.
pub(super) const CONNECTED: &str = "stream.connected";
/// `ce_type` of a fact: a connection ended.
pub(super) const DISCONNECTED: &str = "stream.disconnected";
/// `ce_type` of a fact: why no connection can be made.
pub(super) const REFUSED: &str = "stream.refused";
/// `ce_type` of a fact: nobody listened for a time, which is over.
pub(crate) const GAP: &str = "stream.gap";
const STREAM: &str = "2/tweets/search/stream";
/// Ends all streaming connections of the app.
const CONNECTIONS: &str = "2/connections/all";
/// Nobody sleeps longer without a look at the clock, which may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(600);
/// How often it is looked whether a token that is refused has been exchanged.
const LOOKS_EVERY: Duration = Duration::from_secs(5);

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
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
    /// What the month has brought, where the log has told.
    #[serde(flatten)]
    pub month: Option<OfMonth>,
}

/// What this month has brought by now, also in earlier runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct OfMonth {
    /// Posts, each once a day.
    pub month_posts: u64,
    /// What X bills for it in US dollars, about.
    pub month_cost_usd: f64,
    /// How many there may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub month_cap_posts: Option<u64>,
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
    let web = Web::new(config.connect_timeout)?;
    run_over(log, config, web, reporter, cancel).await
}

/// As [`run`], asking X by `exchange`.
///
/// # Errors
/// When the configuration makes no sense.
pub async fn run_over<L: EventLog, X: Exchange>(
    log: L,
    config: XConfig,
    exchange: X,
    reporter: Reporter,
    cancel: CancellationToken,
) -> Result<XSummary, IngestError> {
    let endpoint = endpoint(&config, STREAM)?;
    let now = config.clock.now();
    let standing = Standing::new(reporter);
    let publisher =
        Publisher::new(log.clone(), GROUP, config.drain_timeout, standing.on_trouble()).patient();
    let nothing = Usage::of_month(now);
    let harvester = Harvester {
        log,
        gaps: Gaps::default(),
        outbox: Outbox::new(publisher, config.outbox, cancel.clone()),
        reader: Reader::stream(SOURCE.to_owned(), now),
        failures: Failures::new(config.take_over),
        meter: Meter::new(config.limits.clone(), nothing),
        known_rules: BTreeSet::new(),
        last_arrival: None,
        begun: None,
        summary: XSummary::default(),
        exchange,
        endpoint,
        config,
        standing,
        cancel,
    };
    Ok(Box::pin(harvester.run()).await)
}

fn endpoint(config: &XConfig, path: &str) -> Result<Uri, IngestError> {
    let wrong = |reason: String| IngestError::Config { key: "x.base_url", reason };
    let base = config.base_url.as_str();
    if !config.base_url.username().is_empty() || config.base_url.password().is_some() {
        return Err(wrong("it holds a user or password; X takes a bearer token".to_owned()));
    }
    if config.base_url.query().is_some() {
        return Err(wrong("it holds a query; fields have keys of their own".to_owned()));
    }
    format!("{}/{path}", base.trim_end_matches('/'))
        .parse()
        .map_err(|error| wrong(format!("{error}; it should be like https://api.x.com")))
}

/// The fact that the harvest begins, with since when nothing was heard.
fn begun(now: Timestamp, since: Timestamp, cause: &str, reason: &str) -> Outgoing {
    let fact = json!({"unheard_since": since, "cause": cause, "reason": reason});
    journal::fact(BEGUN, SOURCE, now, &fact)
}

pub(super) struct Harvester<L, X> {
    log: L,
    exchange: X,
    cancel: CancellationToken,
    failures: Failures,
    pub(super) endpoint: Uri,
    pub(super) config: XConfig,
    pub(super) gaps: Gaps,
    pub(super) reader: Reader,
    pub(super) outbox: Outbox<L>,
    pub(super) meter: Meter,
    /// Rules that have a metric of their own.
    pub(super) known_rules: BTreeSet<String>,
    pub(super) last_arrival: Option<Timestamp>,
    /// When it began, if nobody has listened before and it was not heard yet.
    pub(super) begun: Option<Timestamp>,
    pub(super) standing: Arc<Standing>,
    pub(super) summary: XSummary,
}

/// The shutdown began.
pub(super) struct Stopped;

impl<L: EventLog, X: Exchange> Harvester<L, X> {
    async fn run(mut self) -> XSummary {
        if self.remember().await.is_ok() {
            // That it ends is told by what it did.
            self.follow().await.err();
            self.summary.month = Some(self.month());
        }
        self.tell(self.config.clock.now(), true);
        self.tell_refusal(true);
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

    fn month(&self) -> OfMonth {
        let now = self.config.clock.now();
        OfMonth {
            month_posts: self.meter.posts(now).1,
            month_cost_usd: self.meter.cost_usd(now),
            month_cap_posts: self.config.limits.monthly_cap_posts,
        }
    }

    /// What whoever ran before has left: since when nobody listens, and what the month has brought.
    async fn remember(&mut self) -> Result<(), Stopped> {
        let log = self.log.clone();
        let clock = self.config.clock.clone();
        match self.asked(|| last_heard(&log, clock.now())).await? {
            Some(LastHeard { gap, said }) => {
                if !said {
                    // Who asks for gaps sees it from now on, also while X refuses.
                    self.outbox.push(begun(clock.now(), gap.from, &gap.cause, &gap.reason));
                }
                self.gaps.resume(gap);
            }
            None => self.begin().await?,
        }
        let today = Usage::of_month(self.config.clock.now()).month;
        let usage = self.asked(|| usage(&log, today)).await?;
        self.meter = Meter::new(self.config.limits.clone(), usage);
        self.tell(self.config.clock.now(), false);
        Ok(())
    }

    /// Notes in the log that it begins, before anything is heard: else who is killed before the log
    /// has taken anything has never been there.
    async fn begin(&mut self) -> Result<(), Stopped> {
        let now = self.config.clock.now();
        self.begun = Some(now);
        self.outbox.push(begun(now, now, "begun", "nothing was heard since the harvest began"));
        self.outbox.drain().await.map_err(|_| Stopped)
    }

    /// Asks the log until it answers.
    async fn asked<T, F>(&mut self, ask: impl FnMut() -> F) -> Result<T, Stopped>
    where
        F: Future<Output = Result<T, LogError>>,
    {
        let (trouble, mut troubled) = (self.standing.on_trouble(), false);
        let notify = |error: &LogError, _: Duration| {
            troubled = true;
            trouble(Some(error));
        };
        let judge = |_: &LogError| Verdict::Again { after: None };
        let policy = RetryPolicy::default();
        let asking = retry(&policy, judge, notify, ask);
        let answer = self.outbox.meanwhile(asking).await.map_err(|_| Stopped)?;
        if troubled {
            trouble(None);
        }
        // Without a bound of tries it does not give up.
        answer.map_err(|_| Stopped)
    }

    /// Connects again and again, until the shutdown begins.
    async fn follow(&mut self) -> Result<(), Stopped> {
        loop {
            self.while_capped().await?;
            let (failure, lasted) = self.connect().await?;
            let cause = failure.cause();
            metrics::counter!(names::X_DISCONNECTIONS, "cause" => cause).increment(1);
            if let Failure::Capped { .. } = failure {
                continue;
            }
            let mut event = self.next(Event::Failed { failure: &failure, lasted });
            loop {
                match event {
                    Action::Listen => break,
                    Action::Connect { after, mut reason } => {
                        let refused = failure.refuses_token() && self.config.renewal.is_some();
                        if refused {
                            reason.push_str("; x.bearer_token_file is read again meanwhile");
                        }
                        tracing::info!(cause, wait = ?after, "not connected");
                        // The first attempt after a loss is at once: nothing to tell unless it fails.
                        if !after.is_zero() {
                            self.standing.source(Some(reason));
                        }
                        self.pause(after, refused).await?;
                        break;
                    }
                    Action::TakeOver { reason } => match self.take_over(&reason).await? {
                        Ok(()) => break,
                        Err(failure) => event = self.next(Event::NotTakenOver(&failure)),
                    },
                }
            }
        }
    }

    fn next(&mut self, event: Event<'_>) -> Action {
        self.failures.next(&self.config.waits, event, self.config.clock.now())
    }

    async fn sleep(&mut self, time: Duration) -> Result<(), Stopped> {
        self.outbox.meanwhile(tokio::time::sleep(time)).await.map_err(|_| Stopped)
    }

    /// Waits so long; or, where the token is `refused`, until there is another.
    async fn pause(&mut self, time: Duration, refused: bool) -> Result<(), Stopped> {
        let mut left = time;
        while let Some(renewal) = self.config.renewal.clone().filter(|_| refused)
            && !left.is_zero()
        {
            if renewal.renew(&mut self.config.bearer) {
                tracing::info!("the bearer token has been exchanged");
                return Ok(());
            }
            let step = left.min(LOOKS_EVERY);
            self.sleep(step).await?;
            left -= step;
        }
        self.sleep(left).await
    }

    /// Waits while the month's posts are used up.
    async fn while_capped(&mut self) -> Result<(), Stopped> {
        loop {
            let now = self.config.clock.now();
            self.tell(now, false);
            let Some((failure, until)) = self.meter.capped(now) else { return Ok(()) };
            let left = until.duration_since(now).max(SignedDuration::from_secs(1));
            self.standing.source(Some(format!(
                "{failure}; going on at {until}, or with a higher bound when started again"
            )));
            self.sleep(Duration::try_from(left).unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP))
                .await?;
        }
    }

    /// Ends the app's other connections.
    async fn take_over(&mut self, reason: &str) -> Result<Result<(), Failure>, Stopped> {
        let Ok(url) = endpoint(&self.config, CONNECTIONS) else { return Ok(Ok(())) };
        let (exchange, config) = (self.exchange.clone(), self.config.clone());
        let asking = async move {
            let reply = transport::ask(&exchange, Method::DELETE, url.to_string(), &config).await?;
            match reply.status {
                200..300 => Ok(transport::said(reply.body, &config).await),
                _ => Err(transport::refusal(reply, &config).await),
            }
        };
        let answer = self.outbox.meanwhile(asking).await.map_err(|_| Stopped)?;
        let now = self.config.clock.now();
        let error = answer.as_ref().err().map(ToString::to_string);
        tracing::warn!(reason, error, "ending other connections of this token");
        // How many it has ended, as it says it.
        let said: Option<Value> =
            answer.as_ref().ok().and_then(|body| serde_json::from_str(body).ok());
        let said = said.filter(|said| said.to_string().len() <= transport::MAX_TOLD);
        let fact = json!({"reason": reason, "answer": said, "error": error});
        self.outbox.push(journal::fact("stream.taken-over", SOURCE, now, &fact));
        metrics::counter!(names::X_TAKE_OVERS).increment(1);
        Ok(answer.map(drop))
    }

    /// Tells what the meter has to tell, and shows where it stands.
    pub(super) fn tell(&mut self, now: Timestamp, all: bool) {
        for (kind, fact) in self.meter.tell(now, all) {
            if kind != super::meter::COUNTED {
                tracing::warn!(kind, %fact, "the month's posts");
            }
            self.outbox.push(journal::fact(kind, SOURCE, now, &fact));
        }
        let (today, month) = self.meter.posts(now);
        metrics::gauge!(names::X_DAY_POSTS).set(today as f64);
        metrics::gauge!(names::X_MONTH_POSTS).set(month as f64);
        metrics::gauge!(names::X_MONTH_COST).set(self.meter.cost_usd(now));
        if let Some(cap) = self.config.limits.monthly_cap_posts {
            metrics::gauge!(names::X_MONTH_CAP).set(cap as f64);
        }
        self.standing.note(self.meter.note(now));
    }

    /// Tells why there is no connection, if that is new.
    pub(super) fn tell_refusal(&mut self, all: bool) {
        let now = self.config.clock.now();
        if self.gaps.tells(now, all) {
            let fact =
                json!({"unheard_since": self.gaps.since(), "unheard": self.gaps.so_far(now)});
            self.outbox.push(journal::fact(REFUSED, SOURCE, now, &fact));
        }
    }

    /// What opens a connection, and how many minutes it asks X to fill in.
    pub(super) fn opening(
        &mut self,
    ) -> (impl Future<Output = Result<super::connection::Connection, Failure>> + use<L, X>, u8)
    {
        let (exchange, endpoint, config) =
            (self.exchange.clone(), self.endpoint.clone(), self.config.clone());
        let backfill = self.gaps.backfill(config.backfill_minutes, config.clock.now());
        let opening = async move {
            super::connection::Connection::open(exchange, &endpoint, &config, backfill).await
        };
        (opening, backfill)
    }

    pub(super) fn connected(&mut self) {
        self.next(Event::Connected);
        self.standing.source(None);
        self.summary.connections += 1;
        metrics::counter!(names::X_CONNECTIONS).increment(1);
        tracing::info!(endpoint = %self.endpoint, "connected");
    }

    pub(super) fn is_cancelled(&self) -> impl Future<Output = ()> + use<L, X> {
        self.cancel.clone().cancelled_owned()
    }
}
