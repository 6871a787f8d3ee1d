//! What is counted: posts by UTC day and rule.
//!
//! X bills a post once for each UTC day on which it delivers it, however often and by however many
//! rules; also one that only comes along because another refers to it, which is counted by itself. So
//! that is what a post counts here: once in the day's total, and once for each rule that it matched. A
//! post that is filled in again on the same day counts as a delivery alone; one that
//! comes again on the next day is billed, and counted, again.
//!
//! Source: X developer documentation, "Usage and Billing", deduplication; "Pricing", charged per
//! resource returned in the response, as X's emulator counts.

use std::collections::{BTreeMap, VecDeque};

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
    /// Posts, each once.
    pub posts: u64,
    /// Beside them, each once, those that only came along because others refer to them.
    #[serde(default)]
    pub included: u64,
    /// How often a post was delivered, also again.
    pub deliveries: u64,
    /// Of the posts, those that matched each rule, by the rule's id.
    pub rules: BTreeMap<String, OfRule>,
}

impl Day {
    /// What X bills, in posts.
    pub fn billed(&self) -> u64 {
        self.posts + self.included
    }
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
    /// Whether each has come by itself, not only with others.
    recent: BTreeMap<(Date, u64), bool>,
    order: VecDeque<(Date, u64)>,
}

/// Of an item, what is counted.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Item<'a> {
    #[serde(borrow)]
    matching_rules: Vec<Rule<'a>>,
}

/// Of an item, what comes along; read by itself, so that it can be odd and the rules are counted.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Along<'a> {
    #[serde(borrow)]
    includes: Includes<'a>,
}

/// What others refer to, by its old name and its new one.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Includes<'a> {
    #[serde(borrow)]
    tweets: Vec<Included<'a>>,
    #[serde(borrow)]
    posts: Vec<Included<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Included<'a> {
    #[serde(borrow)]
    id: Scalar<'a>,
}

/// What is new of a post on its day.
struct New {
    /// It has not come at all.
    billed: bool,
    /// It has not come by itself.
    by_itself: bool,
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
        let new = self.remember(at, id, true);
        let along = included(item);
        let along = along.into_iter().filter(|id| self.remember(at, *id, false).billed).count();
        self.counted_to = self.counted_to.max(Some(at));
        let day = self.days.entry(day_of(at)).or_default();
        day.deliveries += 1;
        day.included += along as u64;
        if !new.by_itself {
            return None;
        }
        day.posts += 1;
        if !new.billed {
            // Until now it had only come along.
            day.included = day.included.saturating_sub(1);
        }
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

    /// Notes that a post has come, with what came along; counted already.
    pub fn recall(&mut self, at: Timestamp, id: u64, item: &[u8]) {
        self.remember(at, id, true);
        for id in included(item) {
            self.remember(at, id, false);
        }
    }

    fn remember(&mut self, at: Timestamp, id: u64, by_itself: bool) -> New {
        let entry = (day_of(at), id);
        if let Some(before) = self.recent.get_mut(&entry) {
            let new = by_itself && !*before;
            *before |= by_itself;
            return New { billed: false, by_itself: new };
        }
        self.recent.insert(entry, by_itself);
        self.order.push_back(entry);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.recent.remove(&oldest);
        }
        New { billed: true, by_itself }
    }

    /// The posts of the month in which `day` is.
    pub fn month(&self, day: Date) -> u64 {
        self.days_of(day).map(|day| day.posts).sum()
    }

    /// What X bills for the month in which `day` is, in posts.
    pub fn billed(&self, day: Date) -> u64 {
        self.days_of(day).map(Day::billed).sum()
    }

    fn days_of(&self, day: Date) -> impl Iterator<Item = &Day> {
        self.days.range(day.first_of_month()..=day.last_of_month()).map(|(_, day)| day)
    }
}

/// The ids of the posts that come along with an item.
fn included(item: &[u8]) -> Vec<u64> {
    let Along { includes } = serde_json::from_slice(item).unwrap_or_default();
    includes.tweets.iter().chain(&includes.posts).filter_map(|along| along.id.id()).collect()
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
        let day =
            |posts, deliveries| Day { posts, deliveries, included: 0, rules: rules(posts).into() };
        let days: Vec<_> = count.days.clone().into_values().collect();
        assert_eq!(days, [day(2, 3), day(1, 2)]);
        let days: Vec<_> = count.days.keys().copied().collect();
        assert_eq!((count.month(days[0]), count.month(days[1])), (2, 1));
        assert_eq!(count.counted_to, Some(at("2026-12-01T00:00:01Z")));
    }

    #[test]
    fn what_comes_along_is_billed_once_a_day_too() {
        let with = |along: &str| {
            format!(r#"{{"includes":{{{along}}},"matching_rules":[{{"id":"1","tag":"a"}}]}}"#)
        };
        let mut count = Count::default();
        for (id, item, posts, included, of_rule) in [
            (1, with(r#""tweets":[{"id":"7"},{"id":8}]"#), 1, 2, 1),
            // Again; and by the new name.
            (2, with(r#""posts":[{"id":"7"},{"id":"1"},{}]"#), 2, 2, 2),
            // It has come along, and now it matches itself.
            (7, with(""), 3, 1, 3),
            (7, with(""), 3, 1, 3),
            (3, with(r#""tweets":"odd""#), 4, 1, 4),
        ] {
            count.add(Timestamp::UNIX_EPOCH, id, item.as_bytes());
            let day = &count.days[&day_of(Timestamp::UNIX_EPOCH)];
            assert_eq!(
                (day.posts, day.included, day.rules["1"].posts),
                (posts, included, of_rule),
                "{item}"
            );
        }
        let mut later = Count::default();
        later.recall(Timestamp::UNIX_EPOCH, 1, with(r#""tweets":[{"id":"7"}]"#).as_bytes());
        later.add(Timestamp::UNIX_EPOCH, 2, with(r#""tweets":[{"id":"7"}]"#).as_bytes());
        assert_eq!(later.days[&day_of(Timestamp::UNIX_EPOCH)].billed(), 1);
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
            assert!(count.remember(Timestamp::UNIX_EPOCH, id, true).billed);
        }
        assert_eq!((count.recent.len(), count.order.len()), (REMEMBERED, REMEMBERED));
        assert!(!count.remember(Timestamp::UNIX_EPOCH, REMEMBERED as u64, true).billed);
    }
}
