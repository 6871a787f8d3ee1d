//! The thin client: one bounded pool, bounded waits, bounded answers, typed errors.

use std::error::Error as _;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Method, Response};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;
use url::Url;

use crate::couch::classify::{Asked, classify, retry_after};
use crate::couch::config::CouchConfig;
use crate::couch::door::Door;
use crate::error::StoreError;
use crate::metrics::REQUEST_SECONDS;

/// `CouchDB` reads a plus sign in a path as a space, so more than RFC 3986 asks is encoded.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// Servers and proxies close idle connections, some after 5 s: ours are gone before, so that no
/// request meets a closing one.
const IDLE: Duration = Duration::from_secs(4);

/// A request.
#[derive(Debug)]
pub(super) struct Request<'a> {
    /// Its name in the metrics.
    pub(super) operation: &'static str,
    pub(super) method: Method,
    /// The database that it is about, if any.
    pub(super) database: Option<&'a str>,
    /// What follows the database in the path; each part is encoded.
    pub(super) path: &'a [&'a str],
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) body: Option<Vec<u8>>,
}

/// A successful answer, or a status that the caller asked to see.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// The client.
#[derive(Debug)]
pub(super) struct Http {
    client: Client,
    config: CouchConfig,
    /// What the configuration says, or what it is by now.
    password: RwLock<Option<SecretString>>,
    base: Url,
    permits: Semaphore,
    door: Door,
}

impl Http {
    pub(super) fn new(config: CouchConfig) -> Result<Self, StoreError> {
        let fatal =
            |reason: String| StoreError::Fatal { address: config.address().to_owned(), reason };
        let client = Client::builder()
            .connect_timeout(config.connect_timeout)
            .timeout(config.request_timeout)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(config.connections)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| fatal(error.to_string()))?;
        let base = Url::parse(config.address()).map_err(|error| fatal(error.to_string()))?;
        let permits = Semaphore::new(config.connections.max(1));
        let password = RwLock::new(config.password().cloned());
        Ok(Self { client, config, password, base, permits, door: Door::default() })
    }

    pub(super) fn address(&self) -> &str {
        self.config.address()
    }

    /// Sends the request; every status but 2xx is an error.
    pub(super) async fn ask(&self, request: Request<'_>) -> Result<Vec<u8>, StoreError> {
        self.ask_allowing(request, None).await.map(|answer| answer.body)
    }

    /// Sends a request for so many documents. Of several fewer bytes are read than of one: they can
    /// be asked for in parts.
    pub(super) async fn ask_for(
        &self,
        documents: usize,
        request: Request<'_>,
    ) -> Result<Vec<u8>, StoreError> {
        let CouchConfig { max_list_bytes, max_answer_bytes, .. } = self.config;
        let most = if documents > 1 { max_list_bytes } else { max_answer_bytes };
        self.ask_within(request, None, most).await.map(|answer| answer.body)
    }

    /// Sends the request; the status `allowed` is an answer too.
    pub(super) async fn ask_allowing(
        &self,
        request: Request<'_>,
        allowed: Option<u16>,
    ) -> Result<Answer, StoreError> {
        self.ask_within(request, allowed, self.config.max_answer_bytes).await
    }

    async fn ask_within(
        &self,
        request: Request<'_>,
        allowed: Option<u16>,
        most: usize,
    ) -> Result<Answer, StoreError> {
        let _permit = self.permits.acquire().await.map_err(|error| StoreError::Fatal {
            address: self.address().to_owned(),
            reason: error.to_string(),
        })?;
        // Without credentials there is nothing to lock out.
        let _turn = match self.config.user() {
            Some(_) => {
                self.renew();
                self.door.enter().await?
            }
            None => None,
        };
        let (operation, start) = (request.operation, Instant::now());
        let done = self.exchange(request, allowed, most).await;
        let outcome = if done.is_ok() { "ok" } else { "error" };
        ::metrics::histogram!(REQUEST_SECONDS, "operation" => operation, "outcome" => outcome)
            .record(start.elapsed());
        done
    }

    /// Takes the password that there is by now, if the one that we have was refused.
    fn renew(&self) {
        let Some(renewal) = self.config.renewal.as_ref().filter(|_| self.door.is_refused()) else {
            return;
        };
        let Some(now) = renewal.now() else { return };
        let mut password = self.password.write().unwrap_or_else(PoisonError::into_inner);
        if password.as_ref().map(ExposeSecret::expose_secret) != Some(now.expose_secret()) {
            tracing::info!(address = self.address(), "the password has been exchanged");
            *password = Some(now);
            self.door.exchanged();
        }
    }

    async fn exchange(
        &self,
        request: Request<'_>,
        allowed: Option<u16>,
        most: usize,
    ) -> Result<Answer, StoreError> {
        let bytes = request.body.as_ref().map_or(0, Vec::len);
        let mut builder = self.client.request(request.method.clone(), self.url(&request));
        if let Some(user) = self.config.user() {
            let password = self.password.read().unwrap_or_else(PoisonError::into_inner);
            let password = password.as_ref().map(ExposeSecret::expose_secret);
            builder = builder.basic_auth(user, password);
        }
        if let Some(body) = request.body {
            builder = builder.header(CONTENT_TYPE, "application/json").body(body);
        }
        let response = builder.send().await.map_err(|error| self.transport(&error))?;
        let status = response.status().as_u16();
        let wait = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry_after(value, Timestamp::now()));
        let body = self.read(response, most).await?;
        if (200..300).contains(&status) || allowed == Some(status) {
            self.door.opened();
            return Ok(Answer { status, body });
        }
        let asked = Asked { address: self.address(), database: request.database, bytes };
        let error = classify(asked, status, wait, &body);
        self.door.failed(status, &error);
        Err(error)
    }

    fn url(&self, request: &Request<'_>) -> Url {
        let mut url = self.base.clone();
        let encoded = request
            .database
            .iter()
            .chain(request.path)
            .map(|segment| utf8_percent_encode(segment, SEGMENT).to_string())
            .collect::<Vec<_>>();
        url.set_path(&encoded.join("/"));
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(request.query);
        }
        url
    }

    /// Reads the body, at most so many bytes.
    async fn read(&self, mut response: Response, most: usize) -> Result<Vec<u8>, StoreError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.transport(&error))? {
            if body.len() + chunk.len() > most {
                return Err(StoreError::TooLarge {
                    address: self.address().to_owned(),
                    bytes: most,
                    reason: format!("its answer is larger than {most} bytes; ask for less at once"),
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn transport(&self, error: &reqwest::Error) -> StoreError {
        transport(self.address(), self.config.request_timeout, error)
    }

    /// The error of an answer that says it is a success and can't be understood.
    pub(super) fn misread(&self, reason: impl std::fmt::Display) -> StoreError {
        StoreError::Busy {
            address: self.address().to_owned(),
            reason: format!("its answer can't be understood: {reason}"),
            retry_after: None,
        }
    }
}

/// The error of a request that got no whole answer within `timeout`.
pub fn transport(address: &str, timeout: Duration, error: &reqwest::Error) -> StoreError {
    let address = address.to_owned();
    if error.is_timeout() && !error.is_connect() {
        return StoreError::TimedOut { address, seconds: timeout.as_secs_f64() };
    }
    let reason = root_cause(error);
    if error.is_builder() {
        return StoreError::Fatal { address, reason };
    }
    StoreError::Unreachable { address, reason }
}

/// What the system said: the innermost error. The outer ones repeat the URL.
fn root_cause(error: &reqwest::Error) -> String {
    let Some(mut cause) = error.source() else {
        return if error.is_connect() { "no connection".into() } else { "no whole answer".into() };
    };
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
