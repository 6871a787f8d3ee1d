//! Features of data sets: GeoJSON with the licence and attribution that published work must name.

use std::borrow::Cow;

use bowerbird_stream::EventView;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Unmappable, malformed, value};

#[derive(Deserialize)]
struct GeoJson<'a> {
    // It may be written with escapes.
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    geometry: Option<&'a RawValue>,
    #[serde(borrow)]
    properties: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Fields<'a> {
    r#type: &'static str,
    dataset: &'a str,
    feature: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    geometry: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<&'a RawValue>,
    source: Source<'a>,
}

#[derive(Serialize)]
struct Source<'a> {
    system: &'static str,
    uri: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    typename: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    licence: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attribution: Option<&'a str>,
    retrieved_at: jiff::Timestamp,
}

pub(super) fn content(event: &EventView<'_>) -> Result<String, Unmappable> {
    let failed = malformed("GeoJSON feature");
    let feature: GeoJson<'_> = serde_json::from_slice(value(event)?).map_err(&failed)?;
    if feature.r#type != "Feature" {
        return Err(Unmappable::Payload {
            what: "GeoJSON feature",
            error: format!("its type is {:?}", feature.r#type),
        });
    }
    render(event, "feature", feature.geometry, feature.properties)
}

pub(super) fn vanished(event: &EventView<'_>) -> Result<String, Unmappable> {
    render(event, "vanished", None, None)
}

fn render(
    event: &EventView<'_>,
    r#type: &'static str,
    geometry: Option<&RawValue>,
    properties: Option<&RawValue>,
) -> Result<String, Unmappable> {
    // The key is `<data set>:<feature id>`, and the names of data sets hold colons themselves.
    let (dataset, feature) = event
        .extension("dataset")
        .and_then(|dataset| Some((dataset, event.key.strip_prefix(dataset)?.strip_prefix(':')?)))
        .or_else(|| event.key.rsplit_once(':'))
        .unwrap_or(("", event.key));
    serde_json::to_string(&Fields {
        r#type,
        dataset,
        feature,
        geometry,
        properties,
        source: Source {
            system: "aurin",
            uri: event.source,
            typename: event.extension("typename"),
            licence: event.extension("licence"),
            attribution: event.extension("attribution"),
            retrieved_at: event.time,
        },
    })
    .map_err(malformed("GeoJSON feature"))
}
