//! Carving a response that holds many posts into one payload a post.
//!
//! A payload is the post's own bytes with the includes that it refers to, those that the posts it
//! refers to refer to in turn (their authors, places, media), the errors about any of them, and
//! the response's `matching_rules` and `__twarc`. Parts are copied as they stand, never rewritten.
//!
//! What a post refers to is found by looking up every string in it among the ids of the includes,
//! not by a list of field names: the names drift (`tweets` became `posts`), and a new kind of
//! include needs no change here.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::scalar::Scalar;
use super::shape::{Object, Top};

/// Longer strings are no ids.
const MAX_ID_LENGTH: usize = 64;

/// The kind of includes that refer to others in turn, by its old and its new name.
const POSTS: [&str; 2] = ["tweets", "posts"];

/// Includes and errors of one response, by what they can be referred to.
pub struct Response<'a> {
    entries: Vec<Entry<'a>>,
    kinds: Vec<Cow<'a, str>>,
    by_id: Index<'a>,
    by_username: Index<'a>,
    errors: Vec<(&'a RawValue, Vec<String>)>,
    matching_rules: Option<&'a RawValue>,
    twarc: Option<&'a RawValue>,
}

/// Which entries a name stands for.
type Index<'a> = HashMap<Cow<'a, str>, Vec<usize>>;

struct Entry<'a> {
    kind: usize,
    raw: &'a RawValue,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Names<'a> {
    #[serde(borrow)]
    id: Scalar<'a>,
    #[serde(borrow)]
    media_key: Scalar<'a>,
    // Mentions named only the username until the end of 2021.
    #[serde(borrow)]
    username: Scalar<'a>,
}

impl<'a> Response<'a> {
    /// Indexes the includes of a response.
    pub fn new(top: &Top<'a>) -> Self {
        let mut response = Self {
            entries: Vec::new(),
            kinds: Vec::new(),
            by_id: Index::new(),
            by_username: Index::new(),
            errors: top.errors.map(errors_of).unwrap_or_default(),
            matching_rules: top.matching_rules,
            twarc: top.twarc,
        };
        let includes = top.includes.and_then(|raw| serde_json::from_str(raw.get()).ok());
        let Includes(kinds) = includes.unwrap_or_default();
        for (kind, list) in kinds {
            let Ok(list) = serde_json::from_str::<Vec<&'a RawValue>>(list.get()) else { continue };
            response.kinds.push(kind);
            for raw in list {
                response.add(raw);
            }
        }
        response
    }

    fn add(&mut self, raw: &'a RawValue) {
        let Ok(Object(names)) = serde_json::from_str::<Object<Names<'a>>>(raw.get()) else {
            return;
        };
        let index = self.entries.len();
        self.entries.push(Entry { kind: self.kinds.len() - 1, raw });
        for name in [names.id, names.media_key] {
            if let Scalar::Text(name) = name {
                self.by_id.entry(name).or_default().push(index);
            }
        }
        if let Scalar::Text(name) = names.username {
            self.by_username.entry(name).or_default().push(index);
        }
    }

    /// The payload of one post of this response.
    pub fn payload(&self, id: u64, post: &RawValue) -> Vec<u8> {
        let mut kept = self.referred_by(post);
        for index in kept.clone() {
            let Entry { kind, raw } = &self.entries[index];
            if POSTS.contains(&self.kinds[*kind].as_ref()) {
                kept.extend(self.referred_by(raw));
            }
        }
        kept.sort_unstable();
        kept.dedup();
        self.assemble(id, post, &kept)
    }

    fn referred_by(&self, raw: &RawValue) -> Vec<usize> {
        let mut found = Vec::new();
        if !self.entries.is_empty() {
            strings(raw.get(), |text, is_username| {
                let index = if is_username { &self.by_username } else { &self.by_id };
                found.extend(index.get(text).into_iter().flatten());
            });
        }
        found
    }

    fn assemble(&self, id: u64, post: &RawValue, kept: &[usize]) -> Vec<u8> {
        let size = kept.iter().map(|&index| self.entries[index].raw.get().len() + 1).sum::<usize>();
        let mut out = Vec::with_capacity(post.get().len() + size + 256);
        out.extend_from_slice(b"{\"data\":");
        out.extend_from_slice(post.get().as_bytes());
        // Entries stand in the order of their kinds.
        let mut open = None;
        for &index in kept {
            let Entry { kind, raw } = &self.entries[index];
            if open == Some(*kind) {
                out.push(b',');
            } else {
                out.extend_from_slice(if open.is_some() { b"]," } else { b",\"includes\":{" });
                // A string always serialises.
                serde_json::to_writer(&mut out, &self.kinds[*kind]).ok();
                out.extend_from_slice(b":[");
                open = Some(*kind);
            }
            out.extend_from_slice(raw.get().as_bytes());
        }
        if open.is_some() {
            out.extend_from_slice(b"]}");
        }
        self.push_errors(&mut out, id, kept);
        for (name, raw) in [("matching_rules", self.matching_rules), ("__twarc", self.twarc)] {
            if let Some(raw) = raw {
                out.extend_from_slice(format!(",\"{name}\":").as_bytes());
                out.extend_from_slice(raw.get().as_bytes());
            }
        }
        out.push(b'}');
        out
    }

    fn push_errors(&self, out: &mut Vec<u8>, id: u64, kept: &[usize]) {
        let own = id.to_string();
        let concerns = |name: &String| {
            *name == own
                || self
                    .by_id
                    .get(name.as_str())
                    .is_some_and(|indexes| indexes.iter().any(|index| kept.contains(index)))
        };
        let mut first = true;
        for (raw, _) in self.errors.iter().filter(|(_, about)| about.iter().any(concerns)) {
            out.extend_from_slice(if first { b",\"errors\":[" } else { b"," });
            out.extend_from_slice(raw.get().as_bytes());
            first = false;
        }
        if !first {
            out.push(b']');
        }
    }
}

/// What an error is about.
#[derive(Default, Deserialize)]
#[serde(default)]
struct AboutWhat<'a> {
    #[serde(borrow)]
    resource_id: Scalar<'a>,
    #[serde(borrow)]
    value: Scalar<'a>,
}

/// Each error with the ids that it is about.
fn errors_of(raw: &RawValue) -> Vec<(&RawValue, Vec<String>)> {
    let list: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
    list.into_iter()
        .map(|raw| {
            let Object(about): Object<AboutWhat<'_>> =
                serde_json::from_str(raw.get()).unwrap_or_default();
            let about = [&about.resource_id, &about.value];
            let about = about.into_iter().filter_map(|name| name.text().map(str::to_owned));
            (raw, about.collect())
        })
        .collect()
}

/// The kinds of includes with their lists, in their order.
#[derive(Default)]
struct Includes<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Includes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Kinds;

        impl<'de> Visitor<'de> for Kinds {
            type Value = Includes<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of lists")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut kinds = Vec::new();
                while let Some(entry) = map.next_entry::<String, &'de RawValue>()? {
                    kinds.push((Cow::Owned(entry.0), entry.1));
                }
                Ok(Includes(kinds))
            }
        }

        deserializer.deserialize_map(Kinds)
    }
}

/// Hands out the strings in a value that are short enough for an id, and whether each is a username:
/// only there does such a name refer to anyone. A parser would stop at the first text that ends in
/// half a character (a lone surrogate), or at a number out of its range.
fn strings(json: &str, mut take: impl FnMut(&str, bool)) {
    let (mut rest, mut is_username) = (json, false);
    while let Some((_, string)) = rest.split_once('"') {
        let end = end_of_string(string);
        let (text, behind) = (&string[..end], string[end..].strip_prefix('"').unwrap_or_default());
        match behind.trim_start().strip_prefix(':') {
            Some(value) => {
                is_username = text == "username" && value.trim_start().starts_with('"');
            }
            None if text.len() > MAX_ID_LENGTH => is_username = false,
            None if !text.contains('\\') => take(text, std::mem::take(&mut is_username)),
            None => {
                let is_username = std::mem::take(&mut is_username);
                if let Ok(text) = serde_json::from_str::<String>(&format!("\"{text}\"")) {
                    take(&text, is_username);
                }
            }
        }
        rest = behind;
    }
}

/// Where a string ends whose first quote is behind us.
fn end_of_string(string: &str) -> usize {
    let bytes = string.as_bytes();
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b'"', b'\\', &bytes[at..]) {
        at += found;
        if bytes[at] == b'"' {
            return at;
        }
        at = (at + 2).min(bytes.len());
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use crate::post::{Found, Place, Reader};

    fn payloads(line: String) -> Vec<String> {
        let reader = Reader::stream("archive:a".into(), Timestamp::UNIX_EPOCH);
        let mut payloads = Vec::new();
        reader.read(&Bytes::from(line), Place::Line(1), &mut |found| {
            let Found::Post { record, .. } = found else { panic!("{found:?}") };
            payloads.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
        });
        payloads
    }

    #[test]
    fn what_a_parser_refuses_in_a_post_keeps_none_of_its_includes_away() {
        let deep = format!("{}\"1\"{}", "[".repeat(200), "]".repeat(200));
        for odd in [r#""cut \ud83d""#, r#""\\""#, "1e400", &deep] {
            let line = format!(
                r#"{{"data":[{{"odd":{odd},"id":"11","text":"a","author_id" : "1","m":{{"username" :"c"}}}},
                {{"id":"12","text":"b","n":"c"}}],"includes":{{"users":[{{"name":"\ud83d","id":"1"}},
                {{"id":"\u0032"}},{{"username":"c","id":"3"}}]}},
                "errors":[{{"detail":{odd},"resource_id":"11"}}]}}"#
            );
            let values: Vec<Value> = payloads(line)
                .iter()
                .map(|text| {
                    serde_json::from_str(&text.replace(odd, "0").replace("\\ud83d", "")).unwrap()
                })
                .collect();
            let users = json!([{"name": "", "id": "1"}, {"username": "c", "id": "3"}]);
            assert_eq!((&values[0]["includes"]["users"], values.len()), (&users, 2), "{odd}");
            assert_eq!(values[0]["errors"], json!([{"detail": 0, "resource_id": "11"}]), "{odd}");
            assert_eq!(values[1].get("includes"), None, "{odd}");
        }
    }
}
