//! From the bytes of a successful answer to rows. Pure, and no bytes make it panic.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use thiserror::Error;

use crate::body::{self, Received};
use crate::document::{Document, Revision};
use crate::name;
use crate::store::{Change, Changes, WriteOutcome};

/// Why an answer is none.
#[derive(Debug, Error)]
pub(super) enum Misread {
    /// Not the JSON that was expected, or cut off.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// The rows are not those that were asked for.
    #[error("{0}")]
    Rows(String),
    /// A row says that we may not do that.
    #[error("{0}")]
    Unauthorised(String),
}

/// Errors of a row that no repetition changes.
/// Source: `CouchDB`'s `chttpd:error_info` and `couch_doc`'s validation, `PouchDB`'s `errors.js`.
const PERMANENT: [&str; 8] = [
    "forbidden",
    "illegal_docid",
    "doc_validation",
    "bad_request",
    "invalid_id",
    "missing_id",
    "document_too_large",
    "attachment_too_large",
];

#[derive(Deserialize)]
struct BulkRow<'a> {
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    rev: Option<Cow<'a, str>>,
    #[serde(default)]
    error: Value,
    #[serde(default)]
    reason: Value,
}

/// The outcomes of a bulk write, in the order of the documents sent. `CouchDB` answers in that
/// order; `PouchDB` moves design and local documents to the front.
pub(super) fn bulk(sent: &[&Document], body: &[u8]) -> Result<Vec<WriteOutcome>, Misread> {
    let rows: Vec<BulkRow<'_>> = serde_json::from_slice(body)?;
    if rows.len() != sent.len() {
        let (rows, sent) = (rows.len(), sent.len());
        return Err(Misread::Rows(format!("{rows} rows for {sent} documents")));
    }
    let in_order =
        rows.iter().zip(sent).all(|(row, document)| row.id.as_deref() == Some(&*document.id));
    if in_order {
        return rows.into_iter().map(outcome).collect();
    }
    let mut by_id: HashMap<String, BulkRow<'_>> = HashMap::with_capacity(rows.len());
    for row in rows {
        if let Some(id) = &row.id {
            by_id.insert(id.to_string(), row);
        }
    }
    sent.iter()
        .map(|document| {
            let row = by_id.remove(&document.id);
            outcome(row.ok_or_else(|| Misread::Rows(format!("no row for {}", document.id)))?)
        })
        .collect()
}

fn outcome(row: BulkRow<'_>) -> Result<WriteOutcome, Misread> {
    let text = |value: Value| match value {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let (error, reason) = (text(row.error), text(row.reason));
    match (error.as_str(), row.rev) {
        ("", Some(revision)) => Ok(WriteOutcome::Written(Revision(revision.into_owned()))),
        ("", None) => Err(Misread::Rows("a row with neither a revision nor an error".to_owned())),
        ("conflict", _) => Ok(WriteOutcome::Conflict),
        // It is about who we are, not about the document: nothing is given up because of it.
        ("unauthorized", _) => Err(Misread::Unauthorised(reason)),
        (known, _) if PERMANENT.contains(&known) => Ok(WriteOutcome::Refused { error, reason }),
        _ => Ok(WriteOutcome::Failed { error, reason }),
    }
}

#[derive(Deserialize)]
struct AllDocs<'a> {
    #[serde(borrow)]
    rows: Vec<AllDocsRow<'a>>,
}

#[derive(Deserialize)]
struct AllDocsRow<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow, default)]
    doc: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<Cow<'a, str>>,
}

/// The documents of `_all_docs` with keys, in the order of the ids asked for.
pub(super) fn fetched(ids: &[&str], body: &[u8]) -> Result<Vec<Option<Document>>, Misread> {
    let AllDocs { rows } = serde_json::from_slice(body)?;
    let in_order = rows.len() == ids.len() && rows.iter().zip(ids).all(|(row, id)| row.key == *id);
    if !in_order {
        let (rows, ids) = (rows.len(), ids.len());
        return Err(Misread::Rows(format!("{rows} rows for {ids} ids, or other ones")));
    }
    rows.iter()
        .map(|row| match (row.error.as_deref(), row.doc) {
            (None | Some("not_found" | "deleted" | "missing"), None) => Ok(None),
            (None, Some(document)) => live(document),
            (Some(error), _) => Err(Misread::Rows(format!("{} {error}", row.key))),
        })
        .collect()
}

/// A single document, as `GET` answers.
pub(super) fn single(body: &[u8]) -> Result<Option<Document>, Misread> {
    live(serde_json::from_slice(body)?)
}

fn live(document: &RawValue) -> Result<Option<Document>, Misread> {
    let Received { document, deleted } = body::unsplice(document.get())?;
    Ok((!deleted).then_some(document))
}

/// A page of `_all_docs`.
pub(super) struct Page {
    /// The documents behind `after`, without those of the store's own kinds.
    pub(super) documents: Vec<Document>,
    /// Where the page ended, reserved ids included; nothing when it was empty.
    pub(super) last: Option<String>,
    /// How many rows it had.
    pub(super) rows: usize,
}

/// The documents of a page that began at `after`, itself left out.
pub(super) fn page(after: Option<&str>, body: &[u8]) -> Result<Page, Misread> {
    let AllDocs { rows } = serde_json::from_slice(body)?;
    let mut documents = Vec::with_capacity(rows.len());
    for row in &rows {
        let passed = after.is_some_and(|after| *row.key <= *after);
        let Some(document) = row.doc.filter(|_| !passed && !name::is_reserved(&row.key)) else {
            continue;
        };
        documents.extend(live(document)?);
    }
    let last = rows.last().map(|row| row.key.to_string());
    Ok(Page { documents, last, rows: rows.len() })
}

#[derive(Deserialize)]
struct ChangesBody<'a> {
    #[serde(borrow)]
    results: Vec<ChangesRow<'a>>,
    last_seq: Value,
    /// `CouchDB` tells how much is waiting, `PouchDB` does not.
    #[serde(default)]
    pending: Option<u64>,
}

#[derive(Deserialize)]
struct ChangesRow<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(default)]
    deleted: bool,
    #[serde(borrow, default)]
    doc: Option<&'a RawValue>,
}

/// The changes, of which at most `limit` were asked for.
pub(super) fn changes(limit: usize, body: &[u8]) -> Result<Changes, Misread> {
    let ChangesBody { results, last_seq, pending } = serde_json::from_slice(body)?;
    // CouchDB's sequences are text, PouchDB's are numbers.
    let last = match last_seq {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let more = pending.map_or(results.len() >= limit, |pending| pending > 0);
    let mut rows = Vec::with_capacity(results.len());
    for row in results {
        if name::is_reserved(&row.id) {
            continue;
        }
        let document = match row.doc.filter(|_| !row.deleted) {
            Some(document) => live(document)?,
            None => None,
        };
        rows.push(Change { id: row.id.into_owned(), document });
    }
    Ok(Changes { rows, last, more })
}

#[cfg(test)]
mod tests;
