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
use bowerbird_stream::{Event, EventLog, EventType, Record, topic};

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
        let mut posts: Vec<&Record> =
            self.records.iter().filter(|one| &*one.position.topic == topic::POSTS).collect();
        posts.sort_by_key(|record| record.position.offset);
        let uncovered = match posts.last() {
            Some(last) => last.value.is_some(),
            None => self.had_content,
        };
        uncovered.then_some(removal)
    }
}

impl<L: EventLog, S: DocumentStore> Writer<L, S> {
    /// Publishes the tombstones that `units` need; the log has them when this returns.
    pub(super) async fn erase(&self, units: &[Unit]) -> Result<(), SinkError> {
        if !self.affirms {
            return Ok(());
        }
        let needed = units.iter().filter_map(|unit| Some((&unit.id, unit.erased_by()?)));
        let tombstones: Vec<Outgoing> = needed.map(|(id, by)| tombstone(id, by)).collect();
        if tombstones.is_empty() {
            return Ok(());
        }
        metrics::counter!(names::ERASED, "projection" => self.projection.name)
            .increment(tombstones.len() as u64);
        self.publish(tombstones).await
    }
}

/// It says of the removal what the notice said, so that a log that was compacted since tells the
/// same.
fn tombstone(id: &str, removal: &Notice) -> Outgoing {
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
