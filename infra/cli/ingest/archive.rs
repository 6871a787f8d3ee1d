//! `bowerbird ingest archive`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bowerbird_ingest::archive::{self, ArchiveConfig, FileSummary, Input, Progress, Summary};
use bowerbird_ingest::post::reason::COMPLIANCE;
use bowerbird_stream::EventLog;
use clap::Args;
use indicatif::ProgressBar;
use tokio::time::interval;

use super::nowhere::Nowhere;
use crate::args::Format;
use crate::failure::{Outcome, WrongUse};
use crate::output;
use crate::parts;
use crate::progress;
use crate::settings::Settings;
use crate::shutdown::Shutdown;

/// How often the bar is brought up to date.
const DRAWN_EVERY: Duration = Duration::from_millis(200);

/// What `ingest archive` takes.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Arguments {
    /// Files of JSON objects (a line each, in a list, or over many lines), plain or .gz, .bz2, .zst,
    /// and tars and zips of them; folders of such files, patterns of paths ('grabs/**/*.tar'); - is
    /// standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Go on where an interrupted import stopped, and pass over files that are done
    #[arg(long)]
    resume: bool,
    /// Read everything and say what would be published, without publishing it
    #[arg(long)]
    pub dry_run: bool,
}

/// Imports the files.
pub async fn run(
    arguments: Arguments,
    settings: &Settings,
    shutdown: &Shutdown,
) -> anyhow::Result<Outcome> {
    run_with(arguments, settings, shutdown, |config| config).await
}

/// Imports the files by a configuration that `adapt` has the last word on.
pub async fn run_with(
    arguments: Arguments,
    settings: &Settings,
    shutdown: &Shutdown,
    adapt: impl FnOnce(ArchiveConfig) -> ArchiveConfig,
) -> anyhow::Result<Outcome> {
    let inputs: Vec<Input> =
        arguments.paths.iter().map(|path| Input::from_argument(path)).collect();
    if inputs.iter().filter(|input| **input == Input::Stdin).count() > 1 {
        return Err(WrongUse("standard input can be read once; give - once".to_owned()).into());
    }
    let config = adapt(ArchiveConfig {
        resume: arguments.resume,
        keep_checkpoints: !arguments.dry_run,
        drain_timeout: settings.lone_source_drain(),
        ..parts::archive(settings, inputs)
    });
    let takes_results = config.results.is_some();
    let summary = if arguments.dry_run {
        import(nowhere(settings), config, shutdown).await
    } else {
        let log = parts::log(settings).await?;
        parts::apply_topics(&log, settings).await?;
        import(log, config, shutdown).await
    };
    print(&summary, settings.output)?;
    if settings.output == Format::Text {
        output::text(&refused(&summary, takes_results))?;
        let letters = summary.total.dead_letters_total();
        if arguments.dry_run {
            let log = settings.log_url();
            output::text(&format!(
                "nothing was published; without --dry-run it would go into {log}\n"
            ))?;
        } else if letters > 0 {
            output::text(&format!(
                "{letters} dead letters: `bowerbird dead-letters list --each` tells why\n"
            ))?;
        }
    }
    Ok(if summary.succeeded() { Outcome::Done } else { Outcome::FallsShort })
}

fn nowhere(settings: &Settings) -> Nowhere {
    let most = settings.config().log.max_record_bytes;
    Nowhere { max_record_bytes: usize::try_from(most).unwrap_or(usize::MAX) }
}

async fn import<L: EventLog>(log: L, config: ArchiveConfig, shutdown: &Shutdown) -> Summary {
    let progress = Arc::new(Progress::default());
    let importing = archive::import(log, config, Arc::clone(&progress), shutdown.token());
    let bar = progress::bytes();
    let summary = tokio::select! {
        summary = importing => summary,
        () = draw(&bar, &progress) => Summary::default(),
    };
    bar.finish_and_clear();
    summary
}

async fn draw(bar: &ProgressBar, progress: &Progress) {
    let mut ticks = interval(DRAWN_EVERY);
    loop {
        ticks.tick().await;
        let now = progress.snapshot();
        if now.bytes_total > 0 {
            bar.set_length(now.bytes_total);
        }
        bar.set_position(now.bytes_read);
        let dead = if now.dead_letters > 0 {
            format!(", {} dead letters", now.dead_letters)
        } else {
            String::new()
        };
        let per_second = now.posts as f64 / bar.elapsed().as_secs_f64().max(0.1);
        let waits = now.trouble.map_or_else(String::new, |why| format!(" — waiting: {why}"));
        bar.set_message(format!("{} posts, {per_second:.0}/s{dead}{waits}", now.posts));
    }
}

const HEADER: [&str; 14] = [
    "file",
    "outcome",
    "members",
    "damaged",
    "lines",
    "posts",
    "duplicates",
    "notices",
    "deletes",
    "dead letters",
    "for",
    "first post",
    "last post",
    "seconds",
];

fn print(summary: &Summary, format: Format) -> anyhow::Result<()> {
    match format {
        Format::Json => output::json(summary),
        format => {
            output::rows(format, &summary.files, &HEADER, cells)?;
            if format == Format::Text {
                output::text(&told(summary))?;
            }
            Ok(())
        }
    }
}

/// What a table has no room for: what is wrong, member by member, and what it does not list.
fn told(summary: &Summary) -> String {
    let mut told = String::new();
    let mut say = |line: String| {
        told.push_str(&line);
        told.push('\n');
    };
    for file in &summary.files {
        let found = &file.found;
        for problem in &found.problems {
            say(format!("damaged: {}: {}", problem.member, problem.error));
        }
        let more = found.damaged.saturating_sub(found.problems.len() as u64);
        if more > 0 {
            say(format!("damaged: {more} more in {}, each a dead letter", file.file));
        }
        for name in found.passed_over.iter().filter(|name| **name != file.file) {
            say(format!("passed over, no JSON object in it: {name}"));
        }
        let more = found.foreign.saturating_sub(found.passed_over.len() as u64);
        if more > 0 {
            say(format!("passed over, no JSON object in them: {more} more in {}", file.file));
        }
        for name in &found.linked {
            say(format!("passed over, only a link to another file: {name}"));
        }
        let more = found.links.saturating_sub(found.linked.len() as u64);
        if more > 0 {
            say(format!("passed over, only links to other files: {more} more in {}", file.file));
        }
        if let Some(error) = file.error.as_ref().filter(|_| found.problems.is_empty()) {
            say(format!("{}: {error}", file.file));
        }
    }
    if summary.more_files > 0 {
        say(format!("{} more files, each a fact in the journal", summary.more_files));
    }
    if summary.interrupted {
        say("stopped before the end; with --resume the import goes on".to_owned());
    }
    told
}

/// Files that are perhaps of another kind than was thought.
fn refused(summary: &Summary, takes_results: bool) -> String {
    let files = summary.files.iter().filter(|file| file.outcome == archive::Outcome::Complete);
    let told = files.filter_map(|FileSummary { file, found, .. }| {
        let counts = &found.counts;
        if counts.dead_letters.contains_key(COMPLIANCE) && !takes_results {
            return Some(format!(
                "{file}: it has results of a batch compliance job, which `bowerbird ingest \
                 compliance` takes\n"
            ));
        }
        let is_other = counts.dead_letters_total() > 0 && counts.posts + counts.notices == 0;
        is_other.then(|| format!("{file}: nothing in it is a post or a notice\n"))
    });
    told.collect()
}

fn cells(file: &FileSummary) -> Vec<String> {
    let time = |time: Option<jiff::Timestamp>| {
        time.map_or_else(|| "-".to_owned(), |time| time.to_string())
    };
    let counts = &file.found.counts;
    let reasons = counts.dead_letters.iter().map(|(reason, count)| format!("{reason} {count}"));
    vec![
        file.file.clone(),
        file.outcome.name().to_owned(),
        file.found.members.to_string(),
        file.found.damaged.to_string(),
        counts.lines.to_string(),
        counts.posts.to_string(),
        counts.duplicates.to_string(),
        counts.notices.to_string(),
        counts.deletes.to_string(),
        counts.dead_letters_total().to_string(),
        reasons.collect::<Vec<_>>().join(", "),
        time(counts.first_post),
        time(counts.last_post),
        format!("{:.1}", file.seconds),
    ]
}
