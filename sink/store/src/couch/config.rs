//! Where `CouchDB` is, who we are there, and how long we wait.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use url::Url;

use crate::error::StoreError;

/// Tells what our password is by now, such as by its file; nothing where that can't be told.
#[derive(Clone)]
pub struct Renewal(Arc<dyn Fn() -> Option<SecretString> + Send + Sync>);

impl Renewal {
    /// What asks `now`, which must not take long.
    pub fn new(now: impl Fn() -> Option<SecretString> + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    pub(super) fn now(&self) -> Option<SecretString> {
        (self.0)()
    }
}

impl fmt::Debug for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Renewal")
    }
}

/// How to reach a `CouchDB`. Its address and its `Debug` never hold the credentials.
#[derive(Clone, Debug)]
pub struct CouchConfig {
    address: String,
    user: Option<String>,
    password: Option<SecretString>,
    /// Where the password may have been exchanged: looked at while it is refused.
    pub renewal: Option<Renewal>,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long an answer may take, from sending to its last byte.
    pub request_timeout: Duration,
    /// How many requests may be under way at once; more wait for their turn.
    pub connections: usize,
    /// The largest answer that is read.
    pub max_answer_bytes: usize,
    /// The same of several documents; where they are more, fewer are asked for at once.
    pub max_list_bytes: usize,
}

impl CouchConfig {
    /// Sound values for the `CouchDB` at `url`: `http://host:5984` or `https://…`. A user and
    /// password in the URL are taken out of it.
    ///
    /// # Errors
    /// When it is not such a URL, or has a path: `CouchDB` must be reached at the root.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        let parsed = Url::parse(url).map_err(|error| invalid("store.url", &error.to_string()))?;
        let Some(host) = parsed.host_str() else {
            return Err(invalid("store.url", "it names no host"));
        };
        let address = match parsed.port() {
            Some(port) => format!("{}://{host}:{port}", parsed.scheme()),
            None => format!("{}://{host}", parsed.scheme()),
        };
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(invalid(&address, "its scheme must be http or https"));
        }
        if !matches!(parsed.path(), "" | "/") || parsed.query().is_some() {
            return Err(invalid(&address, "store.url must end after the port, without a path"));
        }
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let user = Some(decode(parsed.username())).filter(|user| !user.is_empty());
        let password = parsed.password().map(|password| SecretString::from(decode(password)));
        Ok(Self {
            address,
            user,
            password,
            renewal: None,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            connections: 16,
            max_answer_bytes: 256 << 20,
            max_list_bytes: 32 << 20,
        })
    }

    /// The same with this user and password, instead of what the URL may have held.
    #[must_use]
    pub fn with_credentials(self, user: impl Into<String>, password: SecretString) -> Self {
        Self { user: Some(user.into()), password: Some(password), ..self }
    }

    /// Scheme, host and port; no credentials.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Who we are there, if anybody.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Our password there, if any.
    pub fn password(&self) -> Option<&SecretString> {
        self.password.as_ref()
    }
}

fn invalid(address: &str, reason: &str) -> StoreError {
    StoreError::Fatal { address: address.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn credentials_leave_the_url() {
        let config = CouchConfig::new("http://ad%40min:p%2Fw+x@db.example:5984/").unwrap();
        assert_eq!(config.address(), "http://db.example:5984");
        assert_eq!(config.user(), Some("ad@min"));
        assert_eq!(config.password().unwrap().expose_secret(), "p/w+x");
        assert!(!format!("{config:?}").contains("p/w"), "{config:?}");
        let config = config.with_credentials("other", "secret".to_owned().into());
        assert_eq!(config.user(), Some("other"));
    }

    #[test]
    fn addresses_that_cannot_be_are_told() {
        for (url, said) in [
            ("nonsense", "store.url"),
            ("ftp://user:hidden@host", "http or https"),
            ("http://user:hidden@host/couch", "without a path"),
            ("http://user:hidden@host:99999", "port"),
        ] {
            let text = CouchConfig::new(url).unwrap_err().to_string();
            assert!(text.contains(said) && !text.contains("hidden"), "{url}: {text}");
        }
        assert_eq!(CouchConfig::new("https://[::1]:6984").unwrap().address(), "https://[::1]:6984");
    }
}
