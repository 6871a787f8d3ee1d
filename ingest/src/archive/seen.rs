//! Which posts were seen before in this import, in a fixed amount of memory.
//!
//! A table of fingerprints of ids, in buckets of eight. Each id has two buckets, and stands in the
//! one that was emptier. When both are full, one of the oldest is forgotten: a repetition far apart
//! may then count as new. A new post counts as a repetition once in some hundred million.

use std::sync::{Mutex, PoisonError};

/// 8 MiB of fingerprints.
const SLOTS: usize = 2 << 20;
const BUCKET: usize = 8;

/// Ids of posts.
#[derive(Debug)]
pub struct Seen {
    /// Zero where there is none. Memory that was never written to is not there.
    slots: Mutex<Vec<u32>>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { slots: Mutex::new(vec![0; SLOTS]) }
    }
}

impl Seen {
    /// Takes note of an id, as it is written; whether it was there.
    pub fn again(&self, id: &[u8]) -> bool {
        let hash = xxhash_rust::xxh3::xxh3_128(id);
        let mark = (hash as u32).max(1);
        let bucket = |shift: u32| {
            let start = (hash >> shift) as u32 as usize % (SLOTS / BUCKET) * BUCKET;
            start..start + BUCKET
        };
        let (one, other) = (bucket(32), bucket(64));
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots[one.clone()].contains(&mark) || slots[other.clone()].contains(&mark) {
            return true;
        }
        let free = |bucket: &[u32]| bucket.iter().filter(|slot| **slot == 0).count();
        let emptier =
            if free(&slots[one.clone()]) >= free(&slots[other.clone()]) { one } else { other };
        // The newest stands first, the oldest falls out.
        let bucket = &mut slots[emptier];
        bucket.copy_within(..BUCKET - 1, 1);
        bucket[0] = mark;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_posts_are_told_from_their_repetitions() {
        let seen = Seen::default();
        let id = |n: u64| (1_600_000_000_000_000_000 + n * 4_194_305).to_string();
        let again = |n: u64| u64::from(seen.again(id(n).as_bytes()));
        assert_eq!((0..1_000_000).map(again).sum::<u64>(), 0);
        assert_eq!((0..1_000_000).map(again).sum::<u64>(), 1_000_000);
        // Of more than there is room for, the older are forgotten.
        assert_eq!((1_000_000..3_000_000).map(again).sum::<u64>(), 0);
        assert!((2_900_000..3_000_000).map(again).sum::<u64>() > 90_000);
    }
}
