//! Reading again what was refused: a dead letter of what never was in the log holds it as it came.

use bowerbird_stream::EventView;
use bowerbird_stream::log::Outgoing;
use bytes::Bytes;

use crate::aurin::{DatasetConfig, axes, feature};
use crate::post::{Found, Place, Problem, Reader};
use crate::record::{FEATURE_REFUSED, ITEM_REFUSED, LINE_REFUSED};

/// Reads a line, an item or a feature again, as it was read when it came: `letter` is the event
/// that its dead letter makes, `value` its bytes. The data sets are those of the configuration.
/// Gives its records, none where it holds nothing.
///
/// # Errors
/// Why it makes no event, or not any more, and what to do.
pub fn read_again(
    letter: &EventView<'_>,
    value: Option<&Bytes>,
    datasets: &[DatasetConfig],
) -> Result<Vec<Outgoing>, String> {
    let value = value.ok_or("it has no value that could be read")?;
    if value.is_empty() {
        let text = "it tells of what could not be read, and holds nothing of it: bring it in again \
                    from its source, and drop this letter";
        return Err(text.to_owned());
    }
    let whole = letter.extension("bytes").and_then(|bytes| bytes.parse::<usize>().ok());
    if let Some(whole) = whole.filter(|whole| *whole > value.len()) {
        return Err(format!(
            "of its {whole} bytes only the first {} are kept: raise the bound that it was over, \
             bring it in again from its source, and drop this letter",
            value.len()
        ));
    }
    let source = letter.source.to_owned();
    match letter.kind.as_str() {
        LINE_REFUSED => {
            let file = letter.extension("file").unwrap_or_default().to_owned();
            let line = letter.extension("line").and_then(|line| line.parse().ok());
            let reader = Reader::archive(source, file, None, letter.time);
            posts(&reader, value, Place::Line(line.unwrap_or_default()))
        }
        ITEM_REFUSED => {
            posts(&Reader::stream(source, letter.time), value, Place::Arrival(letter.time))
        }
        FEATURE_REFUSED => {
            let name = letter.extension("dataset").unwrap_or_default();
            let dataset = datasets.iter().find(|dataset| dataset.type_name == name);
            let dataset = dataset.ok_or_else(|| {
                format!("the data set {name} is not declared: declare it in [[aurin.datasets]]")
            })?;
            let feature = feature::read(value.clone(), &dataset.id_property);
            let feature = feature.map_err(|refusal| format!("still refused: {}", refusal.error))?;
            if let Some(position) = feature.position {
                let checked = axes::check(position, None);
                checked.map_err(|fault| format!("still refused: {fault}"))?;
            }
            Ok(vec![feature.record(dataset, letter.time)])
        }
        kind => Err(format!("nothing here reads a {kind} again; drop it, or bring it in anew")),
    }
}

fn posts(reader: &Reader, value: &Bytes, place: Place) -> Result<Vec<Outgoing>, String> {
    let mut records = Ok(Vec::new());
    reader.read(value, place, &mut |found| {
        let refused = match found {
            Found::Post { record, .. } | Found::Notice { record } => {
                if let Ok(records) = &mut records {
                    records.push(record);
                }
                return;
            }
            Found::Control(_) | Found::Blank => return,
            Found::Problems { problems, .. } => {
                let texts: Vec<String> = problems.iter().map(Problem::text).collect();
                format!("still errors and no post: {}", texts.join("; "))
            }
            Found::Refused { refusal, .. } => {
                format!("still refused: {}: {}", refusal.reason, refusal.error)
            }
        };
        if records.is_ok() {
            records = Err(refused);
        }
    });
    records
}

#[cfg(test)]
mod tests {
    use bowerbird_stream::dead_letter::Letter;
    use bowerbird_stream::{Position, Record};
    use jiff::Timestamp;

    use super::*;
    use crate::aurin::Schedule;
    use crate::post::Refusal;
    use crate::record::Refused;

    fn dataset() -> DatasetConfig {
        DatasetConfig {
            type_name: "a:b".to_owned(),
            id_property: "code".to_owned(),
            licence: "none".to_owned(),
            attribution: "nobody".to_owned(),
            schedule: Schedule::default(),
        }
    }

    /// What was refused once with this value, read again.
    fn again(
        kind: &'static str,
        value: &'static str,
        more: &[(&str, &str)],
    ) -> Result<Vec<Record>, String> {
        let extensions = more.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        let refused = Refused {
            kind,
            source: "archive:posts.jsonl",
            key: "posts.jsonl:7".to_owned(),
            time: "2024-05-01T10:00:00Z".parse().unwrap(),
            value: Bytes::from_static(value.as_bytes()),
            extensions: extensions.collect(),
        };
        let refusal = Refusal { reason: "not-json", error: "of old".to_owned() };
        let record = |outgoing: Outgoing| Record {
            position: Position { topic: outgoing.topic, partition: 0, offset: 0 },
            appended: Timestamp::UNIX_EPOCH,
            key: outgoing.key,
            value: outgoing.value,
            headers: outgoing.headers,
        };
        let letter = Letter::of(record(refused.letter(&refusal, "test"))).unwrap();
        let value = letter.record.value.as_ref();
        let read = read_again(&letter.record.view().unwrap(), value, &[dataset()]);
        read.map(|records| records.into_iter().map(record).collect())
    }

    #[test]
    fn what_can_be_read_by_now_becomes_what_it_would_have_been() {
        let post = r#"{"id":"9","text":"a","created_at":"2024-01-01T00:00:00Z"}"#;
        let line = [("file", "posts.jsonl"), ("line", "7")];
        let records = again(LINE_REFUSED, post, &line).unwrap();
        let event = records[0].view().unwrap();
        assert_eq!((&*records[0].position.topic, event.key), ("posts", "9"));
        assert_eq!((event.source, event.extension("line")), ("archive:posts.jsonl", Some("7")));
        assert_eq!(event.time.to_string(), "2024-01-01T00:00:00Z");

        let records = again(ITEM_REFUSED, post, &[]).unwrap();
        // An item is observed when it arrives, not when the letter is redriven.
        assert_eq!(records[0].view().unwrap().time.to_string(), "2024-05-01T10:00:00Z");

        let feature = r#"{"type":"Feature","properties":{"code":"x1"}}"#;
        let records = again(FEATURE_REFUSED, feature, &[("dataset", "a:b")]).unwrap();
        let event = records[0].view().unwrap();
        assert_eq!((&*records[0].position.topic, event.key), ("features", "a:b:x1"));
        assert_eq!(event.time.to_string(), "2024-05-01T10:00:00Z");

        assert_eq!(again(LINE_REFUSED, "  ", &line).unwrap().len(), 0);
    }

    #[test]
    fn what_still_makes_no_event_says_why_and_what_to_do() {
        let astray =
            r#"{"properties":{"code":"x"},"geometry":{"type":"Point","coordinates":[9e6,1]}}"#;
        for (kind, value, more, part) in [
            (LINE_REFUSED, "{broken", vec![], "still refused: not-json"),
            (LINE_REFUSED, "", vec![], "bring it in again"),
            (LINE_REFUSED, r#"{"errors":[{"title":"Gone"}]}"#, vec![], "no post: Gone"),
            (ITEM_REFUSED, "{\"id\"", vec![("bytes", "9000")], "only the first 5 are kept"),
            (FEATURE_REFUSED, "{}", vec![("dataset", "a:b")], "still refused"),
            (FEATURE_REFUSED, astray, vec![("dataset", "a:b")], "no degrees"),
            (FEATURE_REFUSED, "{}", vec![("dataset", "c:d")], "[[aurin.datasets]]"),
            ("post.received", "{}", vec![], "nothing here reads a post.received"),
        ] {
            let why = again(kind, value, &more).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
    }
}
