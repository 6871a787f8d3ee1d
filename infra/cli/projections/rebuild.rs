//! `bowerbird projections rebuild`

use std::fmt::Write as _;

use bowerbird_mapreduce::Design;
use bowerbird_sink::mapping::Mapping;
use bowerbird_sink::projections::fill::{self, Standing};
use bowerbird_sink::projections::rebuild::{Checked, Rebuild, With as Rebuilding};
use bowerbird_sink::{Projection, SinkReport};
use bowerbird_store::AnyStore;
use bowerbird_stream::AnyLog;
use bowerbird_stream::status::status;
use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::With;
use super::totals::{Total, totals};
use crate::failure::Outcome;
use crate::generations;
use crate::mapreduce::Deployer;
use crate::output;
use crate::parts;
use crate::progress;
use crate::shutdown::Shutdown;

/// What `projections rebuild` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Which projection
    #[arg(value_name = "PROJECTION", value_parser = generations::names())]
    name: String,
    /// Only say what would be filled, and from how many records
    #[arg(long)]
    dry_run: bool,
}

/// What a rebuild found.
#[derive(Debug, Serialize)]
struct Report {
    projection: &'static str,
    generation: u32,
    database: String,
    mapping: u32,
    ready: bool,
    filled: SinkReport,
    checked: Checked,
    views: Vec<Total>,
}

/// Fills, verifies, and marks ready what is as the log says.
pub async fn run(
    arguments: Arguments,
    with: &With<'_>,
    shutdown: &Shutdown,
) -> anyhow::Result<Outcome> {
    let base = generations::base(&arguments.name)?;
    if arguments.dry_run {
        return plan(&base, with).await;
    }
    let With { log, store, generations, settings } = with;
    let deployer = Deployer::new(settings, store.clone(), parts::views(settings, store)?);
    let designs = deployer.designs(base.name)?;
    let (reporter, _status) = status("rebuild");
    let (config, cancel) = (parts::sink(settings), shutdown.token());
    let mapping = Mapping::CURRENT;
    let rebuilding = Rebuilding {
        log,
        generations,
        base: &base,
        mapping: &mapping,
        config: &config,
        reporter: &reporter,
        cancel: &cancel,
    };
    let mut rebuild = Rebuild::begin(rebuilding, &generations::worker()).await?;
    let worked = Box::pin(work(&mut rebuild, &deployer, &designs, with, shutdown)).await;
    let (filled, checked, views) = match worked {
        Ok(worked) => worked,
        Err(error) => {
            // The same command may go on at once; where that can't be noted, the lease runs out.
            if let Err(error) = rebuild.leave().await {
                tracing::debug!(%error, "the rebuild's note was not let go");
            }
            return Err(error);
        }
    };
    let ready = checked.log.is_clean();
    let (generation, projection) = (rebuild.number(), rebuild.projection().clone());
    match ready {
        true => _ = rebuild.finish(&checked).await?,
        false => rebuild.leave().await?,
    }
    let report = Report {
        projection: base.name,
        generation,
        database: projection.database,
        mapping: projection.mapping.version(),
        ready,
        filled,
        checked,
        views,
    };
    output::one(settings.output, "projections rebuild", &report, || told(&report))?;
    Ok(if ready { Outcome::Done } else { Outcome::FallsShort })
}

/// Fills it, builds its indexes once, takes what came meanwhile, and looks at it.
async fn work(
    rebuild: &mut Rebuild<'_, AnyLog, AnyStore>,
    deployer: &Deployer,
    designs: &[Design],
    with: &With<'_>,
    shutdown: &Shutdown,
) -> anyhow::Result<(SinkReport, Checked, Vec<Total>)> {
    let bar = progress::portion("records filled in");
    let show = |standing: Standing| progress::show(&bar, standing.done, standing.total);
    let mut filled = SinkReport::default();
    rebuild.fill(&mut filled, show).await?;
    bar.finish_and_clear();
    let Projection { name, database, .. } = rebuild.projection().clone();
    let deploying = shutdown.unless(deployer.deploy_all(name, &database));
    Box::pin(rebuild.meanwhile(deploying)).await??;
    rebuild.fill(&mut filled, |_| {}).await?;
    let bar = progress::counter("compared");
    let checking = rebuild.check(|looked_at| bar.set_position(looked_at));
    let checked = Box::pin(shutdown.unless(async { Ok(checking.await?) })).await;
    bar.finish_and_clear();
    let checked = checked?;
    let live = with.generations.database(name).await?;
    let views = rebuild.meanwhile(totals(deployer.views(), designs, &live, &database)).await??;
    Ok((filled, checked, views))
}

async fn plan(base: &Projection, with: &With<'_>) -> anyhow::Result<Outcome> {
    let pointer = with.generations.pointer(base).await?;
    let begun = jiff::Timestamp::now();
    let (after, number) = pointer.begin(base, &Mapping::CURRENT, 0, None, begun)?;
    let generation = after.get(base, number)?;
    let filled = Projection { group: generation.group.clone(), ..base.clone() };
    let behind = fill::standing(&with.log, &filled).await?.behind();
    let plan = json!({
        "projection": base.name, "generation": number, "database": generation.database,
        "mapping": generation.mapping, "records": behind,
    });
    output::one(with.settings.output, "projections rebuild", &plan, || {
        format!(
            "{}: generation {number} would be filled from {behind} records into database {}, with \
             mapping {}\n",
            base.name, generation.database, generation.mapping
        )
    })?;
    Ok(Outcome::Done)
}

fn told(report: &Report) -> String {
    let Report { projection, generation, database, mapping, filled, checked, .. } = report;
    let mut text = format!(
        "{projection}: generation {generation} (database {database}, mapping {mapping}): \
         {} records, {} documents written, {} dead letters\n",
        filled.records, filled.written, filled.dead_letters
    );
    let differences: u64 =
        checked.log.projections.iter().flat_map(|one| one.differences.values()).sum();
    let live = &checked.live;
    let what = if live.content { "content and notices" } else { "ids, observations and notices" };
    // Writing into a string can't fail.
    let _ = writeln!(text, "against the log: {differences} differences");
    let _ = writeln!(
        text,
        "against the live generation ({what}): {} of {} documents differ, in {} of {} buckets; {} \
         only live, {} only new",
        live.differ,
        live.live,
        live.buckets_differ(),
        live.live_buckets.len(),
        live.only_live,
        live.only_new,
    );
    for Total { view, live, new } in &report.views {
        let say = |value: &Option<serde_json::Value>| {
            value.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string)
        };
        let _ = writeln!(text, "view {view}: live {}, new {}", say(live), say(new));
    }
    for difference in checked.log.differences.iter().take(20) {
        let _ = writeln!(text, "  {}: {}", difference.id, difference.detail);
    }
    text.push_str(&match report.ready {
        true => format!("it is ready: `bowerbird projections switch {projection}` makes it live\n"),
        false => "it is not as the log says, and not ready; the same command goes on with it\n"
            .to_owned(),
    });
    text
}
