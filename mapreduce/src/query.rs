//! A query of a view, and its rows: `CouchDB`'s, as far as both kinds of views have it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::collation::compare;
use crate::error::ViewError;

/// How reduced rows are put together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Group {
    /// All in one row.
    #[default]
    All,
    /// One row for each key.
    Exact,
    /// One row for each beginning of this many elements of the keys that are arrays.
    Level(u32),
}

/// What to ask of a view. Keys are compared by `CouchDB`'s collation.
///
/// Source: <https://docs.couchdb.org/en/stable/api/ddoc/views.html>
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Whether to reduce; without, if the view has a reduce function.
    pub reduce: Option<bool>,
    /// How reduced rows are put together.
    pub group: Group,
    /// The key to begin at.
    pub start_key: Option<Value>,
    /// The key to end at.
    pub end_key: Option<Value>,
    /// Whether rows at the end key belong to it.
    pub inclusive_end: bool,
    /// Only this key.
    pub key: Option<Value>,
    /// Only these keys, in this order.
    pub keys: Option<Vec<Value>>,
    /// From the greatest to the least.
    pub descending: bool,
    /// At most so many rows. Answers are held in memory: bound those of large views.
    pub limit: Option<u64>,
    /// Leave so many rows out first.
    pub skip: u64,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            reduce: None,
            group: Group::All,
            start_key: None,
            end_key: None,
            inclusive_end: true,
            key: None,
            keys: None,
            descending: false,
            limit: None,
            skip: 0,
        }
    }
}

impl Query {
    /// One reduced row for each key.
    pub fn grouped() -> Self {
        Self { group: Group::Exact, ..Self::default() }
    }

    /// Whether this reduces a view that has (or has no) reduce function.
    ///
    /// # Errors
    /// Where `CouchDB` would answer `query_parse_error`; asked before anything is sent, so that
    /// every kind of views says the same.
    pub fn reduces(&self, has_reduce: bool) -> Result<bool, ViewError> {
        let refuse = |reason: &str| Err(ViewError::Query(reason.to_owned()));
        let reduces = self.reduce.unwrap_or(has_reduce);
        if reduces && !has_reduce {
            return refuse("the view has no reduce function");
        }
        if !reduces && self.group != Group::All {
            return refuse("only reduced rows can be grouped");
        }
        if self.keys.is_some() {
            if self.key.is_some() || self.start_key.is_some() || self.end_key.is_some() {
                return refuse("keys can't be together with key, start_key or end_key");
            }
            if reduces && self.group != Group::Exact {
                return refuse("several keys of a reduced view need an exact group");
            }
        }
        if self.key.is_some() && (self.start_key.is_some() || self.end_key.is_some()) {
            return refuse("key can't be together with start_key or end_key");
        }
        if let (Some(start), Some(end)) = (&self.start_key, &self.end_key) {
            let (low, high) = if self.descending { (end, start) } else { (start, end) };
            if compare(low, high).is_gt() {
                return refuse(
                    "no key lies in that range; change start_key and end_key, or descending",
                );
            }
        }
        Ok(reduces)
    }
}

/// A row of the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The document that it is of; nothing in reduced rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The key.
    pub key: Value,
    /// The value.
    pub value: Value,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_couchdb_refuses_is_refused_here() {
        let range = |start: Value, end: Value, descending| Query {
            start_key: Some(start),
            end_key: Some(end),
            descending,
            ..Query::default()
        };
        let keys = Query { keys: Some(vec![json!(1)]), ..Query::default() };
        for (query, has_reduce, expected) in [
            (Query::default(), true, Some(true)),
            (Query::default(), false, Some(false)),
            (Query { reduce: Some(false), ..Query::default() }, true, Some(false)),
            (Query { reduce: Some(true), ..Query::default() }, false, None),
            (Query::grouped(), false, None),
            (Query { reduce: Some(false), ..Query::grouped() }, true, None),
            (Query { group: Group::Level(1), ..Query::default() }, true, Some(true)),
            (keys.clone(), false, Some(false)),
            (keys.clone(), true, None),
            (Query { group: Group::Exact, ..keys.clone() }, true, Some(true)),
            (Query { start_key: Some(json!(1)), ..keys.clone() }, false, None),
            (Query { key: Some(json!(1)), ..keys }, false, None),
            (range(json!(1), json!("a"), false), true, Some(true)),
            (range(json!(["a"]), json!("a"), false), true, None),
            (range(json!(["a"]), json!("a"), true), true, Some(true)),
            (range(json!(1), json!(1), true), true, Some(true)),
        ] {
            assert_eq!(query.reduces(has_reduce).ok(), expected, "{query:?}");
        }
    }
}
