//! What was done with letters.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use super::bits::Bits;
use super::story::LetterId;
use super::{BY, MARK, OF, TIME};
use crate::event::Headers;
use crate::log::{Extent, Outgoing};

/// What was done with a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    /// Its record was sent on its way again.
    Redriven,
    /// It is given up for good.
    Dropped,
}

impl Deed {
    /// As it stands in [`MARK`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Redriven => "redriven",
            Self::Dropped => "dropped",
        }
    }
}

/// That something was done with a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// With which.
    pub of: LetterId,
    /// What.
    pub deed: Deed,
    /// When.
    pub time: Timestamp,
    /// By whom.
    pub by: String,
}

impl Mark {
    /// Reads it from the headers of a record; nothing when they are not those of a mark.
    pub fn of(headers: &Headers) -> Option<Self> {
        let deed = [Deed::Redriven, Deed::Dropped];
        let deed = deed.into_iter().find(|deed| headers.text(MARK) == Some(deed.as_str()))?;
        let of = headers.text(OF)?.parse().ok()?;
        let time = headers.text(TIME).and_then(|time| time.parse().ok()).unwrap_or_default();
        Some(Self { of, deed, time, by: headers.text(BY).unwrap_or_default().to_owned() })
    }

    /// As a record of `topic`, under the letter's own key.
    pub fn record(&self, topic: &str, key: Option<Bytes>) -> Outgoing {
        let mut headers = Headers::new();
        headers.push(MARK, self.deed.as_str());
        headers.push(OF, self.of.to_string());
        headers.push(TIME, self.time.to_string());
        headers.push(BY, &self.by);
        Outgoing { topic: topic.into(), key, value: None, headers }
    }
}

/// What was done with each of many letters: two bits a letter. The order in which marks are added
/// does not matter.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    redriven: Bits,
    dropped: Bits,
}

impl Marks {
    /// None yet, of a topic that holds this.
    pub fn new(extents: &BTreeMap<i32, Extent>) -> Self {
        Self { redriven: Bits::new(extents), dropped: Bits::new(extents) }
    }

    /// Notes a mark. One of a letter that the topic never had says nothing.
    pub fn add(&mut self, of: LetterId, deed: Deed) {
        match deed {
            Deed::Redriven => self.redriven.set(of),
            Deed::Dropped => self.dropped.set(of),
        };
    }

    /// What was done with a letter. One that was redriven and dropped has been redriven.
    pub fn of(&self, id: LetterId) -> Option<Deed> {
        let done = [(Deed::Redriven, &self.redriven), (Deed::Dropped, &self.dropped)];
        done.into_iter().find(|(_, letters)| letters.has(id)).map(|(deed, _)| deed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn marks_are_kept_whatever_their_order(
            marks in prop::collection::vec((0..3_i32, -2..40_i64, any::<bool>()), 0..60),
            earliest in 0..9_i64,
        ) {
            let extents = (0..2).map(|n| (n, Extent { earliest, end: 31 })).collect();
            let (mut kept, mut backwards) = (Marks::new(&extents), Marks::new(&extents));
            let mut model = BTreeMap::new();
            let mark = |&(partition, offset, dropped): &(i32, i64, bool)| {
                let deed = if dropped { Deed::Dropped } else { Deed::Redriven };
                (LetterId { partition, offset }, deed)
            };
            for (id, deed) in marks.iter().map(mark) {
                kept.add(id, deed);
                if id.partition < 2 && (0..31).contains(&id.offset) {
                    let known = model.entry(id).or_insert(deed);
                    *known = deed.min(*known);
                }
            }
            marks.iter().rev().map(mark).for_each(|(id, deed)| backwards.add(id, deed));
            for partition in 0..3 {
                for offset in -2..40 {
                    let id = LetterId { partition, offset };
                    prop_assert_eq!(kept.of(id), model.get(&id).copied());
                    prop_assert_eq!(kept.of(id), backwards.of(id));
                }
            }
        }
    }
}
