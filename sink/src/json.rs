//! Writing JSON objects member by member, and taking them apart without building their values.
//!
//! A document's names are literals that need no escapes, and most of its texts have none either.
//! serde looks at each of their bytes by itself, which took as long as reading the payload.

use std::fmt;
use std::marker::PhantomData;

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// An object that is being written; each member is named by a literal without escapes.
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    /// Opens an object at the end of `out`.
    pub(crate) fn open(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    /// Goes on with an object whose brace is not written yet, and which has no members if `empty`.
    pub(crate) fn goes_on(out: &'a mut Vec<u8>, empty: bool) -> Self {
        Self { out, empty }
    }

    /// Closes it.
    pub(crate) fn close(self) {
        self.out.push(b'}');
    }

    /// A name, whose value must be written next.
    fn name(&mut self, name: &'static str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.empty) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// A text.
    pub(crate) fn text(&mut self, name: &'static str, value: &str) {
        text(self.name(name), value);
    }

    /// A text, if there is one.
    pub(crate) fn maybe_text(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// A time, with as many digits of the second as it has, or with three.
    pub(crate) fn time(&mut self, name: &'static str, value: Timestamp, millis: bool) {
        const WHOLE: DateTimePrinter = DateTimePrinter::new();
        const MILLIS: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
        let out = self.name(name);
        out.push(b'"');
        let printer = if millis { &MILLIS } else { &WHOLE };
        // A Vec takes everything.
        let _ = printer.print_timestamp(&value, &mut *out);
        out.push(b'"');
    }

    /// An object.
    pub(crate) fn object(&mut self, name: &'static str) -> Object<'_> {
        Object::open(self.name(name))
    }

    /// A list.
    pub(crate) fn list(&mut self, name: &'static str) -> List<'_> {
        let out = self.name(name);
        out.push(b'[');
        List { out, empty: true }
    }

    /// Whatever else.
    ///
    /// # Errors
    /// When it can't be written as JSON.
    pub(crate) fn value(
        &mut self,
        name: &'static str,
        value: &impl Serialize,
    ) -> Result<(), serde_json::Error> {
        serde_json::to_writer(self.name(name), value)
    }
}

/// A list that is being written.
pub(crate) struct List<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl List<'_> {
    fn next(&mut self) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.empty) {
            self.out.push(b',');
        }
        self.out
    }

    /// A text.
    pub(crate) fn text(&mut self, value: &str) {
        text(self.next(), value);
    }

    /// An object.
    pub(crate) fn object(&mut self) -> Object<'_> {
        Object::open(self.next())
    }

    /// Closes it.
    pub(crate) fn close(self) {
        self.out.push(b']');
    }
}

/// Writes a text in quotes.
fn text(out: &mut Vec<u8>, text: &str) {
    if is_plain(text.as_bytes()) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        // A Vec takes everything, and a text is always JSON.
        let _ = serde_json::to_writer(out, text);
    }
}

/// Whether nothing in it must be escaped. Without a way out of the loop, so that it is done many
/// bytes at a time.
fn is_plain(text: &[u8]) -> bool {
    let special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    text.chunks(64).all(|chunk| !chunk.iter().fold(false, |any, &byte| any | special(byte)))
}

/// The fields of a JSON object, in their order, their values as text.
pub(crate) struct Fields<'a, N>(pub(crate) Vec<(N, &'a RawValue)>);

impl<'de, N: Deserialize<'de>> Deserialize<'de> for Fields<'de, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<N>(PhantomData<N>);
        impl<'de, N: Deserialize<'de>> Visitor<'de> for InOrder<N> {
            type Value = Fields<'de, N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(InOrder(PhantomData))
    }
}

/// An object of these fields; the names are JSON texts already.
pub(crate) fn object(
    fields: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<str>)>,
) -> String {
    let mut text = String::from("{");
    for (n, (name, value)) in fields.into_iter().enumerate() {
        if n > 0 {
            text.push(',');
        }
        text.push_str(name.as_ref());
        text.push(':');
        text.push_str(value.as_ref());
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn members_stand_as_serde_writes_them() {
        let mut out = Vec::new();
        let mut object = Object::open(&mut out);
        object.text("a", "plain");
        object.maybe_text("b", None);
        object.maybe_text("c", Some("q\"\u{1}"));
        object.object("d").close();
        let mut list = object.list("l");
        list.text("x");
        list.object().close();
        list.close();
        object.value("e", &[1.5, 2.0]).unwrap();
        object.close();
        let written = String::from_utf8(out).unwrap();
        let expected = r#"{"a":"plain","c":"q\"\u0001","d":{},"l":["x",{}],"e":[1.5,2.0]}"#;
        assert_eq!(written, expected);
    }

    proptest! {
        #[test]
        fn texts_are_written_as_serde_writes_them(value in "(?s)[ -~]{0,70}.{0,3}[\"\\\\\u{0}-\u{20}\u{7f}]{0,2}.{0,70}") {
            let mut out = Vec::new();
            text(&mut out, &value);
            prop_assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&value).unwrap());
        }

        #[test]
        fn times_are_written_as_they_are_shown(
            seconds in -377_705_023_201_i64..253_402_207_200, nanos in 0..1_000_000_000,
        ) {
            for nanos in [nanos, nanos / 1_000_000 * 1_000_000, 0] {
                let time = Timestamp::new(seconds, nanos).unwrap();
                let mut out = Vec::new();
                let mut object = Object::open(&mut out);
                object.time("a", time, false);
                object.time("b", time, true);
                object.close();
                let expected = format!(r#"{{"a":"{time}","b":"{time:.3}"}}"#);
                prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
            }
        }
    }
}
