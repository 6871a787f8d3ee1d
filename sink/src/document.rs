//! A [`State`] as a document of the store, and back.
//!
//! The fields of the content are carried as text: neither the way from the log to the store nor
//! the way back builds a tree of them.

use bowerbird_store::{Body, Document};
use bowerbird_stream::Position;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::json::{Fields, Object, object};
use crate::merge::{Content, Notices, Observation, PayloadHash, Stamp, State};

/// What the ids of documents begin with that keep the notices about a user.
pub(crate) const USERS: &str = "user:";

/// The id of the document that keeps the notices about a user.
pub fn user_id(user: &str) -> String {
    format!("{USERS}{user}")
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(Serialize))]
struct Observed {
    time: Timestamp,
    hash: PayloadHash,
}

/// About as many bytes as a trailer without notices has.
const TRAILER: usize = 192;

/// A document without content.
#[derive(Serialize)]
struct Stub<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    notice: Option<&'a crate::merge::Notice>,
    notices: &'a Notices,
}

/// The document of `id` that says `state`.
///
/// # Errors
/// When what is kept beside the content can't be serialised.
pub fn render(id: &str, state: &State) -> Result<Document, serde_json::Error> {
    let body = match &state.observed {
        Some(Observation { stamp, content }) => {
            Body::serialised(with_trailer(&content.0, stamp, &state.notices)?)
        }
        None => {
            let removal = state.removal();
            Body::of(&Stub {
                r#type: match removal {
                    _ if id.starts_with(USERS) => "user",
                    Some(_) => "removed",
                    None if state.was_removed() => "restored",
                    None => "notice",
                },
                notice: removal.or_else(|| state.restoration()),
                notices: &state.notices,
            })?
        }
    };
    Ok(Document { id: id.to_owned(), revision: None, body })
}

/// The members of the object `content`, and behind them what merging needs.
fn with_trailer(
    content: &str,
    stamp: &Stamp,
    notices: &Notices,
) -> Result<String, serde_json::Error> {
    let head = content.trim_end();
    let head = head.strip_suffix('}').unwrap_or(head).trim_end();
    let mut text = Vec::with_capacity(head.len() + TRAILER);
    text.extend_from_slice(head.as_bytes());
    let mut object = Object::goes_on(&mut text, head == "{");
    let mut observed = object.object("observed");
    observed.time("time", stamp.time, false);
    observed.text("hash", &String::from(stamp.hash));
    observed.close();
    let Position { topic, partition, offset } = &stamp.position;
    let mut log = object.object("log");
    log.text("topic", topic);
    log.value("partition", partition)?;
    log.value("offset", offset)?;
    log.close();
    object.value("mapping", &stamp.mapping)?;
    if !notices.is_empty() {
        object.value("notices", notices)?;
    }
    object.close();
    String::from_utf8(text).map_err(serde::ser::Error::custom)
}

/// A document that the pipeline did not write; it is left alone.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("document {id} was not written by this pipeline ({why}); it is left as it is")]
pub struct Foreign {
    /// Its id.
    pub id: String,
    /// What it lacks.
    pub why: String,
}

/// What a document of ours says.
///
/// # Errors
/// When it is not one of ours.
pub fn read(document: &Document) -> Result<State, Foreign> {
    let foreign = |why: String| Foreign { id: document.id.clone(), why };
    let Fields::<String>(fields) =
        serde_json::from_str(document.body.get()).map_err(|error| foreign(error.to_string()))?;
    let mut rest = Vec::with_capacity(fields.len());
    let (mut observed, mut log, mut mapping, mut notices) = (None, None, None, None);
    for (name, value) in fields {
        match name.as_str() {
            "observed" => observed = Some(value),
            "log" => log = Some(value),
            "mapping" => mapping = Some(value),
            "notices" => notices = Some(value),
            _ => rest.push((name, value)),
        }
    }
    let notices: Notices = match notices {
        Some(value) => parse(value).map_err(|error| foreign(format!("notices: {error}")))?,
        None => Notices::new(),
    };
    let observed = match (observed, log, mapping) {
        (Some(observed), Some(log), Some(mapping)) => {
            let parts = || -> Result<Stamp, serde_json::Error> {
                let Observed { time, hash } = parse(observed)?;
                Ok(Stamp { time, hash, mapping: parse(mapping)?, position: parse(log)? })
            };
            let stamp = parts().map_err(|error| foreign(error.to_string()))?;
            Some(Observation { stamp, content: Content(text(&rest)) })
        }
        (None, None, None) if !notices.is_empty() => None,
        _ => return Err(foreign("it has no observed, log and mapping".to_owned())),
    };
    Ok(State { observed, notices })
}

fn parse<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Result<T, serde_json::Error> {
    serde_json::from_str(value.get())
}

/// The content without what tells where it was posted.
pub(crate) fn without_place(content: Content) -> Content {
    match serde_json::from_str::<Fields<'_, String>>(&content.0) {
        Ok(Fields(fields)) if fields.iter().any(|(name, _)| name == "place") => {
            let kept: Vec<_> = fields.into_iter().filter(|(name, _)| name != "place").collect();
            Content(text(&kept))
        }
        _ => content,
    }
}

fn text(fields: &[(String, &RawValue)]) -> String {
    let name = |name: &String| serde_json::Value::from(name.as_str()).to_string();
    object(fields.iter().map(|(known, value)| (name(known), value.get())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::merge::NoticeKind;

    /// What follows the content's fields, as serde writes it.
    #[derive(Serialize)]
    struct Trailer<'a> {
        observed: Observed,
        log: &'a Position,
        mapping: u32,
        #[serde(skip_serializing_if = "Notices::is_empty")]
        notices: &'a Notices,
    }

    proptest! {
        #[test]
        fn a_trailer_is_written_as_serde_writes_it(
            content in prop_oneof![Just("{}"), Just("{ }"), Just("{\"a\": 1} ")],
            topic in ".{0,8}",
            (partition, offset, mapping, hash) in any::<(i32, i64, u32, u128)>(),
            nanos in 0_i64..4_000_000_000_000_000_000,
            reason in proptest::option::of(".{0,8}"),
        ) {
            let time = Timestamp::from_nanosecond(nanos.into()).unwrap();
            let (event, action) = ("e".to_owned(), "a".to_owned());
            let notice = crate::merge::Notice { time, event, action, reason, up_to: None };
            let hash = PayloadHash::from(hash);
            let position = Position { topic: topic.as_str().into(), partition, offset };
            let stamp = Stamp { time, hash, mapping, position: position.clone() };
            for notices in [Notices::new(), Notices::from([(NoticeKind::Removal, notice)])] {
                let log = &position;
                let observed = Observed { time, hash };
                let trailer = Trailer { observed, log, mapping, notices: &notices };
                let trailer = serde_json::to_string(&trailer).unwrap();
                let members = content.trim_end().trim_end_matches('}').trim_end();
                let comma = if members == "{" { "" } else { "," };
                prop_assert_eq!(
                    with_trailer(content, &stamp, &notices).unwrap(),
                    format!("{members}{comma}{}", &trailer[1..])
                );
            }
        }
    }
}
