//! Whether what was harvested is whole, and if not, where the holes are: by the facts of the journal.
//!
//! A stream has holes in time. A data set has one while the last poll of it was not complete, unless
//! the server has no such data set and never had; and a file while nothing has imported all of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use bowerbird_stream::log::ConsumerConfig;
use bowerbird_stream::range::RangeReader;
use bowerbird_stream::{EventLog, EventView, LogError, topic};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use crate::{archive, aurin, x};

/// Why a data set is not whole while nothing says that its last poll has ended.
const POLL_BEGUN: &str =
    "a poll is under way, or was killed: a part of its changes has been published";
/// Likewise of a file.
const IMPORT_BEGUN: &str = "its import is under way, or was interrupted: the same one goes on with \
                            --resume";
/// Records taken at a time.
const TAKE: usize = 1_000;

/// Which gaps are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Those that end after it.
    pub from: Timestamp,
    /// Those that begin before it, and what was known of files and data sets by then.
    pub to: Timestamp,
    /// At most so many of a stream, the newest; all are counted.
    pub limit: usize,
}

/// Where the data has a hole.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hole {
    /// The source, as its events name it.
    pub source: String,
    /// When it was last heard, or whole; nothing where it never was, and for a file.
    pub from: Option<Timestamp>,
    /// When it was heard again; nothing as long as that is not so, and for a file.
    pub to: Option<Timestamp>,
    /// How long it is, so far.
    pub seconds: Option<f64>,
    /// Why, in a word.
    pub cause: String,
    /// Why, for people.
    pub reason: String,
    /// How often it was tried in vain to connect.
    pub failed: u64,
    /// Why the last of these tries failed.
    pub last_failure: Option<String>,
    /// How many minutes the platform was asked to fill in.
    pub backfill_minutes: u8,
}

/// How much of a stream was heard.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Heard {
    /// When its harvest began.
    pub begun: Timestamp,
    /// Until when it was heard: since when it is not, or, where nothing says that, when the last
    /// that is in the log came.
    pub until: Timestamp,
    /// Whether it is known that nobody listens now.
    pub open: bool,
    /// Gaps, also those that are not listed.
    pub gaps: u64,
    /// All of them together, within the time that was asked for.
    pub unheard_seconds: f64,
    /// The longest.
    pub longest_seconds: f64,
    /// How much of that time it was heard, of as much of it as something is known of.
    pub heard_percent: Option<f64>,
}

/// What is not whole.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Holes {
    /// X's stream, if it was ever harvested.
    pub stream: Option<Heard>,
    /// Data sets that were polled.
    pub data_sets: u64,
    /// Files that were imported.
    pub files: u64,
    /// The holes.
    pub holes: Vec<Hole>,
    /// How many more there are of the stream.
    pub more: u64,
}

/// The holes that the log knows of at `now`.
///
/// # Errors
/// When the log can't be read.
pub async fn holes<L: EventLog>(log: &L, asked: Asked, now: Timestamp) -> Result<Holes, LogError> {
    let config = ConsumerConfig::new("bowerbird-gaps");
    let mut reader = RangeReader::whole(log, topic::JOURNAL, config).await?;
    let mut fold = Fold::new(asked);
    while let Some(records) = reader.next(TAKE).await? {
        records.iter().filter_map(|record| record.view().ok()).for_each(|fact| fold.fact(&fact));
    }
    // Where the facts say since when it is not heard, nobody needs to look for its last post.
    let heard = match &fold.stream {
        Some(OfStream { unheard: None, newest, .. }) => {
            Some(x::heard_until(log, *newest, now).await?)
        }
        _ => None,
    };
    Ok(fold.end(heard, now))
}

#[derive(Deserialize)]
struct OfPoll {
    started: Timestamp,
    outcome: aurin::Outcome,
    reason: Option<String>,
    there: Option<bool>,
}

/// What identifies a file wherever it lies: how large it is, and how it begins.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
struct Identity {
    size: Option<u64>,
    head: Option<String>,
}

#[derive(Deserialize)]
struct OfImport {
    import: Imported,
    #[serde(flatten)]
    identity: Identity,
}

#[derive(Deserialize)]
struct Imported {
    outcome: archive::Outcome,
    error: Option<String>,
}

/// What is known of the stream.
struct OfStream {
    /// When its harvest began.
    begun: Timestamp,
    /// Its newest fact.
    newest: Timestamp,
    /// Since when it is not heard, if a fact says so.
    unheard: Option<x::Gap>,
}

/// What is known of a data set.
#[derive(Default)]
struct DataSet {
    /// When it was last whole.
    whole: Option<Timestamp>,
    /// Something of it may be in the log.
    begun: bool,
    hole: Option<Hole>,
}

struct Fold {
    asked: Asked,
    /// The gaps' events, by hash: one that was told twice counts once.
    seen: HashSet<u128>,
    stream: Option<OfStream>,
    gaps: u64,
    unheard_seconds: f64,
    longest_seconds: f64,
    newest: VecDeque<Hole>,
    data_sets: BTreeMap<String, DataSet>,
    files: Files,
}

/// What is known of files.
#[derive(Default)]
struct Files {
    /// Their names.
    seen: BTreeSet<String>,
    /// Those that are not whole.
    holes: BTreeMap<String, (Hole, Identity)>,
    /// Of these, the names of those that can be told wherever they lie.
    names: HashMap<Identity, String>,
}

impl Fold {
    fn new(asked: Asked) -> Self {
        Self {
            asked,
            seen: HashSet::new(),
            stream: None,
            gaps: 0,
            unheard_seconds: 0.0,
            longest_seconds: 0.0,
            newest: VecDeque::new(),
            data_sets: BTreeMap::new(),
            files: Files::default(),
        }
    }

    fn fact(&mut self, fact: &EventView<'_>) {
        let value = fact.value.unwrap_or_default();
        if let Some(unheard) = x::unheard(fact) {
            let begun = self.stream.as_ref().map_or(fact.time, |stream| stream.begun);
            self.stream = Some(OfStream { begun, newest: fact.time, unheard });
        }
        match fact.kind.as_str() {
            x::GAP if fact.source == x::SOURCE => {
                if let Ok(gap) = serde_json::from_slice::<x::Gap>(value)
                    && self.seen.insert(xxh3_128(fact.id.as_bytes()))
                {
                    self.gap(Some(gap.to), gap);
                }
            }
            aurin::BEGUN if fact.time < self.asked.to => {
                let set = self.data_sets.entry(fact.source.to_owned()).or_default();
                set.begun = true;
                set.broken(fact.source, "begun", POLL_BEGUN.to_owned());
            }
            aurin::POLLED if fact.time < self.asked.to => {
                let Ok(OfPoll { started, outcome, reason, there }) = serde_json::from_slice(value)
                else {
                    return;
                };
                let set = self.data_sets.entry(fact.source.to_owned()).or_default();
                if outcome == aurin::Outcome::Complete {
                    *set = DataSet { whole: Some(started), begun: true, hole: None };
                } else if there != Some(false) || set.begun {
                    set.broken(fact.source, outcome.name(), reason.unwrap_or_default());
                } else {
                    // Of a name that was mistyped nothing is missing, whatever went wrong before.
                    set.hole = None;
                }
            }
            archive::BEGUN if fact.time < self.asked.to => {
                if let Ok(identity) = serde_json::from_slice(value) {
                    let why = ("begun", IMPORT_BEGUN.to_owned());
                    self.files.fact(fact.source, identity, Some(why));
                }
            }
            archive::IMPORTED | archive::FAILED if fact.time < self.asked.to => {
                if let Ok(OfImport { import, identity }) = serde_json::from_slice(value) {
                    let why = (import.outcome.name(), import.error.unwrap_or_default());
                    let why = (!import.outcome.is_whole()).then_some(why);
                    self.files.fact(fact.source, identity, why);
                }
            }
            _ => {}
        }
    }

    /// A time without a connection; `to` is told unless it lasts.
    fn gap(&mut self, to: Option<Timestamp>, gap: x::Gap) {
        let Asked { from, to: end, limit } = self.asked;
        if gap.to < from || gap.from >= end {
            return;
        }
        self.gaps += 1;
        self.unheard_seconds += seconds(gap.from.max(from), gap.to.min(end));
        let whole = seconds(gap.from, gap.to);
        self.longest_seconds = self.longest_seconds.max(whole);
        let x::Gap { from, cause, reason, failed, last_failure, backfill_minutes, .. } = gap;
        self.newest.push_back(Hole {
            source: x::SOURCE.to_owned(),
            from: Some(from),
            to,
            seconds: Some(whole),
            cause,
            reason,
            failed,
            last_failure,
            backfill_minutes,
        });
        if self.newest.len() > limit {
            self.newest.pop_front();
        }
    }

    /// All of it; `heard` is until when the log shows that the stream was heard.
    fn end(mut self, heard: Option<Timestamp>, now: Timestamp) -> Holes {
        let now = now.min(self.asked.to);
        let stream = self.stream.take().map(|OfStream { begun, unheard, .. }| {
            let open = unheard.map(|gap| {
                let from = gap.from;
                self.gap(None, x::Gap { to: now.max(from), backfill_minutes: 0, ..gap });
                from
            });
            let until = open.or(heard).unwrap_or(begun).max(begun);
            let known_to = if open.is_some() { now } else { until.min(now) };
            let known = seconds(begun.max(self.asked.from), known_to);
            let percent = |known: f64| 100.0 * (1.0 - self.unheard_seconds / known).clamp(0.0, 1.0);
            Heard {
                begun,
                until,
                open: open.is_some(),
                gaps: self.gaps,
                unheard_seconds: self.unheard_seconds,
                longest_seconds: self.longest_seconds,
                heard_percent: (known > 0.0).then_some(known).map(percent),
            }
        });
        let (data_sets, files) = (self.data_sets.len() as u64, self.files.seen.len() as u64);
        let more = self.gaps - self.newest.len() as u64;
        let since = |hole: Hole| Hole { seconds: hole.from.map(|from| seconds(from, now)), ..hole };
        let of_sets = self.data_sets.into_values().filter_map(|set| set.hole).map(since);
        let of_files = self.files.holes.into_values().map(|(hole, _)| hole);
        let holes = self.newest.into_iter().chain(of_sets).chain(of_files).collect();
        Holes { stream, data_sets, files, holes, more }
    }
}

impl Hole {
    /// One that lasts; its length is known only at the end.
    fn lasting(source: &str, from: Option<Timestamp>, cause: &str, reason: String) -> Self {
        let (source, cause) = (source.to_owned(), cause.to_owned());
        Self {
            source,
            from,
            to: None,
            seconds: None,
            cause,
            reason,
            failed: 0,
            last_failure: None,
            backfill_minutes: 0,
        }
    }
}

impl DataSet {
    /// It is not whole any more, or still not.
    fn broken(&mut self, source: &str, cause: &str, reason: String) {
        self.hole = Some(Hole::lasting(source, self.whole, cause, reason));
    }
}

impl Files {
    /// What is known of a file from now on: why it is not whole, if so. It may be another file of the
    /// same name, which replaces what was cut off, or the same one that lies elsewhere by now.
    fn fact(&mut self, source: &str, identity: Identity, why: Option<(&str, String)>) {
        self.seen.insert(source.to_owned());
        let same = self.names.get(&identity).cloned();
        for name in [source].into_iter().chain(same.as_deref()) {
            if let Some((_, of)) = self.holes.remove(name) {
                self.names.remove(&of);
            }
        }
        let Some((cause, reason)) = why else { return };
        if identity.head.is_some() {
            self.names.insert(identity.clone(), source.to_owned());
        }
        let hole = Hole::lasting(source, None, cause, reason);
        self.holes.insert(source.to_owned(), (hole, identity));
    }
}

/// How long it is from one to the other; nothing if that is earlier.
fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}

#[cfg(test)]
mod tests;
