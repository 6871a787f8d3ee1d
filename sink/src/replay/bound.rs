//! Where a replay begins and ends: as people write it, and as offsets. Pure.

use std::collections::BTreeMap;

use bowerbird_stream::log::Extent;
use jiff::{SignedDuration, Timestamp, civil};
use serde::{Deserialize, Serialize};

use super::ReplayRefusal;

/// An end of a range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// What the log took at this time or later.
    Time(Timestamp),
    /// An offset for each partition named; the others are left out altogether.
    Offsets(BTreeMap<i32, i64>),
}

/// How an end of a range is written.
const FORMS: &str = "write a time (2024-05-01T12:00:00Z, 2024-05-01), how long ago (\"2h ago\", \
                     \"1d 6h ago\"), or PARTITION@OFFSET for each partition (0@100,1@50)";

impl Bound {
    /// Reads an end of a range.
    ///
    /// # Errors
    /// When it is none; for people.
    pub fn parse(text: &str, now: Timestamp) -> Result<Self, String> {
        let text = text.trim();
        if text.contains('@') {
            return offsets(text).map(Self::Offsets);
        }
        if let Ok(time) = text.parse::<Timestamp>() {
            return Ok(Self::Time(time));
        }
        if let Ok(date) = text.parse::<civil::Date>() {
            let midnight = date.to_zoned(jiff::tz::TimeZone::UTC);
            return midnight.map(|time| Self::Time(time.timestamp())).map_err(|_| FORMS.to_owned());
        }
        ago(text)
            .and_then(|ago| now.checked_sub(ago).ok())
            .map(Self::Time)
            .ok_or_else(|| FORMS.to_owned())
    }
}

/// How long ago; a day has 24 hours here.
fn ago(text: &str) -> Option<SignedDuration> {
    let span: jiff::Span = text.parse().ok()?;
    let relative = jiff::SpanRelativeTo::days_are_24_hours();
    let before = span.to_duration(relative).ok()?;
    before.is_negative().then(|| before.abs())
}

fn offsets(text: &str) -> Result<BTreeMap<i32, i64>, String> {
    let mut all = BTreeMap::new();
    for part in text.split(',') {
        let parsed = part.trim().split_once('@').and_then(|(partition, offset)| {
            let (partition, offset) = (partition.parse::<i32>().ok()?, offset.parse::<i64>().ok()?);
            (partition >= 0 && offset >= 0).then_some((partition, offset))
        });
        let (partition, offset) = parsed.ok_or_else(|| format!("{part:?}: {FORMS}"))?;
        if all.insert(partition, offset).is_some() {
            return Err(format!("partition {partition} is there twice"));
        }
    }
    Ok(all)
}

/// A part of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// The first offset,
    pub from: i64,
    /// and the one behind the last, fixed when the replay began.
    pub to: i64,
    /// Offsets at the beginning that the log no longer holds. Where the beginning was given as a
    /// time, or not at all, it is not known how many of the offsets that are gone belonged to it:
    /// then it is all of them.
    pub cut: i64,
}

/// An end as offsets of all partitions; nothing where there is no bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Located {
    /// By time: of every partition.
    ByTime(BTreeMap<i32, i64>),
    /// As given.
    Given(BTreeMap<i32, i64>),
    /// No bound.
    Open,
}

/// The slices of a topic between two ends.
///
/// # Errors
/// When a partition is named that the topic does not have.
pub fn slices(
    topic: &str,
    extents: &BTreeMap<i32, Extent>,
    from: &Located,
    to: &Located,
) -> Result<BTreeMap<i32, Slice>, ReplayRefusal> {
    for bound in [from, to] {
        let Located::Given(offsets) = bound else { continue };
        if let Some(partition) = offsets.keys().find(|partition| !extents.contains_key(partition)) {
            let (topic, partitions) = (topic.to_owned(), extents.len());
            return Err(ReplayRefusal::Partition { topic, partition: *partition, partitions });
        }
    }
    let mut slices = BTreeMap::new();
    for (&partition, &Extent { earliest, end }) in extents {
        let (begin, cut) = match from {
            Located::Open => (earliest, earliest),
            Located::ByTime(times) => {
                let at = times.get(&partition).copied().unwrap_or(end);
                (at, if at <= earliest { earliest } else { 0 })
            }
            Located::Given(offsets) => match offsets.get(&partition) {
                Some(&asked) => (asked, earliest.min(end).saturating_sub(asked).max(0)),
                None => continue,
            },
        };
        let last = match to {
            Located::Open => end,
            Located::ByTime(times) => times.get(&partition).copied().unwrap_or(end),
            Located::Given(offsets) => match offsets.get(&partition) {
                Some(&asked) => asked,
                None => continue,
            },
        };
        let from = begin.clamp(earliest, end);
        let to = last.clamp(from, end);
        // What ends before the earliest is gone altogether, and that is no more than was asked for.
        let cut = if last < earliest { cut.min((last - begin).max(0)) } else { cut };
        slices.insert(partition, Slice { from, to, cut });
    }
    Ok(slices)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ends_are_read_as_people_write_them() {
        let now: Timestamp = "2024-05-02T00:00:00Z".parse().unwrap();
        let time = |text: &str| Ok(Bound::Time(text.parse().unwrap()));
        for (text, expected) in [
            ("2024-05-01T12:00:00Z", time("2024-05-01T12:00:00Z")),
            ("2024-05-01T12:00:00+10:00", time("2024-05-01T02:00:00Z")),
            ("2024-05-01", time("2024-05-01T00:00:00Z")),
            ("2h ago", time("2024-05-01T22:00:00Z")),
            (" 1d 6h ago ", time("2024-04-30T18:00:00Z")),
            ("90 minutes ago", time("2024-05-01T22:30:00Z")),
            ("0@100, 3@5", Ok(Bound::Offsets([(0, 100), (3, 5)].into()))),
        ] {
            assert_eq!(Bound::parse(text, now), expected, "{text}");
        }
        for wrong in ["", "2h", "yesterday", "@", "0@", "0@-1", "-1@0", "0@1,0@2", "ago", "9 years"]
        {
            assert!(Bound::parse(wrong, now).is_err(), "{wrong}");
        }
    }

    fn slice(from: i64, to: i64, cut: i64) -> Slice {
        Slice { from, to, cut }
    }

    #[test]
    fn what_is_gone_is_counted_and_the_ends_are_fixed() {
        let extents = BTreeMap::from([(0, Extent { earliest: 10, end: 100 })]);
        let given = |offset| Located::Given([(0, offset)].into());
        let timed = |offset| Located::ByTime([(0, offset)].into());
        for (from, to, expected) in [
            (Located::Open, Located::Open, slice(10, 100, 10)),
            (given(4), Located::Open, slice(10, 100, 6)),
            (given(20), given(30), slice(20, 30, 0)),
            (given(4), given(8), slice(10, 10, 4)),
            (given(90), given(500), slice(90, 100, 0)),
            (given(500), Located::Open, slice(100, 100, 0)),
            (given(30), given(20), slice(30, 30, 0)),
            (timed(10), Located::Open, slice(10, 100, 10)),
            (timed(50), timed(60), slice(50, 60, 0)),
            (timed(100), Located::Open, slice(100, 100, 0)),
        ] {
            let slices = slices("posts", &extents, &from, &to).unwrap();
            assert_eq!(slices[&0], expected, "{from:?} {to:?}");
        }
        let error = slices("posts", &extents, &Located::Given([(7, 1)].into()), &Located::Open);
        assert!(matches!(error, Err(ReplayRefusal::Partition { partition: 7, .. })), "{error:?}");
        // A partition that is not named is left out.
        let extents = [(0, Extent { earliest: 0, end: 9 }), (1, Extent { earliest: 0, end: 9 })];
        let slices = slices("posts", &extents.into(), &Located::Open, &given(5)).unwrap();
        assert_eq!(slices, BTreeMap::from([(0, slice(0, 5, 0))]));
    }

    proptest! {
        #[test]
        fn slices_lie_inside_of_what_there_is(
            earliest in 0..50_i64, held in 0..50_i64, from in 0..120_i64, to in 0..120_i64,
            timed in any::<bool>(),
        ) {
            let end = earliest + held;
            let extents = BTreeMap::from([(0, Extent { earliest, end })]);
            let located = |offset: i64| match timed {
                true => Located::ByTime([(0, offset.clamp(earliest, end))].into()),
                false => Located::Given([(0, offset)].into()),
            };
            let Slice { from, to, cut } =
                slices("t", &extents, &located(from), &located(to)).unwrap()[&0];
            prop_assert!(earliest <= from && from <= to && to <= end);
            prop_assert!((0..=earliest).contains(&cut));
        }
    }
}
