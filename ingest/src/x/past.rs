//! When the stream was last heard by whoever ran before: told by the journal, and, where that one
//! was killed, by the newest post that the log has of it.

use std::collections::BTreeMap;

use bowerbird_stream::log::ConsumerConfig;
use bowerbird_stream::range::RangeReader;
use bowerbird_stream::{EventLog, EventView, LogError, Partition, Record, topic};
use jiff::Timestamp;
use serde::Deserialize;

use super::gap::Gap;
use super::service::{BEGUN, CONNECTED, DISCONNECTED, GAP, REFUSED, SOURCE};
use crate::outbox::WHOLE_BEFORE;

/// How many records of each partition are looked at first, from the end.
const WINDOW: i64 = 1_000;
/// By how much that grows while nothing is found.
const GROWTH: i64 = 8;
/// Why nothing was heard, where nobody has said so.
const KILLED: &str = "killed";
const WITHOUT_A_WORD: &str = "the harvester ended without saying so";
/// Records taken at a time.
const TAKE: usize = 1_000;

/// Since when it is not heard, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastHeard {
    pub gap: Gap,
    /// Whether a fact says so; else nobody has said anything, and the newest post tells.
    pub said: bool,
}

/// What facts about the stream say, of what is needed here.
#[derive(Deserialize)]
struct Fact {
    unheard_since: Option<Timestamp>,
    /// All of that; older facts have only what follows.
    unheard: Option<Gap>,
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
    // The journal has one partition, and its order is right also where a clock was set back.
    let fact = |record: &Record| {
        let event = record.view().ok()?;
        Some((record.position.offset, (event.time, unheard(&event)?)))
    };
    let Some((time, said)) = newest(log, topic::JOURNAL, &BTreeMap::new(), fact).await? else {
        return Ok(None);
    };
    Ok(Some(match said {
        Some(gap) => LastHeard { gap, said: true },
        None => {
            let at = heard_until(log, time, now).await?;
            LastHeard { gap: Gap::new(at, KILLED, WITHOUT_A_WORD), said: false }
        }
    }))
}

/// Until when the stream was heard, seen from `now`, if its newest fact is of `time` and says that it
/// was heard then.
///
/// # Errors
/// When the log can't be read.
pub async fn heard_until<L: EventLog>(
    log: &L,
    time: Timestamp,
    now: Timestamp,
) -> Result<Timestamp, LogError> {
    let floor = log.offsets_at(topic::POSTS, time).await?;
    // What came before a clock was set back says nothing of what came after.
    let arrival = |record: &Record| arrival(record).filter(|(arrived, _)| *arrived <= now);
    let post = newest(log, topic::POSTS, &floor, arrival).await?;
    Ok(post.map_or(time, |whole_before| whole_before.max(time)))
}

/// Since when nothing was heard, as a fact about the stream says it: or that it was heard, by the inner
/// nothing. The outer one is said of all other events.
pub fn unheard(event: &EventView<'_>) -> Option<Option<Gap>> {
    // After a gap it was heard. A connection says of itself whether it was one that ended a gap.
    let tells = [BEGUN, CONNECTED, DISCONNECTED, REFUSED, GAP].contains(&event.kind.as_str());
    if event.source != SOURCE || !tells {
        return None;
    }
    let Fact { unheard_since, unheard, cause, reason } =
        serde_json::from_slice(event.value?).ok()?;
    Some(unheard_since.map(|at| {
        let (cause, reason) = (cause.as_deref(), reason.as_deref());
        let of_old = || Gap::new(at, cause.unwrap_or(KILLED), reason.unwrap_or(WITHOUT_A_WORD));
        unheard.unwrap_or_else(of_old)
    }))
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
