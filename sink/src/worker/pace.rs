//! How much at a time: pure. Batch size and concurrency rise slowly while the store answers
//! quickly and are halved when it is slow or fails (additive increase, multiplicative decrease),
//! so that an overloaded store is relieved and the rest of its capacity is found again.

use std::time::Duration;

/// A request that takes longer than this is a sign of overload.
const SLOW: Duration = Duration::from_secs(1);
/// One in so many good batches lets one more write be under way.
const GOOD_BATCHES: u32 = 8;
/// A batch is never made smaller than this, except when the store finds its bytes too many.
const FEWEST: usize = 16;

/// What the configuration allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The most documents of a batch.
    pub documents: usize,
    /// The most bytes of records in a batch.
    pub bytes: usize,
    /// The most writes under way at once.
    pub writers: usize,
}

/// What a batch has taught.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// The longest that the store took for one request of it.
    pub slowest: Duration,
    /// Requests of it that failed and may go through later.
    pub failures: u32,
    /// The bytes of the smallest request that the store found too large.
    pub too_large: Option<usize>,
}

/// The batch size and the concurrency of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    bounds: Bounds,
    now: Bounds,
    good: u32,
}

impl Pace {
    /// Begins with all that is allowed.
    pub fn new(bounds: Bounds) -> Self {
        let bounds = Bounds {
            documents: bounds.documents.max(1),
            bytes: bounds.bytes.max(1),
            writers: bounds.writers.max(1),
        };
        Self { bounds, now: bounds, good: 0 }
    }

    /// What is allowed now.
    pub fn now(&self) -> Bounds {
        self.now
    }

    /// Learns from a batch that was settled.
    pub fn learn(&mut self, sample: &Sample) {
        if let Some(bytes) = sample.too_large {
            // The limit is the store's and stays: half of what it refused is remembered.
            self.bounds.bytes = self.bounds.bytes.min(bytes / 2).max(1);
            self.now.bytes = self.now.bytes.min(self.bounds.bytes);
        }
        if sample.failures > 0 || sample.slowest > SLOW {
            self.good = 0;
            let fewest = FEWEST.min(self.bounds.documents);
            self.now.documents = (self.now.documents / 2).max(fewest);
            self.now.writers = (self.now.writers / 2).max(1);
        } else if sample.slowest < SLOW / 2 {
            self.good += 1;
            let step = self.bounds.documents / 10 + 1;
            self.now.documents = (self.now.documents + step).min(self.bounds.documents);
            if self.good.is_multiple_of(GOOD_BATCHES) {
                self.now.writers = (self.now.writers + 1).min(self.bounds.writers);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUNDS: Bounds = Bounds { documents: 500, bytes: 1 << 20, writers: 4 };

    fn sample(slowest_ms: u64, failures: u32, too_large: Option<usize>) -> Sample {
        Sample { slowest: Duration::from_millis(slowest_ms), failures, too_large }
    }

    #[test]
    fn it_halves_under_load_and_comes_back_step_by_step() {
        let mut pace = Pace::new(BOUNDS);
        pace.learn(&sample(2_000, 0, None));
        assert_eq!(pace.now(), Bounds { documents: 250, writers: 2, ..BOUNDS });
        pace.learn(&sample(10, 3, None));
        assert_eq!(pace.now(), Bounds { documents: 125, writers: 1, ..BOUNDS });
        // Neither slow nor quick: as it is.
        pace.learn(&sample(700, 0, None));
        assert_eq!(pace.now(), Bounds { documents: 125, writers: 1, ..BOUNDS });
        pace.learn(&sample(50, 0, None));
        assert_eq!(pace.now(), Bounds { documents: 176, writers: 1, ..BOUNDS });
        for _ in 0..3 * GOOD_BATCHES {
            pace.learn(&sample(50, 0, None));
        }
        assert_eq!(pace.now(), BOUNDS);
    }

    #[test]
    fn what_was_too_large_is_remembered() {
        let mut pace = Pace::new(BOUNDS);
        pace.learn(&sample(50, 0, Some(800_000)));
        for _ in 0..100 {
            pace.learn(&sample(50, 0, None));
        }
        assert_eq!(pace.now(), Bounds { bytes: 400_000, ..BOUNDS });
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds(
            samples in prop::collection::vec(
                (0_u64..5_000, 0_u32..3, prop::option::of(0_usize..2 << 20)), 0..60),
            documents in 0_usize..600,
            writers in 0_usize..9,
        ) {
            let bounds = Bounds { documents, bytes: 1 << 20, writers };
            let mut pace = Pace::new(bounds);
            for (slowest, failures, too_large) in samples {
                pace.learn(&sample(slowest, failures, too_large));
                let now = pace.now();
                prop_assert!((1..=documents.max(1)).contains(&now.documents));
                prop_assert!((1..=writers.max(1)).contains(&now.writers));
                prop_assert!((1..=1 << 20).contains(&now.bytes));
            }
        }
    }
}
