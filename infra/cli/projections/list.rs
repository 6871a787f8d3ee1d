//! `bowerbird projections list`

use bowerbird_sink::Projection;
use bowerbird_sink::projections::{Standing, fill};
use bowerbird_store::DocumentStore as _;
use bowerbird_stream::LogError;
use jiff::Timestamp;
use serde::Serialize;

use super::With;
use crate::failure::Outcome;
use crate::output;

/// A generation.
#[derive(Debug, Serialize)]
struct Row {
    projection: &'static str,
    generation: u32,
    state: Standing,
    database: String,
    group: String,
    mapping: u32,
    documents: Option<u64>,
    behind: Option<u64>,
    created: Option<Timestamp>,
    since: Option<Timestamp>,
}

/// Lists them.
pub async fn run(with: &With<'_>) -> anyhow::Result<Outcome> {
    let mut rows = Vec::new();
    for base in Projection::all() {
        let pointer = with.generations.pointer(&base).await?;
        for (number, generation) in pointer.generations {
            let (database, group) = (generation.database, generation.group);
            let projection = Projection { group: group.clone(), ..base.clone() };
            let behind = match fill::standing(&with.log, &projection).await {
                Ok(standing) => Some(standing.behind()),
                // Nothing was harvested yet.
                Err(LogError::MissingTopic { .. }) => None,
                Err(error) => return Err(error.into()),
            };
            let found = with.store.database(&database).await?;
            rows.push(Row {
                projection: base.name,
                generation: number,
                state: generation.state,
                database,
                group,
                mapping: generation.mapping,
                documents: found.map(|found| found.documents),
                behind,
                created: generation.created,
                since: generation.since,
            });
        }
    }
    let header = [
        "projection",
        "generation",
        "state",
        "database",
        "group",
        "mapping",
        "documents",
        "behind",
        "since",
    ];
    output::rows(with.settings.output, &rows, &header, |row| {
        let maybe = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        vec![
            row.projection.to_owned(),
            row.generation.to_string(),
            row.state.as_str().to_owned(),
            row.database.clone(),
            row.group.clone(),
            row.mapping.to_string(),
            maybe(row.documents.map(|count| count.to_string())),
            maybe(row.behind.map(|count| count.to_string())),
            maybe(row.since.map(|since| since.to_string())),
        ]
    })?;
    Ok(Outcome::Done)
}
