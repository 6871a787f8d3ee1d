//! Views of any document store: the design documents' JavaScript runs in `QuickJS`, and what it
//! emits is kept in a `SQLite` file.
//!
//! A small, honest implementation of [`Views`], not a copy of `CouchDB`'s: reduced values are not
//! kept but made when asked for. Order, reduce functions and what functions find around them are
//! `CouchDB`'s. Several processes may use one file.

mod answer;
mod engine;
mod index;
mod reduce;
mod update;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{Duration, Instant};

use bowerbird_store::{Document, DocumentStore, StoreError, WriteOutcome};
use tokio::sync::Mutex;

use crate::design::{Design, Reduce};
use crate::error::ViewError;
use crate::metrics;
use crate::query::{Query, Row};
use crate::quickjs::answer::{Ask, answer};
use crate::quickjs::engine::{Engine, Limits};
use crate::quickjs::index::{Index, IndexFile, Name, forget, forget_others};
use crate::quickjs::update::{Update, in_design, maps};
use crate::views::{DeployOptions, Deployment, Progress, Views};

/// What functions may use, and how long a query waits.
#[derive(Clone, Copy, Debug)]
pub struct QuickJsConfig {
    /// Memory of all functions together, in bytes.
    pub memory_limit_bytes: usize,
    /// How long a function may take on one document, or on one lot of rows.
    pub script_timeout: Duration,
    /// How long a query waits until its index is up to date.
    pub query_wait: Duration,
}

impl Default for QuickJsConfig {
    /// 128 MiB, 5 s (what `CouchDB` gives a function) and 10 minutes.
    fn default() -> Self {
        Self {
            memory_limit_bytes: 128 << 20,
            script_timeout: Duration::from_secs(5),
            query_wait: Duration::from_secs(600),
        }
    }
}

/// Views of the documents of `S`. Clones share the engine and the file.
#[derive(Clone, Debug)]
pub struct QuickJsViews<S> {
    store: S,
    config: QuickJsConfig,
    engine: Arc<Engine>,
    file: IndexFile,
    /// Who updates an index; others wait for it instead of doing the same.
    updating: Arc<StdMutex<HashMap<Name, Arc<Mutex<()>>>>>,
}

impl<S: DocumentStore> QuickJsViews<S> {
    /// Views of a store, with their indexes in this file; it is made if it is not there.
    ///
    /// # Errors
    /// When the file can't be opened, or is something else.
    pub fn open(
        store: S,
        path: impl AsRef<Path>,
        config: QuickJsConfig,
    ) -> Result<Self, ViewError> {
        let limits = Limits { memory: config.memory_limit_bytes, time: config.script_timeout };
        let engine = Engine::start(limits).map_err(|failure| in_design(failure, "any"))?;
        let file = IndexFile::open(path.as_ref())?;
        let updating = Arc::default();
        Ok(Self { store, config, engine: Arc::new(engine), file, updating })
    }

    /// The design document as it stands, and its revision.
    async fn deployed(
        &self,
        database: &str,
        design: &str,
    ) -> Result<Option<(Result<Design, String>, Document)>, ViewError> {
        let ids = [format!("_design/{design}")];
        let found = match self.store.fetch(database, &ids).await {
            Ok(found) => found,
            Err(error) => {
                if matches!(error, StoreError::MissingDatabase { .. }) {
                    // It was dropped, and its indexes are of no use to anybody.
                    let database = database.to_owned();
                    self.file.with(move |connection| forget(connection, &database)).await?;
                }
                return Err(error.into());
            }
        };
        Ok(found
            .into_iter()
            .flatten()
            .next()
            .map(|document| (Design::from_body(database, design, document.body.get()), document)))
    }

    async fn update(
        &self,
        name: &Name,
        design: &Design,
        wait: Duration,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Index, ViewError> {
        let started = Instant::now();
        let turn = {
            let mut updating = self.updating.lock().unwrap_or_else(PoisonError::into_inner);
            updating.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(updating.entry(name.clone()).or_default())
        };
        let not_built = || ViewError::NotBuilt {
            database: name.database.clone(),
            design: name.design.clone(),
            waited: wait,
        };
        let _turn = tokio::time::timeout(wait, turn.lock()).await.map_err(|_| not_built())?;
        let update = Update {
            documents: &self.store,
            engine: &self.engine,
            file: &self.file,
            name,
            design,
            deadline: started.checked_add(wait),
            progress,
        };
        update.run().await?.ok_or_else(not_built)
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
        let (found, _) = self.deployed(database, design).await?.ok_or_else(missing)?;
        let found = found.map_err(|reason| unreadable(design, reason))?;
        let Some((number, (_, known))) =
            (0_u32..).zip(&found.views).find(|(_, (name, _))| *name == view)
        else {
            return Err(ViewError::MissingView {
                database: database.to_owned(),
                design: design.to_owned(),
                view: view.to_owned(),
                known: found.known(),
            });
        };
        let reduces = query.reduces(known.reduce.is_some())?;
        let ask = Ask {
            design: design.to_owned(),
            view: view.to_owned(),
            number,
            reduce: known.reduce.clone().filter(|_| reduces),
            query: query.clone(),
        };
        let name = Name::of(database, &found);
        let index = self.update(&name, &found, self.config.query_wait, &|_| ()).await?;
        let engine = Arc::clone(&self.engine);
        self.file.with(move |connection| answer(connection, &index, &ask, &engine)).await
    }
}

impl<S: DocumentStore> Views for QuickJsViews<S> {
    fn address(&self) -> String {
        self.store.address()
    }

    async fn deploy(
        &self,
        database: &str,
        design: &Design,
        options: DeployOptions<'_>,
    ) -> Result<Deployment, ViewError> {
        let standing = self.deployed(database, &design.name).await?;
        let deployment = match &standing {
            None => Deployment::Created,
            Some((Ok(found), _)) if found.views == design.views => Deployment::Unchanged,
            Some(_) => Deployment::Changed,
        };
        compile(&self.engine, design).await?;
        if options.dry_run {
            return Ok(deployment);
        }
        let name = Name::of(database, design);
        // The index first: until the document is written, queries use the one that stands.
        self.update(&name, design, options.wait, options.progress).await?;
        if deployment != Deployment::Unchanged {
            let revision = standing.and_then(|(_, document)| document.revision);
            let document = Document::new(design.id(), &design.body())
                .map_err(|error| unreadable(&design.name, error.to_string()))?;
            let written = self.store.write(database, &[Document { revision, ..document }]).await?;
            match written.into_iter().next() {
                Some(WriteOutcome::Written(_)) => {}
                Some(WriteOutcome::Refused { error, reason }) => {
                    return Err(unreadable(&design.name, format!("{error}: {reason}")));
                }
                _ => {
                    return Err(ViewError::Contended {
                        database: database.to_owned(),
                        design: design.name.clone(),
                    });
                }
            }
        }
        self.file.with(move |connection| forget_others(connection, &name)).await?;
        Ok(deployment)
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

/// Compiles all functions of a design, and runs none.
///
/// # Errors
/// Which function is broken, and what the engine says of it.
pub async fn check(design: &Design) -> Result<(), ViewError> {
    let QuickJsConfig { memory_limit_bytes, script_timeout, .. } = QuickJsConfig::default();
    let limits = Limits { memory: memory_limit_bytes, time: script_timeout };
    let engine = Engine::start(limits).map_err(|failure| in_design(failure, &design.name))?;
    compile(&engine, design).await
}

async fn compile(engine: &Engine, design: &Design) -> Result<(), ViewError> {
    let mut programs = vec![maps(design)];
    for (name, view) in &design.views {
        if let Some(Reduce::Script(source)) = &view.reduce {
            programs.push(reduce::program(name, source));
        }
    }
    for program in programs {
        let checked = engine.check(Arc::new(program)).await;
        checked.map_err(|failure| in_design(failure, &design.name))?;
    }
    Ok(())
}

fn unreadable(design: &str, reason: String) -> ViewError {
    ViewError::Script {
        design: design.to_owned(),
        function: "the design document".to_owned(),
        reason,
    }
}
