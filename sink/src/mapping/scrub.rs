//! Taking from a payload what tells where its post was made. All else stays as it was: no text is
//! decoded, and no number.

use std::borrow::Cow;

use bowerbird_stream::EventView;
use serde_json::value::RawValue;

use super::text::{Id, mend_surrogates};
use crate::json::{self, Fields};
use crate::merge::PayloadHash;

/// The extension of an observation whose place was taken: the hash of the payload as it was
/// received. By that it is the same observation to everybody.
pub const SCRUBBED: &str = "scrubbed";
/// The same as the header of a record.
pub(crate) const SCRUBBED_HEADER: &str = "ce_scrubbed";
/// How deep posts may stand in each other. The mapping reads none that is nearly so deep.
const DEPTH: u8 = 8;

/// The hash of the payload of an observation, as it was received.
pub(crate) fn hash_of(event: &EventView<'_>) -> PayloadHash {
    let received = event.extension(SCRUBBED).and_then(|hex| hex.to_owned().try_into().ok());
    received.unwrap_or_else(|| PayloadHash::of(event.value.unwrap_or_default()))
}

/// What becomes of a value.
enum Edit {
    Stays,
    Goes,
    Becomes(String),
}

impl Edit {
    fn to(changed: Option<String>) -> Self {
        changed.map_or(Self::Stays, Self::Becomes)
    }
}

/// The payload of the post `id` without what tells where it was made; nothing when it tells
/// nothing of that. Other posts in it, such as a quoted one, keep theirs: the notice is not about
/// them.
pub fn without_place(id: &str, payload: &[u8]) -> Option<Vec<u8>> {
    let scrub = |payload: &[u8]| scrubbed(id, &String::from_utf8_lossy(payload));
    // As the mapping reads it.
    scrub(payload).or_else(|| scrub(&mend_surrogates(payload)?)).map(String::into_bytes)
}

fn scrubbed(id: &str, payload: &str) -> Option<String> {
    let mut places = Vec::new();
    let scrubbed = post(id, payload, &mut places, DEPTH)?;
    // In v2 the places that it named stand apart from it.
    let included = |name: &str, value: &str| match name {
        "places" => Edit::to(list(value, |place| match id_in(place, "id") {
            Some(id) if places.contains(&id) => Edit::Goes,
            _ => Edit::Stays,
        })),
        _ => Edit::Stays,
    };
    let without_places = object(&scrubbed, |name, value| match name {
        "includes" => Edit::to(object(value, included)),
        _ => Edit::Stays,
    });
    Some(without_places.unwrap_or(scrubbed))
}

/// A post, or what posts are wrapped in; `places` gets the ids of the places that it named.
fn post(id: &str, text: &str, places: &mut Vec<String>, depth: u8) -> Option<String> {
    let found = id_in(text, "id_str").or_else(|| id_in(text, "id"));
    let is_it = found.is_some_and(|found| found == id);
    object(text, |name, value| match name {
        "geo" | "place" | "coordinates" if is_it && tells(value) => {
            places.extend(["id", "place_id"].iter().filter_map(|name| id_in(value, name)));
            Edit::Goes
        }
        "data" | "includes" | "tweets" | "posts" | "retweeted_status" | "quoted_status"
            if depth > 0 =>
        {
            let several = list(value, |value| Edit::to(post(id, value, places, depth - 1)));
            Edit::to(several.or_else(|| post(id, value, places, depth - 1)))
        }
        _ => Edit::Stays,
    })
}

/// Whether it is more than the empty member that a post has which was made nowhere.
fn tells(value: &str) -> bool {
    value != "null" && fields(value).is_none_or(|fields| !fields.is_empty())
}

/// The id that an object has under this name.
fn id_in(text: &str, name: &str) -> Option<String> {
    let (_, value) = fields(text)?.into_iter().find(|(known, _)| decoded(known) == name)?;
    Some(serde_json::from_str::<Id<'_>>(value.get()).ok()?.0.into_owned())
}

/// The members of an object, if it is one, their names as they are written.
fn fields(text: &str) -> Option<Vec<(&RawValue, &RawValue)>> {
    serde_json::from_str::<Fields<'_, &RawValue>>(text).ok().map(|Fields(fields)| fields)
}

/// A name may be written with escapes. One that is no text is none that is looked for.
fn decoded(name: &RawValue) -> Cow<'_, str> {
    serde_json::from_str(name.get()).unwrap_or_default()
}

/// The object with its members edited; nothing when it stays as it is, or is none.
fn object(text: &str, mut edit: impl FnMut(&str, &str) -> Edit) -> Option<String> {
    let fields = fields(text)?;
    let edit = |(name, value): &(&'_ RawValue, &'_ RawValue)| edit(&decoded(name), value.get());
    let edits: Vec<_> = fields.iter().map(edit).collect();
    let members = fields.iter().map(|(name, value)| (name.get(), value.get()));
    edited(members, edits).map(json::object)
}

/// The list with its elements edited; nothing when it stays as it is, or is none.
fn list(text: &str, edit: impl FnMut(&str) -> Edit) -> Option<String> {
    let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    let edits = elements.iter().map(|element| element.get()).map(edit).collect();
    let edited = edited(elements.iter().map(|element| ("", element.get())), edits)?;
    let left: Vec<_> = edited.into_iter().map(|(_, element)| element).collect();
    Some(format!("[{}]", left.join(",")))
}

/// What is left of values and their names; nothing when all stay as they are.
fn edited<'a>(
    values: impl Iterator<Item = (&'a str, &'a str)>,
    edits: Vec<Edit>,
) -> Option<Vec<(&'a str, Cow<'a, str>)>> {
    let changes = edits.iter().any(|edit| !matches!(edit, Edit::Stays));
    let left = values.zip(edits).filter_map(|((name, value), edit)| match edit {
        Edit::Stays => Some((name, Cow::Borrowed(value))),
        Edit::Goes => None,
        Edit::Becomes(text) => Some((name, Cow::Owned(text))),
    });
    changes.then(|| left.collect())
}

#[cfg(test)]
mod tests;
