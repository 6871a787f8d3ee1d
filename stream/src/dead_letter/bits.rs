//! A bit for each of many letters, in memory that does not grow with where they stand.

use std::collections::{BTreeMap, HashMap};

use super::story::LetterId;
use crate::log::Extent;

/// How many offsets share a block.
const BLOCK: i64 = 1024;
const WORDS: usize = (BLOCK / 64) as usize;

/// Which letters something holds of. Letters mostly stand close to each other, and a block of bits
/// is kept only where there is one: a million in a row take an eighth of a megabyte.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits {
    ends: BTreeMap<i32, i64>,
    blocks: HashMap<(i32, i64), [u64; WORDS]>,
}

impl Bits {
    /// None yet, of a topic that has had what ends there.
    pub(super) fn new(extents: &BTreeMap<i32, Extent>) -> Self {
        let ends = extents.iter().map(|(number, extent)| (*number, extent.end)).collect();
        Self { ends, blocks: HashMap::new() }
    }

    /// Notes one; whether it was not noted before. Of a letter that the topic never had nothing is
    /// noted: anyone may write such a name.
    pub(super) fn set(&mut self, id: LetterId) -> bool {
        let Some((block, word, bit)) = self.place(id) else { return true };
        let word = &mut self.blocks.entry(block).or_insert([0; WORDS])[word];
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// Whether it is noted.
    pub(super) fn has(&self, id: LetterId) -> bool {
        self.place(id).is_some_and(|(block, word, bit)| {
            self.blocks.get(&block).is_some_and(|words| words[word] & bit != 0)
        })
    }

    fn place(&self, LetterId { partition, offset }: LetterId) -> Option<((i32, i64), usize, u64)> {
        let end = *self.ends.get(&partition)?;
        let within = usize::try_from(offset.rem_euclid(BLOCK)).ok()?;
        let block = (partition, offset.div_euclid(BLOCK));
        (0..end).contains(&offset).then_some((block, within / 64, 1 << (within % 64)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_noted_is_known_and_nothing_else(
            noted in prop::collection::vec((0..3_i32, -2..3_000_i64), 0..80),
            end in 0..2_900_i64,
        ) {
            let extents = (0..2).map(|number| (number, Extent { earliest: end / 2, end })).collect();
            let (mut bits, mut model) = (Bits::new(&extents), BTreeSet::new());
            for (partition, offset) in noted {
                let id = LetterId { partition, offset };
                let held = partition < 2 && (0..end).contains(&offset);
                prop_assert_eq!(bits.set(id), !held || model.insert(id));
            }
            for (partition, offset) in (0..3).flat_map(|n| (-2..3_000).map(move |o| (n, o))) {
                let id = LetterId { partition, offset };
                prop_assert_eq!(bits.has(id), model.contains(&id));
            }
        }
    }

    #[test]
    fn a_million_letters_take_an_eighth_of_a_megabyte_wherever_they_stand() {
        let far = 1 << 40;
        let extents = BTreeMap::from([(0, Extent { earliest: 0, end: far + 1_000_000 })]);
        let mut bits = Bits::new(&extents);
        let id = |offset| LetterId { partition: 0, offset };
        assert!((far..far + 1_000_000).all(|offset| bits.set(id(offset))));
        assert!([i64::MIN, -1, far + 1_000_000, i64::MAX].into_iter().all(|o| bits.set(id(o))));
        assert_eq!(bits.blocks.len(), 977);
        assert!(bits.has(id(far)) && !bits.has(id(far - 1)) && !bits.set(id(far)));
    }
}
