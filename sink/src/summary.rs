//! The content of a document as a number that does not depend on how its JSON is written: the
//! order of members, spaces, escapes and the forms of numbers are a store's own business. So is what
//! JSON leaves open: of members of one name the last counts, as CouchDB and JavaScript have it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::merge::Content;

/// What stands for a content in a comparison. The place has a number of its own, so that a geo
/// scrub takes it from here as it takes it from the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    rest: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    place: Option<u64>,
}

impl Summary {
    /// Of the text of an object.
    pub(crate) fn of(text: &str) -> Result<Self, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let summary = deserializer.deserialize_map(Members)?;
        deserializer.end()?;
        Ok(summary)
    }

    /// As a content, for merging.
    pub(crate) fn content(self) -> Content {
        Content(serde_json::to_string(&self).unwrap_or_default())
    }
}

/// Replaces a content by its summary; what is no JSON object is told apart by its bytes.
pub(crate) fn summarised(content: &Content) -> Content {
    let summary = Summary::of(&content.0)
        .unwrap_or_else(|_| Summary { rest: xxh3_64(content.0.as_bytes()), place: None });
    summary.content()
}

fn mixed(kind: u64, value: u64) -> u64 {
    xxh3_64_with_seed(&value.to_le_bytes(), kind)
}

/// The members of an object: each name as a number, and its value.
#[derive(Default)]
struct Sum(Vec<(u64, u64)>);

impl Sum {
    fn add(&mut self, name: &str, value: u64) {
        self.0.push((xxh3_64(name.as_bytes()), value));
    }

    /// The same in any order; of one name the last counts.
    fn all(mut self) -> u64 {
        self.0.sort_by_key(|(name, _)| *name);
        let last = self.0.chunk_by(|one, other| one.0 == other.0).filter_map(<[_]>::last);
        last.fold(0, |sum, (name, value)| sum.wrapping_add(mixed(*name, *value)))
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Summary;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Summary, A::Error> {
        let (mut rest, mut place) = (Sum::default(), None);
        while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            let left_out = if name == "source" { WHICH_COPY } else { &[] };
            let value = map.next_value_seed(Number(left_out))?;
            if name == "place" {
                place = Some(value);
            } else {
                rest.add(&name, value);
            }
        }
        Ok(Summary { rest: rest.all(), place })
    }
}

/// Of where a content came from, what only tells which copy of its event it was made from: of several
/// copies any may be the one that is left (`docs/adr/0005-late-observations.md`).
const WHICH_COPY: &[&str] = &["uri", "file", "line"];

/// A value as a number, without these members of it if it is an object.
struct Number(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Number {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Number {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<u64, E> {
        Ok(mixed(1, 0))
    }

    fn visit_bool<E>(self, value: bool) -> Result<u64, E> {
        Ok(mixed(2, u64::from(value)))
    }

    // Whole numbers that a double holds count as that double: 144 and 144.0 are one number.
    fn visit_u64<E>(self, value: u64) -> Result<u64, E> {
        #[expect(clippy::cast_precision_loss, reason = "only where it is exact")]
        let double = value as f64;
        match value <= 1 << 53 {
            true => Ok(mixed(3, double.to_bits())),
            false => Ok(mixed(4, value)),
        }
    }

    fn visit_i64<E>(self, value: i64) -> Result<u64, E> {
        #[expect(clippy::cast_precision_loss, reason = "only where it is exact")]
        let double = value as f64;
        match value.unsigned_abs() <= 1 << 53 {
            true => Ok(mixed(3, double.to_bits())),
            false => Ok(mixed(5, value.cast_unsigned())),
        }
    }

    fn visit_f64<E>(self, value: f64) -> Result<u64, E> {
        // There are two zeros, and they are equal; CouchDB reads some of the numbers that are nearer
        // to them than what is normal (5e-324) as zero.
        Ok(mixed(3, if value.abs() < f64::MIN_POSITIVE { 0 } else { value.to_bits() }))
    }

    fn visit_str<E>(self, value: &str) -> Result<u64, E> {
        Ok(xxh3_64_with_seed(value.as_bytes(), 6))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<u64, A::Error> {
        let mut sum = mixed(7, 0);
        while let Some(element) = list.next_element_seed(Number(&[]))? {
            sum = mixed(sum, element);
        }
        Ok(sum)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<u64, A::Error> {
        let mut members = Sum::default();
        while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            let value = map.next_value_seed(Number(&[]))?;
            if !self.0.contains(&&*name) {
                members.add(&name, value);
            }
        }
        Ok(mixed(8, 0).wrapping_add(members.all()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::document::without_place;

    fn of(text: &str) -> Summary {
        Summary::of(text).unwrap()
    }

    #[test]
    fn how_it_is_written_does_not_matter_and_what_it_says_does() {
        let written = r#"{"a":[1,144.0,"é"],"b":{"x":null,"y":true},"place":{"id":"p"}}"#;
        let same = r#"{ "place":{"id":"p"}, "b":{"y":true,"x":null},"a":[1.0,144,"\u00e9"] }"#;
        assert_eq!(of(written), of(same));
        for other in [
            r#"{"a":[144.0,1,"é"],"b":{"x":null,"y":true},"place":{"id":"p"}}"#,
            r#"{"a":[1,144.0,"e"],"b":{"x":null,"y":true},"place":{"id":"p"}}"#,
            r#"{"a":[1,144.0,"é"],"b":{"x":true,"y":null},"place":{"id":"p"}}"#,
            r#"{"a":[1,144.0,"é"],"b":{"x":null,"y":true},"place":{"id":"q"}}"#,
            r#"{"a":[1,144.0,"é"],"b":{"x":null,"y":true}}"#,
            r#"{"a":[1,[144.0,"é"]],"b":{"x":null,"y":true},"place":{"id":"p"}}"#,
        ] {
            assert_ne!(of(written), of(other), "{other}");
        }
        assert_ne!(of(r#"{"n":9007199254740993}"#), of(r#"{"n":9007199254740992}"#));
        assert_eq!(of(r#"{"n":-0.0}"#), of(r#"{"n":0}"#));
        assert_eq!(of(r#"{"n":5e-324}"#), of(r#"{"n":0.0}"#));
        let twice = r#"{"a":1,"b":{"x":1,"x":{"y":1,"y":2}},"a":3,"place":1,"place":2}"#;
        assert_eq!(of(twice), of(r#"{"a":3,"b":{"x":{"y":2}},"place":2}"#));
        assert_ne!(of(twice), of(r#"{"a":1,"b":{"x":{"y":2}},"place":2}"#));
        assert!(Summary::of("[]").is_err());
    }

    #[test]
    fn which_copy_it_was_made_from_does_not_matter_and_what_it_is_about_does() {
        let one =
            r#"{"a":1,"source":{"system":"x","uri":"u","file":"f","line":"1","rules":["r"]}}"#;
        let two = r#"{"a":1,"source":{"system":"x","uri":"v","rules":["r"]}}"#;
        let other =
            r#"{"a":1,"source":{"system":"x","uri":"u","file":"f","line":"1","rules":["s"]}}"#;
        assert_eq!(of(one), of(two));
        assert_ne!(of(one), of(other));
        assert_ne!(of(r#"{"source":"f"}"#), of(r#"{"source":"g"}"#));
        assert_ne!(of(r#"{"file":"f"}"#), of(r#"{"file":"g"}"#));
    }

    #[test]
    fn a_scrub_takes_the_place_from_a_summary_as_from_the_content() {
        let content = Content(r#"{"a":1,"place":{"id":"p"}}"#.to_owned());
        let scrubbed = without_place(summarised(&content));
        assert_eq!(scrubbed, summarised(&without_place(content)));
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn pretty_or_not_it_is_the_same(
            members in prop::collection::btree_map(any::<String>(), json(), 0..5),
        ) {
            let object = Value::Object(members.into_iter().collect());
            prop_assert_eq!(of(&object.to_string()), of(&format!("{object:#}")));
        }
    }
}
