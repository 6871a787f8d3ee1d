//! Making, dropping and listing databases through `couch_rs`.
//!
//! `couch_rs` 0.13 hides many a status: `destroy_db` is `false` for a missing database and for
//! missing rights alike, `exists` is `false` when nobody answers, and whatever is not the JSON
//! that it expects is "501 error decoding response body". So its yes is believed; anything else is
//! asked again through the thin client, which tells what it was. It is not asked for a database's
//! information at all: its type for that fits one implementation only.

use std::sync::Arc;

use couch_rs::Client;
use reqwest::Method;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::couch::classify::{Asked, classify};
use crate::couch::config::CouchConfig;
use crate::couch::http::{Http, Request};
use crate::error::StoreError;
use crate::store::DatabaseInfo;

/// A client of `couch_rs` for this `CouchDB`; `mapreduce` uses one too.
///
/// # Errors
/// When it can't be built from this configuration.
pub fn client(config: &CouchConfig) -> Result<Client, StoreError> {
    // The crate counts whole seconds, and takes 0 for no time at all.
    let seconds = config.request_timeout.as_secs().max(1);
    let password = config.password().map(ExposeSecret::expose_secret);
    Client::new_with_timeout(config.address(), config.user(), password, Some(seconds)).map_err(
        |error| StoreError::Fatal {
            address: config.address().to_owned(),
            reason: error.to_string(),
        },
    )
}

/// Administration of one `CouchDB`.
#[derive(Debug)]
pub(super) struct Admin {
    couch: Client,
    http: Arc<Http>,
}

#[derive(Deserialize)]
struct Info {
    doc_count: u64,
    #[serde(default)]
    sizes: Option<Sizes>,
    /// `PouchDB`'s name for it.
    #[serde(default)]
    disk_size: Option<u64>,
}

#[derive(Deserialize)]
struct Sizes {
    file: u64,
}

#[derive(Deserialize)]
struct Designs {
    rows: Vec<IgnoredAny>,
}

#[derive(Deserialize)]
struct Session {
    ok: bool,
}

impl Admin {
    pub(super) fn new(config: &CouchConfig, http: Arc<Http>) -> Result<Self, StoreError> {
        Ok(Self { couch: client(config)?, http })
    }

    /// Whether the server answers and takes our credentials; without any, whether it answers. What
    /// it lets us do shows when we do it: rights are given database by database.
    pub(super) async fn ping(&self) -> Result<(), StoreError> {
        let body = self.http.ask(get("session", None, &["_session"])).await?;
        let Session { ok } =
            serde_json::from_slice(&body).map_err(|error| self.http.misread(error))?;
        if ok { Ok(()) } else { Err(self.http.misread("a session that is not ok")) }
    }

    pub(super) async fn create(&self, name: &str) -> Result<bool, StoreError> {
        // Only an administrator may make a database; others may well use one that is there. And a
        // wrong password fails here once, not at each of several requests.
        if self.exists(name).await? {
            return Ok(false);
        }
        if self.couch.make_db(name).await.is_ok() {
            return Ok(true);
        }
        let request = Request { method: Method::PUT, ..get("create_database", Some(name), &[]) };
        // 412: it is there by now.
        let answer = self.http.ask_allowing(request, Some(412)).await?;
        Ok(answer.status != 412)
    }

    pub(super) async fn drop_database(&self, name: &str) -> Result<bool, StoreError> {
        // PouchDB says yes to dropping what is not there.
        if !self.exists(name).await? {
            return Ok(false);
        }
        if matches!(self.couch.destroy_db(name).await, Ok(true)) {
            return Ok(true);
        }
        let request = Request { method: Method::DELETE, ..get("drop_database", Some(name), &[]) };
        let answer = self.http.ask_allowing(request, Some(404)).await?;
        Ok(answer.status != 404)
    }

    pub(super) async fn list(&self) -> Result<Vec<String>, StoreError> {
        let mut names: Vec<String> = match self.couch.list_dbs().await {
            Ok(names) => names,
            Err(_) => {
                let body = self.http.ask(get("list_databases", None, &["_all_dbs"])).await?;
                serde_json::from_slice(&body).map_err(|error| self.http.misread(error))?
            }
        };
        names.retain(|name| !name.starts_with('_'));
        names.sort_unstable();
        Ok(names)
    }

    pub(super) async fn database(&self, name: &str) -> Result<Option<DatabaseInfo>, StoreError> {
        let Some(info) = self.info(name).await? else { return Ok(None) };
        // `doc_count` counts design documents. '0' follows '/'.
        let designs = Request {
            query: &[("startkey", "\"_design/\""), ("endkey", "\"_design0\"")],
            ..get("database", Some(name), &["_all_docs"])
        };
        let body = match self.http.ask(designs).await {
            Err(StoreError::MissingDatabase { .. }) => return Ok(None),
            body => body?,
        };
        let Designs { rows } =
            serde_json::from_slice(&body).map_err(|error| self.http.misread(error))?;
        Ok(Some(DatabaseInfo {
            name: name.to_owned(),
            documents: info.doc_count.saturating_sub(rows.len() as u64),
            bytes: info.sizes.map(|sizes| sizes.file).or(info.disk_size),
        }))
    }

    pub(super) async fn exists(&self, name: &str) -> Result<bool, StoreError> {
        Ok(self.info(name).await?.is_some())
    }

    async fn info(&self, name: &str) -> Result<Option<Info>, StoreError> {
        let answer = self.http.ask_allowing(get("database", Some(name), &[]), Some(404)).await?;
        if answer.status == 404 {
            let asked = Asked { address: self.http.address(), database: Some(name), bytes: 0 };
            return match classify(asked, 404, None, &answer.body) {
                StoreError::MissingDatabase { .. } => Ok(None),
                other => Err(other),
            };
        }
        let info = serde_json::from_slice(&answer.body);
        Ok(Some(info.map_err(|error| self.http.misread(error))?))
    }
}

fn get<'a>(operation: &'static str, database: Option<&'a str>, path: &'a [&'a str]) -> Request<'a> {
    Request { operation, method: Method::GET, database, path, query: &[], body: None }
}
