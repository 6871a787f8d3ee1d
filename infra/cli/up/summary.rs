//! What a run of `up` did, told at its end; and what it would do.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bowerbird_sink::{Generations, Projection};
use bowerbird_store::AnyStore;
use bowerbird_stream::{AnyLog, EventLog as _, LogError, topic};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::sources;
use crate::output;
use crate::report::{self, Reports};
use crate::settings::Settings;

/// How long the log may take to be summed up.
const LONGEST_ASKING: Duration = Duration::from_secs(2);

/// What was there when the run began.
#[derive(Debug)]
pub struct Summary {
    started: Instant,
    ends: BTreeMap<&'static str, i64>,
    folder: String,
}

/// What the run did.
#[derive(Debug, Serialize)]
pub struct Ran {
    seconds: f64,
    /// Records that came into the log during the run, by topic, whoever appended them.
    appended: BTreeMap<&'static str, i64>,
    /// Documents now, by projection.
    documents: BTreeMap<String, u64>,
    /// What each task did.
    tasks: BTreeMap<&'static str, Value>,
    folder: String,
}

impl Summary {
    /// Notes what is there before the run.
    pub async fn begin(log: &AnyLog, settings: &Settings) -> Self {
        let folder = settings.data.display().to_string();
        Self { started: Instant::now(), ends: ends(log).await, folder }
    }

    /// What was done since.
    pub async fn end(
        self,
        log: &AnyLog,
        generations: &Generations<AnyStore>,
        reports: &Reports,
    ) -> Ran {
        let mut appended = ends(log).await;
        // Without an end from before, nothing can be said of the run.
        appended.retain(|topic, _| self.ends.contains_key(topic));
        for (topic, before) in self.ends {
            if let Some(end) = appended.get_mut(topic) {
                *end -= before;
            }
        }
        let mut documents = BTreeMap::new();
        for Projection { name, .. } in Projection::all() {
            if let Ok(count) = generations.documents(name).await {
                documents.insert(name.to_owned(), count);
            }
        }
        Ran {
            seconds: self.started.elapsed().as_secs_f64(),
            appended,
            documents,
            tasks: reports.all(),
            folder: self.folder,
        }
    }
}

impl Ran {
    /// Prints it.
    ///
    /// # Errors
    /// When stdout can't be written.
    pub fn print(&self, settings: &Settings) -> anyhow::Result<()> {
        output::one(settings.output, "up", self, || self.told())
    }

    fn told(&self) -> String {
        let appended = self.appended.iter().map(|(topic, count)| format!("{topic} {count}"));
        let documents = self.documents.iter().map(|(name, count)| format!("{name} {count}"));
        format!(
            "ran for {:.0} s\ninto the log: {}\ndocuments now: {}\n{}data: {}\n",
            self.seconds,
            appended.collect::<Vec<_>>().join(", "),
            documents.collect::<Vec<_>>().join(", "),
            report::told(&self.tasks),
            self.folder,
        )
    }
}

/// The sums of the topics' ends. What can't be asked is left out: a summary is no reason to fail,
/// nor to wait long.
async fn ends(log: &AnyLog) -> BTreeMap<&'static str, i64> {
    let mut ends = BTreeMap::new();
    let asking = async {
        for topic in topic::ALL {
            let extents = log.extents(topic).await?;
            ends.insert(topic, extents.values().map(|extent| extent.end).sum());
        }
        Ok::<(), LogError>(())
    };
    match timeout(LONGEST_ASKING, asking).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "the log can't be summed up"),
        Err(_) => tracing::debug!("the log does not answer in time to be summed up"),
    }
    ends
}

/// Prints what a run would start, and where its data would lie.
///
/// # Errors
/// When stdout can't be written.
pub fn plan(settings: &Settings) -> anyhow::Result<()> {
    let sources: Vec<String> = sources::planned(settings).iter().map(ToString::to_string).collect();
    let (log, store) = (settings.log_url().to_string(), settings.store_url().to_string());
    let plan = json!({ "sources": sources, "log": log, "store": store, "folder": settings.data });
    output::one(settings.output, "up", &plan, || {
        format!(
            "sources: {}\nlog: {log}\nstore: {store}\ndata folder: {}\n",
            sources.join("\n         "),
            settings.data.display(),
        )
    })
}
