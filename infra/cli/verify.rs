//! `bowerbird verify`

use bowerbird_sink::{SinkConfig, VerifyConfig, VerifyReport, verify};
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
    /// Only the projections of this topic
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Compare only this share of the documents, from 0 to 1; always the same ones
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, value_parser = share)]
    sample: f64,
    /// Settle the events of documents that are missing, stale or different once more
    #[arg(long)]
    repair: bool,
    /// Begin anew where an interrupted verification could be gone on with
    #[arg(long)]
    fresh: bool,
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
    (share > 0.0 && share <= 1.0)
        .then_some(share)
        .ok_or_else(|| "it must be above 0 and at most 1".to_owned())
}

/// Compares, and falls short when anything differs.
pub async fn run(arguments: Arguments, settings: &Settings) -> anyhow::Result<Outcome> {
    let (log, store) = (parts::log(settings).await?, parts::store(settings)?);
    let mut projections = generations::of(settings, &store).all_live().await?;
    if let Some(topic) = &arguments.topic {
        projections.retain(|projection| projection.topics.contains(&topic.as_str()));
        if projections.is_empty() {
            anyhow::bail!("no projection is filled from topic {topic}");
        }
    }
    let config = VerifyConfig {
        projections,
        scratch: Some(settings.data.join("verify")),
        fresh: arguments.fresh,
        sample: arguments.sample,
        listed: arguments.limit,
        repair: arguments.repair.then(|| SinkConfig { once: true, ..parts::sink(settings) }),
        ..VerifyConfig::default()
    };
    let bar = progress::counter("compared");
    let compared = verify(&log, &store, &config, |looked_at| bar.set_position(looked_at)).await;
    bar.finish_and_clear();
    let report = compared?;
    output::one(settings.output, "verify", &report, || told(&report))?;
    Ok(if report.is_level() { Outcome::Done } else { Outcome::FallsShort })
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
            let name = projection.projection.clone();
            std::iter::once(name).chain(numbers.map(|number| number.to_string())).collect()
        })
        .collect();
    let mut text = output::aligned(&header, &rows);
    if report.is_clean() {
        text.push_str("\nlog and documents agree\n");
        return text;
    }
    for projection in report.projections.iter().filter(|projection| projection.repaired > 0) {
        let (name, repaired) = (&projection.projection, projection.repaired);
        text.push_str(&format!("\n{name}: {repaired} documents were written to mend it\n"));
    }
    let rows: Vec<Vec<String>> = report
        .differences
        .iter()
        .map(|difference| {
            let kind = serde_json::to_value(difference.kind).unwrap_or_default();
            vec![
                difference.projection.clone(),
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
