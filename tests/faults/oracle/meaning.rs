//! What a record of the log must come to, read independently of the sink: from the envelope's
//! headers and from what the corpus is known to hold.

use std::collections::BTreeMap;

use bowerbird_stream::{Record, topic};
use jiff::Timestamp;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_128;

use crate::corpus::FORBIDDEN;
use crate::proxy::MAX_BODY;

/// The databases, by the topics that fill them.
pub const DATABASES: [(&str, &[&str]); 3] = [
    (topic::POSTS, &[topic::POSTS, topic::NOTICES]),
    (topic::FEATURES, &[topic::FEATURES]),
    (topic::JOURNAL, &[topic::JOURNAL]),
];

/// An observation of an entity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    pub time: Timestamp,
    /// XXH3-128 of the payload: of two at the same time the greater counts.
    pub hash: u128,
    /// The document's type.
    pub kind: &'static str,
    pub text: Option<String>,
    pub place: bool,
}

/// When a notice was given, and its event's id.
pub type Notice = (Timestamp, String);

/// What a record says.
#[derive(Clone, Debug)]
pub enum Meaning {
    /// Of an entity: its document's id, and what is said.
    Seen(String, Seen),
    /// A notice of a kind, about what this document is of.
    Notice(String, &'static str, Notice),
    /// Nothing: it must become a dead letter.
    Poison,
}

/// Reads a record of any topic but the dead letters.
pub fn of(record: &Record) -> Meaning {
    read(record).unwrap_or(Meaning::Poison)
}

/// The hash of a payload as it was received: a copy whose place was taken tells that of its original.
pub fn hash(record: &Record) -> u128 {
    let received = record.headers.text("ce_scrubbed");
    received
        .and_then(|hex| u128::from_str_radix(hex, 16).ok())
        .unwrap_or_else(|| xxh3_128(record.value.as_deref().unwrap_or_default()))
}

fn read(record: &Record) -> Option<Meaning> {
    let header = |name: &str| record.headers.text(name);
    let key = std::str::from_utf8(record.key.as_deref()?).ok()?.to_owned();
    let time: Timestamp = header("ce_time")?.parse().ok()?;
    let event = header("ce_id")?.to_owned();
    let payload = record.value.as_deref();
    let hash = hash(record);
    let body: Option<Value> = payload.and_then(|payload| serde_json::from_slice(payload).ok());
    let seen = |kind, text, place| Seen { time, hash, kind, text, place };
    Some(match (&*record.position.topic, header("ce_type")?) {
        (topic::POSTS, "post.erased") => {
            // One that the sink has published stands for a notice.
            let notice = header("ce_notice").map_or(event, str::to_owned);
            let kind = match header("ce_action") {
                Some("user_suspend") => "suspension",
                _ => "removal",
            };
            Meaning::Notice(key, kind, (time, notice))
        }
        (topic::POSTS, _) => {
            let (text, place) = post(&key, &body?)?;
            let refused = text.contains(FORBIDDEN) || payload?.len() > MAX_BODY;
            match refused || key.starts_with('_') {
                true => Meaning::Poison,
                false => Meaning::Seen(key, seen("post", Some(text), place)),
            }
        }
        (topic::NOTICES, _) => {
            let id = match header("ce_subject")? {
                "user" => format!("user:{key}"),
                _ => key,
            };
            Meaning::Notice(id, notice(&body?)?, (time, event))
        }
        (topic::FEATURES, "feature.observed") => Meaning::Seen(key, seen("feature", None, false)),
        (topic::FEATURES, _) => Meaning::Seen(key, seen("vanished", None, false)),
        _ => Meaning::Seen(event, seen("journal", None, false)),
    })
}

/// The text of a post, and whether it tells where it was made.
fn post(key: &str, body: &Value) -> Option<(String, bool)> {
    let post = body.get("data").unwrap_or(body);
    let id = post.get("id_str").or_else(|| post.get("id"))?.as_str()?;
    let text = post.get("full_text").or_else(|| post.get("text"))?.as_str()?;
    let place = post.get("geo").is_some() || post.get("place").is_some();
    (id == key).then(|| (text.to_owned(), place))
}

/// The kinds of notices for which content must go.
pub const REMOVALS: [&str; 2] = ["removal", "suspension"];

fn notice(body: &Value) -> Option<&'static str> {
    let word = match body.get("action") {
        Some(action) => action.as_str()?,
        None => body.as_object()?.keys().next()?,
    };
    Some(match word {
        "delete" => "removal",
        "user_suspend" => "suspension",
        "undelete" => "restoration",
        "scrub_geo" => "geo_scrub",
        "withheld" => "withheld",
        _ => return None,
    })
}

/// All that is known of one entity.
#[derive(Clone, Debug, Default)]
pub struct Entity {
    seen: Vec<Seen>,
    /// The newest of each kind.
    pub notices: BTreeMap<&'static str, Notice>,
    told: Vec<(&'static str, Notice)>,
}

impl Entity {
    pub fn see(&mut self, seen: Seen) {
        self.seen.push(seen);
    }

    pub fn hear(&mut self, kind: &'static str, notice: Notice) {
        self.told.push((kind, notice.clone()));
        let held = self.notices.entry(kind).or_insert_with(|| notice.clone());
        *held = held.clone().max(notice);
    }

    /// Whether this was ever observed of it.
    pub fn was_seen(&self, (time, hash): &(Timestamp, u128)) -> bool {
        self.seen.iter().any(|seen| seen.time == *time && seen.hash == *hash)
    }

    /// Whether this notice was ever given about it.
    pub fn was_told(&self, kind: &str, notice: &Notice) -> bool {
        self.told.iter().any(|(known, told)| *known == kind && told == notice)
    }

    /// The newest that counts.
    fn newest(&self) -> Option<&Seen> {
        let removed = REMOVALS.iter().filter_map(|kind| self.notices.get(kind)).max();
        let removed = removed.map(|(time, _)| *time);
        self.seen.iter().filter(|seen| removed.is_none_or(|at| seen.time > at)).max()
    }

    /// Whether what it shows must not tell its place.
    pub fn is_scrubbed(&self) -> bool {
        let scrub = self.notices.get("geo_scrub");
        self.newest().zip(scrub).is_some_and(|(seen, (time, _))| seen.time <= *time)
    }

    /// What its document shows.
    pub fn shown(&self) -> Option<Seen> {
        let newest = self.newest().cloned();
        newest.map(|seen| Seen { place: seen.place && !self.is_scrubbed(), ..seen })
    }

    /// The type of its document.
    pub fn kind(&self, id: &str) -> &'static str {
        if let Some(seen) = self.shown() {
            return seen.kind;
        }
        let time = |kind: &str| self.notices.get(kind).map(|(time, _)| time);
        // Nothing here ends a suspension.
        let is_restored = time("restoration") > time("removal") && time("suspension").is_none();
        match REMOVALS.iter().any(|kind| time(kind).is_some()) {
            _ if id.starts_with("user:") => "user",
            false => "notice",
            true if is_restored => "restored",
            true => "removed",
        }
    }
}
