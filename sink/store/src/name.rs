//! Which names and ids a store takes: `CouchDB`'s rules, kept by both stores.

/// The longest database name that `CouchDB` takes, in bytes (a file name with its suffixes).
const LONGEST_NAME: usize = 238;

/// What reserves an id for design documents.
pub const DESIGN: &str = "_design/";
/// What reserves an id for local documents: never listed, never in the changes.
pub const LOCAL: &str = "_local/";

/// Why `name` can't be a database's, or nothing when it can.
///
/// Source: <https://docs.couchdb.org/en/stable/api/database/common.html#put--db>
pub fn illegal_database_name(name: &str) -> Option<String> {
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase());
    let rest_is_well =
        name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_$()+-/".contains(c));
    if !starts_well || !rest_is_well || name.len() > LONGEST_NAME {
        return Some(format!(
            "{name:?} can't be the name of a database: it begins with a lower-case letter and \
             holds only lower-case letters, digits and _ $ ( ) + - /, at most {LONGEST_NAME} of \
             them"
        ));
    }
    None
}

/// Why `id` can't be a document's, or nothing when it can.
///
/// One illegal id makes `CouchDB` refuse a whole batch, so this is asked before anything is sent.
pub fn illegal_id(id: &str) -> Option<&'static str> {
    if id.is_empty() {
        return Some("a document's id must not be empty");
    }
    let reserved = [DESIGN, LOCAL]
        .iter()
        .any(|prefix| id.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty()));
    if id.starts_with('_') && !reserved {
        return Some("only _design/… and _local/… may begin with an underscore");
    }
    None
}

/// Whether the id is of the store's own kinds, which are neither scanned nor in the changes.
pub fn is_reserved(id: &str) -> bool {
    id.starts_with('_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn database_names_follow_couchdb() {
        let longest = format!("a{}", "b".repeat(LONGEST_NAME - 1));
        for good in ["posts", "posts-2", "a", "a_$()+-/9", &longest] {
            assert_eq!(illegal_database_name(good), None, "{good}");
        }
        for bad in
            ["", "Posts", "1posts", "_users", "posts@2", "pösts", "a b", &format!("{longest}c")]
        {
            assert!(illegal_database_name(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn only_reserved_ids_begin_with_an_underscore() {
        for good in ["1", "a_b", "_design/places", "_local/lock", "ü", "a/b?c#d"] {
            assert_eq!(illegal_id(good), None, "{good}");
        }
        for bad in ["", "_", "_a", "_design", "_design/", "_local/"] {
            assert!(illegal_id(bad).is_some(), "{bad}");
        }
    }
}
