//! Where a post was made: the exact point if it has one, else the middle of its place.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::text::Text;

/// A place as v2 (`geo.bbox`) or v1.1 (`bounding_box`) describes it.
#[derive(Deserialize)]
pub(super) struct Place<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    full_name: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    country_code: Option<Text<'a>>,
    geo: Option<Extent>,
    bounding_box: Option<Polygon>,
}

#[derive(Deserialize)]
struct Extent {
    bbox: Option<Vec<f64>>,
}

#[derive(Deserialize)]
struct Polygon {
    coordinates: Option<Vec<Vec<(f64, f64)>>>,
}

#[derive(Deserialize)]
struct Point {
    coordinates: (f64, f64),
}

/// v2 `geo` of a post; in flattened posts the place's own fields stand in it.
#[derive(Deserialize)]
struct Geo<'a> {
    #[serde(borrow)]
    place_id: Option<Text<'a>>,
    coordinates: Option<Point>,
}

/// The document's `place`.
#[derive(Serialize)]
pub(super) struct Located<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<Cow<'a, str>>,
    /// Longitude, latitude in degrees (WGS 84).
    #[serde(skip_serializing_if = "Option::is_none")]
    centroid: Option<(f64, f64)>,
    /// `point` when the centroid is where the post was made, `place` when it is the middle.
    precision: &'static str,
}

pub(super) fn locate<'a>(
    geo: Option<&'a RawValue>,
    v1_place: Option<Place<'a>>,
    v1_coordinates: Option<&'a RawValue>,
    included: Vec<Place<'a>>,
) -> Option<Located<'a>> {
    // v1.1 has a `geo` too, with latitude first; it does not parse as v2's and is not read.
    let v2: Option<Geo<'a>> = geo.and_then(|raw| serde_json::from_str(raw.get()).ok());
    let (place_id, v2_point) = match v2 {
        Some(Geo { place_id, coordinates }) => (place_id, coordinates),
        None => (None, None),
    };
    let v1_point: Option<Point> =
        v1_coordinates.and_then(|raw| serde_json::from_str(raw.get()).ok());
    let point = v2_point.or(v1_point).map(|point| point.coordinates);
    let place = v1_place
        .or_else(|| {
            let id = place_id.as_ref()?;
            included.into_iter().find(|place| place.id.as_ref() == Some(id))
        })
        .or_else(|| {
            let place: Place<'a> = serde_json::from_str(geo?.get()).ok()?;
            (place.full_name.is_some() || place.country_code.is_some()).then_some(place)
        });
    if place.is_none() && place_id.is_none() && point.is_none() {
        return None;
    }
    let middle = place.as_ref().and_then(Place::middle);
    let (id, name, country) = match place {
        Some(place) => (place.id, place.full_name.or(place.name), place.country_code),
        None => (None, None, None),
    };
    Some(Located {
        id: id.or(place_id).map(|id| id.0),
        name: name.map(|name| name.0),
        country: country.map(|code| code.0).filter(|code| !code.is_empty()),
        centroid: point.or(middle),
        precision: if point.is_some() { "point" } else { "place" },
    })
}

impl Place<'_> {
    fn middle(&self) -> Option<(f64, f64)> {
        if let Some([west, south, east, north]) =
            self.geo.as_ref().and_then(|geo| geo.bbox.as_deref())
        {
            // A box may cross the 180th meridian (Fiji, Chatham Islands): then west > east.
            let east = if west > east { east + 360.0 } else { *east };
            let middle = (west + east) / 2.0;
            let longitude = if middle > 180.0 { middle - 360.0 } else { middle };
            return Some((longitude, (south + north) / 2.0));
        }
        let ring = self.bounding_box.as_ref()?.coordinates.as_ref()?.first()?;
        let range = |of: fn(&(f64, f64)) -> f64| {
            let (low, high) =
                ring.iter().map(of).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| {
                    (low.min(x), high.max(x))
                });
            (low <= high).then_some((low + high) / 2.0)
        };
        Some((range(|point| point.0)?, range(|point| point.1)?))
    }
}
