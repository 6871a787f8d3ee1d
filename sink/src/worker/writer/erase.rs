//! Erasing from the log what a removal has taken from the store.
//!
//! A stub in the store removes a post from sight; its payload stays in the log until a tombstone of
//! the same key stands behind it and compaction comes by. So whoever settles a record that puts a
//! removed post's content behind its last tombstone, or the notice that removes a stored one,
//! publishes a tombstone first, and writes the stub after the log has it: killed in between, the
//! content is still in the store and the tombstone is published once more, which changes nothing.
//! `docs/adr/0006-erasing.md` tells what else was thought of.

use std::collections::BTreeMap;

use bowerbird_store::DocumentStore;
use bowerbird_stream::log::Outgoing;
use bowerbird_stream::{Event, EventLog, EventType, topic};

use super::insist::LastWord;
use super::{Unit, Writer};
use crate::error::SinkError;
use crate::mapping::{ACTION, NOTICE, REASON};
use crate::merge::Notice;
use crate::metrics as names;

impl Unit {
    /// The removal for which the log must be told to erase its content: that of the store, which
    /// the log holds somewhere, or that of a record behind which no tombstone stands here.
    fn erased_by(&self) -> Option<&Notice> {
        let removal = self.state.removal()?;
        let posts = self.records.iter().filter(|one| &*one.position.topic == topic::POSTS);
        let here = posts.map(|one| (one.position.offset, one.value.is_some()));
        // Of other content the last copy is where its document says, or where it was said again.
        let stood = self.stood.iter().map(|at| &at.position);
        let stood = stood.filter(|at| &*at.topic == topic::POSTS).map(|at| (at.offset, true));
        let last = here.chain(stood).max_by_key(|(offset, _)| *offset);
        last.is_some_and(|(_, holds_content)| holds_content).then_some(removal)
    }
}

impl<L: EventLog, S: DocumentStore> Writer<L, S> {
    /// Publishes the tombstones that `units` need; the log has them when this returns.
    pub(super) async fn erase(&self, units: &mut [Unit]) -> Result<(), SinkError> {
        let minded = units.iter_mut().filter(|unit| self.minds(unit));
        let needed = minded.filter_map(|unit| {
            let tombstone = tombstone(&unit.id, unit.erased_by()?);
            Some((unit, tombstone))
        });
        let (erased, tombstones): (Vec<_>, Vec<_>) = needed.unzip();
        if tombstones.is_empty() {
            return Ok(());
        }
        metrics::counter!(names::ERASED, "projection" => self.projection.name)
            .increment(tombstones.len() as u64);
        let answers = self.offer(tombstones.clone()).await?;
        for ((unit, said), answer) in erased.into_iter().zip(tombstones).zip(answers) {
            unit.last_word = Some(LastWord { at: answer?, said });
        }
        Ok(())
    }
}

/// It says of the removal what the notice said, so that a log that was compacted since tells the
/// same.
pub(crate) fn tombstone(id: &str, removal: &Notice) -> Outgoing {
    let Notice { time, event, action, reason, .. } = removal;
    let mut extensions =
        BTreeMap::from([(NOTICE.to_owned(), event.clone()), (ACTION.to_owned(), action.clone())]);
    extensions.extend(reason.clone().map(|reason| (REASON.to_owned(), reason)));
    let event = Event {
        id: format!("{}-{id}-{event}", EventType::PostErased.as_str()),
        source: "sink:posts".to_owned(),
        kind: EventType::PostErased,
        time: *time,
        key: id.to_owned(),
        value: None,
        extensions,
    };
    Outgoing::event(topic::POSTS, event)
}

#[cfg(test)]
mod tests {
    use bowerbird_stream::{Headers, Position, Record};
    use bytes::Bytes;
    use jiff::Timestamp;

    use super::super::Stood;
    use super::*;
    use crate::merge::{NoticeKind, State};

    fn at(topic: &str, offset: i64) -> Position {
        Position { topic: topic.into(), partition: 0, offset }
    }

    fn record(topic: &str, offset: i64, value: Option<&'static str>) -> Record {
        Record {
            position: at(topic, offset),
            appended: Timestamp::UNIX_EPOCH,
            key: Some(Bytes::from_static(b"1")),
            value: value.map(Bytes::from),
            headers: Headers::new(),
        }
    }

    #[test]
    fn what_stands_last_says_whether_there_is_something_to_erase() {
        let content = |offset| record(topic::POSTS, offset, Some("{}"));
        let tombstone = |offset| record(topic::POSTS, offset, None);
        let notice = || record(topic::NOTICES, 9, Some("{}"));
        for (records, stored, needed) in [
            (vec![notice()], None, false),
            (vec![notice()], Some(4), true),
            (vec![content(3)], None, true),
            (vec![notice(), content(3)], None, true),
            (vec![content(3), tombstone(4)], None, false),
            (vec![tombstone(4), content(5)], None, true),
            (vec![tombstone(4)], Some(3), false),
            // It was settled before the tombstone, and stands behind it.
            (vec![tombstone(4)], Some(5), true),
            (vec![content(3), tombstone(4)], Some(5), true),
        ] {
            let event = "gone".to_owned();
            let (time, action) = (Timestamp::UNIX_EPOCH, "delete".to_owned());
            let removal = Notice { time, event, action, reason: None, up_to: None };
            let told = format!("{records:?} {stored:?}");
            let state = State::notice(NoticeKind::Removal, removal);
            let mut unit = Unit::new("1".to_owned(), state, records);
            let at = |offset| Stood { position: at(topic::POSTS, offset), scrubbed: false };
            unit.stood = stored.map(at);
            assert_eq!(unit.erased_by().is_some(), needed, "{told}");
            unit.state = State::default();
            assert_eq!(unit.erased_by(), None);
        }
    }
}
