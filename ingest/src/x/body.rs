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
use futures::Stream;
use http_body04::Body;
use http02::HeaderMap;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

use super::failure::Failure;
use super::lines::{Lines, Rejected};
use crate::error::chain;

/// So many rejected items wait to be collected; a stream that gives more is no stream of ours.
const MAX_REJECTED: usize = 16;

/// What the body saw that is no item, for whoever reads the items.
#[derive(Debug, Default)]
pub struct Seen {
    /// When the first byte arrived.
    pub first_byte: Option<Timestamp>,
    /// When the last byte arrived.
    pub last_byte: Option<Timestamp>,
    /// Items that can't be handed on.
    pub rejected: VecDeque<Rejected>,
    /// The size of the item that was under way when the connection ended.
    pub incomplete_bytes: usize,
}

/// What the body saw, shared with it.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    first: Arc<Notify>,
}

impl Watch {
    /// What was seen so far.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
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
                    let now = Timestamp::now();
                    seen.last_byte = Some(now);
                    if seen.first_byte.is_none() {
                        seen.first_byte = Some(now);
                        this.watch.first.notify_one();
                    }
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

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use futures::stream;

    use super::*;

    fn body(incoming: Incoming, watch: &Watch) -> ItemBody {
        ItemBody::new(incoming, 10, Duration::from_secs(30), watch.clone())
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
        assert_eq!(watch.seen().incomplete_bytes, 3);
    }
}
