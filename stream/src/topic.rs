//! The topics, their settings, and where a key lives.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Posts: compacted with a bounded lag, so that what is erased has left the log within 24 h.
pub const POSTS: &str = "posts";
/// Compliance notices: ids only, kept for ever.
pub const NOTICES: &str = "notices";
/// Features of data sets: compacted as posts are.
pub const FEATURES: &str = "features";
/// Facts about the harvest itself, kept for ever.
pub const JOURNAL: &str = "journal";
/// What could not become a document, with its reason and origin.
pub const DEAD_LETTERS: &str = "dead-letters";

/// Every topic, in the order in which they are listed.
pub const ALL: [&str; 5] = [POSTS, NOTICES, FEATURES, JOURNAL, DEAD_LETTERS];

/// Header of a record that was said again only so that the log closes the segment before it: where
/// it stood.
pub const CLOSES: &str = "closes";

/// Whether only the newest record of each key stays in a topic, for [`declared`] ones.
pub fn is_compacted(topic: &str) -> bool {
    [POSTS, FEATURES].contains(&topic)
}

/// What happens to old records of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cleanup {
    /// Keep every record for ever.
    Keep,
    /// Keep every record, unless the head of its partition is forgotten: then it is gone from the
    /// disk as well after at most `max_lag_ms`, if somebody appends behind it by half of that.
    KeepErasable {
        /// The longest that a forgotten record stays on a disk.
        max_lag_ms: u64,
    },
    /// Delete records older than this many milliseconds.
    DeleteAfterMs(u64),
    /// Keep the last record of each key; earlier ones are gone after at most `max_lag_ms`, and
    /// stay for half of that: what was overwritten by mistake can be said again in time. A
    /// tombstone stays for ever: it holds no content, and a log read anew must still tell of it.
    Compact {
        /// The longest that an overwritten or erased record stays.
        max_lag_ms: u64,
    },
}

impl Cleanup {
    /// How long a record stays that another has overwritten, at least, with this `max_lag_ms`.
    pub fn min_lag_ms(max_lag_ms: u64) -> u64 {
        max_lag_ms / 2
    }
}

/// A topic as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// How many partitions. Never changed on a topic that exists: keys would move.
    pub partitions: u32,
    /// Copies of each partition; the embedded log has one.
    pub replication: u32,
    /// What happens to old records.
    pub cleanup: Cleanup,
    /// The largest record that it takes, in bytes.
    pub max_record_bytes: u32,
}

/// The declared topics with `partitions` for posts and features; the others are small.
pub fn declared(partitions: u32, replication: u32, max_record_bytes: u32) -> Vec<TopicSpec> {
    let max_lag_ms = millis(Duration::from_secs(20 * 3600));
    let spec = |name: &str, partitions| TopicSpec {
        name: name.to_owned(),
        partitions,
        replication,
        cleanup: match name {
            _ if is_compacted(name) => Cleanup::Compact { max_lag_ms },
            DEAD_LETTERS => Cleanup::KeepErasable { max_lag_ms },
            _ => Cleanup::Keep,
        },
        max_record_bytes,
    };
    vec![
        spec(POSTS, partitions),
        // As many partitions as posts have: a post's notices and content share a partition number.
        spec(NOTICES, partitions),
        spec(FEATURES, partitions),
        spec(JOURNAL, 1),
        spec(DEAD_LETTERS, partitions),
    ]
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The partition of `key` among `partitions`, as Java clients and librdkafka's `murmur2_random`
/// choose it, so that other tools agree on where a key lives.
///
/// Source: `org.apache.kafka.common.utils.Utils.murmur2` and `toPositive`.
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions.max(1)
}

fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    // Java's int length: keys are far shorter than 2 GiB, and wrapping is what Java would do.
    let mut h = SEED ^ (data.len() as u32);
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]).wrapping_mul(M);
        k ^= k >> R;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_agrees_with_the_java_client() {
        // The table of org.apache.kafka.common.utils.UtilsTest.testMurmur2.
        for (key, hash) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }
}
