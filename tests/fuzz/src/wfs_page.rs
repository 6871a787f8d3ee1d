//! The scanner that cuts a feature collection into its features.

use bowerbird_ingest::aurin::scan::{Cut, Scanner};
use bowerbird_ingest::aurin::{Fault, feature};
use serde_json::Value;

use crate::split_number;

const MAX_FEATURE_BYTES: usize = 2_048;

/// Features come out the same however the body is cut, and are those that a JSON parser finds. The
/// first byte says how large the pieces are.
pub fn run(data: &[u8]) {
    let (size, body) = split_number(data);
    let whole = scan(body, body.len().max(1));
    assert_eq!(scan(body, size), whole);
    let Ok(features) = whole else { return };
    for cut in &features {
        let feature = match cut {
            Cut::Feature(feature) => feature,
            Cut::TooLarge { head, length } => {
                assert!(head.len() <= MAX_FEATURE_BYTES && *length > MAX_FEATURE_BYTES as u64);
                continue;
            }
        };
        assert!(feature.len() <= MAX_FEATURE_BYTES);
        // Whether it is whole is seen when it is read.
        assert_eq!(feature.first(), Some(&b'{'));
        if let Ok(read) = feature::read(feature.clone(), "id") {
            assert!(!read.id.is_empty() && read.bytes == *feature);
        }
    }
    if let Some(expected) = parsed(body) {
        assert_eq!(features.len(), expected.len());
        for (cut, expected) in features.iter().zip(expected) {
            if let Cut::Feature(feature) = cut {
                assert_eq!(serde_json::from_slice::<Value>(feature).unwrap(), expected);
            }
        }
    }
}

fn scan(body: &[u8], size: usize) -> Result<Vec<Cut>, Fault> {
    let (mut scanner, mut features) = (Scanner::new(MAX_FEATURE_BYTES), Vec::new());
    for piece in body.chunks(size) {
        scanner.push(piece, &mut features)?;
    }
    assert_eq!(scanner.finish()?, features.len() as u64);
    Ok(features)
}

/// The features by a parser, where the body is JSON that names them once and plainly.
fn parsed(body: &[u8]) -> Option<Vec<Value>> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let text = std::str::from_utf8(body).ok()?;
    if text.contains("\\u") || text.matches("\"features\"").count() != 1 {
        return None;
    }
    let features = value.get("features")?.as_array()?;
    features.iter().all(Value::is_object).then(|| features.clone())
}
