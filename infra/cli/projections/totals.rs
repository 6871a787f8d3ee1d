//! What the views of two generations say altogether.

use bowerbird_mapreduce::{AnyViews, Design, Query, ViewError, Views as _};
use bowerbird_store::StoreError;
use serde::Serialize;
use serde_json::Value;

/// A view that reduces, over all of its rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Total {
    /// `design/view`.
    pub view: String,
    /// In the live generation; nothing where it is not deployed there.
    pub live: Option<Value>,
    /// In the new one.
    pub new: Option<Value>,
}

/// Asks every view that reduces, in both databases.
///
/// # Errors
/// When the views can't be asked.
pub async fn totals(
    views: &AnyViews,
    designs: &[Design],
    live: &str,
    new: &str,
) -> Result<Vec<Total>, ViewError> {
    let mut totals = Vec::new();
    for design in designs {
        for (name, view) in &design.views {
            if view.reduce.is_none() {
                continue;
            }
            let total = async |database| total(views, database, &design.name, name).await;
            let view = format!("{}/{name}", design.name);
            totals.push(Total { view, live: total(live).await?, new: total(new).await? });
        }
    }
    Ok(totals)
}

async fn total(
    views: &AnyViews,
    database: &str,
    design: &str,
    view: &str,
) -> Result<Option<Value>, ViewError> {
    match views.query(database, design, view, &Query::default()).await {
        Ok(rows) => Ok(rows.into_iter().next().map(|row| row.value)),
        // Of a live generation nothing is there where the store was lost.
        Err(
            ViewError::MissingDesign { .. }
            | ViewError::MissingView { .. }
            | ViewError::Store(StoreError::MissingDatabase { .. }),
        ) => Ok(None),
        Err(error) => Err(error),
    }
}
