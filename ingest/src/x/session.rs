//! One connection of the harvest: from its beginning to its end.

use std::time::Duration;

use bowerbird_stream::{EventLog, journal};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::body::Watch;
use super::connection::Connection;
use super::exchange::Exchange;
use super::failure::Failure;
use super::gap::Gap;
use super::hide::hidden;
use super::meter::OfRule;
use super::service::{CONNECTED, DISCONNECTED, GAP, GROUP, Harvester, SOURCE, Stopped};
use crate::metrics as names;
use crate::post::{Found, Place, Problem};
use crate::publish::Unpublished;
use crate::record::{ITEM_REFUSED, Refused};

/// When reading has waited for the log for so long, it is told.
const HELD_FOR: Duration = Duration::from_secs(1);
/// So old may be what metrics and status say of the month.
const TELLS_EVERY: Duration = Duration::from_secs(5);
/// Two items at the same time, or a clock that is set a little: each arrival is later than the last.
const STEADY: SignedDuration = SignedDuration::from_secs(1);
/// A connection that has lasted so long has filled in what it was asked to.
const FILLED_AFTER: Duration = Duration::from_secs(60);
/// So many rules have a metric of their own.
const MAX_LABELS: usize = 100;

/// What one connection gave.
#[derive(Default)]
struct Given {
    posts: u64,
    /// What the server said of problems after the last post: why it ends, if it ends.
    problems: Vec<Problem>,
    /// When the last item arrived.
    last_item: Option<Timestamp>,
    /// How soon after it was made a post has come at the soonest, by our clock and X's.
    soonest: Option<SignedDuration>,
    /// Whether anything was what the stream should give.
    fits: bool,
    /// Why the last item that is none was refused.
    refused: Option<String>,
    /// Since when reading waits for the log.
    held_since: Option<Instant>,
    /// Until then it may be that what comes was missed, which X fills in late.
    trusts_from: Option<Instant>,
}

impl Given {
    /// A post came at `at` that was made at `created`.
    fn came(&mut self, created: Timestamp, at: Timestamp) {
        if self.trusts_from.is_none_or(|from| from <= Instant::now()) {
            let lag = at.duration_since(created);
            self.soonest = Some(self.soonest.map_or(lag, |soonest| soonest.min(lag)));
        }
    }

    /// The same while it is not known whether all that was sent has come: X gives posts as they are
    /// made, so that what was made before this one has come.
    fn caught_up(&self, watch: &Watch, created: Timestamp, now: Timestamp) {
        let given = self.soonest.and_then(|soonest| created.checked_add(soonest).ok());
        if let Some(given) = given {
            watch.reached(given, now);
        }
    }

    /// Why it ended: what the server said before, also where it does not close as it should. A
    /// compressed stream seldom has its end, and a connection may be left open.
    fn why(&mut self, failure: Failure) -> Failure {
        match failure {
            Failure::Ended(_) | Failure::Network(_) | Failure::Idle(_)
                if !self.problems.is_empty() =>
            {
                Failure::Ended(std::mem::take(&mut self.problems))
            }
            Failure::Ended(_) | Failure::Network(_) if !self.fits => match self.refused.take() {
                Some(error) => {
                    Failure::Protocol(format!("of what it gave nothing was an item: {error}"))
                }
                None => failure,
            },
            failure => failure,
        }
    }
}

impl<L: EventLog, X: Exchange> Harvester<L, X> {
    /// One connection, from its beginning to its end: why it ended, and how long it lasted.
    pub(super) async fn connect(&mut self) -> Result<(Failure, Option<Duration>), Stopped> {
        let (opening, backfill) = self.opening();
        let mut connection = match self.outbox.meanwhile(opening).await.map_err(|_| Stopped)? {
            Ok(connection) => connection,
            Err(failure) => {
                let reason = failure.to_string();
                if let Some(begun) = self.begun.take() {
                    self.gaps.begin(begun, failure.cause(), &reason);
                }
                self.gaps.failed(&reason);
                self.tell_refusal(false);
                return Ok((failure, None));
            }
        };
        self.begun = None;
        self.connected();
        let fact = json!({
            "endpoint": self.endpoint.to_string(),
            "query": self.config.query(backfill),
            "unheard_since": self.gaps.since(),
            "unheard": self.gaps.so_far(connection.since),
            "headers": connection.watch.seen().headers,
        });
        self.outbox.push(journal::fact(CONNECTED, SOURCE, connection.since, &fact));

        let begun = Instant::now();
        let trusts_from = (backfill > 0).then(|| begun + FILLED_AFTER);
        let mut given = Given { trusts_from, ..Given::default() };
        let ended = self.harvest(&mut connection, &mut given).await;
        if !matches!(ended, Ok(ref failure) if !matches!(failure, Failure::Capped { .. })) {
            self.take_rest(&mut connection, &mut given).await;
        }
        self.hold(&connection, &mut given, false);
        self.rejected(&connection);
        // It may have ended in the moment in which it was first heard.
        let first_byte = connection.watch.seen().first_byte;
        if let Some(at) = first_byte {
            self.heard(at);
        }
        if begun.elapsed() >= FILLED_AFTER {
            self.gaps.filled();
        }
        let now = self.config.clock.now();
        let silent = match ended {
            Ok(Failure::Idle(time)) => time,
            _ => Duration::ZERO,
        };
        let failure = match ended {
            Err(Stopped) => {
                self.disconnected(&connection, &given, now, "shutdown", "it was stopped");
                return Err(Stopped);
            }
            Ok(failure) => given.why(failure),
        };
        let (mut cause, mut reason) = (failure.cause(), failure.to_string());
        let behind = connection.watch.seen().behind_since;
        if let Some(since) = behind.filter(|_| !matches!(failure, Failure::Capped { .. })) {
            cause = "slow-reader";
            reason = format!("{reason}; reading had to wait for the event log, from {since} on");
        }
        self.disconnected(&connection, &given, now, cause, &reason);
        // That nobody said anything for a while at its end makes it no better.
        let lasted = begun.elapsed().saturating_sub(silent);
        Ok((failure, Some(lasted)))
    }

    /// Takes items until the connection ends. When the log is slow, so is this.
    async fn harvest(
        &mut self,
        connection: &mut Connection,
        given: &mut Given,
    ) -> Result<Failure, Stopped> {
        let (watch, cancelled) = (connection.watch.clone(), self.is_cancelled());
        tokio::pin!(cancelled);
        let mut tells = Instant::now() + TELLS_EVERY;
        loop {
            let room = self.outbox.has_room();
            self.hold(connection, given, !room);
            let shown = given.held_since.map(|since| since + HELD_FOR);
            let shown = shown.filter(|at| *at > Instant::now());
            tokio::select! {
                biased;
                () = &mut cancelled => return Err(Stopped),
                at = watch.heard(), if self.gaps.since().is_some() => self.heard(at),
                () = watch.rejects() => {}
                sent = self.outbox.turn() => went_on(sent)?,
                () = sleep_until(shown.unwrap_or_else(Instant::now)), if shown.is_some() => {
                    self.standing.held(true);
                    metrics::gauge!(names::X_HELD).set(1.0);
                }
                () = sleep_until(tells), if room => {
                    self.tell(self.config.clock.now(), false);
                    tells = Instant::now() + TELLS_EVERY;
                }
                item = connection.next(), if room => match item {
                    Ok(item) => self.item(connection, &item, given),
                    Err(failure) => return Ok(failure),
                },
            }
            self.rejected(connection);
            let now = self.config.clock.now();
            if self.meter.warns(now) {
                self.tell(now, false);
            }
            if let Some((failure, _)) = self.meter.capped(now) {
                return Ok(failure);
            }
        }
    }

    /// What has arrived when it is ended from here: X has sent, and bills it.
    async fn take_rest(&mut self, connection: &mut Connection, given: &mut Given) {
        connection.watch.close();
        while let Ok(item) = connection.next().await {
            self.item(connection, &item, given);
        }
    }

    /// Notes whether reading waits for the log.
    fn hold(&mut self, connection: &Connection, given: &mut Given, holds: bool) {
        match (holds, given.held_since) {
            (true, None) => {
                given.held_since = Some(Instant::now());
                connection.watch.hold(self.config.clock.now());
            }
            (false, Some(_)) => {
                given.held_since = None;
                self.standing.held(false);
                metrics::gauge!(names::X_HELD).set(0.0);
            }
            _ => {}
        }
    }

    /// The first byte of a connection, if only of an empty line: the gap before it is over.
    fn heard(&mut self, at: Timestamp) {
        let Some(gap) = self.gaps.heard(at) else { return };
        let seconds = gap.to.duration_since(gap.from).as_secs_f64();
        metrics::counter!(names::X_GAPS).increment(1);
        let Gap { from, to, cause, .. } = &gap;
        tracing::warn!(%from, %to, seconds, cause, "nobody has listened to the stream");
        self.outbox.push(journal::fact(GAP, SOURCE, at, &json!(gap)));
    }

    /// When an item arrived: with the last byte, and later than the one before it, so that nothing
    /// is counted twice or not at all by whoever counts from a time on.
    fn arrival(&mut self, last_byte: Option<Timestamp>) -> Timestamp {
        let now = last_byte.unwrap_or_else(|| self.config.clock.now());
        let later = self.last_arrival.filter(|last| last.duration_since(now).abs() < STEADY);
        let later = later.and_then(|last| last.checked_add(SignedDuration::from_nanos(1)).ok());
        let at = later.map_or(now, |later| later.max(now));
        self.last_arrival = Some(at);
        at
    }

    fn item(&mut self, connection: &Connection, item: &Bytes, given: &mut Given) {
        let (last_byte, behind) = {
            let seen = connection.watch.seen();
            (seen.last_byte, seen.behind_since)
        };
        let at = self.arrival(last_byte);
        metrics::gauge!(names::X_LAST_BYTE).set(at.as_second() as f64);
        given.last_item = Some(at);
        let Self { reader, outbox, summary, meter, known_rules, config, .. } = self;
        reader.read(item, Place::Arrival(at), &mut |found| {
            let kind = match found {
                Found::Post { record, created } => {
                    given.posts += 1;
                    given.fits = true;
                    given.problems.clear();
                    if behind.is_some() {
                        given.caught_up(&connection.watch, created, config.clock.now());
                    } else {
                        given.came(created, at);
                    }
                    summary.posts += 1;
                    let id = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
                    let id = id.and_then(|id| id.parse().ok()).unwrap_or_default();
                    let value = record.value.as_deref().unwrap_or_default();
                    for OfRule { tag, .. } in meter.add(at, id, value).unwrap_or_default() {
                        let known = known_rules.contains(&tag)
                            || (known_rules.len() < MAX_LABELS && known_rules.insert(tag.clone()));
                        let label = if known { tag } else { "other".to_owned() };
                        metrics::counter!(names::X_RULE_POSTS, "rule" => label).increment(1);
                    }
                    outbox.push_from(record, at, behind);
                    "post"
                }
                Found::Notice { record } => {
                    summary.notices += 1;
                    given.fits = true;
                    outbox.push_from(record, at, behind);
                    "notice"
                }
                Found::Problems { mut problems, bytes } => {
                    let hide = |text: &str| hidden(text, &config.bearer);
                    let said = hide(&String::from_utf8_lossy(&bytes));
                    problems.iter_mut().for_each(|problem| problem.reword(hide));
                    tracing::warn!(%said, "the stream reports problems");
                    let fact = json!({"problems": problems});
                    outbox.push(journal::fact("stream.problem", SOURCE, at, &fact));
                    given.fits = true;
                    given.problems = problems;
                    "problem"
                }
                Found::Refused { refusal, bytes } => {
                    summary.dead_letters += 1;
                    outbox.push_from(refused(at, bytes, None).letter(&refusal, GROUP), at, behind);
                    given.refused = Some(refusal.error);
                    "refused"
                }
                Found::Control(_) | Found::Blank => {
                    given.fits = true;
                    "control"
                }
            };
            metrics::counter!(names::X_ITEMS, "kind" => kind).increment(1);
        });
    }

    /// Items that the connection could not even hand out.
    fn rejected(&mut self, connection: &Connection) {
        let behind = connection.watch.seen().behind_since;
        loop {
            let Some(rejected) = connection.watch.seen().rejected.pop_front() else { return };
            self.summary.dead_letters += 1;
            metrics::counter!(names::X_ITEMS, "kind" => "refused").increment(1);
            let now = self.config.clock.now();
            let refused = refused(now, rejected.bytes, Some(rejected.size));
            self.outbox.push_from(refused.letter(&rejected.refusal, GROUP), now, behind);
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
        let heard = {
            let seen = connection.watch.seen();
            let heard = seen.heard_until();
            // What is stamped a moment later than the piece that it came in has been heard too.
            if seen.behind_since.is_none() { heard.max(given.last_item) } else { heard }
        };
        self.gaps.begin(heard.unwrap_or(connection.since), cause, reason);
        let fact = {
            let seen = connection.watch.seen();
            json!({
                "connected": connection.since,
                "last_byte": seen.last_byte,
                // Earlier than this connection, if nothing was heard on it.
                "unheard_since": self.gaps.since(),
                "unheard": self.gaps.so_far(now),
                "disconnected": now,
                "posts": given.posts,
                "cause": cause,
                "reason": reason,
                // Of an item that was cut off. Its content is no fact about the harvest.
                "incomplete_bytes": seen.incomplete_bytes,
            })
        };
        self.outbox.push(journal::fact(DISCONNECTED, SOURCE, now, &fact));
        self.tell(now, true);
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
