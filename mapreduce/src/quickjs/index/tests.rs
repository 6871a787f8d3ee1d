use std::ops::Bound;

use super::*;
use crate::collation;
use crate::design::{Design, View};

fn name(map: &str) -> Name {
    let view = View { map: map.to_owned(), reduce: None };
    let design = Design {
        database: "posts".to_owned(),
        name: "places".to_owned(),
        views: [("v".to_owned(), view)].into(),
    };
    Name::of("posts", &design)
}

fn mapped(id: &str, keys: &[&str]) -> Mapped {
    let row = |key: &&str| (0, collation::of_text(key).unwrap(), key.to_string(), "1".to_owned());
    Mapped { id: id.to_owned(), rows: keys.iter().map(row).collect() }
}

fn read(connection: &Connection, index: &Index, range: &Range, descending: bool) -> Vec<String> {
    let mut found = Vec::new();
    entries(connection, index, 0, range, descending, |entry| {
        found.push(format!("{}@{}", entry.key_json, entry.id));
        Ok(true)
    })
    .unwrap();
    found
}

fn all() -> Range {
    Range { low: Bound::Unbounded, high: Bound::Unbounded }
}

#[test]
fn rows_are_replaced_and_read_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = schema::open(&folder.path().join("views.db")).unwrap();
    let start = Index::find(&mut connection, &name("a")).unwrap();
    assert_eq!(start.since, None);
    let page = [mapped("y", &["\"b\"", "\"a\""]), mapped("x", &["\"a\"", "2"])];
    let stored = store(&mut connection, &start, "1", &page).unwrap();
    let again = store(&mut connection, &start, "1", &page).unwrap();
    assert_eq!(again, None, "the page was there already");
    let index = Index::find(&mut connection, &name("a")).unwrap();
    assert_eq!(stored.as_ref(), Some(&index));
    assert_eq!(index.since.as_deref(), Some("1"));
    let expected = ["2@x", "\"a\"@x", "\"a\"@y", "\"b\"@y"];
    assert_eq!(read(&connection, &index, &all(), false), expected);
    let mut backwards = expected;
    backwards.reverse();
    assert_eq!(read(&connection, &index, &all(), true), backwards);

    let key = |text| collation::of_text(text).unwrap();
    for (low, high, expected) in [
        (Bound::Included(key("\"a\"")), Bound::Unbounded, &expected[1..]),
        (Bound::Excluded(key("2")), Bound::Excluded(key("\"b\"")), &expected[1..3]),
        (Bound::Included(key("2")), Bound::Included(key("2")), &expected[..1]),
    ] {
        assert_eq!(read(&connection, &index, &Range { low, high }, false), expected);
    }

    store(&mut connection, &index, "2", &[mapped("y", &[]), mapped("x", &["3"])]).unwrap();
    let index = Index::find(&mut connection, &name("a")).unwrap();
    assert_eq!(read(&connection, &index, &all(), false), ["3@x"]);
    reset(&mut connection, &index).unwrap();
    let index = Index::find(&mut connection, &name("a")).unwrap();
    assert_eq!((index.since.as_ref(), read(&connection, &index, &all(), false).len()), (None, 0));
}

#[test]
fn only_the_views_as_they_are_keep_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = schema::open(&folder.path().join("views.db")).unwrap();
    let (old, new) = (name("a"), name("b"));
    assert_ne!(old.signature, new.signature);
    let mut other = name("a");
    other.design = "other".to_owned();
    let first = Index::find(&mut connection, &old).unwrap();
    let second = Index::find(&mut connection, &new).unwrap();
    let third = Index::find(&mut connection, &other).unwrap();
    forget_others(&mut connection, &new).unwrap();
    assert_eq!(Index::find(&mut connection, &new).unwrap(), second);
    assert_eq!(Index::find(&mut connection, &other).unwrap(), third);
    let again = Index::find(&mut connection, &old).unwrap();
    assert_ne!(again.id, first.id);
    let gone = store(&mut connection, &first, "1", &[]).unwrap();
    assert_eq!(gone, None);
    forget(&mut connection, "posts").unwrap();
    assert_ne!(Index::find(&mut connection, &new).unwrap().id, second.id);
}

#[test]
fn other_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let error = IndexFile::open(&path).unwrap_err().to_string();
    assert!(error.contains("something else") && error.contains("other.db"), "{error}");
}
