//! Reading the rows of a view in the order of their keys.

use std::ops::Bound;

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, params_from_iter};

use crate::quickjs::index::IndexError;
use crate::quickjs::index::schema::Index;

/// Sort keys from one bound to the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::quickjs) struct Range {
    pub(in crate::quickjs) low: Bound<Vec<u8>>,
    pub(in crate::quickjs) high: Bound<Vec<u8>>,
}

/// A row; what it borrows ends with it.
#[derive(Debug)]
pub(in crate::quickjs) struct Entry<'a> {
    /// The sort key.
    pub(in crate::quickjs) key: &'a [u8],
    pub(in crate::quickjs) id: &'a str,
    pub(in crate::quickjs) key_json: &'a str,
    pub(in crate::quickjs) value: &'a str,
}

/// Hands the rows of a view within a range to `each`, until that is `false`.
pub(in crate::quickjs) fn entries(
    connection: &Connection,
    index: &Index,
    view: u32,
    range: &Range,
    descending: bool,
    mut each: impl FnMut(Entry<'_>) -> Result<bool, IndexError>,
) -> Result<(), IndexError> {
    let (sql, values) = select(index, view, range, descending);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let text = |error| IndexError::Sqlite(rusqlite::Error::from(error));
    while let Some(row) = rows.next()? {
        let entry = Entry {
            key: row.get_ref(0)?.as_blob().map_err(text)?,
            id: row.get_ref(1)?.as_str().map_err(text)?,
            key_json: row.get_ref(2)?.as_str().map_err(text)?,
            value: row.get_ref(3)?.as_str().map_err(text)?,
        };
        if !each(entry)? {
            break;
        }
    }
    Ok(())
}

fn select(index: &Index, view: u32, range: &Range, descending: bool) -> (String, Vec<Sql>) {
    let mut sql = format!("SELECT key, id, key_json, value FROM {} WHERE view = ?1", index.table());
    let mut values = vec![Sql::Integer(view.into())];
    let mut bound = |bound: &Bound<Vec<u8>>, inclusive: &str, exclusive: &str| {
        let (operator, key) = match bound {
            Bound::Included(key) => (inclusive, key),
            Bound::Excluded(key) => (exclusive, key),
            Bound::Unbounded => return,
        };
        values.push(Sql::Blob(key.clone()));
        sql.push_str(&format!(" AND key {operator} ?{}", values.len()));
    };
    bound(&range.low, ">=", ">");
    bound(&range.high, "<=", "<");
    let direction = if descending { "DESC" } else { "ASC" };
    for (number, column) in ["key", "id", "ordinal"].into_iter().enumerate() {
        let separator = if number == 0 { " ORDER BY" } else { "," };
        sql.push_str(&format!("{separator} {column} {direction}"));
    }
    (sql, values)
}
