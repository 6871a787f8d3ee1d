//! `bowerbird projections drop`

use bowerbird_sink::projections::Standing;
use bowerbird_sink::projections::switch::drop_generation;
use bowerbird_store::DocumentStore as _;
use clap::Args;
use serde_json::json;

use super::With;
use crate::failure::{Outcome, WrongUse};
use crate::generations;
use crate::output;
use crate::question;

/// What `projections drop` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Which projection
    #[arg(value_name = "PROJECTION", value_parser = generations::names())]
    name: String,
    /// Which of its generations, by number
    #[arg(value_name = "GENERATION")]
    generation: u32,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Remove it without asking
    #[arg(long)]
    yes: bool,
}

/// Removes a generation.
pub async fn run(arguments: Arguments, with: &With<'_>) -> anyhow::Result<Outcome> {
    let Arguments { name, generation: number, dry_run, yes } = arguments;
    let base = generations::base(&name)?;
    let pointer = with.generations.pointer(&base).await?;
    let doomed = pointer.get(&base, number)?.clone();
    // What is refused is refused before anybody is asked.
    pointer.dropping(&base, number, jiff::Timestamp::now())?;
    let found = with.store.database(&doomed.database).await?;
    let documents = found.map_or(0, |found| found.documents);
    let what = format!(
        "generation {number} of {name}: database {} with {documents} documents",
        doomed.database
    );
    let format = with.settings.output;
    let done = |dropped: bool| {
        let state = if dropped { "dropped" } else { "would be dropped" };
        let value = json!({
            "projection": name, "generation": number, "database": doomed.database,
            "documents": documents, "dropped": dropped,
        });
        output::one(format, "projections drop", &value, || format!("{state}: {what}\n"))
    };
    if dry_run {
        done(false)?;
        return Ok(Outcome::Done);
    }
    let is_begun = doomed.state == Standing::Dropping;
    if !yes && !is_begun && !question::ask(&format!("Drop {what}?"))? {
        return Err(WrongUse(format!("{what} was left as it is; --yes drops it")).into());
    }
    drop_generation(&with.log, &with.generations, &base, number).await?;
    done(true)?;
    Ok(Outcome::Done)
}
