//! `GET` and `POST /2/tweets/search/stream/rules`.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;
use url::Url;

use super::{Present, Rule};
use crate::error::{IngestError, chain};
use crate::post::problem;

/// How long X may take for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most that is read of an answer.
const MAX_BYTES: usize = 8 << 20;
/// Rules sent in one request.
const AT_ONCE: usize = 100;
/// The most pages of a list: X has at most 1,000 rules, and gives as many in one.
const MAX_PAGES: usize = 20;

/// Why the rules are not as they should be. The text never holds a secret.
#[derive(Debug, Error)]
pub enum RulesError {
    /// X can't be asked.
    #[error("X can't be asked about its rules at {address}: {reason}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        reason: String,
    },
    /// X said no.
    #[error("X answered {status} to {what}: {said}{}", advice(*.status))]
    Refused {
        /// What was asked.
        what: &'static str,
        /// The status.
        status: u16,
        /// What it said.
        said: String,
    },
    /// The answer can't be read.
    #[error("X's answer about its rules can't be read: {0}")]
    Unreadable(String),
    /// Some rules were refused; nothing was deleted.
    #[error("X refuses {}; mend x.rules in the configuration", .0.join("; "))]
    Invalid(Vec<String>),
}

fn advice(status: u16) -> &'static str {
    match status {
        401 => "; check x.bearer_token, and the app in X's console",
        403 => "; check the app's access in X's console",
        429 => "; the rate limit of this token is used up, try again in a quarter of an hour",
        _ => "",
    }
}

/// The rules' end of X's API.
#[derive(Clone, Debug)]
pub struct Api {
    client: Client,
    endpoint: Url,
    bearer: SecretString,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    data: Vec<Given>,
    #[serde(default)]
    meta: Meta,
    #[serde(default)]
    errors: Vec<Value>,
}

#[derive(Default, Deserialize)]
struct Meta {
    next_token: Option<String>,
}

#[derive(Deserialize)]
struct Given {
    id: String,
    value: String,
    #[serde(default)]
    tag: Option<String>,
}

impl Api {
    /// The API at `base_url`, for the app of this token.
    ///
    /// # Errors
    /// When the address makes no sense, or no HTTP client can be made.
    pub fn new(base_url: &Url, bearer: SecretString) -> Result<Self, IngestError> {
        let endpoint =
            format!("{}/2/tweets/search/stream/rules", base_url.as_str().trim_end_matches('/'));
        let endpoint = endpoint.parse().map_err(|error| IngestError::Config {
            key: "x.base_url",
            reason: format!("{error}; it should be like https://api.x.com"),
        })?;
        let client = Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("bowerbird/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| IngestError::Client(chain(&error)))?;
        Ok(Self { client, endpoint, bearer })
    }

    /// The rules that X has.
    ///
    /// # Errors
    /// When X can't be asked or refuses.
    pub async fn list(&self) -> Result<Vec<Present>, RulesError> {
        let mut rules = Vec::new();
        let mut next: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let mut url = self.endpoint.clone();
            if let Some(token) = &next {
                url.query_pairs_mut().append_pair("pagination_token", token);
            }
            let (status, body) = self.ask(self.client.get(url)).await?;
            let answer = read(status, &body, "a list of the rules")?;
            rules.extend(answer.data.into_iter().map(|Given { id, value, tag }| Present {
                id,
                rule: Rule { value, tag: tag.unwrap_or_default() },
            }));
            next = answer.meta.next_token;
            if next.is_none() {
                return Ok(rules);
            }
        }
        Err(RulesError::Unreadable(format!("the list has no end after {MAX_PAGES} pages")))
    }

    /// Adds rules, or has X only check them.
    pub(super) async fn add(&self, rules: &[Rule], dry_run: bool) -> Result<(), RulesError> {
        for some in rules.chunks(AT_ONCE) {
            let add: Vec<Value> = some
                .iter()
                .map(|Rule { value, tag }| match tag.is_empty() {
                    true => json!({ "value": value }),
                    false => json!({ "value": value, "tag": tag }),
                })
                .collect();
            let mut url = self.endpoint.clone();
            if dry_run {
                url.query_pairs_mut().append_pair("dry_run", "true");
            }
            let asking = self.client.post(url).json(&json!({ "add": add }));
            let (status, body) = self.ask(asking).await?;
            // A rule that is refused stands in the answer, under 201 as under 400.
            let answer = serde_json::from_slice::<Answer>(&body);
            let refused = answer.iter().flat_map(|answer| &answer.errors).map(refusal);
            let refused: Vec<_> = refused.flatten().collect();
            if !refused.is_empty() {
                return Err(RulesError::Invalid(refused));
            }
            read(status, &body, "new rules")?;
        }
        Ok(())
    }

    /// Deletes rules.
    pub(super) async fn delete(&self, rules: &[Present]) -> Result<(), RulesError> {
        for some in rules.chunks(AT_ONCE) {
            let ids: Vec<&str> = some.iter().map(|rule| rule.id.as_str()).collect();
            let asking = self.client.post(self.endpoint.clone());
            let asking = asking.json(&json!({ "delete": { "ids": ids } }));
            let (status, body) = self.ask(asking).await?;
            read(status, &body, "the end of rules")?;
        }
        Ok(())
    }

    async fn ask(&self, asking: RequestBuilder) -> Result<(StatusCode, Vec<u8>), RulesError> {
        let unreachable = |error: reqwest::Error| RulesError::Unreachable {
            address: self.endpoint.to_string(),
            reason: chain(&error.without_url()),
        };
        let asking = asking.bearer_auth(self.bearer.expose_secret());
        let mut answer = asking.send().await.map_err(unreachable)?;
        let (status, mut body) = (answer.status(), Vec::new());
        while let Some(piece) = answer.chunk().await.map_err(unreachable)? {
            body.extend_from_slice(&piece);
            if body.len() > MAX_BYTES {
                return Err(RulesError::Unreadable(format!("it has more than {MAX_BYTES} bytes")));
            }
        }
        Ok((status, body))
    }
}

/// What X said of a rule that it refuses: `{"value", "title", "details"}`.
fn refusal(error: &Value) -> Option<String> {
    let value = error.get("value")?.as_str()?;
    let shown: String = value.chars().take(80).collect();
    let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let details = error.get("details").and_then(Value::as_array).into_iter().flatten();
    let details: Vec<_> = details.filter_map(Value::as_str).collect();
    let why = match (details.is_empty(), text("detail").is_empty()) {
        (false, _) => details.join(", "),
        (true, false) => text("detail"),
        _ => text("title"),
    };
    Some(format!("the rule {shown:?}: {why}"))
}

fn read(status: StatusCode, body: &[u8], what: &'static str) -> Result<Answer, RulesError> {
    if !status.is_success() {
        let problems = problem::of_body(body);
        let said: Vec<String> = problems.iter().map(|problem| problem.text()).collect();
        let said = if said.is_empty() { "no reason".to_owned() } else { said.join("; ") };
        return Err(RulesError::Refused { what, status: status.as_u16(), said });
    }
    serde_json::from_slice(body).map_err(|error| RulesError::Unreadable(error.to_string()))
}
