//! Views as a trait: what the pipeline needs of them, and no more.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use crate::design::Design;
use crate::error::ViewError;
use crate::query::{Query, Row};

/// How far the building of an index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Changes of documents that were mapped.
    pub done: u64,
    /// How many there are, where that is known.
    pub total: Option<u64>,
}

/// How to deploy.
#[derive(Clone, Copy)]
pub struct DeployOptions<'a> {
    /// Only say what would be done.
    pub dry_run: bool,
    /// How long the building of the index may take.
    pub wait: Duration,
    /// Is told how far the building is, now and then.
    pub progress: &'a (dyn Fn(Progress) + Send + Sync),
}

impl Default for DeployOptions<'_> {
    /// For real, at most an hour, and nobody is told.
    fn default() -> Self {
        Self { dry_run: false, wait: Duration::from_secs(3600), progress: &|_| () }
    }
}

impl fmt::Debug for DeployOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeployOptions")
            .field("dry_run", &self.dry_run)
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}

/// What a deployment did, or would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deployment {
    /// It was not there.
    Created,
    /// It was there with other views.
    Changed,
    /// It was there just so.
    Unchanged,
}

/// Design documents and the views in them.
pub trait Views: Clone + Send + Sync + 'static {
    /// Where they are, without secrets, for messages.
    fn address(&self) -> String;

    /// Brings a design document into a database, and returns when its index is built. Until then
    /// queries are answered by the one before.
    ///
    /// # Errors
    /// A database that is not there, a broken function, no time left, or the store can't be
    /// reached.
    fn deploy(
        &self,
        database: &str,
        design: &Design,
        options: DeployOptions<'_>,
    ) -> impl Future<Output = Result<Deployment, ViewError>> + Send;

    /// Asks a view. Its index is first brought up to what the database holds.
    ///
    /// # Errors
    /// A database, design document or view that is not there, a query that makes no sense, or the
    /// store can't be reached.
    fn query(
        &self,
        database: &str,
        design: &str,
        view: &str,
        query: &Query,
    ) -> impl Future<Output = Result<Vec<Row>, ViewError>> + Send;
}
