//! Either kind of views, as the store is.

use bowerbird_store::sqlite::SqliteStore;

use crate::couch::CouchViews;
use crate::design::Design;
use crate::error::ViewError;
use crate::query::{Query, Row};
use crate::quickjs::QuickJsViews;
use crate::views::{DeployOptions, Deployment, Views};

/// Either kind of views.
#[derive(Clone, Debug)]
pub enum AnyViews {
    /// `CouchDB`'s own.
    Couch(CouchViews),
    /// The embedded ones, over the `SQLite` store.
    QuickJs(QuickJsViews<SqliteStore>),
}

impl From<CouchViews> for AnyViews {
    fn from(views: CouchViews) -> Self {
        Self::Couch(views)
    }
}

impl From<QuickJsViews<SqliteStore>> for AnyViews {
    fn from(views: QuickJsViews<SqliteStore>) -> Self {
        Self::QuickJs(views)
    }
}

impl Views for AnyViews {
    fn address(&self) -> String {
        match self {
            Self::Couch(views) => views.address(),
            Self::QuickJs(views) => views.address(),
        }
    }

    async fn deploy(
        &self,
        database: &str,
        design: &Design,
        options: DeployOptions<'_>,
    ) -> Result<Deployment, ViewError> {
        match self {
            Self::Couch(views) => views.deploy(database, design, options).await,
            Self::QuickJs(views) => views.deploy(database, design, options).await,
        }
    }

    async fn query(
        &self,
        database: &str,
        design: &str,
        view: &str,
        query: &Query,
    ) -> Result<Vec<Row>, ViewError> {
        match self {
            Self::Couch(views) => views.query(database, design, view, query).await,
            Self::QuickJs(views) => views.query(database, design, view, query).await,
        }
    }
}
