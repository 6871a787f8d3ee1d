//! The rules by which a document is written: `CouchDB`'s, on one table.

use rusqlite::{CachedStatement, Connection, OptionalExtension, params};
use xxhash_rust::xxh3::Xxh3Default;

use crate::body;
use crate::document::{Document, Revision};
use crate::name;
use crate::sqlite::schema::Table;
use crate::store::WriteOutcome;

/// What stands under an id.
struct Standing {
    revision: String,
    deleted: bool,
}

/// The statements of one bulk write.
struct Statements<'a> {
    insert: CachedStatement<'a>,
    select: CachedStatement<'a>,
    update: CachedStatement<'a>,
}

/// Writes documents to a table inside the transaction that is open: one outcome per document.
pub(super) fn write(
    connection: &Connection,
    table: Table,
    documents: &[Document],
) -> rusqlite::Result<Vec<WriteOutcome>> {
    let name = table.name();
    // The newest row always has the greatest sequence: rows are replaced, never taken away.
    let last: i64 = connection
        .prepare_cached(&format!("SELECT ifnull(max(sequence), 0) FROM {name}"))?
        .query_row([], |row| row.get(0))?;
    let mut statements = Statements {
        insert: connection.prepare_cached(&format!(
            "INSERT INTO {name} (sequence, id, revision, deleted, body)
             VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (id) DO NOTHING"
        ))?,
        select: connection
            .prepare_cached(&format!("SELECT revision, deleted FROM {name} WHERE id = ?1"))?,
        update: connection.prepare_cached(&format!(
            "UPDATE {name} SET sequence = ?1, revision = ?3, deleted = ?4, body = ?5
             WHERE id = ?2"
        ))?,
    };
    let mut sequence = last;
    let mut grown = 0_i64;
    let mut outcomes = Vec::with_capacity(documents.len());
    for document in documents {
        outcomes.push(write_one(&mut statements, document, &mut sequence, &mut grown)?);
    }
    if grown != 0 {
        connection
            .prepare_cached("UPDATE databases SET documents = documents + ?2 WHERE id = ?1")?
            .execute([table.id, grown])?;
    }
    Ok(outcomes)
}

fn write_one(
    statements: &mut Statements<'_>,
    document: &Document,
    sequence: &mut i64,
    grown: &mut i64,
) -> rusqlite::Result<WriteOutcome> {
    if let Some(reason) = name::illegal_id(&document.id) {
        return Ok(refused("illegal_docid", reason.to_owned()));
    }
    let deleted = match body::deletes(&document.body) {
        Ok(deleted) => deleted,
        Err((error, reason)) => return Ok(refused(error, reason)),
    };
    // A tombstone keeps nothing of what was removed.
    let text = if deleted { "{}" } else { document.body.get() };
    let counts = i64::from(!document.id.starts_with(name::LOCAL));
    let next = *sequence + 1;
    let parent = if let Some(Revision(revision)) = &document.revision {
        match standing(&mut statements.select, &document.id)? {
            Some(standing) if standing.revision == *revision => standing,
            _ => return Ok(WriteOutcome::Conflict),
        }
    } else {
        let revision = revision_after("", deleted, text);
        let row = params![next, document.id, revision, deleted, text];
        if statements.insert.execute(row)? == 1 {
            *sequence = next;
            *grown += counts * i64::from(!deleted);
            return Ok(WriteOutcome::Written(Revision(revision)));
        }
        match standing(&mut statements.select, &document.id)? {
            Some(standing) if standing.deleted => standing,
            _ => return Ok(WriteOutcome::Conflict),
        }
    };
    let revision = revision_after(&parent.revision, deleted, text);
    statements.update.execute(params![next, document.id, revision, deleted, text])?;
    *sequence = next;
    *grown += counts * (i64::from(parent.deleted) - i64::from(deleted));
    Ok(WriteOutcome::Written(Revision(revision)))
}

fn standing(select: &mut CachedStatement<'_>, id: &str) -> rusqlite::Result<Option<Standing>> {
    select
        .query_row([id], |row| Ok(Standing { revision: row.get(0)?, deleted: row.get(1)? }))
        .optional()
}

fn refused(error: &str, reason: String) -> WriteOutcome {
    WriteOutcome::Refused { error: error.to_owned(), reason }
}

/// `N-hash`, as `CouchDB` has it: the same write on the same parent gives the same revision.
fn revision_after(parent: &str, deleted: bool, body: &str) -> String {
    let generation: u64 =
        parent.split_once('-').and_then(|(number, _)| number.parse().ok()).unwrap_or(0);
    let mut hash = Xxh3Default::new();
    hash.update(parent.as_bytes());
    hash.update(&[0, u8::from(deleted)]);
    hash.update(body.as_bytes());
    format!("{}-{:032x}", generation + 1, hash.digest128())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_are_deterministic_and_count_generations() {
        let first = revision_after("", false, "{}");
        assert!(first.starts_with("1-"), "{first}");
        assert_eq!(first, revision_after("", false, "{}"));
        assert_ne!(first, revision_after("", true, "{}"));
        assert_ne!(first, revision_after("", false, "{\"a\":1}"));
        let second = revision_after(&first, false, "{}");
        assert!(second.starts_with("2-"), "{second}");
    }
}
