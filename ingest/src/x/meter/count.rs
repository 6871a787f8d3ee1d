//! What is counted: posts by UTC day and rule.
//!
//! X bills a post once for each UTC day on which it delivers it, however often and by however many
//! rules. So that is what a post counts here: once in the day's total, and once for each rule that
//! it matched. A post that is filled in again on the same day counts as a delivery alone; one that
//! comes again on the next day is billed, and counted, again.
//!
//! Source: X developer documentation, "Usage and Billing", deduplication.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;
use serde::{Deserialize, Serialize};

use crate::post::Scalar;

/// So many posts are remembered to know one that comes again: X fills in five minutes, at most 250
/// posts a second. More than that costs no more memory, and counts some posts twice.
const REMEMBERED: usize = 1 << 17;
/// X has at most 1,000 rules; a day on which all are exchanged some times has more.
const MAX_RULES: usize = 5_000;

/// The posts of one UTC day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    /// Posts, each once: what X bills.
    pub posts: u64,
    /// How often a post was delivered, also again.
    pub deliveries: u64,
    /// Of the posts, those that matched each rule, by the rule's id.
    pub rules: BTreeMap<String, OfRule>,
}

/// The posts of one rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfRule {
    /// The rule's tag; empty where it has none.
    pub tag: String,
    /// Posts that matched it.
    pub posts: u64,
}

/// Posts by day.
#[derive(Clone, Debug, Default)]
pub struct Count {
    /// The days on which any came.
    pub days: BTreeMap<Date, Day>,
    /// When the last of them came.
    pub counted_to: Option<Timestamp>,
    recent: BTreeSet<(Date, u64)>,
    order: VecDeque<(Date, u64)>,
}

/// Of an item, what is counted.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Item<'a> {
    #[serde(borrow)]
    matching_rules: Vec<Rule<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Rule<'a> {
    #[serde(borrow)]
    id: Scalar<'a>,
    #[serde(borrow)]
    tag: Scalar<'a>,
}

/// The UTC day of a time.
pub fn day_of(time: Timestamp) -> Date {
    Offset::UTC.to_datetime(time).date()
}

impl Count {
    /// Counts a post that arrived at `at`: its id and its item. Gives the rules that it matched if it
    /// counts, and is not one that came before on that day.
    pub fn add(&mut self, at: Timestamp, id: u64, item: &[u8]) -> Option<Vec<OfRule>> {
        let new = self.remember(at, id);
        self.counted_to = self.counted_to.max(Some(at));
        let day = self.days.entry(day_of(at)).or_default();
        day.deliveries += 1;
        if !new {
            return None;
        }
        day.posts += 1;
        // Whatever else the item is: it was delivered, and is billed.
        let Item { matching_rules } = serde_json::from_slice(item).unwrap_or_default();
        let mut matched = BTreeMap::new();
        for rule in matching_rules {
            let id = match rule.id {
                Scalar::Text(id) => id.into_owned(),
                Scalar::Number(id) => id.to_string(),
                _ => continue,
            };
            matched.entry(id).or_insert_with(|| rule.tag.text().unwrap_or_default().to_owned());
        }
        let count = |(id, tag): (String, String)| {
            if day.rules.len() < MAX_RULES || day.rules.contains_key(&id) {
                let of_rule = day.rules.entry(id).or_default();
                of_rule.posts += 1;
                of_rule.tag.clone_from(&tag);
            }
            OfRule { tag, posts: 1 }
        };
        Some(matched.into_iter().map(count).collect())
    }

    /// Notes that a post has come, counted already; whether it was not known yet.
    pub fn remember(&mut self, at: Timestamp, id: u64) -> bool {
        let entry = (day_of(at), id);
        if !self.recent.insert(entry) {
            return false;
        }
        self.order.push_back(entry);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.recent.remove(&oldest);
        }
        true
    }

    /// The posts of the month in which `day` is.
    pub fn month(&self, day: Date) -> u64 {
        self.days.range(day.first_of_month()..=day.last_of_month()).map(|(_, day)| day.posts).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    const BOTH: &[u8] =
        br#"{"data":{},"matching_rules":[{"id":"1","tag":"a"},{"id":2},{"id":"1","tag":"a"}]}"#;

    #[test]
    fn a_post_counts_once_a_day_and_once_for_each_rule() {
        let mut count = Count::default();
        for (time, id, counts) in [
            ("2026-11-30T23:59:58Z", 1, true),
            ("2026-11-30T23:59:58Z", 2, true),
            ("2026-11-30T23:59:59Z", 1, false),
            ("2026-12-01T00:00:00Z", 1, true),
            ("2026-12-01T00:00:01Z", 1, false),
        ] {
            assert_eq!(count.add(at(time), id, BOTH).is_some(), counts, "{time} {id}");
        }
        let of = |tag: &str, posts| OfRule { tag: tag.to_owned(), posts };
        let rules = |posts| [("1".to_owned(), of("a", posts)), ("2".to_owned(), of("", posts))];
        let day = |posts, deliveries| Day { posts, deliveries, rules: rules(posts).into() };
        let days: Vec<_> = count.days.clone().into_values().collect();
        assert_eq!(days, [day(2, 3), day(1, 2)]);
        let days: Vec<_> = count.days.keys().copied().collect();
        assert_eq!((count.month(days[0]), count.month(days[1])), (2, 1));
        assert_eq!(count.counted_to, Some(at("2026-12-01T00:00:01Z")));
    }

    #[test]
    fn what_says_nothing_of_rules_counts_too() {
        let mut count = Count::default();
        let items = [&b"{}"[..], b"{", b"{\"matching_rules\":3}", b"{\"matching_rules\":[{}]}"];
        for (item, id) in items.into_iter().zip(1..) {
            assert_eq!(count.add(Timestamp::UNIX_EPOCH, id, item), Some(Vec::new()));
        }
        assert_eq!(count.days.into_values().next().map(|day| day.posts), Some(4));
    }

    #[test]
    fn no_more_is_remembered_than_is_needed() {
        let mut count = Count::default();
        for id in 0..REMEMBERED as u64 + 5 {
            assert!(count.remember(Timestamp::UNIX_EPOCH, id));
        }
        assert_eq!((count.recent.len(), count.order.len()), (REMEMBERED, REMEMBERED));
        assert!(!count.remember(Timestamp::UNIX_EPOCH, REMEMBERED as u64));
    }
}
