//! `bowerbird topics`

use std::collections::BTreeMap;

use bowerbird_stream::EventLog as _;
use bowerbird_stream::log::TopicChange;
use clap::{Args, Subcommand};

use crate::failure::Outcome;
use crate::output;
use crate::parts;
use crate::settings::Settings;

/// What `topics` takes.
#[derive(Debug, Subcommand)]
pub enum Arguments {
    /// Create the declared topics and bring their settings up to date
    Apply(Apply),
    /// List the topics that exist, with the settings that differ from the log's defaults
    List,
}

/// What `topics apply` takes.
#[derive(Debug, Args)]
pub struct Apply {
    /// Only say what would change
    #[arg(long)]
    dry_run: bool,
}

/// Applies or lists them.
pub async fn run(arguments: Arguments, settings: &Settings) -> anyhow::Result<Outcome> {
    let log = parts::log(settings).await?;
    match arguments {
        Arguments::Apply(Apply { dry_run }) => {
            let changes = log.apply_topics(&parts::topics(settings), dry_run).await?;
            output::rows(settings.output, &changes, &["topic", "change", "settings"], |change| {
                let (topic, what, settings) = told(change);
                let what = if dry_run && what != "unchanged" {
                    format!("would be {what}")
                } else {
                    what.to_owned()
                };
                vec![topic.clone(), what, settings]
            })?;
        }
        Arguments::List => {
            let topics = log.topics().await?;
            let header = ["topic", "partitions", "replication", "settings"];
            output::rows(settings.output, &topics, &header, |topic| {
                let settings = topic.settings.iter().map(|(name, value)| format!("{name}={value}"));
                vec![
                    topic.name.clone(),
                    topic.partitions.to_string(),
                    topic.replication.to_string(),
                    settings.collect::<Vec<_>>().join(" "),
                ]
            })?;
        }
    }
    Ok(Outcome::Done)
}

fn told(change: &TopicChange) -> (&String, &'static str, String) {
    match change {
        TopicChange::Created { topic } => (topic, "created", String::new()),
        TopicChange::Unchanged { topic } => (topic, "unchanged", String::new()),
        TopicChange::Altered { topic, settings } => (topic, "altered", differences(settings)),
    }
}

fn differences(settings: &BTreeMap<String, (Option<String>, String)>) -> String {
    let changes = settings.iter().map(|(name, (before, after))| {
        format!("{name}: {} → {after}", before.as_deref().unwrap_or("default"))
    });
    changes.collect::<Vec<_>>().join(" ")
}
