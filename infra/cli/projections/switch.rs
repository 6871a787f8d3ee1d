//! `bowerbird projections switch` and `rollback`

use bowerbird_sink::Projection;
use bowerbird_sink::projections::Pointer;
use bowerbird_sink::projections::fill::{self, Standing};
use bowerbird_sink::projections::switch::{Switched, Switching, Way};
use bowerbird_stream::status::status;
use clap::Args;
use serde_json::json;

use super::With;
use crate::failure::Outcome;
use crate::generations;
use crate::mapreduce::Deployer;
use crate::output;
use crate::parts;
use crate::progress;
use crate::shutdown::Shutdown;

/// What `projections switch` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Which projection
    #[arg(value_name = "PROJECTION", value_parser = generations::names())]
    name: String,
    /// To which generation, by number [default: the newest that is ready]
    #[arg(long, value_name = "GENERATION")]
    to: Option<u32>,
    /// Only say what would be switched, and how far it is behind
    #[arg(long)]
    dry_run: bool,
}

/// What `projections rollback` takes.
#[derive(Debug, Args)]
pub struct RollbackArguments {
    /// Which projection
    #[arg(value_name = "PROJECTION", value_parser = generations::names())]
    name: String,
    /// Go back at once: what arrived since is filled in behind, by the sink
    #[arg(long)]
    at_once: bool,
    /// Only say where it would go back to, and how far that is behind
    #[arg(long)]
    dry_run: bool,
}

/// Makes a generation live that is ready.
pub async fn run(
    arguments: Arguments,
    with: &With<'_>,
    shutdown: &Shutdown,
) -> anyhow::Result<Outcome> {
    let base = generations::base(&arguments.name)?;
    let pointer = with.generations.pointer(&base).await?;
    let to = pointer.candidate(&base, arguments.to)?;
    go(&base, to, Way::Forth, arguments.dry_run, with, shutdown).await
}

/// Makes the generation live again that was live before. Said again it stays there.
pub async fn rollback(
    arguments: RollbackArguments,
    with: &With<'_>,
    shutdown: &Shutdown,
) -> anyhow::Result<Outcome> {
    let base = generations::base(&arguments.name)?;
    let pointer = with.generations.pointer(&base).await?;
    let to = pointer.predecessor(&base)?;
    let way = Way::Back { at_once: arguments.at_once };
    go(&base, to, way, arguments.dry_run, with, shutdown).await
}

async fn go(
    base: &Projection,
    to: u32,
    way: Way,
    dry_run: bool,
    with: &With<'_>,
    shutdown: &Shutdown,
) -> anyhow::Result<Outcome> {
    let With { log, store, generations, settings } = with;
    let pointer = generations.pointer(base).await?;
    let candidate = generations.projection(base, &pointer, to)?;
    if dry_run {
        let behind = fill::standing(log, &candidate).await?.behind();
        let value = json!({
            "projection": base.name, "from": pointer.live, "to": to, "behind": behind,
        });
        output::one(settings.output, "projections switch", &value, || {
            let what = match pointer.live == to {
                true => stays(base, &pointer, to, way),
                false => format!("generation {} would be followed by {to}", pointer.live),
            };
            format!("{}: {what}; {to} is {behind} records behind\n", base.name)
        })?;
        return Ok(Outcome::Done);
    }
    let cancel = shutdown.token();
    if to != pointer.live && way != (Way::Back { at_once: true }) {
        // Queries must not miss what was deployed since it was filled.
        let deployer = Deployer::new(settings, store.clone(), parts::views(settings, store)?);
        shutdown.unless(deployer.deploy_all(base.name, &candidate.database)).await?;
    }
    let (reporter, _status) = status("switch");
    let config = parts::sink(settings);
    let switching =
        Switching { log, generations, base, config: &config, reporter: &reporter, cancel: &cancel };
    let bar = progress::portion("records caught up");
    let moved = switching.to(to, way, async |standing: Standing| {
        progress::show(&bar, standing.done, standing.total);
        Ok(())
    });
    let switched = Box::pin(moved).await;
    bar.finish_and_clear();
    let switched = switched?;
    output::one(settings.output, "projections switch", &switched, || {
        let Switched { from, caught_up, behind, .. } = switched;
        let what = match from == to {
            true => stays(base, &pointer, to, way),
            false => format!("generation {to} is live now, {from} is kept"),
        };
        format!("{}: {what}; {caught_up} records caught up, {behind} behind\n", base.name)
    })?;
    Ok(Outcome::Done)
}

/// Why nothing moves.
fn stays(base: &Projection, pointer: &Pointer, live: u32, way: Way) -> String {
    let name = base.name;
    match pointer.back_from {
        Some(from) if way != Way::Forth => format!(
            "generation {live} is live, it was gone back to from {from}; to go elsewhere, \
             `bowerbird projections switch {name} --to N`"
        ),
        _ => format!("generation {live} is live already"),
    }
}
