//! Where a post was made: the exact point if it has one, else the middle of its place.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::text::Text;
use crate::json::Object;

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

/// The exact point, as `{"type": "Point", "coordinates": [longitude, latitude]}`. v1.1 also has it
/// as a bare list under `geo`, latitude first; that is not read.
pub(super) struct Spot(Option<(f64, f64)>);

impl<'de> Deserialize<'de> for Spot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Point {
            coordinates: Option<(f64, f64)>,
        }
        struct PointOrList;
        impl<'de> Visitor<'de> for PointOrList {
            type Value = Spot;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a GeoJSON point")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Spot, A::Error> {
                let point = Point::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Spot(point.coordinates))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Spot, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Spot(None))
            }
        }
        deserializer.deserialize_any(PointOrList)
    }
}

/// `geo` of a post. In flattened posts the place's own fields stand in it too.
#[derive(Deserialize)]
pub(super) struct Geo<'a> {
    #[serde(borrow)]
    place_id: Option<Text<'a>>,
    coordinates: Option<Spot>,
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    full_name: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    country_code: Option<Text<'a>>,
    geo: Option<Extent>,
}

/// The document's `place`.
#[cfg_attr(test, derive(serde::Serialize))]
pub(super) struct Located<'a> {
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub(super) id: Option<Cow<'a, str>>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub(super) name: Option<Cow<'a, str>>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub(super) country: Option<Cow<'a, str>>,
    /// Longitude, latitude in degrees (WGS 84).
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub(super) centroid: Option<(f64, f64)>,
    /// `point` when the centroid is where the post was made, `place` when it is the middle.
    pub(super) precision: &'static str,
}

impl Located<'_> {
    pub(super) fn write(&self, mut object: Object<'_>) -> Result<(), serde_json::Error> {
        object.maybe_text("id", self.id.as_deref());
        object.maybe_text("name", self.name.as_deref());
        object.maybe_text("country", self.country.as_deref());
        if let Some(centroid) = &self.centroid {
            object.value("centroid", centroid)?;
        }
        object.text("precision", self.precision);
        object.close();
        Ok(())
    }
}

pub(super) fn locate<'a>(
    geo: Option<Geo<'a>>,
    v1_place: Option<Place<'a>>,
    v1_point: Option<Spot>,
    included: Vec<Place<'a>>,
) -> Option<Located<'a>> {
    let (place_id, v2_point, flattened) = match geo {
        Some(Geo { place_id, coordinates, id, full_name, name, country_code, geo }) => {
            let known = full_name.is_some() || country_code.is_some();
            let place = Place { id, full_name, name, country_code, geo, bounding_box: None };
            (place_id, coordinates, known.then_some(place))
        }
        None => (None, None, None),
    };
    let point = [v2_point, v1_point].into_iter().flatten().find_map(|spot| spot.0);
    let place = v1_place
        .or_else(|| {
            let id = place_id.as_ref()?;
            included.into_iter().find(|place| place.id.as_ref() == Some(id))
        })
        .or(flattened);
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
