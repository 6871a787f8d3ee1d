//! A feature as an event.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bowerbird_stream::log::Outgoing;
use bowerbird_stream::{Event, EventType, topic};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::axes::{self, Position};
use super::config::DatasetConfig;
use crate::post::{Refusal, Scalar};

/// The reason of a dead letter for a feature that can't be taken.
pub const REFUSED: &str = "feature";

#[derive(Deserialize)]
struct GeoJson<'a> {
    #[serde(borrow, default)]
    id: Scalar<'a>,
    #[serde(borrow, default)]
    properties: Option<BTreeMap<Cow<'a, str>, &'a RawValue>>,
    #[serde(borrow, default)]
    geometry: Option<&'a RawValue>,
}

/// A feature that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Feature {
    /// Its id in its data set.
    pub id: String,
    /// The hash of its properties and its geometry. Its own id does not count: a server that knows
    /// no key makes one anew for each answer.
    pub hash: u128,
    /// The first position of its geometry, if it has any.
    pub position: Option<Position>,
    /// Its bytes as they came.
    pub bytes: Bytes,
}

/// Reads a feature: its id is the property that the configuration names, else its own.
///
/// # Errors
/// When it has none that lasts, or is no feature.
pub fn read(bytes: Bytes, id_property: &str) -> Result<Feature, Refusal> {
    let refused = |error: String| Refusal { reason: REFUSED, error };
    let geojson = parse(&bytes).map_err(|error| refused(format!("no feature: {error}")))?;
    let property = geojson.properties.as_ref().and_then(|all| all.get(id_property).copied());
    let id = match property.and_then(id_of_property) {
        Some(id) => id,
        None => match id_of(&geojson.id) {
            Some(id) if is_made_up(&id) => {
                return Err(refused(format!(
                    "its property {id_property} has no value, and its own id is made anew for \
                     each answer"
                )));
            }
            // MapServer makes 0 of a key without a value, and of each.
            Some(id) if property.is_some() && is_digits(&id) => {
                return Err(refused(format!(
                    "its property {id_property} has no value, and its own id ({id}) may be the \
                     value that another has"
                )));
            }
            Some(id) => id,
            None => {
                return Err(refused(format!(
                    "it has neither a property {id_property} nor an id of its own"
                )));
            }
        },
    };
    let (hash, position) = (geojson.hash(), geojson.geometry.and_then(axes::first_position));
    Ok(Feature { id, hash, position, bytes })
}

/// The hash of a feature's properties and geometry; nothing when it is no feature.
pub fn content_hash(bytes: &[u8]) -> Option<u128> {
    parse(bytes).ok().map(|geojson| geojson.hash())
}

fn parse(bytes: &[u8]) -> serde_json::Result<GeoJson<'_>> {
    serde_json::from_slice(bytes)
}

impl GeoJson<'_> {
    fn hash(&self) -> u128 {
        let mut hash = Xxh3::new();
        let mut part = |bytes: &[u8]| {
            // With its length, so that no two lists of parts are the same bytes.
            hash.update(&(bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        for (name, value) in self.properties.iter().flatten() {
            part(name.as_bytes());
            part(value.get().as_bytes());
        }
        part(self.geometry.map_or("null", RawValue::get).as_bytes());
        hash.digest128()
    }
}

/// GeoServer names features without a primary key `<layer>.fid-<random>`, anew for each answer.
fn is_made_up(id: &str) -> bool {
    id.starts_with("fid-") || id.contains(".fid-")
}

fn is_digits(id: &str) -> bool {
    id.bytes().all(|byte| byte.is_ascii_digit())
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

/// The hash of what a data set's features are published under: its licence and attribution.
pub fn terms(licence: &str, attribution: &str) -> u64 {
    xxh3_64(format!("{}:{licence}{attribution}", licence.len()).as_bytes())
}

impl Feature {
    /// As a record for the log, observed by the poll that began at `time`.
    pub fn record(self, dataset: &DatasetConfig, time: Timestamp) -> Outgoing {
        let id = format!("{}-{:032x}", self.id, self.hash);
        event(dataset, &self.id, EventType::FeatureObserved, id, time, Some(self.bytes))
    }
}

/// That a feature was not there any more in the poll that began at `time`, as a record.
pub fn vanished(dataset: &DatasetConfig, id: &str, time: Timestamp) -> Outgoing {
    let event_id = format!("{id}-vanished-{}", time.as_nanosecond());
    event(dataset, id, EventType::FeatureVanished, event_id, time, None)
}

fn event(
    dataset: &DatasetConfig,
    id: &str,
    kind: EventType,
    event_id: String,
    time: Timestamp,
    value: Option<Bytes>,
) -> Outgoing {
    let extension = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let event = Event {
        id: event_id,
        source: super::source(&dataset.type_name),
        kind,
        time,
        key: format!("{}:{id}", dataset.type_name),
        value,
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
            (r#"{"id":0,"properties":{"code":""}}"#, None),
            (r#"{"id":"7","properties":{"code":null}}"#, None),
            (r#"{"id":"l.1","properties":null}"#, Some("l.1")),
            (r#"{"id":"l.fid--3f_18a","properties":{"code":"9"}}"#, Some("9")),
            (r#"{"id":"l.fid--3f_18a","properties":{"code":""}}"#, None),
            (r#"{"properties":{"code":{"a":1}}}"#, None),
            (r#"{"properties":{}}"#, None),
            (r#"{"properties":[1]}"#, None),
            ("[]", None),
        ] {
            let feature = read(Bytes::from(json), "code");
            assert_eq!(feature.as_ref().ok().map(|feature| feature.id.as_str()), id, "{json}");
        }
    }

    #[test]
    fn the_hash_is_of_properties_and_geometry() {
        let of = |json: &str| content_hash(json.as_bytes()).unwrap();
        let base = of(r#"{"id":"a","properties":{"a":1,"b":""},"geometry":null}"#);
        assert_eq!(base, of(r#"{"id":"b","properties":{"b":"","a":1},"bbox":[1]}"#));
        for other in [
            r#"{"id":"a","properties":{"a":1,"b":null},"geometry":null}"#,
            r#"{"id":"a","properties":{"a":1},"geometry":null}"#,
            r#"{"id":"a","properties":{"a":1,"b":""},"geometry":{"type":"Point"}}"#,
        ] {
            assert_ne!(base, of(other), "{other}");
        }
        assert_eq!(content_hash(b"{"), None);
        assert_ne!(terms("a", "bc"), terms("ab", "c"));
    }
}
