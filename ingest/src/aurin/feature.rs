//! A feature as an event.

use std::collections::HashMap;

use bowerbird_stream::log::Outgoing;
use bowerbird_stream::{Event, EventType, topic};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use xxhash_rust::xxh3::xxh3_128;

use super::config::DatasetConfig;
use crate::post::{Refusal, Scalar};

#[derive(Deserialize)]
struct GeoJson<'a> {
    #[serde(borrow, default)]
    id: Scalar<'a>,
    #[serde(borrow, default)]
    properties: Option<HashMap<Cow<'a, str>, &'a RawValue>>,
}

/// A feature that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Its id in its data set.
    pub id: String,
    /// The hash of its bytes.
    pub hash: u128,
    /// Its bytes as they came.
    pub bytes: Bytes,
}

/// Reads a feature: its id is the property that the configuration names, else its own.
///
/// # Errors
/// When it has none, or is no feature.
pub fn read(bytes: Bytes, id_property: &str) -> Result<Feature, Refusal> {
    let refused = |error: String| Refusal { reason: "feature", error };
    let geojson: GeoJson<'_> =
        serde_json::from_slice(&bytes).map_err(|error| refused(format!("no feature: {error}")))?;
    let property = geojson.properties.and_then(|properties| properties.get(id_property).copied());
    let id = property.and_then(id_of_property).or_else(|| id_of(&geojson.id)).ok_or_else(|| {
        refused(format!("it has neither a property {id_property} nor an id of its own"))
    })?;
    Ok(Feature { id, hash: xxh3_128(&bytes), bytes })
}

fn id_of_property(raw: &RawValue) -> Option<String> {
    let scalar: Scalar<'_> = serde_json::from_str(raw.get()).ok()?;
    // A code may have been read as a number with a fraction.
    id_of(&scalar).or_else(|| {
        let is_number = raw.get().starts_with(|first: char| first == '-' || first.is_ascii_digit());
        is_number.then(|| raw.get().to_owned())
    })
}

fn id_of(scalar: &Scalar<'_>) -> Option<String> {
    match scalar {
        // NULL can have become "".
        Scalar::Text(text) if !text.is_empty() => Some(text.to_string()),
        Scalar::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

impl Feature {
    /// As a record for the log, observed by the poll that began at `time`.
    pub fn record(self, dataset: &DatasetConfig, time: Timestamp) -> Outgoing {
        let extension = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let event = Event {
            id: format!("{}-{:032x}", self.id, self.hash),
            source: super::source(&dataset.type_name),
            kind: EventType::FeatureObserved,
            time,
            key: format!("{}:{}", dataset.type_name, self.id),
            value: Some(self.bytes),
            extensions: [
                extension("dataset", &dataset.type_name),
                extension("typename", &dataset.type_name),
                extension("licence", &dataset.licence),
                extension("attribution", &dataset.attribution),
            ]
            .into(),
        };
        Outgoing::event(topic::FEATURES, event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_id() {
        for (json, id) in [
            (r#"{"id":"l.1","properties":{"code":"101"}}"#, Some("101")),
            (r#"{"id":"l.1","properties":{"code":101021007}}"#, Some("101021007")),
            (r#"{"id":"l.1","properties":{"code":12.5}}"#, Some("12.5")),
            (r#"{"id":"l.1","properties":{"code":""}}"#, Some("l.1")),
            (r#"{"id":"l.1","properties":{"code":null}}"#, Some("l.1")),
            (r#"{"id":7,"properties":{}}"#, Some("7")),
            (r#"{"id":"l.1","properties":null}"#, Some("l.1")),
            (r#"{"properties":{"code":{"a":1}}}"#, None),
            (r#"{"properties":{}}"#, None),
            (r#"{"properties":[1]}"#, None),
            ("[]", None),
        ] {
            let feature = read(Bytes::from(json), "code");
            assert_eq!(feature.as_ref().ok().map(|feature| feature.id.as_str()), id, "{json}");
        }
    }
}
