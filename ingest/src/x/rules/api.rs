//! `GET` and `POST /2/tweets/search/stream/rules`.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Client, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;
use url::Url;

use super::super::hide::hidden;
use super::super::kept::Kept;
use super::{Present, Rule};
use crate::error::{IngestError, chain};
use crate::post::{Problem, Scalar, problem};

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
    /// X said no, whatever the status.
    #[error("X answered {status} to {what}: {said}{}", advice(*.status, *.wait))]
    Refused {
        /// What was asked.
        what: &'static str,
        /// The status.
        status: u16,
        /// What it said.
        said: String,
        /// After how many seconds its rate limit is over, if it told.
        wait: Option<u64>,
    },
    /// The answer can't be read.
    #[error("X's answer about its rules can't be read: {0}")]
    Unreadable(String),
    /// Some rules were refused.
    #[error("X refuses {}; mend x.rules in the configuration", .0.join("; "))]
    Invalid(Vec<String>),
    /// X took what was asked, and says that it has not done all of it.
    #[error("X says that {left} of {of} rules {what}; `bowerbird rules sync` again goes on")]
    Left {
        /// How many.
        left: u64,
        /// Of how many.
        of: usize,
        /// What they were not.
        what: &'static str,
    },
    /// It only imitates X.
    #[error(
        "this server does not know X's dry run and has added {rules} rules, which {}; \
         with --no-check it is not asked to check them",
        .left.as_ref().map_or("were deleted again".to_owned(), |why| {
            format!("could not be deleted again: {why}")
        })
    )]
    Taken {
        /// How many.
        rules: usize,
        /// Why they are still there, if they are.
        left: Option<String>,
    },
}

impl RulesError {
    /// Whether the same may be taken a moment later.
    pub(super) fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Refused { status: 500.., .. })
    }
}

fn advice(status: u16, wait: Option<u64>) -> String {
    match (status, wait) {
        (401, _) => "; check x.bearer_token, and the app in X's console".to_owned(),
        (300..=399 | 404, _) => "; there are no rules at this address: check x.base_url".to_owned(),
        (403, _) => "; check the app's access in X's console".to_owned(),
        (429, Some(wait)) => {
            format!("; the rate limit of this token is used up, try again in {wait} s")
        }
        (429, None) => {
            "; the rate limit of this token is used up, try again in a quarter of an hour"
                .to_owned()
        }
        (500.., _) => "; try again in a while".to_owned(),
        _ => String::new(),
    }
}

/// The rules' end of X's API.
#[derive(Clone, Debug)]
pub struct Api {
    client: Client,
    endpoint: Url,
    bearer: SecretString,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer<'a> {
    #[serde(borrow)]
    data: Option<Vec<Given<'a>>>,
    #[serde(borrow)]
    meta: Meta<'a>,
    errors: Vec<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta<'a> {
    next_token: Option<String>,
    #[serde(borrow)]
    summary: Summary<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Summary<'a> {
    #[serde(borrow)]
    not_deleted: Scalar<'a>,
}

#[derive(Deserialize)]
struct Given<'a> {
    #[serde(borrow)]
    id: Scalar<'a>,
    value: String,
    tag: Option<String>,
}

/// What X answered.
struct Reply {
    status: StatusCode,
    headers: Kept,
    body: Vec<u8>,
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

    /// The rules that X has, the oldest first.
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
            let reply = self.ask(self.client.get(url)).await?;
            let answer = reply.read("a list of the rules")?;
            for given in answer.data.into_iter().flatten() {
                let there = given.present().ok_or_else(|| {
                    RulesError::Unreadable("a rule has no id, or an empty one".to_owned())
                })?;
                rules.push(there);
            }
            next = answer.meta.next_token;
            if next.is_none() {
                // In the order in which they were made, whatever order they come in.
                rules.sort_by(|a, b| (a.id.len(), &a.id).cmp(&(b.id.len(), &b.id)));
                return Ok(rules);
            }
        }
        Err(RulesError::Unreadable(format!("the list has no end after {MAX_PAGES} pages")))
    }

    /// Adds rules, or has X only check them. What was added is in `done`, whatever the outcome.
    pub(super) async fn add(
        &self,
        rules: &[Rule],
        dry_run: bool,
        done: &mut Vec<Rule>,
    ) -> Result<(), RulesError> {
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
            let reply = self.ask(self.client.post(url).json(&json!({ "add": add }))).await?;
            // A rule that is refused stands in the answer beside those that were taken, under 201
            // as under 400.
            let answer: Answer<'_> = serde_json::from_slice(&reply.body).unwrap_or_default();
            let taken: Vec<Rule> = answer
                .data
                .into_iter()
                .flatten()
                .map(|Given { value, tag, .. }| Rule { value, tag: tag.unwrap_or_default() })
                .collect();
            let left = some.len().saturating_sub(taken.len());
            if !dry_run {
                done.extend(taken);
            }
            // One that came there meanwhile is no fault of the configuration.
            let is_duplicate = |error: &&Value| error["title"] == "DuplicateRule";
            let (duplicates, errors): (Vec<_>, Vec<_>) =
                answer.errors.iter().partition(is_duplicate);
            let refused: Vec<_> = errors.into_iter().filter_map(refusal).collect();
            if !refused.is_empty() {
                return Err(RulesError::Invalid(refused));
            }
            if !duplicates.is_empty() {
                let (left, of, what) = (duplicates.len() as u64, some.len(), "are there already");
                return Err(RulesError::Left { left, of, what });
            }
            reply.read("new rules")?;
            if left > 0 && !dry_run {
                let what = "were not added";
                return Err(RulesError::Left { left: left as u64, of: some.len(), what });
            }
        }
        Ok(())
    }

    /// Deletes rules. What was deleted is in `done`, whatever the outcome.
    pub(super) async fn delete(
        &self,
        rules: &[Present],
        done: &mut Vec<Present>,
    ) -> Result<(), RulesError> {
        for some in rules.chunks(AT_ONCE) {
            let ids: Vec<&str> = some.iter().map(|rule| rule.id.as_str()).collect();
            let asking = self.client.post(self.endpoint.clone());
            let asked = self.ask(asking.json(&json!({ "delete": { "ids": ids } }))).await;
            if let Err(error) = asked.and_then(|reply| reply.deleted(some.len())) {
                // It may have deleted some all the same, and does not say which.
                if let Ok(there) = self.list().await {
                    let gone = some.iter().filter(|rule| !there.iter().any(|o| o.id == rule.id));
                    done.extend(gone.cloned());
                }
                return Err(error);
            }
            done.extend_from_slice(some);
        }
        Ok(())
    }

    async fn ask(&self, asking: RequestBuilder) -> Result<Reply, RulesError> {
        let unreachable = |error: reqwest::Error| RulesError::Unreachable {
            address: self.endpoint.to_string(),
            reason: chain(&error.without_url()),
        };
        let asking = asking.bearer_auth(self.bearer.expose_secret());
        let mut answer = asking.send().await.map_err(unreachable)?;
        let (status, headers) = (answer.status(), Kept::of(answer.headers(), &self.bearer));
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(unreachable)? {
            body.extend_from_slice(&piece);
            if body.len() > MAX_BYTES {
                return Err(RulesError::Unreadable(format!("it has more than {MAX_BYTES} bytes")));
            }
        }
        let body = hidden(&String::from_utf8_lossy(&body), &self.bearer).into_bytes();
        Ok(Reply { status, headers, body })
    }
}

impl Given<'_> {
    fn present(self) -> Option<Present> {
        let id = match self.id {
            Scalar::Text(id) if !id.is_empty() => id.into_owned(),
            Scalar::Number(id) => id.to_string(),
            _ => return None,
        };
        let rule = Rule { value: self.value, tag: self.tag.unwrap_or_default() };
        Some(Present { id, rule })
    }
}

impl Reply {
    /// Whether all of so many rules were deleted.
    fn deleted(&self, of: usize) -> Result<(), RulesError> {
        let answer = self.read("the end of rules")?;
        let what = "were not deleted";
        let left = answer.meta.summary.not_deleted.id();
        left.map_or(Ok(()), |left| Err(RulesError::Left { left, of, what }))
    }

    /// The answer, if it is yes. A no can come under 200 too: X's emulator says so that it does not
    /// delete.
    fn read(&self, what: &'static str) -> Result<Answer<'_>, RulesError> {
        let refused = |problems: Vec<Problem>| {
            let said: Vec<String> = problems.iter().map(Problem::text).collect();
            let said = if said.is_empty() { "no reason".to_owned() } else { said.join("; ") };
            let wait = self.headers.rate_limited_for(Timestamp::now());
            RulesError::Refused { what, status: self.status.as_u16(), said, wait }
        };
        if !self.status.is_success() {
            return Err(refused(problem::of_body(&self.body)));
        }
        let answer: Answer<'_> = serde_json::from_slice(&self.body)
            .map_err(|error| RulesError::Unreadable(error.to_string()))?;
        if !answer.errors.is_empty() {
            return Err(refused(problem::of_body(&self.body)));
        }
        Ok(answer)
    }
}

/// What X said of a rule that it refuses: `{"value", "title", "details"}`. Of a request that it does
/// not take it says the same of an empty value.
fn refusal(error: &Value) -> Option<String> {
    let value = error.get("value")?.as_str().filter(|value| !value.is_empty())?;
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
