//! `bowerbird mapreduce deploy`

use std::path::PathBuf;
use std::time::Duration;

use bowerbird_mapreduce::{AnyViews, DeployOptions, Deployment, Design, ViewError, Views as _};
use bowerbird_sink::{Generations, SinkError};
use bowerbird_store::{AnyStore, DocumentStore as _, StoreError};
use bowerbird_stream::retry::{RetryPolicy, Verdict, retry};
use bowerbird_stream::status::State;
use clap::Args;
use serde::Serialize;

use crate::crew::Stage;
use crate::failure::Outcome;
use crate::generations;
use crate::output;
use crate::parts;
use crate::progress;
use crate::service::Service;
use crate::settings::Settings;

/// What `mapreduce deploy` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A folder of design documents instead of those in the binary [default: mapreduce.designs]
    #[arg(long, value_name = "DIR")]
    designs: Option<PathBuf>,
    /// Only check the functions, and say what would change
    #[arg(long)]
    dry_run: bool,
}

/// What became of a design document.
#[derive(Debug, Serialize)]
struct Deployed {
    database: String,
    design: String,
    views: Vec<String>,
    change: &'static str,
}

/// Deploys all of them.
pub async fn run(arguments: Arguments, settings: &Settings) -> anyhow::Result<Outcome> {
    let folder = arguments.designs.or_else(|| settings.config().mapreduce.designs.clone());
    let designs = parts::designs(folder.as_deref())?;
    let store = parts::store(settings)?;
    let views = parts::views(settings, &store)?;
    let deployer = Deployer::new(settings, store, views);
    let mut deployed = Vec::new();
    for design in &designs {
        let (database, change) = deployer.deploy(design, arguments.dry_run).await?;
        let name = design.name.clone();
        let views = design.views.keys().cloned().collect();
        deployed.push(Deployed { database, design: name, views, change });
    }
    output::rows(settings.output, &deployed, &["database", "design", "views", "change"], |row| {
        let Deployed { database, design, views, change } = row;
        vec![database.clone(), design.clone(), views.join(" "), (*change).to_owned()]
    })?;
    Ok(Outcome::Done)
}

/// Starts deploying beside the other tasks, with patience where the store can't be reached.
pub fn spawn(
    service: &mut Service,
    settings: &Settings,
    store: AnyStore,
    views: AnyViews,
    designs: Vec<Design>,
) {
    let deployer = Deployer::new(settings, store, views);
    let (reporter, token) = (service.role("views"), service.crew.token(Stage::Source));
    let deploying = async move {
        let notify = |error: &ViewError, _: Duration| {
            reporter.set(State::Paused { reason: error.to_string() });
        };
        for design in &designs {
            let policy = RetryPolicy::default();
            retry(&policy, judge, notify, || deployer.deploy(design, false)).await?;
        }
        reporter.set(State::Running);
        Ok(())
    };
    service.crew.spawn(Stage::Support, "the deployment of views", async move {
        Box::pin(token.run_until_cancelled(deploying)).await.unwrap_or(Ok(()))
    });
}

fn judge(error: &ViewError) -> Verdict {
    let pauses = matches!(error, ViewError::Store(error) if error.pauses());
    if pauses || error.is_transient() { Verdict::Again { after: None } } else { Verdict::GiveUp }
}

/// Brings design documents into databases.
pub struct Deployer {
    store: AnyStore,
    generations: Generations<AnyStore>,
    views: AnyViews,
    folder: Option<PathBuf>,
    create_databases: bool,
    wait: Duration,
}

impl Deployer {
    /// Deploys by `views` into `store`.
    pub fn new(settings: &Settings, store: AnyStore, views: AnyViews) -> Self {
        Self {
            generations: generations::of(settings, &store),
            store,
            views,
            folder: settings.config().mapreduce.designs.clone(),
            create_databases: settings.config().store.create_databases,
            wait: Duration::from_millis(settings.config().mapreduce.build_wait_ms),
        }
    }

    /// The views that it deploys by.
    pub fn views(&self) -> &AnyViews {
        &self.views
    }

    /// The configured design documents of a projection.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn designs(&self, projection: &str) -> Result<Vec<Design>, ViewError> {
        let mut designs = parts::designs(self.folder.as_deref())?;
        designs.retain(|design| design.database == projection);
        Ok(designs)
    }

    /// Deploys all that a projection has into the database of one of its generations.
    ///
    /// # Errors
    /// As [`Views::deploy`](bowerbird_mapreduce::Views::deploy).
    pub async fn deploy_all(&self, projection: &str, database: &str) -> anyhow::Result<()> {
        for design in self.designs(projection)? {
            self.deploy_into(database, &design, false).await?;
        }
        Ok(())
    }

    /// Deploys one into the live generation, and says which database that is.
    async fn deploy(
        &self,
        design: &Design,
        dry_run: bool,
    ) -> Result<(String, &'static str), ViewError> {
        let database = self.generations.database(&design.database).await;
        let database = database.map_err(|error| match error {
            SinkError::Store(error) => error,
            error => StoreError::Fatal { address: self.store.address(), reason: error.to_string() },
        })?;
        let change = self.deploy_into(&database, design, dry_run).await?;
        Ok((database, change))
    }

    /// Deploys one, and makes its database if it is missing and may be made.
    async fn deploy_into(
        &self,
        database: &str,
        design: &Design,
        dry_run: bool,
    ) -> Result<&'static str, ViewError> {
        // The store's own way in: after a wrong password it does not ask again at once, while views
        // would until CouchDB locks the account.
        self.store.ping().await?;
        if self.create_databases {
            if dry_run && self.store.database(database).await?.is_none() {
                return Ok("would be created, with its database");
            }
            if !dry_run {
                self.store.create_database(database).await?;
            }
        }
        let bar = progress::counter("documents mapped");
        let told = bar.clone();
        let progress = move |now: bowerbird_mapreduce::Progress| {
            told.set_position(now.done);
            if let Some(total) = now.total {
                told.set_message(format!("of {total} documents mapped"));
            }
        };
        let options = DeployOptions { dry_run, wait: self.wait, progress: &progress };
        let deployment = self.views.deploy(database, design, options).await;
        bar.finish_and_clear();
        Ok(match (deployment?, dry_run) {
            (Deployment::Unchanged, _) => "unchanged",
            (Deployment::Created, false) => "created",
            (Deployment::Created, true) => "would be created",
            (Deployment::Changed, false) => "changed",
            (Deployment::Changed, true) => "would be changed",
        })
    }
}
