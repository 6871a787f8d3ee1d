//! Bringing an index forward, and throwing indexes away.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::quickjs::index::IndexError;
use crate::quickjs::index::schema::{Index, Name};

/// What a document's maps emitted: for each view its rows as sort key, key and value.
pub(in crate::quickjs) struct Mapped {
    pub(in crate::quickjs) id: String,
    pub(in crate::quickjs) rows: Vec<(u32, Vec<u8>, String, String)>,
}

/// Replaces the rows of these documents, and moves the index on to `next`; nothing when it does
/// not stand where the page begins: another process brought it forward, or threw it away.
pub(in crate::quickjs) fn store(
    connection: &mut Connection,
    index: &Index,
    next: &str,
    page: &[Mapped],
) -> Result<Option<Index>, IndexError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if !stands(&transaction, index)? {
        return Ok(None);
    }
    let table = index.table();
    {
        let mut delete =
            transaction.prepare_cached(&format!("DELETE FROM {table} WHERE id = ?1"))?;
        let mut insert = transaction.prepare_cached(&format!(
            "INSERT INTO {table} (view, key, id, ordinal, key_json, value)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
        ))?;
        for document in page {
            delete.execute([&document.id])?;
            for (ordinal, (view, key, key_json, value)) in (0_u32..).zip(&document.rows) {
                insert.execute(params![view, key, document.id, ordinal, key_json, value])?;
            }
        }
        transaction
            .prepare_cached("UPDATE indexes SET since = ?2 WHERE id = ?1")?
            .execute(params![index.id, next])?;
    }
    transaction.commit()?;
    Ok(Some(Index { id: index.id, since: Some(next.to_owned()) }))
}

/// Empties an index: it begins anew.
pub(in crate::quickjs) fn reset(
    connection: &mut Connection,
    index: &Index,
) -> Result<(), IndexError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if stands(&transaction, index)? {
        transaction.execute(&format!("DELETE FROM {}", index.table()), [])?;
        transaction.execute("UPDATE indexes SET since = NULL WHERE id = ?1", [index.id])?;
    }
    transaction.commit()?;
    Ok(())
}

/// Throws away the indexes of this design document that are not of its views as they are now.
pub(in crate::quickjs) fn forget_others(
    connection: &mut Connection,
    name: &Name,
) -> Result<(), IndexError> {
    let condition = "database = ?1 AND design = ?2 AND signature <> ?3";
    throw_away(connection, condition, &[&name.database, &name.design, &name.signature])
}

/// Throws away the indexes of a database.
pub(in crate::quickjs) fn forget(
    connection: &mut Connection,
    database: &str,
) -> Result<(), IndexError> {
    throw_away(connection, "database = ?1", &[database])
}

fn throw_away(
    connection: &mut Connection,
    condition: &str,
    values: &[&str],
) -> Result<(), IndexError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let ids: Vec<i64> = transaction
        .prepare(&format!("SELECT id FROM indexes WHERE {condition}"))?
        .query_map(rusqlite::params_from_iter(values), |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for id in ids {
        let table = Index { id, since: None }.table();
        transaction.execute("DELETE FROM indexes WHERE id = ?1", [id])?;
        transaction.execute_batch(&format!("DROP TABLE {table}"))?;
    }
    transaction.commit()?;
    Ok(())
}

fn stands(transaction: &Transaction<'_>, index: &Index) -> rusqlite::Result<bool> {
    let since: Option<Option<String>> = transaction
        .prepare_cached("SELECT since FROM indexes WHERE id = ?1")?
        .query_row([index.id], |row| row.get(0))
        .optional()?;
    Ok(since == Some(index.since.clone()))
}
