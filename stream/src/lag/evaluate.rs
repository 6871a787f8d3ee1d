//! From samples to figures: pure functions over (history, now).

use std::time::Duration;

use jiff::Timestamp;

use super::series::{Series, seconds_between};
use super::{GroupStatus, PartitionExtent, PartitionLag, Totals};
use crate::log::Extent;

/// Rates are taken over this long.
pub(super) const RATE_WINDOW: Duration = Duration::from_secs(30);
/// A group is judged by what it did in this long.
pub(super) const STATUS_WINDOW: Duration = Duration::from_secs(60);
/// Nobody is called stalled or falling behind who was watched for less.
const SHORTEST_WATCH: Duration = Duration::from_secs(20);

/// One partition's lag. `ends` is the history of its end, `commits` that of the group's commits.
pub(super) fn partition(
    number: i32,
    extent: Extent,
    committed: Option<i64>,
    ends: &Series,
    commits: &Series,
    now: Timestamp,
) -> PartitionLag {
    let next = next(extent, committed);
    let lag = u64::try_from(extent.end.saturating_sub(next)).unwrap_or(0);
    let passed = if lag == 0 { None } else { ends.passed(next) };
    PartitionLag {
        partition: number,
        earliest: extent.earliest,
        end: extent.end,
        committed,
        lag,
        seconds_behind: passed.map_or(0.0, |passed| seconds_between(passed, now)),
        in_rate: ends.rate(RATE_WINDOW),
        out_rate: commits.rate(RATE_WINDOW),
    }
}

/// The next record that the group will get: a group without a commit starts at the earliest, and
/// so does one whose commit was overtaken by retention.
pub(super) fn next(extent: Extent, committed: Option<i64>) -> i64 {
    committed.unwrap_or(extent.earliest).max(extent.earliest).min(extent.end)
}

/// What a partition holds.
pub(super) fn extent(number: i32, extent: Extent, ends: &Series) -> PartitionExtent {
    let Extent { earliest, end } = extent;
    PartitionExtent { partition: number, earliest, end, in_rate: ends.rate(RATE_WINDOW) }
}

/// The sum over partitions, or over sums.
pub(super) fn total<'a>(parts: impl Iterator<Item = Part<'a>>) -> Totals {
    let mut total = Totals::default();
    for part in parts {
        let (lag, behind, in_rate, out_rate) = match part {
            Part::Partition(p) => (p.lag, p.seconds_behind, p.in_rate, p.out_rate),
            Part::Sum(t) => (t.lag, t.seconds_behind, t.in_rate, t.out_rate),
        };
        total.lag = total.lag.saturating_add(lag);
        total.seconds_behind = total.seconds_behind.max(behind);
        total.in_rate = sum(total.in_rate, in_rate);
        total.out_rate = sum(total.out_rate, out_rate);
    }
    total.catch_up_seconds = catch_up(total.lag, total.in_rate, total.out_rate);
    total
}

/// What goes into a sum.
pub(super) enum Part<'a> {
    Partition(&'a PartitionLag),
    Sum(&'a Totals),
}

pub(super) fn sum(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one + other),
        (one, other) => one.or(other),
    }
}

fn catch_up(lag: u64, in_rate: Option<f64>, out_rate: Option<f64>) -> Option<f64> {
    if lag == 0 {
        return Some(0.0);
    }
    let gain = out_rate? - in_rate.unwrap_or(0.0);
    (gain > 0.0).then(|| lag as f64 / gain)
}

/// How a group is doing. `lags` and `commits` are the histories of the sums over its partitions:
/// a consumer may well drain one partition after another, and is not stalled because some wait.
pub(super) fn status(lags: &Series, commits: &Series, members: usize) -> GroupStatus {
    let Some(last) = lags.last() else { return GroupStatus::Unknown };
    let mut window = lags.window(STATUS_WINDOW);
    if last.offset == 0 {
        return GroupStatus::Ok;
    }
    if members == 0 {
        return GroupStatus::Stopped;
    }
    let moves: Vec<_> = commits.window(STATUS_WINDOW).map(|point| point.offset).collect();
    if moves.windows(2).any(|pair| pair[1] < pair[0]) {
        return GroupStatus::Rewound;
    }
    if window.clone().any(|point| point.offset == 0) {
        return GroupStatus::Ok;
    }
    let watched = window.clone().next().map_or(0.0, |first| seconds_between(first.time, last.time));
    if watched < SHORTEST_WATCH.as_secs_f64() {
        return GroupStatus::Unknown;
    }
    if moves.first() == moves.last() {
        return GroupStatus::Stalled;
    }
    let mut before = window.next().map_or(0, |first| first.offset);
    let grows = window.all(|point| {
        let grows = point.offset >= before;
        before = point.offset;
        grows
    });
    if grows { GroupStatus::FallingBehind } else { GroupStatus::Ok }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn series(points: impl IntoIterator<Item = (i64, i64)>) -> Series {
        let mut series = Series::default();
        points.into_iter().for_each(|(second, offset)| series.push(at(second), offset));
        series
    }

    /// The bugs of other monitors, each with what is right.
    #[test]
    fn partitions_are_judged_as_they_are() {
        let busy = || series((0..=100).map(|s| (s, s * 10)));
        let idle = || series((0..=100).map(|s| (s, 500)));
        let extent = |earliest, end| Extent { earliest, end };
        let table = [
            // (what, extent, committed, ends, commits, lag, seconds behind)
            ("caught up: no NaN", extent(0, 1000), Some(1000), busy(), busy(), 0, 0.0),
            ("idle and level", extent(0, 500), Some(500), idle(), idle(), 0, 0.0),
            ("half way", extent(0, 1000), Some(500), busy(), busy(), 500, 50.0),
            (
                "no commit: all that is held",
                extent(200, 1000),
                None,
                busy(),
                Series::default(),
                800,
                80.0,
            ),
            (
                "commit past the end: never negative",
                extent(0, 1000),
                Some(1010),
                busy(),
                busy(),
                0,
                0.0,
            ),
            (
                "commit overtaken by retention",
                extent(900, 1000),
                Some(100),
                busy(),
                busy(),
                100,
                10.0,
            ),
            (
                "stopped: the time goes on",
                extent(0, 500),
                Some(400),
                series([(0, 400), (10, 500)]),
                idle(),
                100,
                100.0,
            ),
            (
                "empty partition",
                extent(0, 0),
                None,
                series([(0, 0), (50, 0)]),
                Series::default(),
                0,
                0.0,
            ),
            (
                "older than the history: at least",
                extent(0, 500),
                Some(3),
                idle(),
                idle(),
                497,
                100.0,
            ),
            (
                "no history at all",
                extent(0, 9),
                Some(3),
                Series::default(),
                Series::default(),
                6,
                0.0,
            ),
        ];
        for (what, extent, committed, ends, commits, lag, behind) in table {
            let got = partition(0, extent, committed, &ends, &commits, at(100));
            assert_eq!(got.lag, lag, "{what}");
            assert!((got.seconds_behind - behind).abs() < 0.01, "{what}: {}", got.seconds_behind);
            for rate in [got.in_rate, got.out_rate].into_iter().flatten() {
                assert!(rate.is_finite() && rate >= 0.0, "{what}: {rate}");
            }
        }
    }

    #[test]
    fn sums_say_when_the_lag_is_gone() {
        let part = |lag, in_rate, out_rate| Totals { lag, in_rate, out_rate, ..Totals::default() };
        for (parts, catch_up, lag) in [
            (vec![], Some(0.0), 0),
            (vec![part(0, None, None)], Some(0.0), 0),
            (vec![part(100, Some(10.0), Some(20.0))], Some(10.0), 100),
            (
                vec![part(100, Some(10.0), Some(20.0)), part(50, Some(0.0), Some(5.0))],
                Some(10.0),
                150,
            ),
            (vec![part(100, Some(20.0), Some(20.0))], None, 100),
            (vec![part(100, Some(20.0), Some(1.0))], None, 100),
            (vec![part(100, None, None)], None, 100),
            (vec![part(100, None, Some(10.0))], Some(10.0), 100),
            (vec![part(u64::MAX, None, None), part(1, None, None)], None, u64::MAX),
        ] {
            let total = total(parts.iter().map(Part::Sum));
            assert_eq!((total.catch_up_seconds, total.lag), (catch_up, lag), "{parts:?}");
        }
    }

    #[test]
    fn a_group_is_judged_by_its_sums_over_a_window() {
        use GroupStatus::*;
        let over = |seconds: i64, f: fn(i64) -> i64| series((0..=seconds).map(|s| (s, f(s))));
        for (what, lags, commits, members, expected) in [
            ("never seen", Series::default(), Series::default(), 1, Unknown),
            ("level", over(60, |_| 0), over(60, |s| s), 1, Ok),
            ("level, nobody there", over(60, |_| 0), over(60, |_| 5), 0, Ok),
            ("stopped", over(60, |s| s), over(60, |_| 5), 0, Stopped),
            ("stalled", over(60, |s| 9 + s), over(60, |_| 5), 1, Stalled),
            ("just begun", over(10, |s| 9 + s), over(10, |_| 5), 1, Unknown),
            ("one burst just now", series([(0, 0), (59, 0), (60, 700)]), over(60, |_| 5), 1, Ok),
            ("falling behind", over(60, |s| 9 + s), over(60, |s| s), 1, FallingBehind),
            ("catching up", over(60, |s| 100 - s), over(60, |s| 2 * s), 1, Ok),
            ("rewound", over(60, |_| 9), over(60, |s| if s < 50 { 90 } else { 10 }), 1, Rewound),
        ] {
            assert_eq!(status(&lags, &commits, members), expected, "{what}");
        }
    }
}
