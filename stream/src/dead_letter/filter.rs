//! Which letters are meant.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::story::{Letter, LetterId};
use crate::log::Extent;

/// What stands for the topic of a letter that never was in the log.
pub(super) const NO_TOPIC: &str = "-";

/// Which letters are meant: those that fit all that is given. A list that is empty asks nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// These ones.
    pub ids: Vec<LetterId>,
    /// Of one of these reasons.
    pub reasons: Vec<String>,
    /// Of one of these event types.
    pub kinds: Vec<String>,
    /// From one of these topics; `-` for what never was in the log.
    pub topics: Vec<String>,
    /// Given up by one of these groups.
    pub groups: Vec<String>,
    /// Of one of these keys.
    pub keys: Vec<String>,
    /// Given up at this time or later.
    pub from: Option<Timestamp>,
    /// Given up before this time.
    pub to: Option<Timestamp>,
    /// Also those that were redriven or dropped.
    pub done: bool,
}

impl Filter {
    /// Whether a letter fits.
    pub fn fits(&self, letter: &Letter) -> bool {
        let story = &letter.story;
        let one_of =
            |asked: &[String], is: &str| asked.is_empty() || asked.iter().any(|asked| asked == is);
        (self.done || letter.done.is_none())
            && (self.ids.is_empty() || self.ids.contains(&letter.id))
            && one_of(&self.reasons, &story.why.reason)
            && one_of(&self.groups, &story.why.group)
            && one_of(&self.kinds, letter.kind().unwrap_or_default())
            && one_of(&self.topics, letter.topic().unwrap_or(NO_TOPIC))
            && one_of(&self.keys, &letter.key().unwrap_or_default())
            && self.from.is_none_or(|from| story.time >= from)
            && self.to.is_none_or(|to| story.time < to)
    }

    /// Whether each letter that is named still stands where it stood first. Of others only the name
    /// tells where that was.
    pub(super) fn are_held(&self, extents: &BTreeMap<i32, Extent>) -> bool {
        self.ids
            .iter()
            .all(|id| extents.get(&id.partition).is_some_and(|extent| id.offset >= extent.earliest))
    }

    /// Where letters that fit can stand in a partition: everywhere, or from the first to behind
    /// the last that is named.
    pub(super) fn range(&self, partition: i32, from: i64, to: i64) -> (i64, i64) {
        let here = || self.ids.iter().filter(|id| id.partition == partition).map(|id| id.offset);
        match (here().min(), here().max()) {
            _ if self.ids.is_empty() => (from, to),
            (Some(first), Some(last)) => {
                (first.clamp(from, to), last.saturating_add(1).clamp(from, to))
            }
            _ => (to, to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Deed, Reason, Story};
    use super::*;
    use crate::event::Headers;
    use crate::log::{Position, Record};

    fn letter() -> Letter {
        let position = Position { topic: "dead-letters".into(), partition: 1, offset: 7 };
        let why = Reason {
            reason: "payload".to_owned(),
            error: String::new(),
            group: "bowerbird-posts".to_owned(),
            attempts: 1,
        };
        let origin = Position { topic: "posts".into(), partition: 3, offset: 42 };
        let headers: Headers = [("ce_type", "post.received")].into_iter().collect();
        Letter {
            id: LetterId { partition: 1, offset: 7 },
            story: Story { why, origin: Some(origin), time: Timestamp::from_second(100).unwrap() },
            done: None,
            record: Record {
                position,
                appended: Timestamp::UNIX_EPOCH,
                key: Some("1534".into()),
                value: None,
                headers,
            },
        }
    }

    #[test]
    fn all_that_is_given_must_fit() {
        let second = |second| Some(Timestamp::from_second(second).unwrap());
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let id = |offset| LetterId { partition: 1, offset };
        let any = Filter::default;
        for (filter, expected) in [
            (any(), true),
            (Filter { ids: vec![id(6), id(7)], ..any() }, true),
            (Filter { ids: vec![id(6)], ..any() }, false),
            (Filter { reasons: list(&["mapping", "payload"]), ..any() }, true),
            (Filter { reasons: list(&["mapping"]), ..any() }, false),
            (Filter { kinds: list(&["post.received"]), ..any() }, true),
            (Filter { kinds: list(&["post.erased"]), ..any() }, false),
            (Filter { topics: list(&["posts"]), ..any() }, true),
            (Filter { topics: list(&["-"]), ..any() }, false),
            (Filter { groups: list(&["bowerbird-posts"]), ..any() }, true),
            (Filter { groups: list(&["bowerbird-posts-2"]), ..any() }, false),
            (Filter { keys: list(&["1534"]), ..any() }, true),
            (Filter { keys: list(&["153"]), ..any() }, false),
            (Filter { from: second(100), to: second(101), ..any() }, true),
            (Filter { from: second(101), ..any() }, false),
            (Filter { to: second(100), ..any() }, false),
            (Filter { reasons: list(&["payload"]), keys: list(&["9"]), ..any() }, false),
        ] {
            assert_eq!(filter.fits(&letter()), expected, "{filter:?}");
        }
        let mut source = letter();
        source.story.origin = None;
        assert!(Filter { topics: list(&["-"]), ..any() }.fits(&source));
        let marked = Letter { done: Some(Deed::Dropped), ..letter() };
        assert!(!any().fits(&marked) && Filter { done: true, ..any() }.fits(&marked));
    }

    #[test]
    fn named_letters_are_looked_for_where_they_stand() {
        let id = |partition, offset| LetterId { partition, offset };
        let named = Filter { ids: vec![id(1, 7), id(1, 3), id(2, 99)], ..Filter::default() };
        assert_eq!(named.range(1, 0, 50), (3, 8));
        assert_eq!(named.range(1, 5, 6), (5, 6));
        assert_eq!(named.range(2, 0, 50), (50, 50));
        assert_eq!(named.range(0, 0, 50), (50, 50));
        assert_eq!(Filter::default().range(0, 2, 50), (2, 50));
        for (earliest, held) in [(0, true), (3, true), (4, false)] {
            let extents = (1..3).map(|n| (n, Extent { earliest, end: 100 })).collect();
            assert_eq!(named.are_held(&extents), held, "{earliest}");
            assert!(Filter::default().are_held(&extents));
        }
        assert!(!named.are_held(&BTreeMap::new()));
    }
}
