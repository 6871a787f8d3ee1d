//! One connection: from the request to the last item.

use std::pin::Pin;

use futures::StreamExt;
use http02::{Method, Uri};
use jiff::Timestamp;
use twitter_stream::{Builder, Error, Token, TwitterStream};

use super::body::{ItemBody, Watch};
use super::config::XConfig;
use super::exchange::Exchange;
use super::failure::Failure;
use super::kept::Kept;
use super::transport::Transport;

type Items = Pin<Box<TwitterStream<ItemBody>>>;

/// A connection that gives items.
pub struct Connection {
    items: Items,
    /// What arrived that is no item.
    pub watch: Watch,
    /// Since when.
    pub since: Timestamp,
}

impl Connection {
    /// Connects, and asks for what was missed in the last minutes.
    ///
    /// # Errors
    /// When there is no connection, or the server refuses.
    pub async fn open<X: Exchange>(
        exchange: X,
        endpoint: &Uri,
        config: &XConfig,
        backfill_minutes: u8,
    ) -> Result<Self, Failure> {
        let watch = Watch::default();
        let transport = Transport::new(exchange, config, backfill_minutes, watch.clone());
        // The transport replaces what this token would sign.
        let token = Token::from_parts("", "", "", "");
        let items = Builder::new(token)
            .endpoint((Method::GET, endpoint.clone()))
            .listen_with_client::<_, Vec<u8>>(transport)
            .await
            .map_err(of_error)?;
        Ok(Self { items: Box::pin(items), watch, since: config.clock.now() })
    }

    /// The next item. Cancel safe.
    ///
    /// # Errors
    /// When the connection is over.
    pub async fn next(&mut self) -> Result<bytes::Bytes, Failure> {
        match self.items.next().await {
            Some(Ok(item)) => Ok(item.into_inner()),
            Some(Err(error)) => Err(of_error(error)),
            None => Err(Failure::Ended(Vec::new())),
        }
    }
}

fn of_error(error: Error<Failure>) -> Failure {
    match error {
        Error::Service(failure) => failure,
        Error::Http(status) => Failure::Http {
            status: status.as_u16(),
            headers: Kept::default(),
            problems: Vec::new(),
        },
        Error::Utf8(error) => Failure::Protocol(error.to_string()),
    }
}
