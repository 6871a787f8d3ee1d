//! `CouchDB`'s order of JSON values, as bytes that compare the same way.
//!
//! null < false < true < numbers < strings < arrays < objects; strings by the root collation of
//! the Unicode Collation Algorithm (CLDR), as ICU has it; arrays element by element, objects member
//! by member in the order that they were written, the shorter first.
//! Source: <https://docs.couchdb.org/en/stable/ddocs/views/collation.html>

use std::cmp::Ordering;
use std::fmt;
use std::sync::LazyLock;

use icu_collator::options::CollatorOptions;
use icu_collator::{Collator, CollatorBorrowed, CollatorPreferences};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// Part of what names an index: a sort key is only comparable with those that the same code and
/// the same CLDR data made. To be raised when the layout below or the `icu_collator` crate's
/// version (2.4, CLDR 48) changes.
pub(crate) const VERSION: u32 = 1;

// Ends a string, an array or an object: less than every tag, and no sort key holds it.
const END: u8 = 0;
const NULL: u8 = 1;
const FALSE: u8 = 2;
const TRUE: u8 = 3;
const NUMBER: u8 = 4;
const STRING: u8 = 5;
const ARRAY: u8 = 6;
const OBJECT: u8 = 7;

/// The root collation; nothing where the compiled data lacked it, which the tests rule out.
static ROOT: LazyLock<Option<CollatorBorrowed<'static>>> = LazyLock::new(|| {
    Collator::try_new(CollatorPreferences::default(), CollatorOptions::default()).ok()
});

/// The order of two values.
pub(crate) fn compare(a: &Value, b: &Value) -> Ordering {
    of_value(a).cmp(&of_value(b))
}

/// The sort key of a value.
pub(crate) fn of_value(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    push_value(value, &mut out);
    out
}

fn push_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(NULL),
        Value::Bool(false) => out.push(FALSE),
        Value::Bool(true) => out.push(TRUE),
        Value::Number(number) => push_number(number.as_f64().unwrap_or(f64::MAX), out),
        Value::String(text) => push_string(text, out),
        Value::Array(items) => {
            out.push(ARRAY);
            for item in items {
                push_value(item, out);
            }
            out.push(END);
        }
        Value::Object(members) => {
            out.push(OBJECT);
            for (key, value) in members {
                push_string(key, out);
                push_value(value, out);
            }
            out.push(END);
        }
    }
}

/// The sort key of a JSON text, without building a tree of it.
///
/// # Errors
/// When it is not JSON.
pub(crate) fn of_text(text: &str) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::with_capacity(text.len() + 16);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    SortKey { out: &mut out, most: usize::MAX }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(out)
}

/// The sort key of a JSON text of which, if it is an array, only the first `most` elements count.
///
/// # Errors
/// When it is not JSON.
pub(crate) fn of_prefix(text: &str, most: usize) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::with_capacity(text.len() + 16);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    SortKey { out: &mut out, most }.deserialize(&mut deserializer)?;
    Ok(out)
}

/// IEEE 754 doubles, turned so that their bytes compare as they do.
fn push_number(number: f64, out: &mut Vec<u8>) {
    out.push(NUMBER);
    // −0 is 0.
    let bits = (number + 0.0).to_bits();
    let turned = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    out.extend_from_slice(&turned.to_be_bytes());
}

fn push_string(text: &str, out: &mut Vec<u8>) {
    out.push(STRING);
    match &*ROOT {
        Some(root) => {
            // A Vec takes everything: its error type has no value.
            let Ok(()) = root.write_sort_key_to(text, out);
        }
        None => out.extend(text.bytes().filter(|byte| *byte != END)),
    }
    out.push(END);
}

/// Writes the sort key of what it deserialises.
struct SortKey<'a> {
    out: &'a mut Vec<u8>,
    /// How many elements of an array count; those within it count all.
    most: usize,
}

impl SortKey<'_> {
    fn inner(&mut self) -> SortKey<'_> {
        SortKey { out: self.out, most: usize::MAX }
    }
}

impl<'de> DeserializeSeed<'de> for SortKey<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for SortKey<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.out.push(NULL);
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.out.push(if value { TRUE } else { FALSE });
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        push_number(value as f64, self.out);
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        push_number(value as f64, self.out);
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        push_number(value, self.out);
        Ok(())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        push_string(value, self.out);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        self.out.push(ARRAY);
        for _ in 0..self.most {
            if items.next_element_seed(self.inner())?.is_none() {
                self.out.push(END);
                return Ok(());
            }
        }
        while items.next_element::<serde::de::IgnoredAny>()?.is_some() {}
        self.out.push(END);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        self.out.push(OBJECT);
        while members.next_key_seed(self.inner())?.is_some() {
            members.next_value_seed(self.inner())?;
        }
        self.out.push(END);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_in_couchdbs_order() {
        // The list of CouchDB's documentation, with strings that tell ICU from bytes.
        let ordered = [
            "null",
            "false",
            "true",
            "-1e300",
            "-2",
            "-1.5",
            "0",
            "1",
            "1.5",
            "2",
            "3.0",
            "4",
            "1e300",
            "\"\"",
            "\"_\"",
            "\"-\"",
            "\"1\"",
            "\"a\"",
            "\"A\"",
            "\"ä\"",
            "\"aa\"",
            "\"b\"",
            "\"B\"",
            "\"ba\"",
            "\"bb\"",
            "\"z\"",
            "\"日\"",
            "[]",
            "[null]",
            "[\"a\"]",
            "[\"b\"]",
            "[\"b\",\"c\"]",
            "[\"b\",\"c\",\"a\"]",
            "[\"b\",\"d\"]",
            "[\"b\",\"d\",\"e\"]",
            "[[]]",
            "[{}]",
            "{}",
            "{\"a\":1}",
            "{\"a\":2}",
            "{\"b\":1}",
            "{\"b\":2}",
            "{\"b\":2,\"a\":1}",
            "{\"b\":2,\"c\":2}",
        ];
        for pair in ordered.windows(2) {
            let [a, b] = pair else { continue };
            assert!(of_text(a).unwrap() < of_text(b).unwrap(), "{a} < {b}");
        }
        assert_eq!(of_text("-0.0").unwrap(), of_text("0").unwrap());
        assert_eq!(of_text("1").unwrap(), of_text("1.0").unwrap());
        assert!(ROOT.is_some());
    }

    #[test]
    fn a_prefix_is_the_key_of_the_shorter_array() {
        let whole = r#"["AU",[1,2],3]"#;
        for (most, shorter) in [(0, "[]"), (1, r#"["AU"]"#), (2, r#"["AU",[1,2]]"#), (9, whole)] {
            assert_eq!(of_prefix(whole, most).unwrap(), of_text(shorter).unwrap(), "{most}");
        }
        assert_eq!(of_prefix("\"text\"", 1).unwrap(), of_text("\"text\"").unwrap());
    }

    proptest! {
        #[test]
        fn numbers_keep_their_order(a in any::<f64>(), b in any::<f64>()) {
            let key = |number| { let mut out = Vec::new(); push_number(number, &mut out); out };
            prop_assert_eq!(key(a).cmp(&key(b)), a.partial_cmp(&b).unwrap());
        }

        #[test]
        fn strings_keep_their_order_in_arrays(a in ".{0,4}", b in ".{0,4}", tail in 0_i64..3) {
            let root = ROOT.as_ref().unwrap();
            let key = |text: &str| of_value(&serde_json::json!([text, tail]));
            prop_assert_eq!(key(&a).cmp(&key(&b)), root.compare(&a, &b));
        }

        #[test]
        fn text_and_tree_agree(a in ".{0,6}", n in any::<i64>(), f in any::<f64>()) {
            let value = serde_json::json!([{ "k": a }, n, f, null, true]);
            prop_assert_eq!(of_text(&value.to_string()).unwrap(), of_value(&value));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = of_text(&text);
        }
    }
}
