//! A small HTTP server: an address is taken first, so that a port in use is said before any work
//! begins, and served until it is cancelled.

use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::error::InfraError;

/// An address that was taken.
#[derive(Debug)]
pub(crate) struct Server {
    what: &'static str,
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Takes `address` for `what`; `key` is the configuration key that chooses it.
    pub(crate) async fn bind(
        what: &'static str,
        address: SocketAddr,
        key: &'static str,
    ) -> Result<Self, InfraError> {
        let failed = |error: std::io::Error| {
            let reason = match error.kind() {
                std::io::ErrorKind::AddrInUse => {
                    "the address is in use by another process".to_owned()
                }
                _ => error.to_string(),
            };
            InfraError::Listen { what, address, reason, key }
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { what, listener, address })
    }

    /// The address, with the port that was really taken.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves `router` until `cancel`; connections under way are finished.
    pub(crate) async fn run(
        self,
        router: Router,
        cancel: CancellationToken,
    ) -> Result<(), InfraError> {
        let Self { what, listener, address } = self;
        tracing::info!(%address, "{what} listens");
        axum::serve(listener, router)
            .with_graceful_shutdown(cancel.cancelled_owned())
            .await
            .map_err(|error| InfraError::Serve { what, reason: error.to_string() })
    }
}
