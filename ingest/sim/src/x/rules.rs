//! The rules of the stream.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Sim, lock, problem};

/// X's bound on the length of a rule, in characters.
const MAX_RULE_LENGTH: usize = 1024;
const FIRST_ID: u64 = 1_500_000_000_000_000_001;

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub id: String,
    pub value: String,
    pub tag: Option<String>,
}

/// The rules in force.
pub struct Rules {
    rules: Vec<Rule>,
    next_id: u64,
}

#[derive(Deserialize)]
struct NewRule {
    value: String,
    tag: Option<String>,
}

/// A change of the rules: one of both.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Change {
    add: Vec<NewRule>,
    delete: Option<Deletion>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Deletion {
    ids: Vec<String>,
    values: Vec<String>,
}

/// What the address asks.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Options {
    dry_run: bool,
}

impl Rules {
    /// The rules at the start, from values and tags.
    pub fn new(rules: &[(String, String)]) -> Self {
        let mut new = Self { rules: Vec::new(), next_id: FIRST_ID };
        for (value, tag) in rules {
            new.add(value.clone(), Some(tag.clone()));
        }
        new
    }

    /// Those in force.
    pub fn all(&self) -> &[Rule] {
        &self.rules
    }

    fn add(&mut self, value: String, tag: Option<String>) -> Rule {
        let rule = Rule { id: self.next_id.to_string(), value, tag };
        self.next_id += 1;
        self.rules.push(rule.clone());
        rule
    }
}

impl Rule {
    fn json(&self) -> Value {
        let mut json = json!({"id": self.id, "value": self.value});
        if let Some(tag) = &self.tag {
            json["tag"] = Value::from(tag.as_str());
        }
        json
    }
}

/// `GET /2/tweets/search/stream/rules`
pub async fn list(State(sim): State<Arc<Sim>>) -> Json<Value> {
    let rules = lock(&sim.rules);
    let sent = Timestamp::now().to_string();
    let mut answer = json!({"meta": {"sent": sent, "result_count": rules.all().len()}});
    if !rules.all().is_empty() {
        answer["data"] = rules.all().iter().map(Rule::json).collect();
    }
    Json(answer)
}

/// `POST /2/tweets/search/stream/rules`
pub async fn change(
    State(sim): State<Arc<Sim>>,
    Query(options): Query<Options>,
    Json(change): Json<Change>,
) -> Response {
    let mut rules = lock(&sim.rules);
    let before = (options.dry_run).then(|| (rules.rules.clone(), rules.next_id));
    let answer = match change.delete {
        Some(deletion) => delete(&mut rules, &deletion),
        None if change.add.is_empty() => {
            problem(StatusCode::BAD_REQUEST, "Invalid Request", "neither add nor delete")
        }
        None => add(&mut rules, change.add),
    };
    if let Some((before, next_id)) = before {
        *rules = Rules { rules: before, next_id };
    }
    answer
}

fn add(rules: &mut Rules, new: Vec<NewRule>) -> Response {
    let (mut created, mut errors) = (Vec::new(), Vec::new());
    for NewRule { value, tag } in new {
        if let Some(old) = rules.rules.iter().find(|rule| rule.value == value) {
            let kind = "https://api.x.com/2/problems/duplicate-rules";
            errors.push(
                json!({"title": "DuplicateRule", "type": kind, "value": value, "id": old.id}),
            );
        } else if value.trim().is_empty() || value.chars().count() > MAX_RULE_LENGTH {
            let kind = "https://api.x.com/2/problems/invalid-rules";
            errors.push(json!({"title": "UnprocessableEntity", "type": kind, "value": value}));
        } else {
            created.push(rules.add(value, tag).json());
        }
    }
    let summary = json!({
        "created": created.len(), "not_created": errors.len(),
        "valid": created.len(), "invalid": errors.len(),
    });
    let meta = json!({"sent": Timestamp::now().to_string(), "summary": summary});
    let status = if created.is_empty() { StatusCode::BAD_REQUEST } else { StatusCode::CREATED };
    let mut answer = json!({"meta": meta});
    if !created.is_empty() {
        answer["data"] = Value::from(created);
    }
    if !errors.is_empty() {
        answer["errors"] = Value::from(errors);
    }
    (status, Json(answer)).into_response()
}

fn delete(rules: &mut Rules, deletion: &Deletion) -> Response {
    let asked = deletion.ids.len() + deletion.values.len();
    let before = rules.rules.len();
    let doomed =
        |rule: &Rule| deletion.ids.contains(&rule.id) || deletion.values.contains(&rule.value);
    rules.rules.retain(|rule| !doomed(rule));
    let deleted = before - rules.rules.len();
    let summary = json!({"deleted": deleted, "not_deleted": asked.saturating_sub(deleted)});
    let meta = json!({"sent": Timestamp::now().to_string(), "summary": summary});
    Json(json!({"meta": meta})).into_response()
}
