//! Design documents: from folders of plain JavaScript to what a database keeps.

mod folder;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

pub use folder::{embedded, read_dir};

/// A reduce function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reduce {
    /// `_sum`: of numbers, or of arrays of numbers element by element.
    Sum,
    /// `_count`: the number of rows.
    Count,
    /// `_stats`: sum, count, min, max and the sum of squares.
    Stats,
    /// A function of our own.
    Script(String),
}

impl Reduce {
    /// The functions that every kind of views has built in.
    pub const BUILT_IN: [&str; 3] = ["_sum", "_count", "_stats"];

    /// Reads a reduce function; nothing when it names a built-in one that is not in both kinds.
    pub fn parse(source: &str) -> Option<Self> {
        match source.trim() {
            "_sum" => Some(Self::Sum),
            "_count" => Some(Self::Count),
            "_stats" => Some(Self::Stats),
            other if other.starts_with('_') => None,
            _ => Some(Self::Script(source.to_owned())),
        }
    }

    /// As a design document has it.
    pub fn source(&self) -> &str {
        match self {
            Self::Sum => "_sum",
            Self::Count => "_count",
            Self::Stats => "_stats",
            Self::Script(source) => source,
        }
    }
}

/// A view: a map function, and perhaps a reduce function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The JavaScript of the map function.
    pub map: String,
    /// The reduce function, if any.
    pub reduce: Option<Reduce>,
}

/// A design document: views of one database, built together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Design {
    /// The database that it is for; a generation of it has another name.
    pub database: String,
    /// Its name, without `_design/`.
    pub name: String,
    /// Its views by name.
    pub views: BTreeMap<String, View>,
}

#[derive(Deserialize)]
struct Stored {
    #[serde(default)]
    views: BTreeMap<String, StoredView>,
}

#[derive(Deserialize)]
struct StoredView {
    map: String,
    #[serde(default)]
    reduce: Option<String>,
}

impl Design {
    /// Its id in a database.
    pub fn id(&self) -> String {
        format!("_design/{}", self.name)
    }

    /// The body of its document, without `_id` and `_rev`.
    pub fn body(&self) -> Value {
        let mut views = Map::new();
        for (name, view) in &self.views {
            let mut members = Map::new();
            members.insert("map".to_owned(), json!(view.map));
            if let Some(reduce) = &view.reduce {
                members.insert("reduce".to_owned(), json!(reduce.source()));
            }
            views.insert(name.clone(), Value::Object(members));
        }
        json!({"language": "javascript", "views": views})
    }

    /// Reads it back from the body of its document.
    ///
    /// # Errors
    /// Why it is none of ours.
    pub fn from_body(database: &str, name: &str, body: &str) -> Result<Self, String> {
        let stored: Stored = serde_json::from_str(body).map_err(|error| error.to_string())?;
        let mut views = BTreeMap::new();
        for (view, StoredView { map, reduce }) in stored.views {
            let reduce = match reduce {
                None => None,
                Some(source) => Some(
                    Reduce::parse(&source)
                        .ok_or_else(|| format!("view {view}: reduce {source} is not known here"))?,
                ),
            };
            views.insert(view, View { map, reduce });
        }
        Ok(Self { database: database.to_owned(), name: name.to_owned(), views })
    }

    /// The names of its views, for messages.
    pub(crate) fn known(&self) -> String {
        self.views.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_gives_the_design_back() {
        let view = |map: &str, reduce| View { map: map.to_owned(), reduce };
        let script = Reduce::Script("function (k, v) { return 1; }".to_owned());
        let design = Design {
            database: "posts".to_owned(),
            name: "places".to_owned(),
            views: BTreeMap::from([
                ("a".to_owned(), view("function (doc) {}", None)),
                ("b".to_owned(), view("function (doc) { emit(1); }", Some(Reduce::Sum))),
                ("c".to_owned(), view("doc => emit(\"\\n\")", Some(script))),
            ]),
        };
        let body = design.body().to_string();
        assert_eq!(Design::from_body("posts", "places", &body), Ok(design));
        assert!(Design::from_body("posts", "x", r#"{"views":{"v":{}}}"#).is_err());
        let unknown = r#"{"views":{"v":{"map":"m","reduce":"_approx_count_distinct"}}}"#;
        assert!(Design::from_body("posts", "x", unknown).unwrap_err().contains("_approx"));
    }
}
