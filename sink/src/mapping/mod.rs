//! From an event to what it says of an entity: pure, and versioned.
//!
//! The raw payload stays in the log, so a better mapping can always be applied to all of it.

mod feature;
mod journal;
mod notice;
mod odd;
mod place;
mod post;
mod scrub;
mod text;

use bowerbird_stream::{EventType, EventView, Position, topic};
use thiserror::Error;

pub(crate) use self::notice::{ACTION, NOTICE, REASON};
pub use self::scrub::{SCRUBBED, without_place};
pub(crate) use self::scrub::{SCRUBBED_HEADER, hash_of};

use crate::merge::{Content, Stamp, State};

/// The version of [`Mapping::CURRENT`].
pub const VERSION: u32 = 1;

/// A version of the mapping. A projection keeps the one that it was filled with, so that all of
/// its documents are made alike; a rebuild fills a new one with another.
#[derive(Clone, Copy, Debug)]
pub struct Mapping {
    version: u32,
    map: MapEvent,
}

/// Maps an event that stands at a position, by a version that its documents carry.
pub type MapEvent = fn(u32, &EventView<'_>, &Position) -> Result<Mapped, Unmappable>;

impl Mapping {
    /// The one that new projections are filled with.
    pub const CURRENT: Self = Self { version: VERSION, map: first };

    /// Every version that there is, so that a generation made by an older one can be kept up.
    pub fn known() -> Vec<Self> {
        vec![Self::CURRENT]
    }

    /// A version of one's own.
    pub const fn new(version: u32, map: MapEvent) -> Self {
        Self { version, map }
    }

    /// Its version, which stands in every document.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// Maps an event that stands at `position`.
    ///
    /// # Errors
    /// When the event can't become a document.
    pub fn map(&self, event: &EventView<'_>, position: &Position) -> Result<Mapped, Unmappable> {
        let mapped = (self.map)(self.version, event, position)?;
        match is_id(&mapped.id) {
            true => Ok(mapped),
            false => Err(Unmappable::Id(mapped.id.chars().take(80).collect())),
        }
    }
}

/// Whether stores take this as a document's id. CouchDB: ids beginning with an underscore are its
/// own; the length keeps keys and URLs sane.
pub(crate) fn is_id(id: &str) -> bool {
    !id.is_empty() && !id.starts_with('_') && id.len() <= 512
}

impl PartialEq for Mapping {
    fn eq(&self, other: &Self) -> bool {
        self.version == other.version
    }
}

impl Eq for Mapping {}

/// What an event says of an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The document's id.
    pub id: String,
    /// What the event says.
    pub state: State,
}

/// Why an event can't become a document. Its dead letter carries this.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Unmappable {
    /// The type needs a value and there is none.
    #[error("a {0} event without a value")]
    NoValue(EventType),
    /// The payload is not JSON of the expected form.
    #[error("the payload is not a {what}: {error}")]
    Payload {
        /// What it should have been.
        what: &'static str,
        /// What the parser said.
        error: String,
    },
    /// The key and the payload name different entities.
    #[error("the key is {key:?}, the payload is about {payload:?}")]
    KeyDiffers {
        /// The record's key.
        key: String,
        /// The payload's own id.
        payload: String,
    },
    /// No store takes this as a document's id.
    #[error(
        "{0:?} can't be a document's id: it is empty, begins with an underscore or is longer than 512 bytes"
    )]
    Id(String),
    /// A notice of a kind that this version does not know.
    #[error("a notice of an unknown kind: {0}")]
    Notice(String),
    /// A type that this version does not know: facts of any name stand in the journal alone.
    #[error("{kind:?} is no type of event that topic {topic} may hold")]
    Kind {
        /// The type.
        kind: String,
        /// The topic that the record stands in.
        topic: String,
    },
}

impl Unmappable {
    /// A short name to group dead letters by.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NoValue(_) | Self::Payload { .. } => "payload",
            Self::KeyDiffers { .. } => "key",
            Self::Id(_) => "id",
            Self::Notice(_) => "notice",
            Self::Kind { .. } => "type",
        }
    }
}

/// Maps by [`Mapping::CURRENT`].
///
/// # Errors
/// When the event can't become a document.
pub fn map(event: &EventView<'_>, position: &Position) -> Result<Mapped, Unmappable> {
    Mapping::CURRENT.map(event, position)
}

/// The first version.
fn first(version: u32, event: &EventView<'_>, position: &Position) -> Result<Mapped, Unmappable> {
    let observed = |id: String, content: String| {
        let stamp = Stamp {
            time: event.time,
            hash: hash_of(event),
            mapping: version,
            position: position.clone(),
        };
        Mapped { id, state: State::observation(stamp, Content(content)) }
    };
    Ok(match &event.kind {
        EventType::PostReceived => observed(event.key.to_owned(), post::content(event)?),
        EventType::PostErased => notice::erased(event),
        EventType::NoticeReceived => notice::received(event)?,
        EventType::FeatureObserved => observed(event.key.to_owned(), feature::content(event)?),
        EventType::FeatureVanished => observed(event.key.to_owned(), feature::vanished(event)?),
        EventType::Journal(_) if *position.topic == *topic::JOURNAL => {
            observed(event.id.to_owned(), journal::content(event)?)
        }
        kind => {
            let (kind, topic) = (kind.to_string(), position.topic.to_string());
            return Err(Unmappable::Kind { kind, topic });
        }
    })
}

fn value<'a>(event: &EventView<'a>) -> Result<&'a [u8], Unmappable> {
    event.value.ok_or_else(|| Unmappable::NoValue(event.kind.clone()))
}

fn malformed(what: &'static str) -> impl Fn(serde_json::Error) -> Unmappable {
    move |error| Unmappable::Payload { what, error: error.to_string() }
}
