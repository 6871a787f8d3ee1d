//! How often the store was given a document again that it had already taken.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use super::http::Message;

/// Whose documents are no notes of the pipeline about itself.
const NOTES: &str = "/bowerbird/";

/// What the store has taken.
#[derive(Debug, Default)]
pub struct Again {
    /// Of each document, in each form that it was written in: a hash of it without its revision.
    known: HashSet<u64>,
    /// Documents written.
    pub written: u64,
    /// Of these, those that were there already, in the same form.
    pub again: u64,
}

impl Again {
    /// Looks at a request that was answered.
    pub fn look(&mut self, request: &Message, answer: &Message) {
        let Some(path) = request.head.split_whitespace().nth(1) else { return };
        if !path.contains("/_bulk_docs") || path.starts_with(NOTES) {
            return;
        }
        let parsed = |message: &Message| serde_json::from_slice::<Value>(&message.body);
        let (Ok(Value::Object(mut asked)), Ok(Value::Array(rows))) =
            (parsed(request), parsed(answer))
        else {
            return;
        };
        let Some(Value::Array(documents)) = asked.get_mut("docs").map(Value::take) else { return };
        // pouchdb-server answers in an order of its own.
        let taken: HashSet<&str> = rows
            .iter()
            .filter(|row| row["ok"] == true)
            .filter_map(|row| row["id"].as_str())
            .collect();
        for mut document in documents {
            if !document["_id"].as_str().is_some_and(|id| taken.contains(id)) {
                continue;
            }
            document.as_object_mut().map(|fields| fields.remove("_rev"));
            let mut hasher = DefaultHasher::new();
            (path, document.to_string()).hash(&mut hasher);
            self.written += 1;
            self.again += u64::from(!self.known.insert(hasher.finish()));
        }
    }
}
