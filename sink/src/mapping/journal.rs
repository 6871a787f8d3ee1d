//! Journal events: kept as they are.

use bowerbird_stream::EventView;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Unmappable, malformed, value};

#[derive(Serialize)]
struct Entry<'a> {
    r#type: &'static str,
    kind: &'a str,
    time: jiff::Timestamp,
    source: &'a str,
    data: &'a RawValue,
}

pub(super) fn content(event: &EventView<'_>) -> Result<String, Unmappable> {
    let failed = malformed("journal entry");
    let data: &RawValue = serde_json::from_slice(value(event)?).map_err(&failed)?;
    serde_json::to_string(&Entry {
        r#type: "journal",
        kind: event.kind.as_str(),
        time: event.time,
        source: event.source,
        data,
    })
    .map_err(&failed)
}
