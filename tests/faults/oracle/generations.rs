//! Which generations of each projection there are, read from the notes that say so; and what a
//! generation may hold that is not live.

use std::collections::{BTreeMap, BTreeSet};

use bowerbird_store::{AnyStore, DocumentStore, StoreError};
use serde_json::Value;

use super::documents::{Documents, notice, observed};
use super::meaning::{DATABASES, Entity, REMOVALS};
use super::{Wrongs, bounded};

const NOTES: &str = "bowerbird";

/// A database, and the group that alone fills it.
#[derive(Clone, Debug)]
pub struct Generation {
    pub projection: &'static str,
    pub database: String,
    pub group: String,
    pub live: bool,
    /// The topics that it is made from.
    pub topics: &'static [&'static str],
}

/// All that there are; nothing when the store can't be asked just now.
pub async fn generations(store: &AnyStore) -> Option<Vec<Generation>> {
    let ids: Vec<String> = DATABASES.iter().map(|(name, _)| format!("projection:{name}")).collect();
    let notes = match store.fetch(NOTES, &ids).await {
        Ok(notes) => notes,
        Err(StoreError::MissingDatabase { .. }) => vec![None; ids.len()],
        Err(_) => return None,
    };
    let mut all = Vec::new();
    for ((projection, topics), note) in DATABASES.into_iter().zip(notes) {
        let Some(note) = note else {
            all.push(Generation {
                projection,
                database: projection.to_owned(),
                group: format!("bowerbird-{projection}"),
                live: true,
                topics,
            });
            continue;
        };
        let note: Value = serde_json::from_str(note.body.get()).unwrap();
        for (number, told) in note["generations"].as_object().unwrap() {
            all.push(Generation {
                projection,
                database: told["database"].as_str().unwrap().to_owned(),
                group: told["group"].as_str().unwrap().to_owned(),
                live: note["live"].to_string() == *number,
                topics,
            });
        }
    }
    Some(all)
}

/// What is wrong with a generation that is not live: it holds what its group has committed, which
/// is looked at elsewhere, and may hold a little more. But nothing that the log does not say, and
/// nothing of what was published after everybody had left it.
pub fn strays(
    documents: &Documents,
    database: &str,
    expected: &BTreeMap<String, Entity>,
    after: &BTreeSet<String>,
) -> Wrongs {
    let mut wrongs = Wrongs::new();
    for (id, body) in documents.of(database) {
        let wrong = match expected.get(id) {
            _ if after.contains(id) => Some("it was published when this was no longer live"),
            None => Some("nothing in the log says so"),
            Some(entity) => stray(body, entity),
        };
        wrongs.extend(wrong.map(|wrong| format!("{database}/{id}, not live: {wrong}")));
    }
    bounded(wrongs)
}

fn stray(body: &Value, entity: &Entity) -> Option<&'static str> {
    let held = body["notices"].as_object().into_iter().flatten();
    for (kind, _) in held {
        if !notice(body, kind).is_some_and(|given| entity.was_told(kind, &given)) {
            return Some("nobody has given that notice");
        }
    }
    let shown = observed(body)?;
    if !entity.was_seen(&shown) {
        return Some("nobody has observed that");
    }
    let removals = REMOVALS.iter().filter_map(|kind| notice(body, kind));
    let removed = removals.map(|(time, _)| time).max().is_some_and(|time| time >= shown.0);
    removed.then_some("it shows what was removed")
}
