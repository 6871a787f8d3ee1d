//! The simulator of X in the client's own process: no socket is between them, so all of it goes by
//! tokio's time, and a week of it takes seconds. What a socket does to a reader that is slow, a wire
//! of its own does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, header::AUTHORIZATION};
use bowerbird_ingest::x::{Clock, Exchange, Failure, Incoming, Reply};
use bowerbird_sim::x::{Config, Simulator};
use futures::{StreamExt, stream};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tower_service::Service;

/// A simulator, and the way to it.
#[derive(Clone)]
pub struct Inside {
    pub sim: Simulator,
    router: Router,
    /// How long each piece takes that waits on the wire; without, there is none.
    pub wire: Option<Duration>,
}

/// The most pieces that wait on a wire.
const ON_THE_WIRE: usize = 1_000;

/// Takes all that the server gives as it gives it. When the server has ended, what is still on its
/// way is lost.
fn wire(mut pieces: Incoming, takes: Duration) -> Incoming {
    let (sender, receiver) = mpsc::channel(ON_THE_WIRE);
    let ended = Arc::new(AtomicBool::new(false));
    let end = Arc::clone(&ended);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                piece = pieces.next() => {
                    let Some(piece) = piece else { break };
                    if sender.send(piece).await.is_err() {
                        break;
                    }
                }
                () = sender.closed() => break,
            }
        }
        end.store(true, Ordering::SeqCst);
    });
    Box::pin(stream::unfold(
        (receiver, Instant::now(), ended),
        move |(mut from, last, ended)| async move {
            let piece = from.recv().await;
            // It was not read for a while, and takes its time all the same.
            sleep_until(last + takes).await;
            let broken = || Err(Failure::Network("the connection was reset".to_owned()));
            let piece =
                if ended.load(Ordering::SeqCst) { broken() } else { piece.unwrap_or_else(broken) };
            Some((piece, (from, Instant::now(), ended)))
        },
    ))
}

impl Inside {
    pub fn new(config: Config) -> Self {
        let sim = Simulator::new(config);
        Self { router: sim.router(), sim, wire: None }
    }

    /// Goes as the simulator's does.
    pub fn clock(&self) -> Clock {
        let sim = self.sim.clone();
        Clock::new(move || sim.now())
    }
}

impl Exchange for Inside {
    async fn ask(
        &self,
        method: Method,
        url: String,
        bearer: SecretString,
    ) -> Result<Reply, Failure> {
        let bearer = format!("Bearer {}", bearer.expose_secret());
        let request = Request::builder().method(method).uri(url).header(AUTHORIZATION, bearer);
        let request = request.body(Body::empty()).unwrap();
        let answer = self.router.clone().call(request).await.unwrap();
        let (head, body) = answer.into_parts();
        let pieces = body.into_data_stream();
        let pieces = pieces.map(|piece| piece.map_err(|e| Failure::Network(e.to_string())));
        let body: Incoming = match self.wire.filter(|_| head.status.is_success()) {
            Some(takes) => wire(Box::pin(pieces), takes),
            None => Box::pin(pieces),
        };
        Ok(Reply { status: head.status.as_u16(), headers: head.headers, body })
    }
}
