//! `bowerbird verify`

use bowerbird_sink::{VerifyConfig, VerifyReport, verify};
use clap::Args;

use crate::failure::Outcome;
use crate::generations;
use crate::output;
use crate::parts;
use crate::progress;
use crate::settings::Settings;

/// What `verify` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Name at most so many differences; all are counted
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    limit: usize,
}

/// Compares, and falls short when anything differs.
pub async fn run(arguments: Arguments, settings: &Settings) -> anyhow::Result<Outcome> {
    let (log, store) = (parts::log(settings).await?, parts::store(settings)?);
    let projections = generations::of(settings, &store).all_live().await?;
    let config = VerifyConfig { projections, listed: arguments.limit, ..VerifyConfig::default() };
    let bar = progress::counter("compared");
    let compared = verify(&log, &store, &config, |looked_at| bar.set_position(looked_at)).await;
    bar.finish_and_clear();
    let report = compared?;
    output::one(settings.output, "verify", &report, || told(&report))?;
    Ok(if report.is_clean() { Outcome::Done } else { Outcome::FallsShort })
}

fn told(report: &VerifyReport) -> String {
    let header = [
        "projection",
        "events",
        "documents",
        "dead letters",
        "redriven",
        "dropped",
        "not judged",
        "differences",
    ];
    let rows: Vec<Vec<String>> = report
        .projections
        .iter()
        .map(|projection| {
            let differences: u64 = projection.differences.values().sum();
            let numbers = [
                projection.events,
                projection.documents,
                projection.dead_letters,
                projection.redriven,
                projection.dropped,
                projection.not_judged,
                differences,
            ];
            let name = projection.projection.to_owned();
            std::iter::once(name).chain(numbers.map(|number| number.to_string())).collect()
        })
        .collect();
    let mut text = output::aligned(&header, &rows);
    if report.is_clean() {
        text.push_str("\nlog and documents agree\n");
        return text;
    }
    let rows: Vec<Vec<String>> = report
        .differences
        .iter()
        .map(|difference| {
            let kind = serde_json::to_value(difference.kind).unwrap_or_default();
            vec![
                difference.projection.to_owned(),
                kind.as_str().unwrap_or_default().to_owned(),
                difference.id.clone(),
                difference.detail.clone(),
            ]
        })
        .collect();
    text.push('\n');
    text.push_str(&output::aligned(&["projection", "difference", "document", "detail"], &rows));
    text
}
