//! What a run brings in: archives and single records, good ones and poisoned ones, each made so
//! that the oracle can tell by itself what must come of it.

use std::fs;
use std::path::{Path, PathBuf};

use bowerbird_stream::log::Outgoing;
use bowerbird_stream::{Event, EventType, Headers, topic};
use bowerbird_testbed::random::Random;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::proxy::MAX_BODY;

/// The store's validation refuses a document whose text holds this.
pub const FORBIDDEN: &str = "FORBIDDEN";

/// 2024-05-01, in milliseconds.
const FIRST_MS: u64 = 1_714_521_600_000;
/// What snowflake ids count from, in milliseconds (X developer documentation, "X IDs").
const SNOWFLAKE_MS: u64 = 1_288_834_974_657;
/// Observations and notices are spread over so many seconds, so that some have the same time.
const SPREAD: u64 = 120;
const ENTITIES: u64 = 400;
const FILES: u64 = 4;
const LINES: u64 = 350;

/// Makes archives and records.
pub struct Corpus {
    random: Random,
    /// Different in every run.
    first_id: u64,
    /// Whether there are posts that only a store with a validation and a limit refuses.
    refusals_wanted: bool,
    /// What was refused so far: each is the newest of its post, so that no good one hides it.
    refusals: u64,
}

/// An archive, and what must be in the log when its import has succeeded.
#[derive(Debug)]
pub struct Archive {
    pub path: PathBuf,
    /// Posts and notices: topic and value.
    pub events: Vec<(&'static str, String)>,
    /// The lines that are nothing, from 1.
    pub broken: Vec<u64>,
}

impl Corpus {
    pub fn new(seed: u64, random: Random) -> Self {
        let first_ms = FIRST_MS - SNOWFLAKE_MS + seed % 1_000_000 * 1_000;
        Self { random, first_id: first_ms << 22, refusals_wanted: true, refusals: 0 }
    }

    /// The same for a store that takes every document.
    pub fn without_refusals(self) -> Self {
        Self { refusals_wanted: false, ..self }
    }

    /// Writes the archives of a run.
    pub fn archives(&mut self, folder: &Path) -> Vec<Archive> {
        (0..FILES).map(|number| self.archive(folder.join(format!("{number}.jsonl")))).collect()
    }

    fn archive(&mut self, path: PathBuf) -> Archive {
        let mut archive = Archive { path, events: Vec::new(), broken: Vec::new() };
        let mut text = String::new();
        for number in 1..=LINES {
            let line = match self.random.below(100) {
                0 | 1 => {
                    archive.broken.push(number);
                    self.random.pick(&["{\"id\": ", "no json", "[1, 2]", "{\"a\":1}"]).to_owned()
                }
                2..=7 => {
                    let line = self.notice_line().to_string();
                    archive.events.push((topic::NOTICES, line.clone()));
                    line
                }
                _ => {
                    let line = self.post().2.to_string();
                    archive.events.push((topic::POSTS, line.clone()));
                    line
                }
            };
            text.push_str(&line);
            text.push('\n');
        }
        fs::write(&archive.path, text).unwrap();
        archive
    }

    /// Records as a source would publish them.
    pub fn records(&mut self, count: u64) -> Vec<Outgoing> {
        (0..count).map(|_| self.record()).collect()
    }

    /// Posts that nobody has said anything about so far, with their ids.
    pub fn last(&mut self, count: u64) -> Vec<(String, Outgoing)> {
        let first = self.first_id + ENTITIES;
        let of = |number: u64| {
            let (id, time) = ((first + number).to_string(), self.time());
            let post =
                json!({"data": {"id": id, "text": "the last", "author_id": "9"}}).to_string();
            let kind = EventType::PostReceived;
            (id.clone(), event(topic::POSTS, kind, id, time, Some(post), &[]))
        };
        (0..count).map(of).collect()
    }

    fn record(&mut self) -> Outgoing {
        match self.random.below(100) {
            0..=5 => self.poison(),
            6..=14 => self.erased(),
            15..=24 => self.notice(),
            25..=39 => self.feature(),
            _ => {
                let (id, time, post) = self.post();
                event(topic::POSTS, EventType::PostReceived, id, time, Some(post.to_string()), &[])
            }
        }
    }

    fn id(&mut self) -> String {
        (self.first_id + self.random.below(ENTITIES)).to_string()
    }

    fn time(&mut self) -> Timestamp {
        let seconds = i64::try_from(self.random.below(SPREAD)).unwrap();
        Timestamp::from_millisecond(i64::try_from(FIRST_MS).unwrap() + seconds * 1_000).unwrap()
    }

    /// Later than all that is good.
    fn later(&mut self) -> Timestamp {
        self.refusals += 1;
        let seconds = i64::try_from(SPREAD + self.refusals).unwrap();
        Timestamp::from_millisecond(i64::try_from(FIRST_MS).unwrap() + seconds * 1_000).unwrap()
    }

    /// A post in one of the forms that people bring: its id, when it was observed, and itself.
    fn post(&mut self) -> (String, Timestamp, Value) {
        let id = self.id();
        let mut text = format!("observation {} ", self.random.below(1_000_000));
        text.push_str(&"weather ".repeat(usize::try_from(self.random.below(60)).unwrap()));
        let mut time = self.time();
        match self.random.below(200) {
            _ if !self.refusals_wanted => {}
            0 | 1 => {
                text.push_str(FORBIDDEN);
                time = self.later();
            }
            2 => {
                text.push_str(&"x".repeat(MAX_BODY + 1_000));
                time = self.later();
            }
            _ => {}
        }
        let place = self.random.percent(40);
        let post = match self.random.below(3) {
            0 => {
                let mut post = json!({"id": id, "text": text, "lang": "en", "author_id": "9",
                    "__twarc": {"retrieved_at": time.to_string(), "version": "2.9.5"}});
                if place {
                    post["geo"] = json!({"place_id": "p1", "id": "p1",
                        "full_name": "Melbourne, Victoria", "country_code": "AU"});
                }
                post
            }
            1 => {
                let made = time.strftime("%a %b %d %H:%M:%S +0000 %Y").to_string();
                let number: u64 = id.parse().unwrap();
                let mut post = json!({"created_at": made, "id": number, "id_str": id,
                    "full_text": text, "user": {"id": 9, "id_str": "9", "screen_name": "kim"}});
                if place {
                    post["place"] =
                        json!({"id": "p1", "full_name": "Melbourne", "country_code": "AU"});
                }
                post
            }
            _ => json!({"data": {"id": id, "text": text, "author_id": "9",
                "created_at": time.to_string()}, "matching_rules": [{"id": "1", "tag": "rain"}]}),
        };
        (id, time, post)
    }

    /// A notice as an archive holds it: about a post, or about a user.
    fn notice_line(&mut self) -> Value {
        let time = self.time().as_millisecond().to_string();
        match self.random.below(4) {
            0 => {
                let user = self.random.below(5) + 1;
                json!({"user_suspend": {"id": user, "timestamp_ms": time}})
            }
            1 => {
                let user = self.random.below(5) + 1;
                json!({"scrub_geo": {"user_id": user, "user_id_str": user.to_string(),
                    "up_to_status_id": 23, "timestamp_ms": time}})
            }
            _ => json!({"delete": {"status": {"id_str": self.id(), "user_id": 3},
                "timestamp_ms": time}}),
        }
    }

    /// A notice about a post, as a compliance source publishes it.
    fn notice(&mut self) -> Outgoing {
        let (id, time) = (self.id(), self.time());
        let action = self.random.pick(&["delete", "undelete", "scrub_geo", "withheld"]);
        let value = json!({"id": id, "action": action, "nonce": self.random.below(1 << 30)});
        let about = [("subject", "post"), ("action", action)];
        event(topic::NOTICES, EventType::NoticeReceived, id, time, Some(value.to_string()), &about)
    }

    fn erased(&mut self) -> Outgoing {
        let (id, time) = (self.id(), self.time());
        event(topic::POSTS, EventType::PostErased, id, time, None, &[("action", "delete")])
    }

    fn feature(&mut self) -> Outgoing {
        let (id, time) = (format!("rain:{}", self.random.below(50)), self.time());
        let value = json!({"type": "Feature", "id": id, "geometry": null,
            "properties": {"fall": self.random.below(1_000)}});
        match self.random.percent(10) {
            true => event(topic::FEATURES, EventType::FeatureVanished, id, time, None, &[]),
            false => {
                let value = Some(value.to_string());
                event(topic::FEATURES, EventType::FeatureObserved, id, time, value, &[])
            }
        }
    }

    /// A record that can become no document.
    fn poison(&mut self) -> Outgoing {
        let (id, time) = (self.id(), self.time());
        let post = |key: String, value: String| {
            event(topic::POSTS, EventType::PostReceived, key, time, Some(value), &[])
        };
        match self.random.below(6) {
            0 => post(id, "{\"id\": ".to_owned()),
            1 => post(id, json!({"id": "1", "text": "of another post"}).to_string()),
            2 => post(format!("_{id}"), json!({"id": format!("_{id}"), "text": "a"}).to_string()),
            3 => post(id.clone(), json!({"id": id}).to_string()),
            4 => {
                let value = json!({"id": id, "action": "praise"}).to_string();
                event(topic::NOTICES, EventType::NoticeReceived, id, time, Some(value), &[])
            }
            _ => Outgoing {
                topic: topic::POSTS.into(),
                key: Some(Bytes::from(id)),
                value: Some(Bytes::from_static(b"no envelope")),
                headers: Headers::new(),
            },
        }
    }
}

fn event(
    topic: &'static str,
    kind: EventType,
    key: String,
    time: Timestamp,
    value: Option<String>,
    extensions: &[(&str, &str)],
) -> Outgoing {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let id = format!("{key}-{}-{}", time.as_millisecond(), value.as_deref().map_or(0, str::len));
    Outgoing::event(
        topic,
        Event {
            id,
            source: "faults".to_owned(),
            kind,
            time,
            key,
            value: value.map(Bytes::from),
            extensions: extensions.iter().map(owned).collect(),
        },
    )
}
