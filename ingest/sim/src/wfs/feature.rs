//! Features, made from a seed.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

use super::dataset::{Column, Kind};

/// West, south, east, north of all of them, in degrees.
pub const BOUNDS: [f64; 4] = [114.0, -39.0, 153.0, -16.0];

const STATES: [&str; 8] = [
    "New South Wales",
    "Victoria",
    "Queensland",
    "South Australia",
    "Western Australia",
    "Tasmania",
    "Northern Territory",
    "Australian Capital Territory",
];
const FIRST: [&str; 16] = [
    "Banksia",
    "Boronia",
    "D'Aguilar",
    "Emu",
    "Grevillea",
    "Jarrah",
    "K’gari",
    "Lyrebird",
    "Mallee",
    "Mulga",
    "Quandong",
    "Saltbush",
    "Spinifex",
    "Waratah",
    "Wattle",
    "Yabby",
];
const SECOND: [&str; 12] = [
    "Creek",
    "Flat",
    "Heights",
    "Plains",
    "Ridge",
    "Bay",
    "Hills - East",
    "Hills - West",
    "Point",
    "Vale",
    "Park (S.)",
    "Gully",
];

/// The `number`-th feature of a data set.
pub fn make(kind: &Kind, seed: u64, number: u32) -> Value {
    let mut rng =
        ChaCha8Rng::seed_from_u64(seed ^ u64::from(number) << 32 ^ kind.title.len() as u64);
    let mut properties = Map::new();
    for (name, column) in kind.columns {
        let value = match column {
            // Codes are strings of digits, as those of the statistical geography.
            Column::Code => Value::from(format!("{:09}", 101_021_000 + number * 7)),
            Column::Name => Value::from(area_name(number)),
            Column::State => Value::from(STATES[rng.random_range(0..STATES.len())]),
            Column::Count(_) | Column::Measure(_) if rng.random_bool(0.03) => Value::Null,
            Column::Count(most) => Value::from(rng.random_range(0..*most)),
            Column::Measure(most) => {
                Value::from((rng.random_range(0.0..*most) * 1000.0).round() / 1000.0)
            }
            Column::Note if rng.random_bool(0.9) => Value::from(""),
            Column::Note => Value::from("np – not published"),
        };
        properties.insert((*name).to_owned(), value);
    }
    let local = kind.type_name.rsplit(':').next().unwrap_or_default();
    json!({
        "type": "Feature",
        "id": format!("{local}.{}", number + 1),
        "geometry": {"type": "MultiPolygon", "coordinates": [[ring(&mut rng)]]},
        "geometry_name": "wkb_geometry",
        "properties": properties,
    })
}

fn area_name(number: u32) -> String {
    let pick = |divisor: u32, list: &[&'static str]| list[(number / divisor) as usize % list.len()];
    let name = format!("{} {}", pick(1, &FIRST), pick(16, &SECOND));
    match number / 192 {
        0 => name,
        again => format!("{name} {}", again + 1),
    }
}

/// A closed ring around a centre, longitude before latitude as GeoJSON has it.
fn ring(rng: &mut ChaCha8Rng) -> Vec<[f64; 2]> {
    let [west, south, east, north] = BOUNDS;
    let (x, y) =
        (rng.random_range(west + 0.5..east - 0.5), rng.random_range(south + 0.5..north - 0.5));
    let corners = rng.random_range(6..24_u32);
    let round = |degrees: f64| (degrees * 1e6).round() / 1e6;
    let mut ring: Vec<[f64; 2]> = (0..corners)
        .map(|corner| {
            let angle = f64::from(corner) / f64::from(corners) * std::f64::consts::TAU;
            let radius = rng.random_range(0.05..0.4);
            [round(x + angle.cos() * radius), round(y + angle.sin() * radius)]
        })
        .collect();
    ring.push(ring[0]);
    ring
}
