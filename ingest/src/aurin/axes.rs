//! Longitude before latitude, in degrees: what GeoJSON demands (RFC 7946, 3.1.1 and 4), and what
//! not every server gives under every name of the same reference system.

use serde_json::value::RawValue;

use super::fault::Fault;

/// Names of WGS 84, in the order in which they are tried. The first is understood everywhere and
/// means longitude first on GeoServer and MapServer; the others say so by definition.
pub const NAMES: [&str; 3] = ["EPSG:4326", "CRS:84", "urn:ogc:def:crs:OGC:1.3:CRS84"];
/// How far outside of a data set's declared bounds a position may be, in degrees: they are rounded,
/// and not always up to date.
const MARGIN: f64 = 1.0;

/// The first two numbers of a position.
pub type Position = [f64; 2];
/// West, south, east, north, in degrees.
pub type Bounds = [f64; 4];

/// The first position of a geometry, or of the first in a collection.
pub fn first_position(geometry: &RawValue) -> Option<Position> {
    let (_, after) = geometry.get().split_once("\"coordinates\"")?;
    let begin = after.find(|c: char| c == '-' || c.is_ascii_digit())?;
    let mut numbers = after[begin..].split([',', ']']).map(|text| text.trim().parse::<f64>());
    Some([numbers.next()?.ok()?, numbers.next()?.ok()?])
}

/// Whether a position can be longitude and latitude in a data set with these bounds.
///
/// # Errors
/// [`Fault::Axes`] when it is the other way round, or not in degrees.
pub fn check([x, y]: Position, bounds: Option<Bounds>) -> Result<(), Fault> {
    // Geometries over the date line may run past 180.
    let degrees = |x: f64, y: f64| x.abs() <= 360.0 && y.abs() <= 90.0;
    let inside = |[west, south, east, north]: Bounds, x: f64, y: f64, margin: f64| {
        x >= west - margin && x <= east + margin && y >= south - margin && y <= north + margin
    };
    let swapped =
        bounds.is_some_and(|bounds| inside(bounds, y, x, 0.0) && !inside(bounds, x, y, MARGIN));
    let what = match (degrees(x, y), degrees(y, x)) {
        (true, _) if !swapped => return Ok(()),
        (true, _) | (false, true) => "latitude before longitude",
        (false, false) => "no degrees",
    };
    Err(Fault::Axes(format!("{what} ({x}, {y})")))
}

/// Whether a position would not pass the other way round: one that passes tells the order of axes
/// then, and one that does not is right in no order.
pub fn tells([x, y]: Position, bounds: Option<Bounds>) -> bool {
    check([y, x], bounds).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_first_position() {
        for (json, position) in [
            (r#"{"type":"Point","coordinates":[144.9,-37.8]}"#, Some([144.9, -37.8])),
            (
                r#"{"type":"Polygon", "coordinates": [ [ [ 113.0, -43, 7 ], [ 1, 2 ] ] ] }"#,
                Some([113.0, -43.0]),
            ),
            (
                r#"{"type":"GeometryCollection","geometries":[{"coordinates":[1e2,2]}]}"#,
                Some([100.0, 2.0]),
            ),
            (r#"{"type":"Polygon","coordinates":[]}"#, None),
            (r#"{"type":"Point","coordinates":[7]}"#, None),
            (r#"{"type":"Point"}"#, None),
            ("null", None),
        ] {
            let raw: &RawValue = serde_json::from_str(json).unwrap();
            assert_eq!(first_position(raw), position, "{json}");
        }
    }

    #[test]
    fn not_every_position_tells_the_order() {
        let europe = Some([5.0, 45.0, 15.0, 55.0]);
        for (position, bounds, expected) in [
            ([144.9, -37.8], None, true),
            ([10.0, 50.0], None, false),
            ([10.0, 50.0], europe, true),
            // Outside of the bounds it could be either.
            ([20.0, 70.0], europe, false),
            // Neither order is right.
            ([9e6, -4e6], europe, true),
        ] {
            assert_eq!(tells(position, bounds), expected, "{position:?}");
        }
    }

    #[test]
    fn tells_the_order_of_axes() {
        let australia = Some([110.0, -45.0, 156.0, -8.0]);
        let europe = Some([5.0, 45.0, 15.0, 55.0]);
        for (position, bounds, expected) in [
            ([144.9, -37.8], australia, ""),
            ([144.9, -37.8], None, ""),
            ([-37.8, 144.9], None, "latitude before longitude"),
            ([-37.8, 144.9], australia, "latitude before longitude"),
            ([16_130_000.0, -4_550_000.0], australia, "no degrees"),
            // Both could be either, but for the bounds.
            ([50.0, 10.0], None, ""),
            ([50.0, 10.0], europe, "latitude before longitude"),
            ([10.0, 50.0], europe, ""),
            // Outside of bounds that are out of date is no reason to doubt.
            ([4.5, 44.5], europe, ""),
            ([20.0, 70.0], europe, ""),
            ([190.0, -17.0], None, ""),
        ] {
            match check(position, bounds) {
                Ok(()) => assert_eq!(expected, "", "{position:?}"),
                Err(fault) => {
                    let text = fault.to_string();
                    assert!(!expected.is_empty() && text.contains(expected), "{text}");
                }
            }
        }
    }
}
