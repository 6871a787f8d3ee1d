//! Which records of a range are replayed. Pure.

use bowerbird_stream::Record;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a record must be. Of several keys or types one is enough; headers and predicates must all
/// hold. An empty filter lets everything pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Keys.
    pub keys: Vec<String>,
    /// Types of events (`ce_type`).
    pub types: Vec<String>,
    /// Headers and their values.
    pub headers: Vec<(String, String)>,
    /// What the payload must hold.
    pub predicates: Vec<Predicate>,
}

/// What a payload must hold at a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predicate {
    /// The place: a JSON pointer (RFC 6901).
    pub pointer: String,
    /// What must stand there.
    pub test: Test,
}

/// What must stand at a place of a payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// Anything.
    Exists,
    /// This: as JSON, or the text of a string.
    Is(String),
    /// Anything else, or nothing.
    IsNot(String),
}

impl Filter {
    /// Whether a record passes.
    pub fn passes(&self, record: &Record) -> bool {
        let Self { keys, types, headers, predicates } = self;
        let key = || record.key.as_ref().and_then(|key| std::str::from_utf8(key).ok());
        let header = |name: &str| record.headers.text(name);
        if !keys.is_empty() && !key().is_some_and(|key| keys.iter().any(|one| one == key)) {
            return false;
        }
        let has_type = |kind: &str| types.iter().any(|one| one == kind);
        if !types.is_empty() && !header("ce_type").is_some_and(has_type) {
            return false;
        }
        if !headers.iter().all(|(name, value)| header(name) == Some(value)) {
            return false;
        }
        if predicates.is_empty() {
            return true;
        }
        // What is no JSON holds nothing at any place.
        let payload = record.value.as_ref().and_then(|value| serde_json::from_slice(value).ok());
        let payload: Value = payload.unwrap_or_default();
        predicates.iter().all(|predicate| predicate.holds(&payload))
    }
}

impl Predicate {
    /// Reads `/a/b=value`, `/a/b!=value` or `/a/b`.
    ///
    /// # Errors
    /// When it is none of these; for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (pointer, test) = match text.split_once('=') {
            None => (text, Test::Exists),
            Some((pointer, value)) => match pointer.strip_suffix('!') {
                Some(pointer) => (pointer, Test::IsNot(value.to_owned())),
                None => (pointer, Test::Is(value.to_owned())),
            },
        };
        if !pointer.starts_with('/') {
            return Err("write it as /JSON/POINTER=VALUE, /JSON/POINTER!=VALUE or /JSON/POINTER, \
                        such as /data/author_id=17"
                .to_owned());
        }
        Ok(Self { pointer: pointer.to_owned(), test })
    }

    fn holds(&self, payload: &Value) -> bool {
        let there = payload.pointer(&self.pointer);
        let is = |wanted: &str| {
            there.is_some_and(|there| {
                // Ids are strings, and nobody should have to quote them.
                there.as_str() == Some(wanted)
                    || serde_json::from_str::<Value>(wanted).is_ok_and(|wanted| wanted == *there)
            })
        };
        match &self.test {
            Test::Exists => there.is_some(),
            Test::Is(wanted) => is(wanted),
            Test::IsNot(wanted) => !is(wanted),
        }
    }
}

#[cfg(test)]
mod tests {
    use bowerbird_stream::{Headers, Position};
    use bytes::Bytes;
    use jiff::Timestamp;

    use super::*;

    fn record(key: &str, kind: &str, value: &str) -> Record {
        Record {
            position: Position { topic: "posts".into(), partition: 0, offset: 0 },
            appended: Timestamp::UNIX_EPOCH,
            key: Some(Bytes::from(key.to_owned())),
            value: Some(Bytes::from(value.to_owned())),
            headers: [("ce_type", kind), ("ce_source", "x:stream")]
                .into_iter()
                .collect::<Headers>(),
        }
    }

    #[test]
    fn each_part_of_a_filter_counts() {
        let predicate = |text: &str| Predicate::parse(text).unwrap();
        let holding =
            |text: &str| Filter { predicates: vec![predicate(text)], ..Filter::default() };
        let keys = |keys: &[&str]| Filter {
            keys: keys.iter().map(ToString::to_string).collect(),
            ..Filter::default()
        };
        let types = |kind: &str| Filter { types: vec![kind.to_owned()], ..Filter::default() };
        let header = |name: &str, value: &str| Filter {
            headers: vec![(name.to_owned(), value.to_owned())],
            ..Filter::default()
        };
        let json = r#"{"data":{"id":"17","n":3,"lang":null,"tags":["a"]}}"#;
        for (filter, value, passes) in [
            (Filter::default(), json, true),
            (keys(&["17", "18"]), json, true),
            (keys(&["18"]), json, false),
            (types("post.received"), json, true),
            (types("notice.received"), json, false),
            (header("ce_source", "x:stream"), json, true),
            (header("ce_source", "archive:a"), json, false),
            (header("file", ""), json, false),
            (holding("/data/id=17"), json, true),
            (holding("/data/id=\"17\""), json, true),
            (holding("/data/n=3"), json, true),
            (holding("/data/n=4"), json, false),
            (holding("/data/n!=4"), json, true),
            (holding("/data/lang=null"), json, true),
            (holding("/data/tags/0=a"), json, true),
            (holding("/data/tags"), json, true),
            (holding("/data/none"), json, false),
            (holding("/data/none!=1"), json, true),
            (holding("/data/id"), "{broken", false),
        ] {
            assert_eq!(filter.passes(&record("17", "post.received", value)), passes, "{filter:?}");
        }
        for wrong in ["", "data=1", "=1"] {
            assert!(Predicate::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(predicate("/a=b=c").test, Test::Is("b=c".to_owned()));
    }
}
