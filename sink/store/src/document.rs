//! A document: an id, a revision, and a JSON object.

use std::fmt;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

/// A revision as the store names it. Opaque: two are equal or not, nothing more.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub String);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A document to be written, or as it was read.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its id; no leading underscore except in `_design/…` and `_local/…`.
    pub id: String,
    /// The revision that this one replaces, or nothing for a new document; as read: its own.
    pub revision: Option<Revision>,
    /// The JSON object, without `_id` and `_rev`. Kept as text: the way from the log to the store
    /// builds no tree of it. No member begins with an underscore, except `"_deleted": true`, which
    /// deletes the document.
    pub body: Body,
}

/// The text of a JSON value.
///
/// Like `serde_json`'s `RawValue`, except that who has just serialised a text need not have it
/// read once more: that is a tenth of the sink's work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body(String);

impl Body {
    /// Serialises a value.
    ///
    /// # Errors
    /// When it can't be serialised.
    pub fn of(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(Self)
    }

    /// Takes a text after reading it.
    ///
    /// # Errors
    /// When it is not the text of one JSON value.
    pub fn read(text: impl Into<String>) -> Result<Self, serde_json::Error> {
        let text = text.into();
        serde_json::from_str::<IgnoredAny>(&text)?;
        Ok(Self(text))
    }

    /// Takes a text that the caller has serialised, or put together of such: a store refuses a
    /// document whose body is no JSON, and `CouchDB` the whole batch that it is in.
    pub fn serialised(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub fn get(&self) -> &str {
        &self.0
    }
}

impl Document {
    /// A new document of this body.
    ///
    /// # Errors
    /// When `body` can't be serialised.
    pub fn new(id: impl Into<String>, body: &impl Serialize) -> Result<Self, serde_json::Error> {
        Ok(Self { id: id.into(), revision: None, body: Body::of(body)? })
    }

    /// What deletes the document that stands under this revision.
    ///
    /// # Errors
    /// When its body can't be serialised.
    pub fn tombstone(id: impl Into<String>, revision: Revision) -> Result<Self, serde_json::Error> {
        #[derive(Serialize)]
        struct Deleted {
            _deleted: bool,
        }
        let document = Self::new(id, &Deleted { _deleted: true })?;
        Ok(Self { revision: Some(revision), ..document })
    }

    /// Its size in bytes, as batches count it.
    pub fn size(&self) -> usize {
        self.id.len() + self.body.get().len()
    }
}
