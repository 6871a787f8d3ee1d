//! Secrets that may be exchanged while a source runs.

use std::fmt;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

/// Tells what a secret is by now, such as by its file; nothing where that can't be told.
#[derive(Clone)]
pub struct Renewal(Arc<dyn Fn() -> Option<SecretString> + Send + Sync>);

impl Renewal {
    /// What asks `now`.
    pub fn new(now: impl Fn() -> Option<SecretString> + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Puts in what the secret is by now; whether it is another.
    pub fn renew(&self, secret: &mut SecretString) -> bool {
        let other = |now: &SecretString| now.expose_secret() != secret.expose_secret();
        let Some(now) = (self.0)().filter(other) else { return false };
        *secret = now;
        true
    }
}

impl fmt::Debug for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Renewal")
    }
}
