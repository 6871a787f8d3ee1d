//! What is asked of the server, and what its answers mean.
//!
//! `couch_rs` keeps the status of an error and loses `CouchDB`'s explanation; where that is
//! wanted, the request is put by `couch_rs`'s own builder and its answer read here.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bowerbird_store::couch::{Asked, CouchConfig, classify, client, transport};
use bowerbird_store::{Revision, StoreError};
use couch_rs::Client;
use couch_rs::database::Database;
use couch_rs::error::CouchError;
use couch_rs::types::query::QueryParams;
use couch_rs::types::view::RawViewCollection;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use crate::error::ViewError;
use crate::query::Row;
use crate::views::Progress;

/// How often the building of an index is looked at.
pub(super) const POLL: Duration = Duration::from_secs(1);

/// A `CouchDB`.
#[derive(Clone, Debug)]
pub(super) struct Server {
    client: Client,
    config: Arc<CouchConfig>,
}

/// A design document as it stands, of whatever language.
#[derive(Debug, Deserialize)]
pub(super) struct Deployed {
    #[serde(rename = "_rev")]
    pub(super) revision: Revision,
    #[serde(default)]
    pub(super) language: Option<String>,
    #[serde(default)]
    pub(super) views: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    error: Value,
    #[serde(default)]
    reason: Value,
}

/// One shard's index being built.
#[derive(Deserialize)]
struct Task {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    database: String,
    #[serde(default)]
    design_document: String,
    #[serde(default)]
    changes_done: u64,
    #[serde(default)]
    total_changes: u64,
}

impl Server {
    pub(super) fn new(config: &CouchConfig) -> Result<Self, ViewError> {
        Ok(Self { client: client(config)?, config: Arc::new(config.clone()) })
    }

    pub(super) fn address(&self) -> &str {
        self.config.address()
    }

    /// The design document of this name.
    pub(super) async fn design(
        &self,
        database: &str,
        name: &str,
    ) -> Result<Option<Deployed>, ViewError> {
        let path = format!("{}/_design/{}", encode(database), encode(name));
        let (status, body) = self.send(Method::GET, &path, &[], None).await?;
        match status {
            200 => serde_json::from_slice(&body).map(Some).map_err(|error| self.misread(&error)),
            404 if !is_missing_database(&body) => Ok(None),
            _ => Err(self.refused(database, status, &body)),
        }
    }

    /// Writes a design document; `false` when another revision stands there.
    pub(super) async fn put_design(
        &self,
        database: &str,
        name: &str,
        body: Value,
    ) -> Result<bool, ViewError> {
        let handle = self.database(database);
        match handle.create_view(name, body.clone()).await {
            Ok(_) => Ok(true),
            Err(error) if error.status().is_some_and(|status| status.as_u16() == 409) => Ok(false),
            Err(error) => match self.transport(&error) {
                Some(error) => Err(error),
                None => {
                    let path = format!("{}/_design/{}", encode(database), encode(name));
                    let text = body.to_string();
                    let (status, body) = self.send(Method::PUT, &path, &[], Some(text)).await?;
                    match status {
                        200..=299 => Ok(true),
                        409 => Ok(false),
                        _ => Err(self.failed(database, name, status, &body)),
                    }
                }
            },
        }
    }

    /// Deletes a design document; it may be gone already.
    pub(super) async fn delete_design(&self, database: &str, name: &str) -> Result<(), ViewError> {
        let Some(Deployed { revision: Revision(revision), .. }) =
            self.design(database, name).await?
        else {
            return Ok(());
        };
        let path = format!("{}/_design/{}", encode(database), encode(name));
        let (status, body) = self.send(Method::DELETE, &path, &[("rev", &revision)], None).await?;
        match status {
            // 409: somebody else deploys it just now, and will delete it.
            200..=299 | 404 | 409 => Ok(()),
            _ => Err(self.refused(database, status, &body)),
        }
    }

    /// Lets the server throw away the indexes that no design document needs any more.
    pub(super) async fn clean_up(&self, database: &str) {
        if !self.database(database).compact_views().await {
            // The space is freed by the next deployment.
            tracing::warn!(database, "old indexes were not cleaned up");
        }
    }

    /// Asks a view once.
    pub(super) async fn query(
        &self,
        database: &str,
        design: &str,
        view: &str,
        parameters: &QueryParams<Value>,
    ) -> Result<Vec<Row>, ViewError> {
        let handle = self.database(database);
        let asked: Result<RawViewCollection<Value, Value>, CouchError> =
            handle.query(design, view, Some(parameters.clone())).await;
        match asked {
            Ok(answer) => Ok(answer
                .rows
                .into_iter()
                .map(|row| Row { id: row.id, key: row.key, value: row.value })
                .collect()),
            Err(error) => match self.transport(&error) {
                Some(error) => Err(error),
                None => Err(self.explain_query(database, design, view, parameters).await),
            },
        }
    }

    /// Why a query is refused: asked again, for the explanation.
    async fn explain_query(
        &self,
        database: &str,
        design: &str,
        view: &str,
        parameters: &QueryParams<Value>,
    ) -> ViewError {
        let path =
            format!("{}/_design/{}/_view/{}", encode(database), encode(design), encode(view));
        let text = match serde_json::to_string(parameters) {
            Ok(text) => text,
            Err(error) => return ViewError::Query(error.to_string()),
        };
        match self.send(Method::POST, &path, &[], Some(text)).await {
            Ok((200..=299, _)) => self.busy("it refused a query, and then did not"),
            Ok((status, body)) => self.failed(database, design, status, &body),
            Err(error) => error,
        }
    }

    /// Tells every [`POLL`] how far the index of a design document is. Never ends by itself.
    pub(super) async fn watch(
        &self,
        database: &str,
        design: &str,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Infallible {
        loop {
            tokio::time::sleep(POLL).await;
            // Who may not see the tasks builds without progress.
            let Ok((200, body)) = self.send(Method::GET, "_active_tasks", &[], None).await else {
                continue;
            };
            if let Some(found) = building(database, design, &body) {
                progress(found);
            }
        }
    }

    fn database(&self, name: &str) -> Database {
        Database::new(encode(name), self.client.clone())
    }

    /// The answer's status and body.
    async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<String>,
    ) -> Result<(u16, Vec<u8>), ViewError> {
        let parameters =
            query.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let mut request = self.client.req(method, path, Some(&parameters));
        if let Some(body) = body {
            request = request.body(body);
        }
        let lost = |error| transport(self.address(), self.config.request_timeout, &error);
        let response = request.send().await.map_err(lost)?;
        let status = response.status().as_u16();
        let body = response.bytes().await.map_err(lost)?;
        Ok((status, body.to_vec()))
    }

    /// The error of a request that got no whole answer; nothing when it got one.
    fn transport(&self, error: &CouchError) -> Option<ViewError> {
        let cause = error.source()?.downcast_ref::<reqwest::Error>()?;
        if cause.is_status() || cause.is_decode() {
            return None;
        }
        Some(transport(self.address(), self.config.request_timeout, cause).into())
    }

    /// The error of a status, about a database.
    fn refused(&self, database: &str, status: u16, body: &[u8]) -> ViewError {
        let asked = Asked { address: self.address(), database: Some(database), bytes: 0 };
        classify(asked, status, None, body).into()
    }

    /// The error of a status, about a design document's functions or a query of them.
    fn failed(&self, database: &str, design: &str, status: u16, body: &[u8]) -> ViewError {
        let said: Option<Said> = serde_json::from_slice(body).ok();
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let (error, reason) =
            said.map(|said| (text(&said.error), text(&said.reason))).unwrap_or_default();
        match error.as_str() {
            "query_parse_error" => ViewError::Query(reason),
            "compilation_error"
            | "invalid_value"
            | "builtin_reduce_error"
            | "reduce_overflow_error"
            | "os_process_error"
            | "render_error" => ViewError::Script {
                design: design.to_owned(),
                function: "a function".to_owned(),
                reason: format!("{error}: {reason}"),
            },
            "not_found" if !is_missing_database(body) => ViewError::MissingDesign {
                database: database.to_owned(),
                design: design.to_owned(),
            },
            _ => self.refused(database, status, body),
        }
    }

    fn misread(&self, error: &serde_json::Error) -> ViewError {
        self.busy(&format!("its answer can't be understood: {error}"))
    }

    fn busy(&self, reason: &str) -> ViewError {
        ViewError::Store(StoreError::Busy {
            address: self.address().to_owned(),
            reason: reason.to_owned(),
            retry_after: None,
        })
    }
}

/// A path segment; `CouchDB` reads a plus sign as a space.
fn encode(segment: &str) -> String {
    utf8_percent_encode(segment, NON_ALPHANUMERIC).to_string()
}

/// Whether a 404 is about the database: `CouchDB`'s words for it, then `PouchDB`'s.
fn is_missing_database(body: &[u8]) -> bool {
    let said: Option<Said> = serde_json::from_slice(body).ok();
    said.is_some_and(|said| {
        matches!(said.reason.as_str(), Some("Database does not exist." | "no_db_file"))
    })
}

/// How far the index of a design document is, over all shards; nothing when it is not building.
fn building(database: &str, design: &str, tasks: &[u8]) -> Option<Progress> {
    let tasks: Vec<Task> = serde_json::from_slice(tasks).ok()?;
    // A shard is `shards/00000000-7fffffff/posts.1700000000`.
    let shard = format!("/{database}.");
    let design = format!("_design/{design}");
    let mut found: Option<(u64, u64)> = None;
    for task in tasks {
        let ours = task.database == database || task.database.contains(&shard);
        if task.r#type == "indexer" && ours && task.design_document == design {
            let (done, total) = found.unwrap_or_default();
            found = Some((done + task.changes_done, total + task.total_changes));
        }
    }
    found.map(|(done, total)| Progress { done, total: Some(total) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tasks_of_all_shards_are_one_progress() {
        let tasks = br#"[
            {"type":"indexer","database":"shards/00000000-7fffffff/posts.17","changes_done":5,
             "total_changes":10,"design_document":"_design/places","progress":50},
            {"type":"indexer","database":"shards/80000000-ffffffff/posts.17","changes_done":2,
             "total_changes":8,"design_document":"_design/places"},
            {"type":"indexer","database":"shards/80000000-ffffffff/posts-2.17","changes_done":1,
             "total_changes":1,"design_document":"_design/places"},
            {"type":"database_compaction","database":"shards/00000000-7fffffff/posts.17"},
            {"type":"indexer","database":"shards/80000000-ffffffff/posts.17","changes_done":1,
             "total_changes":1,"design_document":"_design/time"}]"#;
        let expected = Progress { done: 7, total: Some(18) };
        assert_eq!(building("posts", "places", tasks), Some(expected));
        assert_eq!(building("posts", "none", tasks), None);
        assert_eq!(building("posts", "places", b"nonsense"), None);
    }
}
