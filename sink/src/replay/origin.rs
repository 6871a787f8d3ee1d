//! What an import or a poll brought: its events by time and source, as its journal event tells.

use std::time::Duration;

use bowerbird_stream::log::ConsumerConfig;
use bowerbird_stream::range::RangeReader;
use bowerbird_stream::{EventLog, EventView, Record, topic};
use jiff::Timestamp;
use serde::Deserialize;

use super::ReplayRefusal;
use crate::error::SinkError;

/// The clocks of who brought the events and of the log may differ by so much.
const SLACK: Duration = Duration::from_secs(60);
/// Records read at a time.
const TAKE: usize = 1_000;
/// So many sources are named where the wanted one is not there.
const KNOWN: usize = 5;

/// The events of an import or a poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// The log took them from here on; nothing where an import went on that was begun earlier.
    pub from: Option<Timestamp>,
    /// And before this.
    pub to: Timestamp,
    /// Headers that all of them have.
    pub headers: Vec<(String, String)>,
}

/// What is needed of the facts.
#[derive(Deserialize)]
struct Fact {
    started: Timestamp,
    finished: Timestamp,
    import: Option<Import>,
}

#[derive(Deserialize)]
struct Import {
    resumed_after_line: Option<u64>,
}

/// Finds the last import or poll with this id, or of this source.
pub(super) async fn find<L: EventLog>(log: &L, wanted: &str) -> Result<Origin, SinkError> {
    let config = ConsumerConfig::new("bowerbird-replay");
    let mut reader = RangeReader::whole(log, topic::JOURNAL, config).await?;
    let (mut found, mut known) = (None, Vec::new());
    while let Some(records) = reader.next(TAKE).await? {
        for event in records.iter().filter_map(brought) {
            found = origin(&event, wanted).or(found);
            known.retain(|source| source != event.source);
            known.push(event.source.to_owned());
            known.drain(..known.len().saturating_sub(KNOWN));
        }
    }
    Ok(found.ok_or_else(|| ReplayRefusal::NoOrigin { wanted: wanted.to_owned(), known })?)
}

/// An event that tells of an import or a poll.
fn brought(record: &Record) -> Option<EventView<'_>> {
    let event = record.view().ok()?;
    matches!(event.kind.as_str(), "poll.finished" | "import.finished").then_some(event)
}

fn origin(event: &EventView<'_>, wanted: &str) -> Option<Origin> {
    if event.id != wanted && event.source != wanted {
        return None;
    }
    let poll = event.kind.as_str() == "poll.finished";
    let fact: Fact = serde_json::from_slice(event.value?).ok()?;
    let resumed = fact.import.is_some_and(|import| import.resumed_after_line.is_some());
    let mut headers = vec![("ce_source".to_owned(), event.source.to_owned())];
    if poll {
        // A poll's observations are all of the moment when it began.
        headers.push(("ce_time".to_owned(), fact.started.to_string()));
    }
    let from = fact.started.checked_sub(SLACK).ok();
    let to = fact.finished.checked_add(SLACK).unwrap_or(Timestamp::MAX);
    Some(Origin { from: from.filter(|_| !resumed), to, headers })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bowerbird_stream::{Event, EventType, Position};
    use bytes::Bytes;

    use super::*;

    fn record(kind: &str, value: &str) -> Record {
        let event = Event {
            id: format!("{kind}-1"),
            source: "archive:a.jsonl".to_owned(),
            kind: EventType::Journal(kind.to_owned()),
            time: Timestamp::UNIX_EPOCH,
            key: "archive:a.jsonl".to_owned(),
            value: None,
            extensions: BTreeMap::new(),
        };
        Record {
            position: Position { topic: topic::JOURNAL.into(), partition: 0, offset: 0 },
            appended: Timestamp::UNIX_EPOCH,
            key: Some(Bytes::from_static(b"archive:a.jsonl")),
            value: Some(Bytes::from(value.to_owned())),
            headers: event.headers(),
        }
    }

    #[test]
    fn an_import_is_found_by_id_and_by_source() {
        let origin = |record: &Record, wanted: &str| origin(&brought(record)?, wanted);
        let times = r#""started":"2024-05-01T10:00:00Z","finished":"2024-05-01T11:00:00Z""#;
        let import = |resumed: &str| {
            let fact = format!(r#"{{"import":{{"resumed_after_line":{resumed}}},{times}}}"#);
            record("import.finished", &fact)
        };
        let to: Timestamp = "2024-05-01T11:01:00Z".parse().unwrap();
        let from: Timestamp = "2024-05-01T09:59:00Z".parse().unwrap();
        let headers = vec![("ce_source".to_owned(), "archive:a.jsonl".to_owned())];
        let expected = Origin { from: Some(from), to, headers };
        assert_eq!(origin(&import("null"), "import.finished-1"), Some(expected.clone()));
        assert_eq!(origin(&import("null"), "archive:a.jsonl"), Some(expected.clone()));
        assert_eq!(origin(&import("7"), "archive:a.jsonl").unwrap().from, None);
        assert_eq!(origin(&import("null"), "archive:b.jsonl"), None);
        let poll = record("poll.finished", &format!("{{{times}}}"));
        let found = origin(&poll, "poll.finished-1").unwrap();
        assert_eq!(found.headers[1], ("ce_time".to_owned(), "2024-05-01T10:00:00Z".to_owned()));
        let other = record("stream.gap", &format!("{{{times}}}"));
        assert_eq!(origin(&other, "stream.gap-1"), None);
    }
}
