//! `bowerbird ingest archive`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bowerbird_ingest::archive::{self, ArchiveConfig, FileSummary, Input, Progress, Summary};
use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;
use tokio::time::interval;

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
pub struct Arguments {
    /// Files of posts, a JSON object a line, plain or .gz, .bz2, .zst; - is standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Go on where an interrupted import stopped, and pass over files that are done
    #[arg(long)]
    resume: bool,
    /// Only say what would be read, and into which log
    #[arg(long)]
    dry_run: bool,
}

/// A file that would be read.
#[derive(Debug, Serialize)]
struct Planned {
    file: String,
    bytes: Option<u64>,
    log: String,
}

/// Imports the files.
pub async fn run(
    arguments: Arguments,
    settings: &Settings,
    shutdown: &Shutdown,
) -> anyhow::Result<Outcome> {
    let inputs: Vec<Input> =
        arguments.paths.iter().map(|path| Input::from_argument(path)).collect();
    if inputs.iter().filter(|input| **input == Input::Stdin).count() > 1 {
        return Err(WrongUse("standard input can be read once; give - once".to_owned()).into());
    }
    if arguments.dry_run {
        return plan(&arguments.paths, settings);
    }
    let log = parts::log(settings).await?;
    parts::apply_topics(&log, settings).await?;
    let config = ArchiveConfig { resume: arguments.resume, ..parts::archive(settings, inputs) };
    let progress = Arc::new(Progress::default());
    let importing = archive::import(log, config, Arc::clone(&progress), shutdown.token());
    let bar = progress::bytes();
    let summary = tokio::select! {
        summary = importing => summary,
        () = draw(&bar, &progress) => Summary::default(),
    };
    bar.finish_and_clear();
    print(&summary, settings.output)?;
    Ok(if summary.succeeded() { Outcome::Done } else { Outcome::FallsShort })
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

fn plan(paths: &[PathBuf], settings: &Settings) -> anyhow::Result<Outcome> {
    let log = settings.log_url().to_string();
    let mut planned = Vec::new();
    for path in paths {
        let bytes = match Input::from_argument(path) {
            Input::Stdin => None,
            Input::Path(path) => {
                let file = std::fs::metadata(&path);
                Some(file.with_context(|| format!("{} can't be read", path.display()))?.len())
            }
        };
        planned.push(Planned { file: path.display().to_string(), bytes, log: log.clone() });
    }
    output::rows(settings.output, &planned, &["file", "bytes", "log"], |planned| {
        let bytes = planned.bytes.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string());
        vec![planned.file.clone(), bytes, planned.log.clone()]
    })?;
    Ok(Outcome::Done)
}

const HEADER: [&str; 9] = [
    "file",
    "outcome",
    "lines",
    "posts",
    "notices",
    "dead letters",
    "first post",
    "last post",
    "seconds",
];

fn print(summary: &Summary, format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        return output::json(summary);
    }
    output::rows(format, &summary.files, &HEADER, cells)?;
    if format == Format::Text {
        let reasons: Vec<String> = summary
            .total
            .dead_letters
            .iter()
            .map(|(reason, count)| format!("dead letters for {reason}: {count}\n"))
            .collect();
        output::text(&reasons.concat())?;
    }
    Ok(())
}

fn cells(file: &FileSummary) -> Vec<String> {
    let outcome = serde_json::to_value(file.outcome).unwrap_or_default();
    let time = |time: Option<jiff::Timestamp>| {
        time.map_or_else(|| "-".to_owned(), |time| time.to_string())
    };
    let counts = &file.counts;
    vec![
        file.file.clone(),
        outcome.as_str().unwrap_or_default().to_owned(),
        counts.lines.to_string(),
        counts.posts.to_string(),
        counts.notices.to_string(),
        counts.dead_letters_total().to_string(),
        time(counts.first_post),
        time(counts.last_post),
        format!("{:.1}", file.seconds),
    ]
}
