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

use bytes::{Bytes, BytesMut};
use futures::Stream;
use http_body04::Body;
use http02::HeaderMap;
use jiff::Timestamp;
use tokio::time::{Instant, Sleep};

use super::failure::Failure;
use crate::error::chain;
use crate::post::{Refusal, reason};

/// How much is kept of an item that is too large.
const KEPT_BYTES: usize = 64 << 10;
/// So many rejected items wait to be collected; a stream that gives more is no stream of ours.
const MAX_REJECTED: usize = 16;

/// What the body saw that is no item, for whoever reads the items.
#[derive(Debug, Default)]
pub struct Seen {
    /// When the last byte arrived.
    pub last_byte: Option<Timestamp>,
    /// Items that can't be handed on.
    pub rejected: VecDeque<Rejected>,
    /// The size of the item that was under way when the connection ended.
    pub incomplete_bytes: usize,
}

/// An item that can't be handed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Why.
    pub refusal: Refusal,
    /// Its bytes, or the first of them.
    pub bytes: Bytes,
    /// Its size.
    pub size: usize,
}

/// What the body saw, shared with it.
#[derive(Clone, Debug, Default)]
pub struct Watch(Arc<Mutex<Seen>>);

impl Watch {
    /// What was seen so far.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes as they arrive.
pub type Incoming = Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>;

/// The body of a stream.
pub struct ItemBody {
    incoming: Incoming,
    lines: Lines,
    watch: Watch,
    idle_timeout: Duration,
    idle: Pin<Box<Sleep>>,
    done: bool,
}

impl ItemBody {
    /// Items out of `incoming`, none larger than `max_item_bytes`.
    pub fn new(
        incoming: Incoming,
        max_item_bytes: usize,
        idle_timeout: Duration,
        watch: Watch,
    ) -> Self {
        Self {
            incoming,
            lines: Lines::new(max_item_bytes),
            watch,
            idle_timeout,
            idle: Box::pin(tokio::time::sleep(idle_timeout)),
            done: false,
        }
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
            let Poll::Ready(piece) = this.incoming.as_mut().poll_next(cx) else {
                ready!(this.idle.as_mut().poll(cx));
                this.end();
                return Poll::Ready(Some(Err(Failure::Idle(this.idle_timeout))));
            };
            match piece {
                None => this.end(),
                Some(Err(error)) => {
                    this.end();
                    let failure = Failure::Network(chain(&error.without_url()));
                    return Poll::Ready(Some(Err(failure)));
                }
                Some(Ok(piece)) => {
                    this.idle.as_mut().reset(Instant::now() + this.idle_timeout);
                    let mut seen = this.watch.seen();
                    seen.last_byte = Some(Timestamp::now());
                    let whole = this.lines.take(&piece, &mut seen.rejected);
                    if seen.rejected.len() > MAX_REJECTED {
                        drop(seen);
                        this.end();
                        let text = "one item after the other is too large, or not UTF-8".to_owned();
                        return Poll::Ready(Some(Err(Failure::Protocol(text))));
                    }
                    if !whole.is_empty() {
                        return Poll::Ready(Some(Ok(whole)));
                    }
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

/// Puts lines together again.
struct Lines {
    max_item_bytes: usize,
    /// The beginning of the line under way.
    line: BytesMut,
    /// Of a line over the bound, how much of it went by.
    passed: usize,
}

impl Lines {
    fn new(max_item_bytes: usize) -> Self {
        Self { max_item_bytes, line: BytesMut::new(), passed: 0 }
    }

    /// Takes a piece; gives the lines that it completes, each ended by CRLF, empty ones left out.
    fn take(&mut self, piece: &[u8], rejected: &mut VecDeque<Rejected>) -> Bytes {
        let mut whole = BytesMut::new();
        let mut rest = piece;
        while let Some(feed) = memchr::memchr(b'\n', rest) {
            self.add(&rest[..feed]);
            rest = &rest[feed + 1..];
            let mut line = self.line.split();
            if let Some(refusal) = self.refusal(&line) {
                let size = std::mem::take(&mut self.passed).max(line.len());
                line.truncate(KEPT_BYTES);
                rejected.push_back(Rejected { refusal, bytes: line.freeze(), size });
                continue;
            }
            if line.last() == Some(&b'\r') {
                line.truncate(line.len() - 1);
            }
            if !line.is_empty() {
                whole.extend_from_slice(&line);
                whole.extend_from_slice(b"\r\n");
            }
        }
        self.add(rest);
        whole.freeze()
    }

    fn refusal(&self, line: &[u8]) -> Option<Refusal> {
        if self.passed > 0 {
            let (size, bound) = (self.passed, self.max_item_bytes);
            let error = format!("the item has {size} bytes, more than the bound of {bound}");
            return Some(Refusal { reason: "item-too-long", error });
        }
        let error = std::str::from_utf8(line).err()?.to_string();
        Some(Refusal { reason: reason::NOT_UTF8, error })
    }

    fn add(&mut self, part: &[u8]) {
        if self.passed > 0 {
            self.passed += part.len();
        } else if self.line.len() + part.len() > self.max_item_bytes {
            self.passed = self.line.len() + part.len();
            let room = KEPT_BYTES.saturating_sub(self.line.len()).min(part.len());
            self.line.extend_from_slice(&part[..room]);
        } else {
            self.line.extend_from_slice(part);
        }
    }

    /// The size of the line under way.
    fn left(&self) -> usize {
        self.passed.max(self.line.len())
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use futures::stream;
    use proptest::prelude::*;

    use super::*;

    fn body(incoming: Incoming, watch: &Watch) -> ItemBody {
        ItemBody::new(incoming, 10, Duration::from_secs(30), watch.clone())
    }

    async fn next(body: &mut ItemBody) -> Option<Result<Bytes, Failure>> {
        std::future::poll_fn(|cx| Pin::new(&mut *body).poll_data(cx)).await
    }

    proptest! {
        #[test]
        fn lines_come_out_whole_however_they_are_cut(
            lines in prop::collection::vec("[a-z]{0,14}", 0..20),
            feeds in prop::collection::vec(prop::sample::select(vec!["\n", "\r\n"]), 20),
            cut in 1_usize..9,
        ) {
            let text: String = lines.iter().zip(&feeds).map(|(l, f)| format!("{l}{f}")).collect();
            let (mut reader, mut rejected, mut out) = (Lines::new(10), VecDeque::new(), Vec::new());
            for piece in text.as_bytes().chunks(cut) {
                out.extend_from_slice(&reader.take(piece, &mut rejected));
            }
            // A carriage return counts until it is known for a part of the feed.
            let fits = |(line, feed): &(&String, &&str)| line.len() + feed.len() - 1 <= 10;
            let pairs = || lines.iter().zip(&feeds);
            let expected: String = pairs()
                .filter(|pair| fits(pair) && !pair.0.is_empty())
                .map(|(line, _)| format!("{line}\r\n"))
                .collect();
            prop_assert_eq!(out, expected.as_bytes());
            prop_assert_eq!(rejected.len(), pairs().filter(|pair| !fits(pair)).count());
            prop_assert_eq!(reader.left(), 0);
        }
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

    #[test]
    fn what_is_not_utf8_is_kept_for_the_dead_letters() {
        let (mut reader, mut rejected) = (Lines::new(10), VecDeque::new());
        assert_eq!(reader.take(b"a\n\xff\nb\n", &mut rejected), "a\r\nb\r\n");
        assert_eq!((&rejected[0].bytes[..], rejected[0].size), (&b"\xff"[..], 1));
        assert_eq!(rejected[0].refusal.reason, reason::NOT_UTF8);
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
        assert_eq!(watch.seen().incomplete_bytes, 3);
    }
}
