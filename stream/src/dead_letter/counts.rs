//! How many letters there are of each kind.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::filter::NO_TOPIC;
use super::mark::Deed;
use super::story::Letter;

/// The most groups that are told apart: reasons are short names, but anyone may write a letter.
const MAX_GROUPS: usize = 1_000;
/// What stands for the reason of all further ones.
const OTHERS: &str = "(others)";

/// Letters that have their reason, event type, origin and fate in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Why they were given up.
    pub reason: String,
    /// The event type; `-` where there is none.
    #[serde(rename = "type")]
    pub kind: String,
    /// The topic that they came from; `-` for what never was in the log.
    pub topic: String,
    /// Who gave them up.
    pub group: String,
    /// What was done with them; nothing while they are open.
    pub done: Option<Deed>,
    /// How many.
    pub letters: u64,
    /// Of these, how many had been redriven before and have failed again.
    pub again: u64,
    /// Their size, in bytes.
    pub bytes: u64,
    /// When the first was given up.
    pub first: Timestamp,
    /// When the last was given up.
    pub last: Timestamp,
}

type Key = (String, String, String, String, Option<Deed>);

/// Letters counted by group.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    groups: BTreeMap<Key, Group>,
}

impl Counts {
    /// Counts a letter.
    pub fn add(&mut self, letter: &Letter) {
        let own = |text: &str| text.to_owned();
        let why = &letter.story.why;
        let kind = own(letter.kind().unwrap_or(NO_TOPIC));
        let topic = own(letter.topic().unwrap_or(NO_TOPIC));
        let mut key = (own(&why.reason), kind, topic, own(&why.group), letter.done);
        if self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(&key) {
            key = (own(OTHERS), own(NO_TOPIC), own(NO_TOPIC), own(NO_TOPIC), letter.done);
        }
        let time = letter.story.time;
        let group =
            self.groups.entry(key).or_insert_with_key(|(reason, kind, topic, who, done)| {
                let (reason, kind, topic, who) =
                    (reason.clone(), kind.clone(), topic.clone(), who.clone());
                let (first, last) = (time, time);
                let (letters, again, bytes) = (0, 0, 0);
                Group {
                    reason,
                    kind,
                    topic,
                    group: who,
                    done: *done,
                    letters,
                    again,
                    bytes,
                    first,
                    last,
                }
            });
        group.letters += 1;
        group.again += u64::from(letter.again().is_some());
        group.bytes += letter.record.size() as u64;
        group.first = group.first.min(time);
        group.last = group.last.max(time);
    }

    /// All letters.
    pub fn total(&self) -> u64 {
        self.groups.values().map(|group| group.letters).sum()
    }

    /// The groups, the largest first.
    pub fn groups(&self) -> Vec<Group> {
        let mut groups: Vec<_> = self.groups.values().cloned().collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.letters));
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Reason, of_source};
    use super::*;
    use crate::event::Headers;
    use crate::log::{Outgoing, Position, Record};

    fn letter(reason: &str, second: i64) -> Letter {
        let why = Reason {
            reason: reason.to_owned(),
            error: String::new(),
            group: "ingest-archive".to_owned(),
            attempts: 1,
        };
        let outgoing = Outgoing {
            topic: "posts".into(),
            key: None,
            value: Some("{broken".into()),
            headers: Headers::new(),
        };
        let time = Timestamp::from_second(second).unwrap();
        let Outgoing { key, value, headers, .. } = of_source(outgoing, &why, time);
        let position = Position { topic: "dead-letters".into(), partition: 0, offset: second };
        Letter::of(Record { position, appended: time, key, value, headers }).unwrap()
    }

    #[test]
    fn letters_are_counted_by_what_they_have_in_common() {
        let mut counts = Counts::default();
        for (reason, second) in [("not-json", 5), ("no-post", 1), ("not-json", 2)] {
            counts.add(&letter(reason, second));
        }
        counts.add(&Letter { done: Some(Deed::Dropped), ..letter("not-json", 9) });
        let groups = counts.groups();
        assert_eq!((counts.total(), groups.len()), (4, 3));
        let Group { reason, letters, first, last, topic, .. } = &groups[0];
        assert_eq!((reason.as_str(), *letters, topic.as_str()), ("not-json", 2, NO_TOPIC));
        assert_eq!((first.as_second(), last.as_second()), (2, 5));
    }

    #[test]
    fn the_groups_are_bounded() {
        let mut counts = Counts::default();
        (0..MAX_GROUPS as i64 + 50).for_each(|n| counts.add(&letter(&format!("r{n}"), n)));
        let groups = counts.groups();
        assert_eq!((counts.total(), groups.len()), (MAX_GROUPS as u64 + 50, MAX_GROUPS + 1));
        assert_eq!((groups[0].reason.as_str(), groups[0].letters), (OTHERS, 50));
    }
}
