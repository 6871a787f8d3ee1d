//! Signals: the first asks everything to finish, the second leaves at once.

use std::future::Future;
use std::process;

use anyhow::anyhow;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The exit code of a process that was interrupted: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// What a signal cancels.
#[derive(Debug)]
pub struct Shutdown {
    token: CancellationToken,
    listener: JoinHandle<()>,
}

impl Shutdown {
    /// Listens for SIGINT and SIGTERM.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn on_signals() -> anyhow::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        let token = CancellationToken::new();
        let listener = tokio::spawn(listen(interrupt, terminate, token.clone()));
        Ok(Self { token, listener })
    }

    /// Cancelled by the first signal.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Runs work that a signal may leave undone.
    ///
    /// # Errors
    /// The work's, or that it was stopped.
    pub async fn unless<T>(
        &self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let stopped = || Err(anyhow!("stopped before it was done"));
        self.token.run_until_cancelled(work).await.unwrap_or_else(stopped)
    }

    /// Stops listening.
    pub async fn finish(self) {
        self.listener.abort();
        // Aborted is how it ends.
        let _ = self.listener.await;
    }
}

async fn listen(mut interrupt: Signal, mut terminate: Signal, token: CancellationToken) {
    for first in [true, false] {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if first {
            tracing::info!("finishing what was begun; a second signal leaves at once");
            token.cancel();
        }
    }
    process::exit(INTERRUPTED);
}
