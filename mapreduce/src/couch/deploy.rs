//! Deploying without downtime: build under a staging name, then copy over the live one.
//!
//! Indexes are shared by the signature of their functions, so the copy is ready at once, and until
//! then the old views answer.
//! Source: <https://docs.couchdb.org/en/stable/best-practices/views.html>

use couch_rs::types::query::QueryParams;
use serde_json::{Value, json};

use crate::couch::CouchViews;
use crate::couch::ask::Deployed;
use crate::design::Design;
use crate::error::ViewError;
use crate::quickjs::check;
use crate::views::{DeployOptions, Deployment};

/// How often a write is tried again when somebody else was faster.
const ATTEMPTS: usize = 3;

pub(super) async fn deploy(
    views: &CouchViews,
    database: &str,
    design: &Design,
    options: DeployOptions<'_>,
) -> Result<Deployment, ViewError> {
    let server = &views.server;
    let body = design.body();
    let standing = server.design(database, &design.name).await?;
    let deployment = match &standing {
        None => Deployment::Created,
        Some(standing) if is_same(standing, &body) => Deployment::Unchanged,
        Some(_) => Deployment::Changed,
    };
    // Not every server says that a function is broken; some just build an empty view.
    check(design).await?;
    if options.dry_run {
        return Ok(deployment);
    }
    let staging = staging(&design.name);
    if deployment == Deployment::Unchanged {
        build(views, database, &design.name, design, options).await?;
        // Of a deployment that was interrupted after it had done its work.
        server.delete_design(database, &staging).await?;
        return Ok(deployment);
    }
    put(views, database, &staging, &body).await?;
    build(views, database, &staging, design, options).await?;
    put(views, database, &design.name, &body).await?;
    server.delete_design(database, &staging).await?;
    server.clean_up(database).await;
    Ok(deployment)
}

/// Where a design document is built before it goes live.
fn staging(name: &str) -> String {
    format!("{name}-staging")
}

fn is_same(standing: &Deployed, body: &Value) -> bool {
    let language = standing.language.as_deref().unwrap_or("javascript");
    language == "javascript" && json!(standing.views) == body["views"]
}

/// Writes a design document over whatever stands there.
async fn put(
    views: &CouchViews,
    database: &str,
    name: &str,
    body: &Value,
) -> Result<(), ViewError> {
    for _ in 0..ATTEMPTS {
        let mut body = body.clone();
        if let Some(standing) = views.server.design(database, name).await? {
            if is_same(&standing, &body) {
                return Ok(());
            }
            body["_rev"] = json!(standing.revision);
        }
        if views.server.put_design(database, name, body).await? {
            return Ok(());
        }
    }
    Err(ViewError::Contended { database: database.to_owned(), design: name.to_owned() })
}

/// Waits until the index of a design document is built. Its views are built together: asking one
/// builds all.
async fn build(
    views: &CouchViews,
    database: &str,
    name: &str,
    design: &Design,
    options: DeployOptions<'_>,
) -> Result<(), ViewError> {
    let Some(view) = design.views.keys().next() else { return Ok(()) };
    let one = QueryParams::<Value>::default().reduce(false).limit(1);
    views.built(database, name, view, &one, options.wait, options.progress).await.map(drop)
}
