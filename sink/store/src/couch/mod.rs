//! `CouchDB` over HTTP.
//!
//! Administration goes through `couch_rs` ([`client`]); the bulk path has a thin client of its
//! own, because `couch_rs` ignores the status of a bulk write. Written for `CouchDB` 3.5; an
//! independent implementation of the protocol, pouchdb-server 4.2, passes the same suite.
//!
//! `_local/…` documents are special in `CouchDB`: their revisions are not checked, the last write
//! wins.

mod admin;
mod answer;
mod classify;
mod config;
mod door;
mod http;

use std::sync::Arc;

use reqwest::Method;

pub use admin::client;
pub use classify::{Asked, classify};
pub use config::{CouchConfig, Renewal};
pub use http::transport;

use crate::body;
use crate::couch::admin::Admin;
use crate::couch::answer::Misread;
use crate::couch::http::{Http, Request};
use crate::document::{Document, Revision};
use crate::error::StoreError;
use crate::metrics;
use crate::name::{self, illegal_database_name};
use crate::store::{Changes, DatabaseInfo, DocumentStore, WriteOutcome};

/// A document store in `CouchDB`. Clones share one bounded pool of connections.
#[derive(Clone, Debug)]
pub struct CouchStore {
    http: Arc<Http>,
    admin: Arc<Admin>,
}

impl CouchStore {
    /// A client; nothing is sent yet.
    ///
    /// # Errors
    /// When it can't be built from this configuration.
    pub fn new(config: CouchConfig) -> Result<Self, StoreError> {
        let http = Arc::new(Http::new(config.clone())?);
        let admin = Arc::new(Admin::new(&config, Arc::clone(&http))?);
        Ok(Self { http, admin })
    }

    fn check_name(&self, name: &str) -> Result<(), StoreError> {
        illegal_database_name(name)
            .map_or(Ok(()), |reason| Err(StoreError::Rejected { address: self.address(), reason }))
    }

    fn explain(&self, misread: Misread) -> StoreError {
        match misread {
            Misread::Unauthorised(reason) => {
                StoreError::Unauthorised { address: self.address(), reason }
            }
            other => self.http.misread(other),
        }
    }

    /// Documents that `_all_docs` shows, in the order of these ids.
    async fn fetch_listed(
        &self,
        database: &str,
        ids: &[&str],
    ) -> Result<Vec<Option<Document>>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let request = Request {
            operation: "fetch",
            method: Method::POST,
            database: Some(database),
            path: &["_all_docs"],
            query: &[("include_docs", "true")],
            body: Some(keys_body(ids)),
        };
        let body = self.http.ask_for(ids.len(), request).await?;
        answer::fetched(ids, &body).map_err(|misread| self.explain(misread))
    }

    /// A local document, which `_all_docs` need not show.
    async fn fetch_local(&self, database: &str, id: &str) -> Result<Option<Document>, StoreError> {
        let own = id.strip_prefix(name::LOCAL).unwrap_or(id);
        let request = Request {
            operation: "fetch_local",
            method: Method::GET,
            database: Some(database),
            path: &["_local", own],
            query: &[],
            body: None,
        };
        let answer = self.http.ask_allowing(request, Some(404)).await?;
        if answer.status == 404 {
            return match self.admin.exists(database).await? {
                true => Ok(None),
                false => Err(StoreError::MissingDatabase {
                    address: self.address(),
                    database: database.to_owned(),
                }),
            };
        }
        answer::single(&answer.body).map_err(|misread| self.explain(misread))
    }
}

impl DocumentStore for CouchStore {
    fn address(&self) -> String {
        self.http.address().to_owned()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.admin.ping().await
    }

    async fn create_database(&self, name: &str) -> Result<bool, StoreError> {
        self.check_name(name)?;
        self.admin.create(name).await
    }

    async fn drop_database(&self, name: &str) -> Result<bool, StoreError> {
        self.check_name(name)?;
        self.admin.drop_database(name).await
    }

    async fn databases(&self) -> Result<Vec<String>, StoreError> {
        self.admin.list().await
    }

    async fn database(&self, name: &str) -> Result<Option<DatabaseInfo>, StoreError> {
        self.admin.database(name).await
    }

    async fn write(
        &self,
        database: &str,
        documents: &[Document],
    ) -> Result<Vec<WriteOutcome>, StoreError> {
        let mut outcomes: Vec<Option<WriteOutcome>> = documents.iter().map(unsendable).collect();
        let sent: Vec<&Document> = documents
            .iter()
            .zip(&outcomes)
            .filter_map(|(document, outcome)| outcome.is_none().then_some(document))
            .collect();
        let answers = if sent.is_empty() {
            Vec::new()
        } else {
            let body = self
                .http
                .ask(Request {
                    operation: "write",
                    method: Method::POST,
                    database: Some(database),
                    path: &["_bulk_docs"],
                    query: &[],
                    body: Some(bulk_body(&sent)),
                })
                .await?;
            answer::bulk(&sent, &body).map_err(|misread| self.explain(misread))?
        };
        let mut answers = answers.into_iter();
        for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_none()) {
            *outcome = answers.next();
        }
        let outcomes: Vec<WriteOutcome> = outcomes.into_iter().flatten().collect();
        metrics::count(&outcomes);
        Ok(outcomes)
    }

    async fn fetch(
        &self,
        database: &str,
        ids: &[String],
    ) -> Result<Vec<Option<Document>>, StoreError> {
        let listed: Vec<&str> =
            ids.iter().map(String::as_str).filter(|id| !id.starts_with(name::LOCAL)).collect();
        let mut found = Vec::with_capacity(listed.len());
        let mut parts = vec![listed.as_slice()];
        while let Some(part) = parts.pop() {
            match self.fetch_listed(database, part).await {
                Ok(documents) => found.extend(documents),
                // The question or the answer is too large as a whole.
                Err(StoreError::TooLarge { .. }) if part.len() > 1 => {
                    let (first, rest) = part.split_at(part.len() / 2);
                    parts.extend([rest, first]);
                }
                Err(error) => return Err(error),
            }
        }
        let mut found = found.into_iter();
        let mut documents = Vec::with_capacity(ids.len());
        for id in ids {
            documents.push(if id.starts_with(name::LOCAL) {
                self.fetch_local(database, id).await?
            } else {
                found.next().flatten()
            });
        }
        Ok(documents)
    }

    async fn scan(
        &self,
        database: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let mut after = after.map(str::to_owned);
        let mut limit = limit;
        loop {
            // A page begins with the last id of the one before: `skip` would count from the start.
            let asked = limit.saturating_add(usize::from(after.is_some()));
            let (asked_text, start) = (asked.to_string(), after.as_deref().map(json_string));
            let mut query = vec![("include_docs", "true"), ("limit", &asked_text)];
            query.extend(start.as_deref().map(|start| ("startkey", start)));
            let request = Request {
                operation: "scan",
                method: Method::GET,
                database: Some(database),
                path: &["_all_docs"],
                query: &query,
                body: None,
            };
            let body = match self.http.ask_for(limit, request).await {
                Err(StoreError::TooLarge { .. }) if limit > 1 => {
                    limit /= 2;
                    continue;
                }
                body => body?,
            };
            let mut page =
                answer::page(after.as_deref(), &body).map_err(|misread| self.explain(misread))?;
            if !page.documents.is_empty() || page.rows < asked {
                // Where `after` itself is gone, the page has one more than was asked for.
                page.documents.truncate(limit);
                return Ok(page.documents);
            }
            // Nothing but design documents: go on behind them.
            after = page.last;
        }
    }

    async fn changes(
        &self,
        database: &str,
        since: Option<&str>,
        limit: usize,
    ) -> Result<Changes, StoreError> {
        let limit = limit.max(1);
        let limit_text = limit.to_string();
        let body = self
            .http
            .ask(Request {
                operation: "changes",
                method: Method::GET,
                database: Some(database),
                path: &["_changes"],
                query: &[
                    ("include_docs", "true"),
                    ("limit", &limit_text),
                    ("since", since.unwrap_or("0")),
                ],
                body: None,
            })
            .await?;
        answer::changes(limit, &body).map_err(|misread| self.explain(misread))
    }
}

/// What becomes of a document that can't even be sent: one such makes `CouchDB` refuse them all.
fn unsendable(document: &Document) -> Option<WriteOutcome> {
    if let Some(reason) = name::illegal_id(&document.id) {
        return Some(WriteOutcome::Refused {
            error: "illegal_docid".to_owned(),
            reason: reason.to_owned(),
        });
    }
    if let Err((error, reason)) = body::deletes(&document.body) {
        return Some(WriteOutcome::Refused { error: error.to_owned(), reason });
    }
    // What is no revision (`N-…`) can't be the one that stands there.
    let Revision(revision) = document.revision.as_ref()?;
    let well_formed = revision
        .split_once('-')
        .is_some_and(|(generation, hash)| !hash.is_empty() && generation.parse::<u64>().is_ok());
    (!well_formed).then_some(WriteOutcome::Conflict)
}

fn bulk_body(documents: &[&Document]) -> Vec<u8> {
    // Ids and revisions besides the bodies: generous, so that the buffer is made once.
    let size: usize = documents.iter().map(|document| document.size() + 128).sum();
    let mut out = Vec::with_capacity(size);
    out.extend_from_slice(b"{\"docs\":[");
    for (number, document) in documents.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        body::splice(document, &mut out);
    }
    out.extend_from_slice(b"]}");
    out
}

fn keys_body(ids: &[&str]) -> Vec<u8> {
    let mut out = b"{\"keys\":[".to_vec();
    for (number, id) in ids.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        body::push_string(id, &mut out);
    }
    out.extend_from_slice(b"]}");
    out
}

fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
