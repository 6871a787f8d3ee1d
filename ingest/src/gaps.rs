//! Whether what was harvested is whole, and if not, where the holes are: by the facts of the journal.
//!
//! A stream has holes in time. A data set has one while the last poll of it was not complete, and a
//! file while nothing has imported all of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use bowerbird_stream::log::ConsumerConfig;
use bowerbird_stream::range::RangeReader;
use bowerbird_stream::{EventLog, EventView, LogError, Partition, topic};
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
    let extents = log.extents(topic::JOURNAL).await?.into_iter();
    let ranges = extents.map(|(number, extent)| {
        (Partition::new(topic::JOURNAL, number), (extent.earliest, extent.end))
    });
    let config = ConsumerConfig::new("bowerbird-gaps");
    let mut reader = RangeReader::new(log, ranges.collect(), config).await?;
    let mut fold = Fold::new(asked);
    while let Some(records) = reader.next(TAKE).await? {
        records.iter().filter_map(|record| record.view().ok()).for_each(|fact| fold.fact(&fact));
    }
    // Where the facts say since when it is not heard, nobody needs to look for its last post.
    let heard = match fold.begun.filter(|_| fold.open.is_none()) {
        Some(_) => x::last_heard(log, now).await?.map(|heard| heard.at),
        None => None,
    };
    Ok(fold.end(heard, now))
}

/// What a fact about the stream says, of what is needed here.
#[derive(Deserialize)]
struct OfStream {
    unheard_since: Option<Timestamp>,
    #[serde(default)]
    cause: String,
    #[serde(default)]
    reason: String,
}

/// What `stream.gap` says.
#[derive(Deserialize)]
struct OfGap {
    from: Timestamp,
    to: Timestamp,
    cause: String,
    reason: String,
    #[serde(default)]
    backfill_minutes: u8,
}

#[derive(Deserialize)]
struct OfPoll {
    started: Timestamp,
    outcome: aurin::Outcome,
    reason: Option<String>,
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

/// What is known of a data set.
#[derive(Default)]
struct DataSet {
    /// When it was last whole.
    whole: Option<Timestamp>,
    /// Something of it is in the log. What never was there leaves no hole.
    begun: bool,
    hole: Option<Hole>,
}

struct Fold {
    asked: Asked,
    /// The gaps' events, by hash: one that was told twice counts once.
    seen: HashSet<u128>,
    begun: Option<Timestamp>,
    open: Option<(Timestamp, OfStream)>,
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
    holes: BTreeMap<String, Hole>,
    /// Of these, the names of those that can be told wherever they lie.
    names: HashMap<Identity, String>,
}

impl Fold {
    fn new(asked: Asked) -> Self {
        Self {
            asked,
            seen: HashSet::new(),
            begun: None,
            open: None,
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
        match fact.kind.as_str() {
            x::BEGUN | x::CONNECTED | x::DISCONNECTED if fact.source == x::SOURCE => {
                self.begun.get_or_insert(fact.time);
                let said = serde_json::from_slice::<OfStream>(value).ok();
                self.open = said.and_then(|said| Some((said.unheard_since?, said)));
            }
            x::GAP if fact.source == x::SOURCE => {
                self.begun.get_or_insert(fact.time);
                self.open = None;
                if let Ok(gap) = serde_json::from_slice::<OfGap>(value)
                    && self.seen.insert(xxh3_128(fact.id.as_bytes()))
                {
                    self.gap(Some(gap.to), gap);
                }
            }
            aurin::POLLED if fact.time < self.asked.to => {
                match serde_json::from_slice::<OfPoll>(value) {
                    Ok(poll) if poll.outcome == aurin::Outcome::Complete => {
                        let whole = DataSet { whole: Some(poll.started), begun: true, hole: None };
                        self.data_sets.insert(fact.source.to_owned(), whole);
                    }
                    Ok(poll) => {
                        let reason = poll.reason.unwrap_or_default();
                        self.data_set(fact.source, poll.outcome.name(), reason);
                    }
                    Err(_) => {}
                }
            }
            aurin::BEGUN if fact.time < self.asked.to => {
                self.data_sets.entry(fact.source.to_owned()).or_default().begun = true;
                self.data_set(fact.source, "begun", POLL_BEGUN.to_owned());
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
    fn gap(&mut self, to: Option<Timestamp>, gap: OfGap) {
        let Asked { from, to: end, limit } = self.asked;
        if gap.to < from || gap.from >= end {
            return;
        }
        self.gaps += 1;
        self.unheard_seconds += seconds(gap.from.max(from), gap.to.min(end));
        let whole = seconds(gap.from, gap.to);
        self.longest_seconds = self.longest_seconds.max(whole);
        let OfGap { from, cause, reason, backfill_minutes, .. } = gap;
        self.newest.push_back(Hole {
            source: x::SOURCE.to_owned(),
            from: Some(from),
            to,
            seconds: Some(whole),
            cause,
            reason,
            backfill_minutes,
        });
        if self.newest.len() > limit {
            self.newest.pop_front();
        }
    }

    /// A data set is not whole any more, or still not.
    fn data_set(&mut self, source: &str, cause: &str, reason: String) {
        let set = self.data_sets.entry(source.to_owned()).or_default();
        set.hole = set.begun.then(|| Hole {
            source: source.to_owned(),
            from: set.whole,
            to: None,
            seconds: None,
            cause: cause.to_owned(),
            reason,
            backfill_minutes: 0,
        });
    }

    /// All of it; `heard` is until when the log shows that the stream was heard.
    fn end(mut self, heard: Option<Timestamp>, now: Timestamp) -> Holes {
        let now = now.min(self.asked.to);
        let open = self.open.take().map(|(since, said)| {
            let OfStream { cause, reason, .. } = said;
            let to = now.max(since);
            self.gap(None, OfGap { from: since, to, cause, reason, backfill_minutes: 0 });
            since
        });
        let stream = self.begun.map(|begun| {
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
        let of_files = self.files.holes.into_values();
        let holes = self.newest.into_iter().chain(of_sets).chain(of_files).collect();
        Holes { stream, data_sets, files, holes, more }
    }
}

impl Files {
    /// What is known of a file from now on: why it is not whole, if so. It may be another file of the
    /// same name, which replaces what was cut off, or the same one that lies elsewhere by now.
    fn fact(&mut self, source: &str, identity: Identity, why: Option<(&str, String)>) {
        self.seen.insert(source.to_owned());
        self.holes.remove(source);
        if let Some(name) = self.names.remove(&identity) {
            self.holes.remove(&name);
        }
        let Some((cause, reason)) = why else { return };
        if identity.head.is_some() {
            self.names.insert(identity, source.to_owned());
        }
        let hole = Hole {
            source: source.to_owned(),
            from: None,
            to: None,
            seconds: None,
            cause: cause.to_owned(),
            reason,
            backfill_minutes: 0,
        };
        self.holes.insert(source.to_owned(), hole);
    }
}

/// How long it is from one to the other; nothing if that is earlier.
fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}

#[cfg(test)]
mod tests;
