//! The bytes of the stream, made fit for `twitter-stream`: whole items, each ended by CRLF.
//!
//! That crate splits on CRLF alone, hands out the rest of a connection that broke as if it were an
//! item, and waits for ever on a silent one. So this body ends lines by whatever feed they have,
//! keeps back what is cut off, and watches the clock.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body04::Body;
use http02::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

use super::clock::Clock;
use super::config::XConfig;
use super::exchange::Incoming;
use super::failure::Failure;
use super::kept::Kept;
use super::lines::{Lines, Rejected};

/// So many rejected items wait to be collected; a stream that gives more is no stream of ours.
const MAX_REJECTED: usize = 16;
/// Who was silent for so long had nothing left to send; less than that is how a network passes on
/// what waits at its other end.
const SILENT: Duration = Duration::from_secs(2);
/// What comes so soon after it was given has not waited.
const AT_ONCE: SignedDuration = SignedDuration::from_secs(1);

/// What the body saw that is no item, for whoever reads the items.
#[derive(Debug, Default)]
pub struct Seen {
    /// What was kept of the answer's headers.
    pub headers: Kept,
    /// When the first byte arrived.
    pub first_byte: Option<Timestamp>,
    /// When the last byte arrived.
    pub last_byte: Option<Timestamp>,
    /// When the last byte arrived that ended a line.
    pub last_line: Option<Timestamp>,
    /// Reading was held back, and has not caught up since: all that was given before then has come.
    pub behind_since: Option<Timestamp>,
    /// Reading was held back since the body was last asked: that nothing came says nothing.
    held: bool,
    /// Nothing more is taken from the connection.
    closing: bool,
    /// Items that can't be handed on.
    pub rejected: VecDeque<Rejected>,
    /// The size of the item that was under way when the connection ended.
    pub incomplete_bytes: usize,
}

impl Seen {
    /// Until when all that was sent has arrived whole, as far as can be known: what was under way
    /// when the connection ended is lost, and so may be what came after reading was held back.
    pub fn heard_until(&self) -> Option<Timestamp> {
        let whole = match self.incomplete_bytes {
            0 => self.last_byte,
            _ => self.last_line.or(self.first_byte),
        };
        self.behind_since.into_iter().chain(whole).min()
    }
}

/// What the body saw, shared with it.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    first: Arc<Notify>,
    rejected: Arc<Notify>,
}

impl Watch {
    /// What was seen so far.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reading is held back, from `at`.
    pub fn hold(&self, at: Timestamp) {
        let mut seen = self.seen();
        seen.behind_since.get_or_insert(at);
        seen.held = true;
    }

    /// What was given at `given` has come, seen from `now`: in the order in which it was given, so all
    /// before it has come too.
    pub fn reached(&self, given: Timestamp, now: Timestamp) {
        let mut seen = self.seen();
        if seen.held {
            return;
        }
        let behind = seen.behind_since.map(|since| since.max(given));
        seen.behind_since = behind.filter(|since| now.duration_since(*since) > AT_ONCE);
    }

    /// Ends the body behind what it has handed out.
    pub fn close(&self) {
        self.seen().closing = true;
    }

    /// Waits until an item is rejected. Cancel safe.
    pub async fn rejects(&self) {
        self.rejected.notified().await;
    }

    /// Waits for the first byte, whatever it is, and tells when it came. Cancel safe.
    pub async fn heard(&self) -> Timestamp {
        loop {
            let first = self.seen().first_byte;
            match first {
                Some(at) => return at,
                None => self.first.notified().await,
            }
        }
    }
}

/// The body of a stream.
pub struct ItemBody {
    incoming: Incoming,
    lines: Lines,
    watch: Watch,
    clock: Clock,
    idle_timeout: Duration,
    idle: Pin<Box<Sleep>>,
    /// Since when the next piece is waited for.
    waiting: Option<Instant>,
    done: bool,
}

impl ItemBody {
    /// Items out of `incoming`.
    pub fn new(incoming: Incoming, config: &XConfig, watch: Watch) -> Self {
        Self {
            incoming,
            lines: Lines::new(config.max_item_bytes),
            watch,
            clock: config.clock.clone(),
            idle_timeout: config.idle_timeout,
            idle: Box::pin(tokio::time::sleep(config.idle_timeout)),
            waiting: None,
            done: false,
        }
    }

    /// Whether nothing more is to be taken; else it begins to wait anew if reading was held back.
    fn closes(&mut self) -> bool {
        let mut seen = self.watch.seen();
        if std::mem::take(&mut seen.held) {
            self.waiting = None;
            self.idle.as_mut().reset(Instant::now() + self.idle_timeout);
        }
        seen.closing
    }

    /// Takes note of a piece, and gives the lines that it completes.
    fn take(&mut self, piece: &[u8]) -> Result<Bytes, Failure> {
        self.idle.as_mut().reset(Instant::now() + self.idle_timeout);
        let now = self.clock.now();
        let mut seen = self.watch.seen();
        if self.waiting.take().is_some_and(|since| since.elapsed() >= SILENT) {
            seen.behind_since = None;
        }
        seen.last_byte = Some(now);
        if piece.contains(&b'\n') {
            seen.last_line = Some(now);
        }
        if seen.first_byte.is_none() {
            seen.first_byte = Some(now);
            self.watch.first.notify_one();
        }
        let whole = self.lines.take(piece, &mut seen.rejected);
        if !seen.rejected.is_empty() {
            self.watch.rejected.notify_one();
        }
        if seen.rejected.len() > MAX_REJECTED {
            let text = "one item after the other is too large, or not UTF-8".to_owned();
            return Err(Failure::Protocol(text));
        }
        Ok(whole)
    }

    /// The last item of a connection that ended well, where nothing is missing of it but the feed.
    fn rest(&mut self) -> Option<Bytes> {
        let rest = self.lines.take_whole()?;
        let mut seen = self.watch.seen();
        seen.last_line = seen.last_byte;
        Some(rest)
    }

    fn end(&mut self) {
        self.done = true;
        self.watch.seen().incomplete_bytes = self.lines.left();
    }
}

impl Body for ItemBody {
    type Data = Bytes;
    type Error = Failure;

    fn poll_data(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Failure>>> {
        let this = self.get_mut();
        while !this.done {
            if this.closes() {
                this.end();
                break;
            }
            let Poll::Ready(piece) = this.incoming.as_mut().poll_next(cx) else {
                this.waiting.get_or_insert_with(Instant::now);
                ready!(this.idle.as_mut().poll(cx));
                this.end();
                return Poll::Ready(Some(Err(Failure::Idle(this.idle_timeout))));
            };
            let taken = match piece {
                None => {
                    let rest = this.rest();
                    this.end();
                    return Poll::Ready(rest.map(Ok));
                }
                Some(piece) => piece.and_then(|piece| this.take(&piece)),
            };
            match taken {
                Ok(whole) if whole.is_empty() => {}
                Ok(whole) => return Poll::Ready(Some(Ok(whole))),
                Err(failure) => {
                    this.end();
                    return Poll::Ready(Some(Err(failure)));
                }
            }
        }
        Poll::Ready(None)
    }

    fn poll_trailers(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Result<Option<HeaderMap>, Failure>> {
        Poll::Ready(Ok(None))
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use futures::stream;

    use super::*;

    fn body(incoming: Incoming, watch: &Watch) -> ItemBody {
        let base = "http://localhost".parse().unwrap();
        let config = XConfig { max_item_bytes: 10, ..XConfig::new(base, String::new().into()) };
        ItemBody::new(incoming, &config, watch.clone())
    }

    async fn next(body: &mut ItemBody) -> Option<Result<Bytes, Failure>> {
        std::future::poll_fn(|cx| Pin::new(&mut *body).poll_data(cx)).await
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_it_and_an_empty_line_does_not() {
        let watch = Watch::default();
        let pieces = stream::iter([1, 2, 3]).then(|_| async {
            tokio::time::sleep(Duration::from_secs(25)).await;
            Ok(Bytes::from_static(b"\r\n"))
        });
        let mut body = body(Box::pin(pieces.chain(stream::pending())), &watch);
        let begun = Instant::now();
        assert_eq!(next(&mut body).await, Some(Err(Failure::Idle(Duration::from_secs(30)))));
        assert_eq!(begun.elapsed(), Duration::from_secs(3 * 25 + 30));
        assert_eq!(next(&mut body).await, None);
        assert!(watch.seen().last_byte.is_some());
    }

    #[tokio::test]
    async fn what_is_cut_off_is_kept_back() {
        let watch = Watch::default();
        let pieces =
            ["{1}\n{2}\r", "\n{3", "}"].map(|piece| Ok(Bytes::from_static(piece.as_bytes())));
        let mut body = body(Box::pin(stream::iter(pieces)), &watch);
        assert_eq!(next(&mut body).await, Some(Ok(Bytes::from_static(b"{1}\r\n"))));
        assert_eq!(next(&mut body).await, Some(Ok(Bytes::from_static(b"{2}\r\n"))));
        assert_eq!(next(&mut body).await, None);
        let seen = watch.seen();
        assert_eq!(seen.incomplete_bytes, 3);
        // What was cut off began when the last line had ended.
        assert_eq!(seen.heard_until(), seen.last_line);
    }

    #[tokio::test]
    async fn a_last_item_that_is_whole_needs_no_feed() {
        let watch = Watch::default();
        let pieces = ["{1}\n{\"a", "\":2}"].map(|piece| Ok(Bytes::from_static(piece.as_bytes())));
        let mut body = body(Box::pin(stream::iter(pieces)), &watch);
        assert_eq!(next(&mut body).await, Some(Ok(Bytes::from_static(b"{1}\r\n"))));
        assert_eq!(next(&mut body).await, Some(Ok(Bytes::from_static(b"{\"a\":2}\r\n"))));
        assert_eq!(next(&mut body).await, None);
        let seen = watch.seen();
        assert_eq!((seen.incomplete_bytes, seen.heard_until()), (0, seen.last_byte));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_held_back_is_no_silence_and_is_old_until_something_new_comes() {
        let watch = Watch::default();
        let late = stream::once(async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            Ok(Bytes::from_static(b"{3}\n"))
        });
        let there = stream::iter(["{1}\n", "{2}\n"].map(|piece| Ok(Bytes::from(piece))));
        let mut body = body(Box::pin(there.chain(late).chain(stream::pending())), &watch);
        assert_eq!(next(&mut body).await, Some(Ok(Bytes::from_static(b"{1}\r\n"))));
        let held = Timestamp::UNIX_EPOCH;
        watch.hold(held);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(next(&mut body).await, Some(Ok(Bytes::from_static(b"{2}\r\n"))));
        assert_eq!(watch.seen().heard_until(), Some(held), "it may have lain there");
        watch.hold(held);
        // Silent for 10 s from now on, which is less than the time-out, and longer since it last spoke.
        tokio::time::sleep(Duration::from_secs(45)).await;
        assert_eq!(next(&mut body).await, Some(Ok(Bytes::from_static(b"{3}\r\n"))));
        let seen = watch.seen();
        assert_eq!(seen.heard_until(), seen.last_byte);
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_one_ends_at_once() {
        let watch = Watch::default();
        let mut body = body(Box::pin(stream::pending()), &watch);
        watch.close();
        assert_eq!(next(&mut body).await, None);
    }
}
