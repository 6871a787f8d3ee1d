//! Asking X: one request, and the beginning of its answer.
//!
//! There are two: [`Web`] asks over the network. A test on paused time, on which no socket works,
//! hands requests to a server in its own process.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use reqwest::Method;
use reqwest::header::HeaderMap;
use secrecy::{ExposeSecret, SecretString};

use super::failure::Failure;
use crate::error::{IngestError, chain};

/// Bytes as they arrive.
pub type Incoming = Pin<Box<dyn Stream<Item = Result<Bytes, Failure>> + Send>>;

/// An answer, of which the body is still to come.
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, decompressed.
    pub body: Incoming,
}

/// Asks X's API.
pub trait Exchange: Clone + Send + Sync + 'static {
    /// Asks, with the token of the app.
    ///
    /// # Errors
    /// [`Failure::Network`] when there is no answer.
    fn ask(
        &self,
        method: Method,
        url: String,
        bearer: SecretString,
    ) -> impl Future<Output = Result<Reply, Failure>> + Send;
}

/// Over the network.
#[derive(Clone, Debug)]
pub struct Web(reqwest::Client);

impl Web {
    /// A client that waits so long for a connection.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(connect_timeout: Duration) -> Result<Self, IngestError> {
        reqwest::Client::builder()
            .connect_timeout(connect_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("bowerbird/", env!("CARGO_PKG_VERSION")))
            .build()
            .map(Self)
            .map_err(|error| IngestError::Client(chain(&error)))
    }
}

impl Exchange for Web {
    async fn ask(
        &self,
        method: Method,
        url: String,
        bearer: SecretString,
    ) -> Result<Reply, Failure> {
        // What an address holds is in no message: it is the transport that failed.
        let failed = |error: reqwest::Error| Failure::Network(chain(&error.without_url()));
        let asking = self.0.request(method, url).bearer_auth(bearer.expose_secret());
        // Other than an address, which is checked, nothing can be wrong with a request.
        let unsendable = |error: reqwest::Error| match error.is_builder() {
            true => Failure::Token,
            false => failed(error),
        };
        let answer = asking.send().await.map_err(unsendable)?;
        Ok(Reply {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            body: Box::pin(answer.bytes_stream().map(move |piece| piece.map_err(failed))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_that_can_not_be_sent_is_told_as_that() {
        let web = Web::new(Duration::from_secs(1)).unwrap();
        let url = "http://127.0.0.1:9/".to_owned();
        let asked = web.ask(Method::GET, url, "one\ntwo".to_owned().into()).await;
        let failure = asked.map(|reply| reply.status).unwrap_err();
        assert_eq!(failure, Failure::Token);
        assert!(!failure.to_string().contains("one"));
    }
}
