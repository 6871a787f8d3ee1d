//! Merging: one pure function, used by sink, replay, rebuild and verify.
//!
//! A [`State`] is what is known of one entity. [`State::merge`] takes the greatest of each part,
//! so it is associative, commutative and idempotent: order, grouping and repetition of events and
//! notices never matter.
//!
//! A removal holds until something newer than it says otherwise: the restoration of that kind, or
//! an observation (the platform itself has served the content again). Each removal has a restoration
//! of its own: an account that was protected and suspended is still protected when the suspension
//! ends. What is not newer than the last removal never counts again. `docs/adr/0001-merging.md` tells why it must be so.

use std::collections::BTreeMap;

use bowerbird_stream::Position;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::document;

/// XXH3-128 of a payload, written in hex: tells observations of the same time apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PayloadHash(u128);

impl PayloadHash {
    /// The hash of a payload; a tombstone hashes as no bytes.
    pub fn of(payload: &[u8]) -> Self {
        Self(xxhash_rust::xxh3::xxh3_128(payload))
    }
}

impl From<u128> for PayloadHash {
    fn from(hash: u128) -> Self {
        Self(hash)
    }
}

impl From<PayloadHash> for u128 {
    fn from(PayloadHash(hash): PayloadHash) -> Self {
        hash
    }
}

impl From<PayloadHash> for String {
    fn from(PayloadHash(hash): PayloadHash) -> Self {
        format!("{hash:032x}")
    }
}

impl TryFrom<String> for PayloadHash {
    type Error = std::num::ParseIntError;

    fn try_from(hex: String) -> Result<Self, Self::Error> {
        u128::from_str_radix(&hex, 16).map(Self)
    }
}

/// What orders the observations of an entity: compared field by field, the greatest wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp {
    /// When the content was observed (`ce_time`).
    pub time: Timestamp,
    /// A tie of times goes to the greater payload hash.
    pub hash: PayloadHash,
    /// The same event under a newer mapping wins.
    pub mapping: u32,
    /// Where the event stands; of a repeated event the later copy, which compaction keeps.
    pub position: Position,
}

impl Stamp {
    /// Whether both are the same event under the same mapping, wherever it stands.
    pub fn same_event(&self, other: &Self) -> bool {
        (self.time, self.hash, self.mapping) == (other.time, other.hash, other.mapping)
    }
}

/// What a mapping made of an event: the fields of the document, as the text of a JSON object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Content(pub String);

/// An observation of an entity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// What decides which observation is newest.
    pub stamp: Stamp,
    /// The document's fields.
    pub content: Content,
}

/// What a notice asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// The content must go: deleted, deactivated.
    Removal,
    /// It was deleted, and may be shown again.
    Restoration,
    /// It must go while its author's account is protected.
    Protection,
    /// The account is not protected any more.
    Unprotection,
    /// It must go while its author's account is suspended.
    Suspension,
    /// The account is not suspended any more.
    Unsuspension,
    /// It must go until the platform takes that back.
    Drop,
    /// The platform takes that back.
    Undrop,
    /// Place and coordinates must go.
    GeoScrub,
    /// It is withheld in some countries.
    Withheld,
}

/// Each removal, and what ends it.
const REMOVALS: [(NoticeKind, NoticeKind); 4] = [
    (NoticeKind::Removal, NoticeKind::Restoration),
    (NoticeKind::Protection, NoticeKind::Unprotection),
    (NoticeKind::Suspension, NoticeKind::Unsuspension),
    (NoticeKind::Drop, NoticeKind::Undrop),
];

impl NoticeKind {
    /// Whether the content must go.
    pub fn is_removal(self) -> bool {
        REMOVALS.iter().any(|(removal, _)| *removal == self)
    }
}

/// A compliance notice about an entity. The order of its fields is the order of notices: of one
/// kind the newest holds, and the rest only makes the choice the same everywhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Notice {
    /// When it was observed (`ce_time`).
    pub time: Timestamp,
    /// The `ce_id` of its event.
    pub event: String,
    /// The platform's word: `delete`, `scrub_geo`, …
    pub action: String,
    /// The platform's reason, where it gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The post up to which a notice about a user reaches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to: Option<String>,
}

impl Notice {
    /// What is known when both are known, of notices of one kind: the newer, which reaches as far as
    /// the one that reaches farther. A user may ask twice for places to go, and the posts of the first
    /// time are not among those of the second.
    fn join(self, other: Self) -> Self {
        let farther = self.reach().max(other.reach()).1.map(str::to_owned);
        Self { up_to: farther, ..self.max(other) }
    }

    /// Whether it reaches the post of this id.
    pub fn reaches(&self, id: &str) -> bool {
        id.parse::<u64>().map_or(true, |id| id <= self.reach().0)
    }

    /// Without a post that it reaches up to, it reaches all.
    fn reach(&self) -> (u64, Option<&str>) {
        let up_to = self.up_to.as_deref();
        (up_to.and_then(|id| id.parse().ok()).unwrap_or(u64::MAX), up_to)
    }
}

/// What the notices of each kind say together.
pub type Notices = BTreeMap<NoticeKind, Notice>;

/// What is known of one entity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The newest observation that counts.
    pub observed: Option<Observation>,
    /// The notices that hold.
    pub notices: Notices,
}

impl State {
    /// What is known after one observation.
    pub fn observation(stamp: Stamp, content: Content) -> Self {
        Self { observed: Some(Observation { stamp, content }), notices: Notices::new() }
    }

    /// What is known after one notice.
    pub fn notice(kind: NoticeKind, notice: Notice) -> Self {
        Self { observed: None, notices: Notices::from([(kind, notice)]) }
    }

    /// What is known when both are known.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let mut notices = self.notices;
        for (kind, notice) in other.notices {
            let joined = match notices.remove(&kind) {
                Some(held) => held.join(notice),
                None => notice,
            };
            notices.insert(kind, joined);
        }
        let removed = REMOVALS.iter().filter_map(|(kind, _)| notices.get(kind));
        let removed = removed.map(|removal| removal.time).max();
        let newest = match (self.observed, other.observed) {
            (Some(one), Some(two)) => Some(if two.stamp > one.stamp { two } else { one }),
            (one, two) => one.or(two),
        };
        let observed = newest
            .filter(|seen| removed.is_none_or(|removed| seen.stamp.time > removed))
            .map(|seen| match notices.get(&NoticeKind::GeoScrub) {
                Some(scrub) if seen.stamp.time <= scrub.time => {
                    Observation { content: document::without_place(seen.content), ..seen }
                }
                _ => seen,
            });
        Self { observed, notices }
    }

    /// Whether a document of `self` already says all that one of `merged` would: then there is
    /// nothing to write. A repeated event at another position changes nothing.
    pub fn says_as_much_as(&self, merged: &Self) -> bool {
        self.notices == merged.notices
            && match (&self.observed, &merged.observed) {
                (None, None) => true,
                (Some(mine), Some(theirs)) => mine.stamp.same_event(&theirs.stamp),
                _ => false,
            }
    }

    /// Whether a geo scrub holds against its observation.
    pub fn is_scrubbed(&self) -> bool {
        let scrub = self.notices.get(&NoticeKind::GeoScrub);
        let observed = self.observed.as_ref().map(|seen| seen.stamp.time);
        scrub.is_some_and(|scrub| observed.is_some_and(|time| time <= scrub.time))
    }

    /// The newest removal that holds, if one does.
    pub fn removal(&self) -> Option<&Notice> {
        let holds = |(kind, end): &(NoticeKind, NoticeKind)| {
            let removal = self.notices.get(kind)?;
            let ended = self.notices.get(end).is_some_and(|end| end.time > removal.time);
            (!ended).then_some(removal)
        };
        REMOVALS.iter().filter_map(holds).max().filter(|_| self.observed.is_none())
    }

    /// The newest restoration, if it was ever removed.
    pub fn restoration(&self) -> Option<&Notice> {
        let ends = REMOVALS.iter().filter_map(|(_, end)| self.notices.get(end));
        ends.max().filter(|_| self.was_removed())
    }

    /// Whether it was removed once, whatever came after.
    pub fn was_removed(&self) -> bool {
        REMOVALS.iter().any(|(kind, _)| self.notices.contains_key(kind))
    }
}
