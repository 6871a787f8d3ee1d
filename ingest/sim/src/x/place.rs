//! Places in Australia that posts are from.

use serde_json::{Value, json};

/// A place: id, name, full name, type, and its box as west, south, east, north in degrees.
pub struct Place {
    pub id: &'static str,
    pub name: &'static str,
    pub full_name: &'static str,
    pub kind: &'static str,
    pub bounds: [f64; 4],
}

const fn city(
    id: &'static str,
    name: &'static str,
    full_name: &'static str,
    bounds: [f64; 4],
) -> Place {
    Place { id, name, full_name, kind: "city", bounds }
}

/// The ids are made up.
pub const PLACES: [Place; 20] = [
    city(
        "b0000000000000a1",
        "Melbourne",
        "Melbourne, Victoria",
        [144.594, -38.434, 145.513, -37.511],
    ),
    city(
        "b0000000000000a2",
        "Sydney",
        "Sydney, New South Wales",
        [150.52, -34.118, 151.343, -33.578],
    ),
    city(
        "b0000000000000a3",
        "Brisbane",
        "Brisbane, Queensland",
        [152.668, -27.767, 153.318, -26.997],
    ),
    city(
        "b0000000000000a4",
        "Perth",
        "Perth, Western Australia",
        [115.617, -32.676, 116.239, -31.625],
    ),
    city(
        "b0000000000000a5",
        "Adelaide",
        "Adelaide, South Australia",
        [138.44, -35.349, 138.845, -34.571],
    ),
    city(
        "b0000000000000a6",
        "Canberra",
        "Canberra, Australian Capital Territory",
        [148.996, -35.48, 149.263, -35.124],
    ),
    city("b0000000000000a7", "Hobart", "Hobart, Tasmania", [147.218, -43.034, 147.512, -42.666]),
    city(
        "b0000000000000a8",
        "Darwin",
        "Darwin, Northern Territory",
        [130.815, -12.52, 131.051, -12.342],
    ),
    city(
        "b0000000000000a9",
        "Gold Coast",
        "Gold Coast, Queensland",
        [153.171, -28.177, 153.552, -27.694],
    ),
    city(
        "b0000000000000aa",
        "Newcastle",
        "Newcastle, New South Wales",
        [151.593, -33.02, 151.818, -32.826],
    ),
    city("b0000000000000ab", "Geelong", "Geelong, Victoria", [144.25, -38.246, 144.48, -38.064]),
    city("b0000000000000ac", "Cairns", "Cairns, Queensland", [145.63, -17.05, 145.8, -16.73]),
    city(
        "b0000000000000ad",
        "Launceston",
        "Launceston, Tasmania",
        [147.08, -41.497, 147.2, -41.383],
    ),
    city(
        "b0000000000000ae",
        "Alice Springs",
        "Alice Springs, Northern Territory",
        [133.78, -23.78, 133.94, -23.64],
    ),
    city(
        "b0000000000000af",
        "Broome",
        "Broome, Western Australia",
        [122.19, -18.02, 122.26, -17.93],
    ),
    city(
        "b0000000000000b0",
        "Kalgoorlie–Boulder",
        "Kalgoorlie–Boulder, Western Australia",
        [121.4, -30.83, 121.53, -30.7],
    ),
    Place {
        id: "b0000000000000b1",
        name: "Fitzroy",
        full_name: "Fitzroy, Melbourne",
        kind: "neighborhood",
        bounds: [144.973, -37.808, 144.985, -37.79],
    },
    Place {
        id: "b0000000000000b2",
        name: "K’gari",
        full_name: "K’gari, Queensland",
        kind: "poi",
        bounds: [153.0, -25.8, 153.37, -24.7],
    },
    Place {
        id: "b0000000000000b3",
        name: "Victoria",
        full_name: "Victoria, Australia",
        kind: "admin",
        bounds: [140.962, -39.159, 149.977, -33.981],
    },
    Place {
        id: "b0000000000000b4",
        name: "Australia",
        full_name: "Australia",
        kind: "country",
        bounds: [112.921, -43.74, 159.109, -9.221],
    },
];

impl Place {
    /// As `includes.places` has it.
    pub fn json(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "full_name": self.full_name,
            "place_type": self.kind,
            "country": "Australia",
            "country_code": "AU",
            "geo": {"type": "Feature", "bbox": self.bounds, "properties": {}},
        })
    }

    /// A point in it: `east` and `north` from 0 to 1 of its width and height.
    pub fn point(&self, east: f64, north: f64) -> [f64; 2] {
        let [west, south, e, n] = self.bounds;
        let round = |degrees: f64| (degrees * 1e5).round() / 1e5;
        [round(west + (e - west) * east), round(south + (n - south) * north)]
    }
}
