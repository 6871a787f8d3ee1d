//! The way between a [`Document`] and its JSON text, without building a tree of it.
//!
//! `CouchDB` keeps `_id` and `_rev` inside the object; the pipeline keeps them beside it. Going
//! there splices two members into the text; coming back leaves them out of it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::document::{Body, Document, Revision};

/// Why a body can't be a document's, in a store's words: an error and a reason.
pub type BodyError = (&'static str, String);

/// Whether the body deletes its document (`"_deleted": true`).
///
/// # Errors
/// When it is not an object, or has a member that is reserved for the store; `CouchDB` refuses a
/// whole batch for one such body, so this is asked before anything is sent.
pub fn deletes(body: &Body) -> Result<bool, BodyError> {
    let text = body.get();
    if !text.starts_with('{') {
        return Err(("bad_request", "a document must be a JSON object".to_owned()));
    }
    // Nearly no body has such a member: two searches spare the parsing. `\u005f` is an underscore.
    if !text.contains("\"_") && !text.contains("\"\\u005") {
        return Ok(false);
    }
    let members = members(text).map_err(|error| ("bad_request", error.to_string()))?;
    let mut deleted = false;
    for (key, value) in members {
        let key = unescaped(key);
        match (&*key, value) {
            ("_deleted", "true") => deleted = true,
            ("_deleted", "false") => deleted = false,
            (key, _) if key.starts_with('_') => {
                return Err(("doc_validation", format!("bad special document member: {key}")));
            }
            _ => {}
        }
    }
    Ok(deleted)
}

/// Appends the document as `CouchDB` wants it: its body with `_id`, and `_rev` if it has one.
/// The body is an object ([`deletes`] has seen it).
pub fn splice(document: &Document, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"_id\":");
    push_string(&document.id, out);
    if let Some(Revision(revision)) = &document.revision {
        out.extend_from_slice(b",\"_rev\":");
        push_string(revision, out);
    }
    let rest = document.body.get().get(1..).unwrap_or("}");
    if !rest.trim_start().starts_with('}') {
        out.push(b',');
    }
    out.extend_from_slice(rest.as_bytes());
}

/// Appends `text` as a JSON string.
pub(crate) fn push_string(text: &str, out: &mut Vec<u8>) {
    if text.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        // A String serialises infallibly, and so does writing into a Vec.
        out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
    } else {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    }
}

/// A document as a store sent it: the members that are its own, apart from the body.
#[derive(Debug)]
pub struct Received {
    /// The document.
    pub document: Document,
    /// It is the tombstone of a deleted one.
    pub deleted: bool,
}

/// Reads a document from its JSON text with `_id` and `_rev`. The body keeps its text member by
/// member; `_deleted` and whatever else the store adds with an underscore is left out.
///
/// # Errors
/// When it is not an object with an `_id`.
pub fn unsplice(text: &str) -> Result<Received, serde_json::Error> {
    let (mut id, mut revision, mut deleted) = (None, None, false);
    let mut body = String::with_capacity(text.len());
    body.push('{');
    for (key, value) in members(text)? {
        let name = unescaped(key);
        match &*name {
            "_id" => id = Some(serde_json::from_str(value)?),
            "_rev" => revision = Some(Revision(serde_json::from_str(value)?)),
            "_deleted" => deleted = value == "true",
            name if name.starts_with('_') => {}
            _ => {
                if body.len() > 1 {
                    body.push(',');
                }
                body.push_str(key);
                body.push(':');
                body.push_str(value);
            }
        }
    }
    body.push('}');
    let id = id.ok_or_else(|| serde::de::Error::missing_field("_id"))?;
    let document = Document { id, revision, body: Body::serialised(body) };
    Ok(Received { document, deleted })
}

fn unescaped(key: &str) -> Cow<'_, str> {
    if key.contains('\\') {
        serde_json::from_str::<String>(key).map_or(Cow::Borrowed(key), Cow::Owned)
    } else {
        Cow::Borrowed(key.trim_matches('"'))
    }
}

/// The members of an object as they stand in its text: keys with their quotes, values untouched.
fn members(text: &str) -> Result<Vec<(&str, &str)>, serde_json::Error> {
    serde_json::from_str::<Members<'_>>(text).map(|members| members.0)
}

struct Members<'a>(Vec<(&'a str, &'a str)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    members.push((key.get(), value.get()));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn raw(text: &str) -> Body {
        Body::read(text).unwrap()
    }

    #[test]
    fn bodies_that_no_store_takes_are_named() {
        for (body, expected) in [
            ("{}", Ok(false)),
            ("{\"a\":{\"_b\":1}}", Ok(false)),
            ("{\"_deleted\":true}", Ok(true)),
            ("{ \"\\u005fdeleted\" : true}", Ok(true)),
            ("{\"_deleted\":false,\"a\":1}", Ok(false)),
            ("{\"_id\":\"x\"}", Err("doc_validation")),
            ("{\"\\u005Fx\":1}", Err("doc_validation")),
            ("{\"_deleted\":1}", Err("doc_validation")),
            ("3", Err("bad_request")),
            ("[{}]", Err("bad_request")),
            ("null", Err("bad_request")),
        ] {
            assert_eq!(deletes(&raw(body)).map_err(|(error, _)| error), expected, "{body}");
        }
    }

    #[test]
    fn members_keep_their_text() {
        let text = r#"{"b": 1.50e3, "_id":"x","a":{"_rev":"kept"},"_rev":"1-a","_attachments":{}}"#;
        let received = unsplice(text).unwrap();
        assert_eq!(received.document.id, "x");
        assert_eq!(received.document.revision, Some(Revision("1-a".into())));
        assert_eq!(received.document.body.get(), r#"{"b":1.50e3,"a":{"_rev":"kept"}}"#);
        assert!(!received.deleted);
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[^_].*", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn splice_and_unsplice_are_inverse(
            id in ".+",
            revision in prop::option::of(".*"),
            body in prop::collection::btree_map("[^_].*", json(), 0..4),
            pretty in any::<bool>(),
        ) {
            let object = Value::Object(body.into_iter().collect());
            let text = if pretty { format!("{object:#}") } else { object.to_string() };
            let document =
                Document { id, revision: revision.map(Revision), body: raw(&text) };
            let mut spliced = Vec::new();
            splice(&document, &mut spliced);
            let back = unsplice(std::str::from_utf8(&spliced).unwrap()).unwrap();
            prop_assert_eq!(&back.document.id, &document.id);
            prop_assert_eq!(&back.document.revision, &document.revision);
            prop_assert!(!back.deleted);
            let read: Value = serde_json::from_str(back.document.body.get()).unwrap();
            prop_assert_eq!(read, serde_json::from_str::<Value>(&text).unwrap());
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = unsplice(&text);
        }
    }
}
