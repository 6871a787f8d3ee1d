//! Chance that comes again: the same seed gives the same choices on every machine.

/// `SplitMix64` (Steele, Lea, Flood 2014): small, and good enough to choose faults with.
#[derive(Clone, Debug)]
pub struct Random(u64);

// Inlined, so that a test draws as fast as it is compiled itself.
impl Random {
    /// All choices of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Another one for a part, so that what one part draws does not shift another's choices.
    #[must_use]
    pub fn branch(&mut self) -> Self {
        Self(self.next())
    }

    #[inline]
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// One of so many, by its place.
    #[inline]
    #[expect(clippy::missing_panics_doc, reason = "below a usize, it is one")]
    pub fn index(&mut self, count: usize) -> usize {
        usize::try_from(self.below(count as u64)).unwrap()
    }

    /// A number from `from` up to but not including `to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from))
    }

    /// True so often in a hundred times.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// True once in so many times.
    #[inline]
    pub fn one_in(&mut self, times: usize) -> bool {
        self.index(times) == 0
    }

    /// One of these.
    ///
    /// # Panics
    /// When there are none.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }
}
