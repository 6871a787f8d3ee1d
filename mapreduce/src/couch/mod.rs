//! Views of `CouchDB`: its own view server does the work, `couch_rs` speaks with it.
//!
//! `couch_rs` gives up after its time-out, and a view of many documents takes longer to build than
//! any sensible one; `CouchDB` goes on building all the same. So a query that times out is asked
//! again until the index is built, within a bound.

mod ask;
mod deploy;

use std::time::{Duration, Instant};

use bowerbird_store::StoreError;
use bowerbird_store::couch::CouchConfig;
use couch_rs::types::query::QueryParams;
use serde_json::Value;

use crate::couch::ask::Server;
use crate::design::Design;
use crate::error::ViewError;
use crate::metrics;
use crate::query::{Group, Query, Row};
use crate::views::{DeployOptions, Deployment, Progress, Views};

/// How long a query waits until its index is up to date, unless it is told otherwise.
const QUERY_WAIT: Duration = Duration::from_secs(600);

/// Views in `CouchDB`. Clones share the connections.
#[derive(Clone, Debug)]
pub struct CouchViews {
    server: Server,
    query_wait: Duration,
}

impl CouchViews {
    /// A client; nothing is sent yet.
    ///
    /// # Errors
    /// When it can't be built from this configuration.
    pub fn new(config: &CouchConfig) -> Result<Self, ViewError> {
        Ok(Self { server: Server::new(config)?, query_wait: QUERY_WAIT })
    }

    /// The same, with this bound on how long a query waits for its index.
    #[must_use]
    pub fn with_query_wait(self, query_wait: Duration) -> Self {
        Self { query_wait, ..self }
    }

    async fn ask(
        &self,
        database: &str,
        design: &str,
        view: &str,
        query: &Query,
    ) -> Result<Vec<Row>, ViewError> {
        let missing = || ViewError::MissingDesign {
            database: database.to_owned(),
            design: design.to_owned(),
        };
        let deployed = self.server.design(database, design).await?.ok_or_else(missing)?;
        let Some(known) = deployed.views.get(view) else {
            return Err(ViewError::MissingView {
                database: database.to_owned(),
                design: design.to_owned(),
                view: view.to_owned(),
                known: deployed.views.keys().cloned().collect::<Vec<_>>().join(", "),
            });
        };
        let reduces = query.reduces(known.get("reduce").is_some())?;
        let parameters = parameters(query, reduces);
        self.built(database, design, view, &parameters, self.query_wait, &|_| ()).await
    }

    /// Asks a view until it answers, at most for `wait`; meanwhile tells how far the building is.
    async fn built(
        &self,
        database: &str,
        design: &str,
        view: &str,
        parameters: &QueryParams<Value>,
        wait: Duration,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Vec<Row>, ViewError> {
        tokio::select! {
            answer = self.until_built(database, design, view, parameters, wait) => answer,
            never = self.server.watch(database, design, progress) => match never {},
        }
    }

    async fn until_built(
        &self,
        database: &str,
        design: &str,
        view: &str,
        parameters: &QueryParams<Value>,
        wait: Duration,
    ) -> Result<Vec<Row>, ViewError> {
        let start = Instant::now();
        loop {
            let error = match self.server.query(database, design, view, parameters).await {
                Ok(rows) => return Ok(rows),
                Err(error) => error,
            };
            if !may_be_building(&error) {
                return Err(error);
            }
            if start.elapsed() >= wait {
                return Err(ViewError::NotBuilt {
                    database: database.to_owned(),
                    design: design.to_owned(),
                    waited: wait,
                });
            }
            tracing::info!(database, design, view, %error, "view is not built yet");
            tokio::time::sleep(ask::POLL.min(wait)).await;
        }
    }
}

impl Views for CouchViews {
    fn address(&self) -> String {
        self.server.address().to_owned()
    }

    async fn deploy(
        &self,
        database: &str,
        design: &Design,
        options: DeployOptions<'_>,
    ) -> Result<Deployment, ViewError> {
        deploy::deploy(self, database, design, options).await
    }

    async fn query(
        &self,
        database: &str,
        design: &str,
        view: &str,
        query: &Query,
    ) -> Result<Vec<Row>, ViewError> {
        let start = Instant::now();
        let answer = self.ask(database, design, view, query).await;
        let outcome = if answer.is_ok() { "ok" } else { "error" };
        ::metrics::histogram!(metrics::QUERY_SECONDS, "outcome" => outcome).record(start.elapsed());
        answer
    }
}

/// Whether an index that is being built explains the error: the request times out on our side, or
/// on the server's, which then says `timeout`.
fn may_be_building(error: &ViewError) -> bool {
    match error {
        ViewError::Store(StoreError::TimedOut { .. }) => true,
        ViewError::Store(StoreError::Busy { reason, .. }) => reason.contains("timeout"),
        _ => false,
    }
}

fn parameters(query: &Query, reduces: bool) -> QueryParams<Value> {
    let mut parameters = QueryParams::default()
        .reduce(reduces)
        .descending(query.descending)
        .inclusive_end(query.inclusive_end);
    parameters.start_key.clone_from(&query.start_key);
    parameters.end_key.clone_from(&query.end_key);
    parameters.key.clone_from(&query.key);
    parameters.keys = query.keys.clone().unwrap_or_default();
    parameters.limit = query.limit;
    parameters.skip = (query.skip > 0).then_some(query.skip);
    match query.group {
        Group::All => {}
        Group::Exact => parameters.group = Some(true),
        Group::Level(level) => parameters.group_level = Some(level),
    }
    parameters
}
