//! What the store holds, asked of it without the proxy.

use std::collections::BTreeMap;

use bowerbird_store::{AnyStore, DocumentStore};
use bowerbird_stream::Position;
use jiff::Timestamp;
use serde_json::Value;

use super::Wrongs;
use super::generations::Generation;
use super::ledger::Ledger;
use super::meaning::{self, Entity, Meaning, REMOVALS, Seen};

/// How many documents are asked for at once.
const PAGE: usize = 1_000;

/// The documents of databases, by id.
#[derive(Debug, Default)]
pub struct Documents {
    databases: BTreeMap<String, BTreeMap<String, Value>>,
    rewrites: u64,
}

impl Documents {
    /// Reads all of these databases; nothing when the store can't be asked just now.
    pub async fn read(store: &AnyStore, generations: &[Generation]) -> Option<Self> {
        let mut all = Self::default();
        for Generation { database, .. } in generations {
            let documents = all.databases.entry(database.clone()).or_default();
            if store.database(database).await.ok()?.is_none() {
                continue;
            }
            let mut after: Option<String> = None;
            loop {
                let page = store.scan(database, after.as_deref(), PAGE).await.ok()?;
                let Some(last) = page.last() else { break };
                after = Some(last.id.clone());
                for document in page {
                    let revision = document.revision.map(|revision| revision.0).unwrap_or_default();
                    let generation = revision.split('-').next().and_then(|n| n.parse::<u64>().ok());
                    all.rewrites += generation.unwrap_or(1).saturating_sub(1);
                    let body = serde_json::from_str(document.body.get()).unwrap_or_default();
                    documents.insert(document.id, body);
                }
            }
        }
        Some(all)
    }

    /// The documents of a database.
    pub fn of(&self, database: &str) -> impl Iterator<Item = (&String, &Value)> {
        self.databases.get(database).into_iter().flatten()
    }

    /// Revisions beyond the first of each document.
    pub fn rewrites(&self) -> u64 {
        self.rewrites
    }

    /// Whether a document says what a record said, or something that has overtaken it.
    pub fn covers(&self, database: &str, said: &Meaning) -> bool {
        let body = |id| self.databases.get(database).and_then(|documents| documents.get(id));
        match said {
            Meaning::Poison => false,
            Meaning::Seen(id, seen) => body(id).is_some_and(|body| {
                let removals = REMOVALS.iter().filter_map(|kind| notice(body, kind));
                let removed = removals.map(|(time, _)| time).max();
                let removed = removed.is_some_and(|time| time >= seen.time);
                removed || observed(body).is_some_and(|there| there >= (seen.time, seen.hash))
            }),
            Meaning::Notice(id, kind, given) => {
                body(id).and_then(|body| notice(body, kind)).is_some_and(|there| there >= *given)
            }
        }
    }

    /// What is not as it must be.
    pub fn differences(
        &self,
        database: &str,
        expected: &BTreeMap<String, Entity>,
        places: Option<&Ledger>,
    ) -> Wrongs {
        let none = BTreeMap::new();
        let documents = self.databases.get(database).unwrap_or(&none);
        let mut wrongs = Wrongs::new();
        for id in documents.keys().filter(|id| !expected.contains_key(*id)) {
            wrongs.push(format!("{database}/{id} is there, but nothing in the log says so"));
        }
        for (id, entity) in expected {
            let wrong = match documents.get(id) {
                None => Some("it is missing".to_owned()),
                Some(body) => differs(id, body, entity, places),
            };
            wrongs.extend(wrong.map(|wrong| format!("{database}/{id}: {wrong}")));
        }
        wrongs
    }
}

/// How a document is other than it must be.
fn differs(id: &str, body: &Value, entity: &Entity, places: Option<&Ledger>) -> Option<String> {
    let kind = entity.kind(id);
    if body["type"] != kind {
        return Some(format!("its type is {}, not {kind}", body["type"]));
    }
    let held: Vec<_> = body["notices"].as_object().into_iter().flatten().collect();
    let told = |kind: &str| notice(body, kind);
    if held.len() != entity.notices.len()
        || entity.notices.iter().any(|(kind, given)| told(kind).as_ref() != Some(given))
    {
        return Some(format!("its notices are {held:?}, not {:?}", entity.notices));
    }
    let shown = entity.shown();
    match (&shown, observed(body)) {
        (None, None) if body.get("text").is_none() && body.get("place").is_none() => None,
        (Some(seen), Some(there)) if there == (seen.time, seen.hash) => content(body, seen, places),
        (_, there) => Some(format!("it shows {there:?}, not {shown:?}")),
    }
}

fn content(body: &Value, seen: &Seen, places: Option<&Ledger>) -> Option<String> {
    if body.get("text").and_then(Value::as_str) != seen.text.as_deref() {
        return Some(format!("its text is {}, not {:?}", body["text"], seen.text));
    }
    if body.get("place").is_some() != seen.place {
        return Some(format!("its place is {}", body["place"]));
    }
    let ledger = places?;
    let origin: Option<Position> = serde_json::from_value(body["log"].clone()).ok();
    let record = origin.as_ref().and_then(|origin| ledger.at(origin));
    let payload = record.map(meaning::hash);
    (payload != Some(seen.hash)).then(|| format!("{origin:?} is not where its event stands"))
}

pub fn observed(body: &Value) -> Option<(Timestamp, u128)> {
    let observed = body.get("observed")?;
    let time = observed["time"].as_str()?.parse().ok()?;
    Some((time, u128::from_str_radix(observed["hash"].as_str()?, 16).ok()?))
}

pub fn notice(body: &Value, kind: &str) -> Option<(Timestamp, String)> {
    let notice = body.get("notices")?.get(kind)?;
    Some((notice["time"].as_str()?.parse().ok()?, notice["event"].as_str()?.to_owned()))
}
