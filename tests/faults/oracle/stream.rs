//! What the harvester of the stream says of itself, beside what it has brought in.

use bowerbird_stream::{Record, topic};
use jiff::Timestamp;
use serde_json::Value;

use super::Wrongs;
use super::ledger::Ledger;

const SOURCE: &str = "x:stream";

/// The posts that came from the stream.
pub fn posts(ledger: &Ledger) -> impl Iterator<Item = &Record> {
    ledger.of(topic::POSTS).filter(|record| record.headers.text("ce_source") == Some(SOURCE))
}

/// Of each connection whose end is in the journal all posts must be in the log: the harvester
/// waits for its acknowledgements in order.
pub fn missing(ledger: &Ledger) -> Wrongs {
    let arrivals: Vec<Timestamp> = posts(ledger).filter_map(time).collect();
    let ends = ledger.of(topic::JOURNAL).filter(|record| {
        record.headers.text("ce_type") == Some("stream.disconnected")
            && record.headers.text("ce_source") == Some(SOURCE)
    });
    let lost = |end: &Record| {
        let fact: Value = serde_json::from_slice(end.value.as_deref()?).ok()?;
        let at = |name: &str| fact[name].as_str()?.parse::<Timestamp>().ok();
        let (from, to, told) = (at("connected")?, at("disconnected")?, fact["posts"].as_u64()?);
        let there = arrivals.iter().filter(|time| (from..=to).contains(time)).count() as u64;
        (there < told).then(|| {
            format!("the stream gave {told} posts from {from} to {to}, but {there} are in the log")
        })
    };
    ends.filter_map(lost).collect()
}

fn time(record: &Record) -> Option<Timestamp> {
    record.headers.text("ce_time")?.parse().ok()
}
