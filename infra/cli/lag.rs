//! `bowerbird lag`

use std::io::{self, IsTerminal as _};

use bowerbird_stream::lag::LagReport;
use clap::Args;
use serde::Serialize;

use crate::args::Format;
use crate::failure::Outcome;
use crate::generations;
use crate::output;
use crate::parts;
use crate::settings::Settings;
use crate::shutdown::Shutdown;
use crate::watch::Watch;

/// Clears a terminal and goes to its upper left corner (ECMA-48: ED 2, CUP).
const CLEAR: &str = "\x1b[2J\x1b[H";

/// What `lag` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Go on, once a second (dashboard.interval_ms), until a signal
    #[arg(long)]
    watch: bool,
    /// One row for each partition instead of each topic
    #[arg(long)]
    partitions: bool,
}

/// One row: a topic of a group, or one of its partitions.
#[derive(Clone, Debug, Serialize)]
struct Row {
    group: String,
    status: String,
    topic: String,
    partition: Option<i32>,
    earliest: Option<i64>,
    end: Option<i64>,
    committed: Option<i64>,
    lag: u64,
    seconds_behind: f64,
    in_rate: Option<f64>,
    out_rate: Option<f64>,
}

/// Prints the lag, once or again and again.
pub async fn run(
    arguments: Arguments,
    settings: &Settings,
    shutdown: &Shutdown,
) -> anyhow::Result<Outcome> {
    let (log, store) = (parts::log(settings).await?, parts::store(settings)?);
    let mut watch = Watch::new(log, generations::of(settings, &store), settings);
    let cancel = shutdown.token();
    let interval = std::time::Duration::from_millis(settings.config().dashboard.interval_ms);
    let mut ticks = tokio::time::interval(interval);
    loop {
        if cancel.run_until_cancelled(ticks.tick()).await.is_none() {
            return Ok(Outcome::Done);
        }
        let Some(report) = cancel.run_until_cancelled(watch.sample()).await else {
            return Ok(Outcome::Done);
        };
        print(&report, &arguments, settings.output)?;
        if !arguments.watch {
            // With errors the figures are incomplete or old.
            return match report.errors.is_empty() {
                true => Ok(Outcome::Done),
                false => Err(anyhow::anyhow!(report.errors.join("; "))),
            };
        }
        for error in &report.errors {
            tracing::warn!(error, "the lag is not known just now");
        }
    }
}

fn print(report: &LagReport, arguments: &Arguments, format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        // One report a line while it goes on, so that programs can read them one by one.
        return match arguments.watch {
            true => output::text(&(serde_json::to_string(report)? + "\n")),
            false => output::json(report),
        };
    }
    if arguments.watch && format == Format::Text && io::stdout().is_terminal() {
        output::text(CLEAR)?;
    }
    let header = [
        "group",
        "status",
        "topic",
        "partition",
        "earliest",
        "end",
        "committed",
        "lag",
        "seconds behind",
        "in/s",
        "out/s",
    ];
    let rows = rows(report, arguments.partitions);
    if arguments.partitions || format == Format::Csv {
        return output::rows(format, &rows, &header, Row::cells);
    }
    let header = [&header[..3], &header[7..]].concat();
    output::rows(format, &rows, &header, |row| {
        let cells = row.cells();
        [&cells[..3], &cells[7..]].concat()
    })
}

fn rows(report: &LagReport, partitions: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for group in &report.groups {
        let status = serde_json::to_value(group.status).unwrap_or_default();
        for topic in &group.topics {
            let total = &topic.total;
            let sum = Row {
                group: group.group.clone(),
                status: status.as_str().unwrap_or_default().to_owned(),
                topic: topic.topic.clone(),
                partition: None,
                earliest: None,
                end: None,
                committed: None,
                lag: total.lag,
                seconds_behind: total.seconds_behind,
                in_rate: total.in_rate,
                out_rate: total.out_rate,
            };
            if !partitions {
                rows.push(sum);
                continue;
            }
            rows.extend(topic.partitions.iter().map(|partition| Row {
                partition: Some(partition.partition),
                earliest: Some(partition.earliest),
                end: Some(partition.end),
                committed: partition.committed,
                lag: partition.lag,
                seconds_behind: partition.seconds_behind,
                in_rate: partition.in_rate,
                out_rate: partition.out_rate,
                ..sum.clone()
            }));
        }
    }
    rows
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let whole = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |n| n.to_string());
        let rate = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), |r| format!("{r:.1}"));
        vec![
            self.group.clone(),
            self.status.clone(),
            self.topic.clone(),
            whole(self.partition.map(i64::from)),
            whole(self.earliest),
            whole(self.end),
            whole(self.committed),
            self.lag.to_string(),
            format!("{:.1}", self.seconds_behind),
            rate(self.in_rate),
            rate(self.out_rate),
        ]
    }
}
