//! When the stream was last heard by whoever ran before: told by the journal, and, where that one
//! was killed, by the newest post that the log has of it.

use std::collections::BTreeMap;

use bowerbird_stream::log::ConsumerConfig;
use bowerbird_stream::range::RangeReader;
use bowerbird_stream::{EventLog, LogError, Partition, Record, topic};
use jiff::Timestamp;
use serde::Deserialize;

use super::service::{BEGUN, CONNECTED, DISCONNECTED, GAP, SOURCE};
use crate::outbox::WHOLE_BEFORE;

/// How many records of each partition are looked at first, from the end.
const WINDOW: i64 = 1_000;
/// By how much that grows while nothing is found.
const GROWTH: i64 = 8;
/// Why nothing was heard, where nobody has said so.
pub const KILLED: &str = "killed";
const WITHOUT_A_WORD: &str = "the harvester ended without saying so";
/// Records taken at a time.
const TAKE: usize = 1_000;

/// When it was last heard, and why not any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastHeard {
    pub at: Timestamp,
    pub cause: String,
    pub reason: String,
}

/// What facts about the stream say, of what is needed here.
#[derive(Deserialize)]
struct Fact {
    unheard_since: Option<Timestamp>,
    cause: Option<String>,
    reason: Option<String>,
}

/// When the stream was last heard, seen from `now`; nothing when nobody has listened before.
///
/// # Errors
/// When the log can't be read.
pub async fn last_heard<L: EventLog>(
    log: &L,
    now: Timestamp,
) -> Result<Option<LastHeard>, LogError> {
    let Some((time, said)) = newest(log, topic::JOURNAL, &BTreeMap::new(), fact).await? else {
        return Ok(None);
    };
    if let Some(said) = said {
        return Ok(Some(said));
    }
    let floor = log.offsets_at(topic::POSTS, time).await?;
    // What came before a clock was set back says nothing of what came after.
    let arrival = |record: &Record| arrival(record).filter(|(arrived, _)| *arrived <= now);
    let post = newest(log, topic::POSTS, &floor, arrival).await?;
    Ok(Some(LastHeard {
        at: post.map_or(time, |whole_before| whole_before.max(time)),
        cause: KILLED.to_owned(),
        reason: WITHOUT_A_WORD.to_owned(),
    }))
}

/// A fact about the stream: its place in the journal, which has one partition and is right also where
/// a clock was set back; its time, and since when nothing was heard, if it says so.
fn fact(record: &Record) -> Option<(i64, (Timestamp, Option<LastHeard>))> {
    let event = record.view().ok().filter(|event| event.source == SOURCE)?;
    // After a gap it was heard. A connection says of itself whether it was one that ended a gap.
    if ![BEGUN, CONNECTED, DISCONNECTED, GAP].contains(&event.kind.as_str()) {
        return None;
    }
    let fact: Fact = serde_json::from_slice(event.value?).ok()?;
    let said = fact.unheard_since.map(|at| LastHeard {
        at,
        cause: fact.cause.unwrap_or_else(|| KILLED.to_owned()),
        reason: fact.reason.unwrap_or_else(|| WITHOUT_A_WORD.to_owned()),
    });
    Some((record.position.offset, (event.time, said)))
}

/// When a post of the stream arrived, and before which time nothing is missing: what travelled with it
/// may not have been taken.
fn arrival(record: &Record) -> Option<(Timestamp, Timestamp)> {
    let event = record.view().ok().filter(|event| event.source == SOURCE)?;
    let since = event.extension(WHOLE_BEFORE).and_then(|since| since.parse().ok());
    Some((event.time, since.unwrap_or(event.time)))
}

/// Of what `pick` finds the newest, looked for from the end of a topic; not before `floor`.
async fn newest<L: EventLog, K: Ord, T>(
    log: &L,
    topic: &str,
    floor: &BTreeMap<i32, i64>,
    pick: impl Fn(&Record) -> Option<(K, T)>,
) -> Result<Option<T>, LogError> {
    let extents = log.extents(topic).await?;
    let mut window = WINDOW;
    loop {
        let mut whole = true;
        let ranges = extents.iter().map(|(number, extent)| {
            let floor = floor.get(number).copied().unwrap_or_default().max(extent.earliest);
            let from = extent.end.saturating_sub(window).max(floor);
            whole &= from == floor;
            (Partition::new(topic, *number), (from, extent.end))
        });
        let ranges = ranges.collect();
        let config = ConsumerConfig::new("bowerbird-x-past");
        let mut reader = RangeReader::new(log, ranges, config).await?;
        let mut best: Option<(K, T)> = None;
        while let Some(records) = reader.next(TAKE).await? {
            for found in records.iter().filter_map(&pick) {
                if best.as_ref().is_none_or(|best| best.0 <= found.0) {
                    best = Some(found);
                }
            }
        }
        if best.is_some() || whole {
            return Ok(best.map(|(_, found)| found));
        }
        window = window.saturating_mul(GROWTH);
    }
}
