//! A bounded history of an offset over time.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

/// An offset at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) time: Timestamp,
    pub(super) offset: i64,
}

/// The most points kept. When there are more, every second one of the older half is dropped: the
/// last minutes stay fine, and what is long ago becomes coarse instead of being forgotten.
const POINTS: usize = 512;

/// Offsets over time, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Series(VecDeque<Point>);

impl Series {
    /// Adds a point; one that is not after the last is passed over (a clock that was set back).
    pub(super) fn push(&mut self, time: Timestamp, offset: i64) {
        if self.0.back().is_some_and(|last| last.time >= time) {
            return;
        }
        self.0.push_back(Point { time, offset });
        if self.0.len() > POINTS {
            let mut index = 0;
            self.0.retain(|_| {
                index += 1;
                index > POINTS / 2 || index % 2 == 1
            });
        }
    }

    /// Puts what was known from before the first point in front of it.
    pub(super) fn seed(&mut self, mut points: Vec<Point>) {
        points.sort_by_key(|point| point.time);
        for point in points.into_iter().rev() {
            let fits = |first: &Point| point.time < first.time && point.offset <= first.offset;
            if self.0.front().is_none_or(fits) {
                self.0.push_front(point);
            }
        }
    }

    /// The last point.
    pub(super) fn last(&self) -> Option<Point> {
        self.0.back().copied()
    }

    /// The points of the last `window` before the last one, oldest first.
    pub(super) fn window(&self, window: Duration) -> impl Iterator<Item = Point> + Clone {
        let from = self.0.back().map(|last| last.time - window);
        self.0.iter().copied().filter(move |point| from.is_some_and(|from| point.time >= from))
    }

    /// Offsets per second over the last `window`; nothing before there are two points. Offsets
    /// that went back count as none.
    pub(super) fn rate(&self, window: Duration) -> Option<f64> {
        let (first, last) = (self.window(window).next()?, self.last()?);
        let seconds = seconds_between(first.time, last.time);
        (seconds > 0.0).then(|| (last.offset - first.offset).max(0) as f64 / seconds)
    }

    /// When the series passed `offset`, by interpolation between the points around it; the first
    /// point's time where it was past it from the start, nothing where it has not passed it.
    ///
    /// With `l` the last point not past the offset and `r` the one after it:
    /// `t = t_r − (off_r − off)·(t_r − t_l)/(off_r − off_l)`.
    pub(super) fn passed(&self, offset: i64) -> Option<Timestamp> {
        let right = self.0.partition_point(|point| point.offset <= offset);
        let r = self.0.get(right)?;
        let Some(l) = right.checked_sub(1).and_then(|left| self.0.get(left)) else {
            return Some(r.time);
        };
        let share = (r.offset - offset) as f64 / (r.offset - l.offset) as f64;
        let back = seconds_between(l.time, r.time) * share;
        Some(r.time - Duration::try_from_secs_f64(back).unwrap_or_default())
    }
}

/// Seconds from one time to a later one; 0 if it is not later.
pub(super) fn seconds_between(earlier: Timestamp, later: Timestamp) -> f64 {
    later.duration_since(earlier).as_secs_f64().max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn series(points: &[(i64, i64)]) -> Series {
        let mut series = Series::default();
        points.iter().for_each(|&(second, offset)| series.push(at(second), offset));
        series
    }

    #[test]
    fn passing_is_interpolated() {
        let history = [(0, 100), (10, 200), (20, 200), (21, 210)];
        for (offset, passed) in [
            (50, Some(0)),   // past it from the start
            (100, Some(0)),  // the first record after the first point
            (150, Some(5)),  // half way
            (199, Some(10)), // nearly
            (200, Some(20)), // after the idle time, not before it
            (205, Some(20)), // 20.5, rounded down below
            (210, None),     // not appended yet
        ] {
            let got = series(&history).passed(offset).map(|t| t.as_second() - 1_000_000);
            let near = |second: i64| got.is_some_and(|got| (got - second).abs() <= 1);
            assert!(passed.map_or(got.is_none(), near), "{offset}: {got:?}, expected {passed:?}");
        }
        assert_eq!(Series::default().passed(1), None);
    }

    #[test]
    fn rates_are_never_negative_nor_infinite() {
        let window = Duration::from_secs(10);
        for (points, rate) in [
            (&[][..], None),
            (&[(0, 5)], None),
            (&[(0, 5), (1, 15)], Some(10.0)),
            (&[(0, 0), (100, 0), (105, 50), (110, 100)], Some(10.0)),
            (&[(0, 50), (5, 20)], Some(0.0)),
            (&[(0, 7), (5, 7)], Some(0.0)),
            (&[(5, 7), (5, 9), (4, 10)], None),
        ] {
            assert_eq!(series(points).rate(window), rate, "{points:?}");
        }
    }

    #[test]
    fn long_histories_become_coarse_but_reach_back() {
        let mut series = Series::default();
        (0..100_000).for_each(|second| series.push(at(second), second));
        assert!(series.0.len() <= POINTS);
        assert_eq!(series.0.front().unwrap().offset, 0);
        let age = |offset| 99_999 - (series.passed(offset).unwrap().as_second() - 1_000_000);
        for back in [10, 1_000, 50_000] {
            assert!((age(99_999 - back) - back).abs() <= 1, "{back}: {}", age(99_999 - back));
        }
    }

    #[test]
    fn seeds_go_before_what_was_seen() {
        let mut series = series(&[(100, 50)]);
        let seed = |second, offset| Point { time: at(second), offset };
        series.seed(vec![seed(90, 40), seed(10, 0), seed(200, 9), seed(95, 60)]);
        let kept: Vec<_> = series.0.iter().map(|point| point.offset).collect();
        assert_eq!(kept, [0, 40, 50]);
    }
}
