//! `bowerbird compliance`

use std::collections::BTreeSet;
use std::time::Duration;

use bowerbird_sink::compliance::beside::{self, Carried};
use bowerbird_sink::compliance::letters::{Looked, Unlooked};
use bowerbird_sink::compliance::{self, Outstanding, Swept, keep, letters};
use bowerbird_sink::projections::fill;
use bowerbird_sink::{Generations, Projection};
use bowerbird_store::AnyStore;
use bowerbird_stream::AnyLog;
use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::args;
use crate::crew::Stage;
use crate::failure::Outcome;
use crate::service::Service;
use crate::settings::Settings;
use crate::shutdown::Shutdown;
use crate::{generations, output, parts, progress};

/// So long a platform gives for what it asks.
const GIVEN: SignedDuration = SignedDuration::from_hours(24);
/// The role of what does it by itself.
const ROLE: &str = "compliance";

/// What `compliance` takes.
#[derive(Debug, Subcommand)]
pub enum Arguments {
    /// What of the platform's notices has not been done yet; exit 1 if something is late
    Status,
    /// Carry notices about users to their posts and all notices to generations that are not live, and
    /// take what was removed from dead letters, now: a running sink does it by itself
    Apply(Apply),
    /// The ids that a batch compliance job is asked about, one a line
    ExportIds(ExportIds),
}

/// What `compliance apply` takes.
#[derive(Debug, Args)]
pub struct Apply {
    /// Say what would be told, and tell nothing
    #[arg(long)]
    dry_run: bool,
    /// How long the sink may take to get to the log's end
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = args::duration)]
    wait: Duration,
}

/// What `compliance export-ids` takes.
#[derive(Debug, Args)]
pub struct ExportIds {
    /// The ids of authors instead of posts
    #[arg(long)]
    users: bool,
}

/// Shows, applies or exports.
pub async fn run(
    arguments: Arguments,
    settings: &Settings,
    shutdown: &Shutdown,
) -> anyhow::Result<Outcome> {
    match arguments {
        Arguments::Status => shutdown.unless(status(settings)).await,
        Arguments::Apply(arguments) => Box::pin(shutdown.unless(apply(&arguments, settings))).await,
        Arguments::ExportIds(arguments) => shutdown.unless(export(&arguments, settings)).await,
    }
}

#[derive(Serialize)]
struct Status {
    /// Records of posts and notices that no sink has written.
    waiting_for_sink: u64,
    #[serde(flatten)]
    outstanding: Outstanding,
    /// Notices that generations beside the live one do not know yet, counted for each.
    waiting_for_generations: u64,
    /// What nobody has looked at of dead letters and of notices that may be about them.
    dead_letters: Unlooked,
    /// Whether that is longer than the platform gives.
    late: bool,
    last_sweep: Option<Swept>,
    last_look_at_dead_letters: Option<Looked>,
}

async fn status(settings: &Settings) -> anyhow::Result<Outcome> {
    let (log, store) = (parts::log(settings).await?, parts::store(settings)?);
    let generations = generations::of(settings, &store);
    let last_sweep = keep::last(generations.meta()).await?;
    let live = generations.live(&Projection::posts()).await?;
    let outstanding =
        compliance::outstanding(&log, &last_sweep.clone().unwrap_or_default()).await?;
    let waiting_for_sink = fill::standing(&log, &live).await?.behind();
    let waiting_for_generations = beside::waiting(&log, &generations).await?;
    let last_look = letters::last(generations.meta()).await?;
    let dead_letters = letters::unlooked(&log, &last_look.clone().unwrap_or_default()).await?;
    let now = Timestamp::now();
    let is_late = |since: Option<Timestamp>| since.is_some_and(|at| now.duration_since(at) > GIVEN);
    let late = is_late(outstanding.since) || is_late(dead_letters.since);
    let status = Status {
        waiting_for_sink,
        outstanding,
        waiting_for_generations,
        dead_letters,
        late,
        last_sweep,
        last_look_at_dead_letters: last_look,
    };
    output::one(settings.output, "compliance status", &status, || told(&status))?;
    Ok(if status.late { Outcome::FallsShort } else { Outcome::Done })
}

fn told(status: &Status) -> String {
    let Status { waiting_for_sink, outstanding, dead_letters, late, last_sweep, .. } = status;
    let first = |since: Option<Timestamp>| {
        since.map_or_else(String::new, |since| format!(", the first since {since}"))
    };
    let Outstanding { notices, since } = outstanding;
    let since = first(*since);
    let unlooked = first(dead_letters.since);
    let Unlooked { letters, notices: about_letters, .. } = dead_letters;
    let late = match late {
        true => "some of it waits longer than the 24 hours that the platform gives\n",
        false => "",
    };
    let swept = match last_sweep {
        Some(Swept { began: Some(began), users, posts, removed, scrubbed, .. }) => format!(
            "last sweep at {began}: {users} users, {posts} documents looked at, {removed} posts \
             removed, {scrubbed} scrubbed\n"
        ),
        _ => "no sweep yet\n".to_owned(),
    };
    let looked = match &status.last_look_at_dead_letters {
        Some(Looked { began: Some(began), records, erased, .. }) => format!(
            "last look through dead letters at {began}: {records} looked at, {erased} erased\n"
        ),
        _ => String::new(),
    };
    format!(
        "{notices} notices about users not carried to their posts yet{since}\n\
         {waiting_for_sink} records of posts and notices wait for a sink\n\
         {} notices wait for generations that are not live\n\
         {letters} dead letters and {about_letters} notices came since the letters were looked \
         through{unlooked}\n{late}{swept}{looked}",
        status.waiting_for_generations
    )
}

#[derive(Serialize)]
struct Applied {
    #[serde(flatten)]
    swept: Swept,
    other_generations: Carried,
    dead_letters: Looked,
}

async fn apply(arguments: &Apply, settings: &Settings) -> anyhow::Result<Outcome> {
    let (log, store) = (parts::log(settings).await?, parts::store(settings)?);
    let generations = generations::of(settings, &store);
    let bar = progress::counter("documents looked at");
    let looked_at = |count| bar.set_position(count);
    let (wait, worker) = (arguments.wait, generations::worker());
    let live = generations.live(&Projection::posts()).await?;
    // From before the sweep, so that nobody waits for a sink to write what that publishes.
    let ends = compliance::ends(&log, &live).await?;
    let (swept, other_generations, dead_letters) = match arguments.dry_run {
        true => (
            compliance::sweep(&log, &store, &live, wait, true, looked_at).await?,
            Carried { notices: beside::waiting(&log, &generations).await?, ..Carried::default() },
            letters::dry_run(&log, &store, &live, &ends, wait).await?,
        ),
        false => (
            keep::apply(&log, &generations, &worker, wait, looked_at).await?,
            beside::apply(&log, &generations, &worker).await?,
            letters::apply(&log, &generations, &worker, &ends, wait).await?,
        ),
    };
    if !arguments.dry_run {
        parts::clean(&log).await?;
    }
    bar.finish_and_clear();
    let would = if arguments.dry_run { "would be " } else { "" };
    let applied = Applied { swept, other_generations, dead_letters };
    output::one(settings.output, "compliance apply", &applied, || {
        let Applied { swept, other_generations, dead_letters } = &applied;
        let Swept { users, posts, removed, scrubbed, .. } = swept;
        let (Carried { notices, .. }, Looked { records, erased, .. }) =
            (other_generations, dead_letters);
        format!(
            "{users} users, {posts} documents looked at: {removed} posts {would}removed, \
             {scrubbed} {would}scrubbed\n\
             {notices} notices {would}settled in generations that are not live\n\
             {records} dead letters looked at: {erased} {would}erased\n"
        )
    })?;
    Ok(Outcome::Done)
}

async fn export(arguments: &ExportIds, settings: &Settings) -> anyhow::Result<Outcome> {
    let store = parts::store(settings)?;
    let live = generations::of(settings, &store).live(&Projection::posts()).await?;
    let mut seen = BTreeSet::new();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut written = Ok(());
    compliance::ids(&store, &live.database, arguments.users, |id| {
        // X takes numbers only, each once.
        let Ok(number) = id.parse::<u64>() else { return };
        if written.is_ok() && (!arguments.users || seen.insert(number)) {
            written = std::io::Write::write_all(&mut out, format!("{id}\n").as_bytes());
        }
    })
    .await?;
    written?;
    std::io::Write::flush(&mut out)?;
    Ok(Outcome::Done)
}

/// Has notices about users carried to their posts by itself, and what is erased leave the log.
pub fn spawn(
    service: &mut Service,
    log: &AnyLog,
    generations: &Generations<AnyStore>,
    settings: &Settings,
) {
    let token = service.crew.token(Stage::Work);
    let (log, generations) = (log.clone(), generations.clone());
    let keeping = parts::keeping(settings);
    service.crew.spawn(Stage::Work, ROLE, async move {
        Box::pin(keep::keep(&log, &generations, &generations::worker(), &keeping, token)).await;
        Ok(())
    });
}
