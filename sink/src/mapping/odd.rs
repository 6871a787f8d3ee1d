//! What stands in a post where something of another type belongs: databases and tables write
//! numbers for texts, and MongoDB wraps values. A post is not lost for a field that can be spared.
//!
//! Only payloads that can't be read as they are come here; the others are not slowed down.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::json::{self, Fields};

/// How deep it is looked for what does not fit.
const DEPTH: u8 = 8;

/// The value with whatever does not fit unwrapped, or written as a text, and left out where that
/// does not help; nothing when nothing helps.
pub(super) fn fitted(value: &str, fits: &dyn Fn(&str) -> bool) -> Option<String> {
    fit(value, fits, DEPTH)
}

fn fit(value: &str, fits: &dyn Fn(&str) -> bool, depth: u8) -> Option<String> {
    if fits(value) {
        return Some(value.to_owned());
    }
    let depth = depth.checked_sub(1)?;
    let fitted = match value.as_bytes().first()? {
        b'{' => {
            let Fields(members) = serde_json::from_str::<Fields<'_, &RawValue>>(value).ok()?;
            if let Some(wrapped) = wrapped(&members) {
                return fit(wrapped, fits, depth);
            }
            // Some members belong together: all of them first.
            let texts = members.iter().map(|(name, value)| (name.get(), as_text(value.get())));
            let texts = json::object(texts);
            if fits(&texts) {
                return Some(texts);
            }
            let fitting = members.iter().filter_map(|(name, value)| {
                let within = |value: &str| fits(&format!("{{{}:{value}}}", name.get()));
                Some((name.get(), Cow::Owned(fit(value.get(), &within, depth)?)))
            });
            json::object(fitting)
        }
        b'[' => {
            let elements: Vec<&RawValue> = serde_json::from_str(value).ok()?;
            let within = |element: &str| fits(&format!("[{element}]"));
            let fitting = elements.iter().filter_map(|element| fit(element.get(), &within, depth));
            format!("[{}]", fitting.collect::<Vec<_>>().join(","))
        }
        _ => as_text(value).into_owned(),
    };
    fits(&fitted).then_some(fitted)
}

/// A number as a text, also one that is wrapped.
fn as_text(value: &str) -> Cow<'_, str> {
    match value.as_bytes() {
        [b'-' | b'0'..=b'9', ..] => Cow::Owned(format!("\"{value}\"")),
        [b'{', ..] => match serde_json::from_str::<Fields<'_, &RawValue>>(value) {
            Ok(Fields(members)) => wrapped(&members).map_or(Cow::Borrowed(value), as_text),
            Err(_) => Cow::Borrowed(value),
        },
        _ => Cow::Borrowed(value),
    }
}

/// What MongoDB wraps: `{"$numberLong":"5"}`.
fn wrapped<'a>(members: &[(&'a RawValue, &'a RawValue)]) -> Option<&'a str> {
    match members {
        [(name, value)] if name.get().starts_with("\"$") => Some(value.get()),
        _ => None,
    }
}
