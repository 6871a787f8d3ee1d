//! A server at work: where it listens, and how it is stopped.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Why a simulator does not run.
#[derive(Debug, Error)]
pub enum SimError {
    /// The address is taken, or is not this machine's.
    #[error("the simulator can't listen on {address}: {error}; choose another one with --listen")]
    Listen {
        /// Where it should listen.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
}

/// A simulator at work. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Running {
    /// Where it listens; the port is the real one, also where any was asked for.
    pub addr: SocketAddr,
    shutdown: CancellationToken,
    served: Arc<AtomicU64>,
    task: Option<JoinHandle<()>>,
}

impl Running {
    /// The address as the beginning of a URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// How many posts or features it has given so far.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Ends all answers under way and waits until it has stopped.
    pub async fn shutdown(mut self) {
        self.shutdown.cancel();
        if let Some(task) = self.task.take() {
            // It was stopped; how it ended is of no interest any more.
            task.await.ok();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Serves `router` until `shutdown`.
pub(crate) async fn serve(
    address: SocketAddr,
    router: Router,
    served: Arc<AtomicU64>,
    shutdown: CancellationToken,
) -> Result<Running, SimError> {
    let failed = |error| SimError::Listen { address, error };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    let signal = shutdown.clone().cancelled_owned();
    let task = tokio::spawn(async move {
        let serving = axum::serve(listener, router).with_graceful_shutdown(signal);
        if let Err(error) = serving.await {
            tracing::error!(%error, "simulator stopped");
        }
    });
    tracing::info!(%addr, "simulator listens");
    Ok(Running { addr, shutdown, served, task: Some(task) })
}
