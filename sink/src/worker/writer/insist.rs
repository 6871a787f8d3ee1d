//! Saying a tombstone, or a copy without its place, once more where content may have come behind it
//! meanwhile.
//!
//! The log is told before the store is written ([`super::erase`], [`super::affirm`]). Between the
//! two another batch, of this member or of another, may settle content that stands behind: it
//! finds in the store what it brings, and has nothing to say. So who has written looks whether the
//! partition has gone on since, and if so, says it once more. From then on whoever settles content
//! finds the removal, or the scrub, in the store.

use std::collections::BTreeMap;

use bowerbird_store::DocumentStore;
use bowerbird_stream::log::Outgoing;
use bowerbird_stream::{EventLog, Partition, Position, Record, topic};

use super::erase::tombstone;
use super::{Unit, Writer};
use crate::error::SinkError;
use crate::mapping::SCRUBBED_HEADER;

/// What no content of a post may stand behind, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct LastWord {
    pub at: Position,
    pub said: Outgoing,
}

impl<L: EventLog, S: DocumentStore> Writer<L, S> {
    /// What must be the last of a unit that was just written: what was published of it, or, where
    /// the store had content, the record that says so.
    pub(super) fn last_word(&self, unit: &Unit) -> Option<LastWord> {
        if !self.minds(unit) {
            return None;
        }
        unit.last_word.clone().or_else(|| read(unit))
    }

    /// Says these once more where something was appended behind them.
    pub(super) async fn insist(&self, last_words: Vec<LastWord>) -> Result<(), SinkError> {
        let mut known = BTreeMap::<Partition, (i64, i64)>::new();
        for LastWord { at, .. } in &last_words {
            let (first, count) = known.entry(at.in_partition()).or_insert((at.offset, 0));
            *first = at.offset.min(*first);
            *count += 1;
        }
        if known.is_empty() {
            return Ok(());
        }
        let extents = self.patiently_of_log(|| self.log.extents(topic::POSTS)).await?;
        let has_gone_on = |at: &Position| {
            let known = known.get(&at.in_partition()).map(|(first, count)| first + count);
            let end = extents.get(&at.partition).map(|extent| extent.end);
            known.is_none_or(|known| end.is_none_or(|end| end > known))
        };
        let again = last_words.into_iter().filter(|word| has_gone_on(&word.at));
        self.publish(again.map(|word| word.said).collect()).await
    }
}

/// The record of a unit that takes from the store content that was there.
fn read(unit: &Unit) -> Option<LastWord> {
    let stood = unit.stood.as_ref()?;
    let posts = unit.records.iter().filter(|one| &*one.position.topic == topic::POSTS);
    if let Some(removal) = unit.state.removal() {
        let last = posts.max_by_key(|one| one.position.offset).filter(|one| one.value.is_none())?;
        let said = tombstone(&unit.id, removal);
        return Some(LastWord { at: last.position.clone(), said });
    }
    let at = &unit.state.observed.as_ref().filter(|_| !stood.scrubbed)?.stamp.position;
    let mut copies = posts.filter(|one| one.headers.get(SCRUBBED_HEADER).is_some());
    let Record { position, key, value, headers, .. } =
        copies.find(|one| one.position == *at)?.clone();
    let said = Outgoing { topic: position.topic.clone(), key, value, headers };
    Some(LastWord { at: position, said })
}
