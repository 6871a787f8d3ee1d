//! What tasks did, told at the end: each notes its summary when it is done.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::Value;

use crate::args::Format;
use crate::output;

/// Where a summary says how its task failed.
const ERROR: &str = "error";

/// Summaries by task. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Reports(Arc<Mutex<BTreeMap<&'static str, Value>>>);

impl Reports {
    /// Notes what `task` did.
    pub fn note(&self, task: &'static str, summary: &impl Serialize) {
        // Summaries are plain structs: they can always be told.
        let summary = serde_json::to_value(summary).unwrap_or_default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(task, summary);
    }

    /// Notes what `task` did until it failed, and how.
    pub fn note_failure(&self, task: &'static str, summary: &impl Serialize, error: &str) {
        let mut summary = serde_json::to_value(summary).unwrap_or_default();
        summary[ERROR] = error.into();
        self.note(task, &summary);
    }

    /// All that was noted.
    pub fn all(&self) -> BTreeMap<&'static str, Value> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Prints all that was noted.
    ///
    /// # Errors
    /// When stdout can't be written.
    pub fn print(&self, format: Format) -> anyhow::Result<()> {
        let all = self.all();
        match format {
            Format::Json => output::json(&all),
            Format::Text => output::text(&told(&all)),
            Format::Csv => {
                let rows: Vec<_> =
                    all.iter().flat_map(|(task, summary)| figures(task, summary)).collect();
                output::rows(format, &rows, &["task", "what", "count"], |(task, what, count)| {
                    vec![(*task).to_owned(), what.clone(), count.clone()]
                })
            }
        }
    }
}

/// One line for each task: `sink posts: records 12, written 12`, and how it failed, if it did.
pub fn told(all: &BTreeMap<&'static str, Value>) -> String {
    let lines = all.iter().map(|(task, summary)| {
        let figures = figures(task, summary).into_iter().filter(|(_, what, _)| what != ERROR);
        let figures = figures.map(|(_, what, count)| format!("{what} {count}"));
        let figures = figures.collect::<Vec<_>>().join(", ");
        match summary[ERROR].as_str() {
            Some(error) => format!("{task}: {figures}, then failed: {error}\n"),
            None => format!("{task}: {figures}\n"),
        }
    });
    lines.collect()
}

fn figures<'a>(task: &'a str, summary: &Value) -> Vec<(&'a str, String, String)> {
    let fields = summary.as_object().into_iter().flatten();
    fields
        .map(|(name, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (task, name.replace('_', " "), value)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_task_is_one_line() {
        let reports = Reports::default();
        reports.note("sink posts", &json!({ "records": 3, "dead_letters": 1 }));
        reports.note("ingest-x", &json!({ "posts": 3 }));
        let told = told(&reports.all());
        assert_eq!(told, "ingest-x: posts 3\nsink posts: dead letters 1, records 3\n");
    }

    #[test]
    fn a_failure_is_told_behind_what_was_done() {
        let reports = Reports::default();
        reports.note_failure("sink posts", &json!({ "records": 3 }), "no room");
        let all = reports.all();
        assert_eq!(all["sink posts"], json!({ "records": 3, "error": "no room" }));
        assert_eq!(told(&all), "sink posts: records 3, then failed: no room\n");
    }
}
