//! The client of a WFS 2.0: which types there are, how many features, and pages of them.

use std::time::Duration;

use bowerbird_stream::retry::retry;
use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::config::AurinConfig;
use super::fault::Fault;
use super::scan::{Cut, Scanner};
use super::shape::Shape;
use super::xml::{self, Capabilities, Column};
use crate::error::{IngestError, chain};
use crate::renewal::Renewal;

/// The largest document that is read whole: capabilities of some thousands of types.
const MAX_DOCUMENT_BYTES: usize = 64 << 20;
/// How much of a refusal is read.
const MAX_REFUSAL_BYTES: usize = 64 << 10;

/// A client for one WFS.
#[derive(Clone, Debug)]
pub struct Wfs {
    client: reqwest::Client,
    base_url: Url,
    credentials: Option<(String, SecretString)>,
    renewal: Option<Renewal>,
    config: Limits,
}

#[derive(Clone, Debug)]
struct Limits {
    page_size: u32,
    max_feature_bytes: usize,
    retry: bowerbird_stream::retry::RetryPolicy,
}

/// A page under way.
pub struct Page {
    response: Response,
    scanner: Option<Scanner>,
    matched: Option<u64>,
}

impl Wfs {
    /// A client.
    ///
    /// # Errors
    /// When the address makes no sense, or no HTTP client can be made.
    pub fn new(config: &AurinConfig) -> Result<Self, IngestError> {
        if config.base_url.has_authority() && config.base_url.password().is_some() {
            let reason = "it holds a password: set aurin.user and aurin.password".to_owned();
            return Err(IngestError::Config { key: "aurin.base_url", reason });
        }
        let client = reqwest::Client::builder()
            .connect_timeout(config.connect_timeout)
            .read_timeout(config.timeout)
            .user_agent(concat!("bowerbird/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| IngestError::Client(chain(&error)))?;
        Ok(Self {
            client,
            base_url: config.base_url.clone(),
            credentials: config.credentials.clone(),
            renewal: config.renewal.clone(),
            config: Limits {
                page_size: config.page_size,
                max_feature_bytes: config.max_feature_bytes,
                retry: config.retry.clone(),
            },
        })
    }

    /// Takes the password that holds by now.
    pub fn renew(&mut self) {
        if let (Some((_, password)), Some(renewal)) = (&mut self.credentials, &self.renewal)
            && renewal.renew(password)
        {
            tracing::info!("the password for the WFS has been exchanged");
        }
    }

    /// The types that there are, and under which constraints.
    ///
    /// # Errors
    /// What the WFS does wrong.
    pub async fn capabilities(&self) -> Result<Capabilities, Fault> {
        let body = self.document(&[("request", "GetCapabilities")]).await?;
        xml::capabilities(&body)
    }

    /// The columns of a type, geometries too.
    ///
    /// # Errors
    /// What the WFS does wrong.
    pub async fn columns(&self, type_name: &str) -> Result<Vec<Column>, Fault> {
        // WFS 2.0 asks for `typeNames` in GetFeature and for `typeName` here, and servers take
        // one of them or both (OGC 09-025r2, tables 8 and 17; its corrigendum).
        let parameters =
            [("request", "DescribeFeatureType"), ("typeName", type_name), ("typeNames", type_name)];
        xml::description(&self.document(&parameters).await?, type_name)
    }

    /// How many features a type has; nothing when the server does not know.
    ///
    /// # Errors
    /// What the WFS does wrong.
    pub async fn hits(&self, type_name: &str) -> Result<Option<u64>, Fault> {
        // As XML: some servers answer hits as JSON with an empty body.
        let parameters =
            [("request", "GetFeature"), ("typeNames", type_name), ("resultType", "hits")];
        xml::hits(&self.document(&parameters).await?)
    }

    /// Asks for the page of at most `count` that begins with the feature at `start`, in this shape.
    ///
    /// # Errors
    /// What the WFS does wrong.
    pub async fn page(
        &self,
        type_name: &str,
        sort_by: &str,
        shape: Shape,
        start: u64,
        count: u32,
    ) -> Result<Page, Fault> {
        let (count, start) = (count.to_string(), start.to_string());
        let mut parameters = vec![
            ("request", "GetFeature"),
            ("typeNames", type_name),
            ("outputFormat", "application/json"),
            ("srsName", shape.srs_name()),
            ("count", &count),
            ("startIndex", &start),
        ];
        if shape.sorted {
            parameters.push(("sortBy", sort_by));
        }
        let response = self.patiently(|| self.ask(&parameters)).await?;
        let scanner = Some(Scanner::new(self.config.max_feature_bytes));
        Ok(Page { response, scanner, matched: None })
    }

    /// How many features are asked for in one page.
    pub fn page_size(&self) -> u32 {
        self.config.page_size
    }

    /// How long to wait before a page that broke is asked for again.
    pub(super) fn wait(&self, attempt: u32) -> Duration {
        self.config.retry.delay(attempt)
    }

    /// Asks, and asks again where that may help.
    async fn patiently<T, F>(&self, ask: impl FnMut() -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let notify = |fault: &Fault, wait: Duration| {
            tracing::warn!(%fault, ?wait, "asking the wfs again");
        };
        retry(&self.config.retry, Fault::verdict, notify, ask).await
    }

    async fn document(&self, parameters: &[(&str, &str)]) -> Result<String, Fault> {
        self.patiently(|| self.ask_document(parameters)).await
    }

    async fn ask_document(&self, parameters: &[(&str, &str)]) -> Result<String, Fault> {
        let body = read(self.ask(parameters).await?, MAX_DOCUMENT_BYTES).await?;
        if looks_like_html(&body) {
            return Err(Fault::NotData("an HTML page".to_owned()));
        }
        xml::exception(&body).map_or(Ok(body), Err)
    }

    async fn ask(&self, parameters: &[(&str, &str)]) -> Result<Response, Fault> {
        let mut url = self.base_url.clone();
        url.query_pairs_mut()
            .extend_pairs([("service", "WFS"), ("version", "2.0.0")])
            .extend_pairs(parameters);
        let mut request = self.client.get(url);
        if let Some((user, password)) = &self.credentials {
            request = request.basic_auth(user, Some(password.expose_secret()));
        }
        let response = request.send().await.map_err(network)?;
        match response.status() {
            StatusCode::OK => Ok(response),
            StatusCode::UNAUTHORIZED if response.url().origin() != self.base_url.origin() => {
                Err(Fault::SentOn(response.url().origin().ascii_serialization()))
            }
            StatusCode::UNAUTHORIZED => Err(Fault::Unauthorised),
            status => Err(refusal(status, response).await),
        }
    }
}

impl Page {
    /// How many features there are over all pages; known at the end, where the server says so.
    pub fn matched(&self) -> Option<u64> {
        self.matched
    }

    /// The next features; nothing at the end of the page. Cancel safe.
    ///
    /// # Errors
    /// What the WFS does wrong; features handed out before are as good as any.
    pub async fn next(&mut self) -> Result<Option<Vec<Cut>>, Fault> {
        let Some(scanner) = &mut self.scanner else { return Ok(None) };
        let mut features = Vec::new();
        while features.is_empty() {
            let Some(piece) = self.response.chunk().await.map_err(network)? else {
                if let Some(scanner) = self.scanner.take() {
                    self.matched = scanner.matched();
                    scanner.finish()?;
                }
                return Ok(None);
            };
            scanner.push(&piece, &mut features)?;
        }
        Ok(Some(features))
    }
}

/// What stands behind another status than 200, and how long it asks to be left alone.
async fn refusal(status: StatusCode, response: Response) -> Fault {
    let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let after = after.and_then(|value| retry_after(value, Timestamp::now()));
    let fault = refused(status, response).await;
    match after {
        Some(after) if fault.is_transient() => Fault::Busy { fault: Box::new(fault), after },
        _ => fault,
    }
}

async fn refused(status: StatusCode, response: Response) -> Fault {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let is_xml = kind.is_some_and(|kind| kind.contains("xml"));
    let body = if is_xml { read(response, MAX_REFUSAL_BYTES).await.ok() } else { None };
    let exception = body.as_deref().and_then(xml::exception);
    match exception {
        Some(Fault::Exception { code, text }) => {
            Fault::Refused { status: status.as_u16(), said: format!("{code}: {text}") }
        }
        _ if status == StatusCode::FORBIDDEN => Fault::Forbidden,
        _ if matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) => {
            Fault::Nowhere(status.as_u16())
        }
        _ => Fault::Http(status.as_u16()),
    }
}

/// A `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3); one that has passed means now.
fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let seconds = value.trim().parse().map(Duration::from_secs);
    seconds.ok().or_else(|| {
        let at = jiff::fmt::rfc2822::parse(value.trim()).ok()?.timestamp();
        Some(at.duration_since(now).try_into().unwrap_or_default())
    })
}

async fn read(mut response: Response, bound: usize) -> Result<String, Fault> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(network)? {
        body.extend_from_slice(&piece);
        if body.len() > bound {
            return Err(Fault::NotData(format!("a document of more than {bound} bytes")));
        }
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

fn looks_like_html(body: &str) -> bool {
    let begin: String = body.trim_start().chars().take(16).collect::<String>().to_lowercase();
    begin.starts_with("<!doctype html") || begin.starts_with("<html")
}

fn network(error: reqwest::Error) -> Fault {
    Fault::Network(chain(&error.without_url()))
}

#[cfg(test)]
mod tests {
    use axum::http;

    use super::*;

    #[tokio::test]
    async fn a_server_that_asks_for_a_pause_gets_it() {
        let busy = |status, seconds| Fault::Busy {
            fault: Box::new(Fault::Http(status)),
            after: Duration::from_secs(seconds),
        };
        for (status, header, expected) in [
            (503, Some("7"), busy(503, 7)),
            (429, Some(" 0 "), busy(429, 0)),
            (502, Some("Sun, 06 Nov 1994 08:49:37 GMT"), busy(502, 0)),
            (503, Some("soon"), Fault::Http(503)),
            (503, None, Fault::Http(503)),
            (404, Some("7"), Fault::Nowhere(404)),
        ] {
            let mut response = http::Response::builder().status(status);
            if let Some(header) = header {
                response = response.header(RETRY_AFTER, header);
            }
            let response = Response::from(response.body("").unwrap());
            let fault = refusal(response.status(), response).await;
            assert_eq!(fault, expected, "{status} {header:?}");
            assert_eq!(fault.is_transient(), status != 404);
        }
        let said = "<ows:ExceptionReport><ows:Exception exceptionCode=\"A\"><ows:ExceptionText>\
                    full</ows:ExceptionText></ows:Exception></ows:ExceptionReport>";
        let response = http::Response::builder().header(RETRY_AFTER, "7");
        let response = response.header(CONTENT_TYPE, "text/xml").status(503).body(said).unwrap();
        let fault = refusal(StatusCode::SERVICE_UNAVAILABLE, response.into()).await;
        assert!(fault.to_string().contains("A: full; it asks to be left alone for 7s"), "{fault}");
    }
}
