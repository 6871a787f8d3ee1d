//! Text of payloads: borrowed where it can be, repaired where it must be.

use std::borrow::Cow;
use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};

/// A string that borrows from the payload unless it has escapes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// An id as text or as a number: v1.1 has both, and rule ids come as either. Integers up to
/// `u64::MAX` keep every digit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Id<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Id<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrNumber;
        impl<'de> Visitor<'de> for TextOrNumber {
            type Value = Id<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an id, as text or as a whole number")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Id(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Id(Cow::Owned(text.to_owned())))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Id(Cow::Owned(number.to_string())))
            }
        }
        deserializer.deserialize_any(TextOrNumber)
    }
}

/// The payload with each lone surrogate escape (`\ud83d` without its partner) replaced by
/// `\ufffd`: platforms cut texts in the middle of a pair, and no JSON parser in Rust takes that.
/// Nothing when there is none.
pub(super) fn mend_surrogates(payload: &[u8]) -> Option<Vec<u8>> {
    let escape = |at: usize| -> Option<u16> {
        let digits = payload.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let mut mended: Option<Vec<u8>> = None;
    let mut at = 0;
    while at < payload.len() {
        if payload[at] != b'\\' {
            at += 1;
            continue;
        }
        match escape(at) {
            Some(0xd800..=0xdbff) if matches!(escape(at + 6), Some(0xdc00..=0xdfff)) => at += 12,
            Some(0xd800..=0xdfff) => {
                let copy = mended.get_or_insert_with(|| payload.to_vec());
                copy[at..at + 6].copy_from_slice(b"\\ufffd");
                at += 6;
            }
            // A backslash and what it escapes, so that `\\ud83d` is text and not an escape.
            _ => at += 2,
        }
    }
    mended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lone_surrogates_are_replaced() {
        for (payload, mended) in [
            (r#""plain""#, None),
            (r#""\ud83d\ude00""#, None),
            (r#""\\ud83d""#, None),
            (r#""cut \ud83d""#, Some(r#""cut \ufffd""#)),
            (r#""\ude00 late""#, Some(r#""\ufffd late""#)),
            (r#""\ud83d\ud83d\ude00""#, Some(r#""\ufffd\ud83d\ude00""#)),
            (r#""\ud83"#, None),
        ] {
            let result = mend_surrogates(payload.as_bytes());
            assert_eq!(result.as_deref(), mended.map(str::as_bytes), "{payload}");
        }
    }
}
