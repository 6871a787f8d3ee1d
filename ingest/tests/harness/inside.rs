//! The simulator of X in the client's own process: no socket is between them, so all of it goes by
//! tokio's time, and a week of it takes seconds.

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, header::AUTHORIZATION};
use bowerbird_ingest::x::{Clock, Exchange, Failure, Reply};
use bowerbird_sim::x::{Config, Simulator};
use futures::StreamExt;
use secrecy::{ExposeSecret, SecretString};
use tower_service::Service;

/// A simulator, and the way to it.
#[derive(Clone)]
pub struct Inside {
    pub sim: Simulator,
    router: Router,
}

impl Inside {
    pub fn new(config: Config) -> Self {
        let sim = Simulator::new(config);
        Self { router: sim.router(), sim }
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
        Ok(Reply { status: head.status.as_u16(), headers: head.headers, body: Box::pin(pieces) })
    }
}
