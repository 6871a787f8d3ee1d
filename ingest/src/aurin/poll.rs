//! One poll of one data set.

use std::collections::BTreeMap;
use std::time::Instant;

use bowerbird_stream::EventLog;
use bowerbird_stream::journal;
use bowerbird_stream::log::Outgoing;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::json;
use xxhash_rust::xxh3::xxh3_128;

use super::axes::{self, Bounds};
use super::config::DatasetConfig;
use super::fault::Fault;
use super::feature;
use super::memory::{Known, Seen};
use super::report::{BEGUN, Outcome, POLLED, PollReport, Signs, judge};
use super::scan::Cut;
use super::shape::Shape;
use super::there;
use super::wfs::{Page, Wfs};
use crate::metrics as names;
use crate::outbox::Outbox;
use crate::post::Refusal;
use crate::publish::Unpublished;
use crate::record::{FEATURE_REFUSED, Refused};

/// Who gives up features that can't be read, as dead letters name it.
pub const GROUP: &str = "ingest-aurin";
/// How often a page is asked for again from its beginning when it breaks in the middle.
const PAGE_ATTEMPTS: u32 = 3;
/// So many pages in a row without a new feature are enough, where the server names no number.
const BARREN_PAGES: u32 = 8;

/// A poll at work.
pub struct Poll<'a, L> {
    wfs: &'a Wfs,
    dataset: &'a DatasetConfig,
    known: &'a mut Known,
    outbox: &'a mut Outbox<L>,
    report: PollReport,
    /// It has told that it changes something.
    begun: bool,
    signs: Signs,
    terms: u64,
    bounds: Option<Bounds>,
    /// A position has told that longitude comes first.
    upright: bool,
    /// A feature that has a position was taken.
    placed: bool,
    shape: Shape,
    /// Of the last page: what it held. The same again means that the server does not page.
    last_page: Option<u128>,
    barren: u32,
    /// The last feature that had an id.
    last_id: Option<String>,
    /// Where pages ended: the place in the order, and the feature that stood there.
    seams: Vec<(u64, Option<String>)>,
}

/// What a page gave.
#[derive(Clone, Copy, Debug, Default)]
struct Given {
    features: u64,
    new: u64,
    /// Features that a page before had too.
    again: u64,
    digest: u128,
}

/// What a page that does not count leaves as it was: one that broke, or came again.
#[derive(Clone, Debug)]
struct Counts {
    received: u64,
    dead_letters: u64,
    again: Option<String>,
}

/// Of the server's, and of the log's, what went wrong.
type Asked<T> = Result<Result<T, Fault>, Unpublished>;

impl<'a, L: EventLog> Poll<'a, L> {
    /// A poll that begins now; `known` has caught up with the log.
    pub fn new(
        wfs: &'a Wfs,
        dataset: &'a DatasetConfig,
        known: &'a mut Known,
        outbox: &'a mut Outbox<L>,
    ) -> Self {
        let signs = Signs { known: known.count(), ..Signs::default() };
        let report = PollReport::new(dataset, known.begin(Timestamp::now()));
        let terms = feature::terms(&dataset.licence, &dataset.attribution);
        let (bounds, upright, placed, shape) = (None, false, false, Shape::default());
        let (last_page, barren, begun) = (None, 0, false);
        let (last_id, seams) = (None, Vec::new());
        #[rustfmt::skip]
        let poll = Self {
            wfs, dataset, known, outbox, report, begun, signs, terms, bounds, upright, placed, shape,
            last_page, barren, last_id, seams,
        };
        poll
    }

    /// Polls, and publishes what is new, what has vanished, and then the fact that it polled.
    /// Returns when all of it is acknowledged.
    ///
    /// # Errors
    /// When the log refuses, or on shutdown; then the journal has that it was stopped, if the log
    /// still takes it. What the WFS does wrong is in the report.
    pub async fn run(mut self) -> Result<PollReport, Unpublished> {
        let begun = Instant::now();
        let too_large = self.outbox.too_large();
        match self.features().await {
            Ok(Ok(())) => {
                let (outcome, reason) = judge(&self.report, &self.signs, &self.dataset.id_property);
                (self.report.outcome, self.report.reason) = (outcome, reason);
                if outcome == Outcome::Complete {
                    self.vanish().await?;
                }
            }
            Ok(Err(fault)) => {
                self.report.there = !matches!(fault, Fault::MissingType { .. });
                self.report.reason = Some(fault.to_string());
            }
            Err(Unpublished::Stopped) => {
                self.report.outcome = Outcome::Stopped;
                self.report.reason = Some("it was told to stop".to_owned());
                self.tell(begun, too_large).await?;
                return Err(Unpublished::Stopped);
            }
            Err(error) => return Err(error),
        }
        self.tell(begun, too_large).await?;
        Ok(self.report)
    }

    /// Publishes a change, the first behind the fact that there are some: who is killed after that has
    /// told that the data set is neither what it was nor what it is.
    fn change(&mut self, record: Outgoing) {
        if !std::mem::replace(&mut self.begun, true) {
            let PollReport { poll, dataset, started, .. } = &self.report;
            let fact = json!({"poll": poll, "dataset": dataset, "started": started});
            self.outbox.push(journal::fact(BEGUN, &super::source(dataset), *started, &fact));
        }
        self.outbox.push(record);
    }

    /// Notes in the journal what the poll did. Not before the log has all of it: who reads the
    /// fact finds what it counts.
    async fn tell(&mut self, begun: Instant, too_large: u64) -> Result<(), Unpublished> {
        self.outbox.drain().await?;
        let too_large = self.outbox.too_large() - too_large;
        let report = &mut self.report;
        report.published = report.published.saturating_sub(too_large);
        report.dead_letters += too_large;
        report.sorted = self.shape.sorted;
        report.finished = Timestamp::now().max(report.started);
        let (source, fact) = (super::source(&report.dataset), json!(report));
        self.outbox.push(journal::fact(POLLED, &source, report.finished, &fact));
        self.outbox.drain().await?;
        metrics::counter!(names::POLLS, "outcome" => self.report.outcome.name()).increment(1);
        metrics::histogram!(names::POLL_SECONDS).record(begun.elapsed().as_secs_f64());
        Ok(())
    }

    /// All features.
    async fn features(&mut self) -> Asked<()> {
        let (wfs, dataset) = (self.wfs, self.dataset);
        let asking = async {
            let capabilities = wfs.capabilities().await?;
            let there = there::of_name(&capabilities.types, &dataset.type_name)?;
            there::has_key(dataset, &wfs.columns(&dataset.type_name).await?)?;
            Ok((there.bounds(), wfs.hits(&dataset.type_name).await?))
        };
        match self.outbox.meanwhile(asking).await? {
            Ok((bounds, hits)) => {
                (self.bounds, self.report.matched, self.signs.hits_before) = (bounds, hits, hits);
            }
            Err(fault) => return Ok(Err(fault)),
        }
        let mut doubted = false;
        loop {
            let before = self.counts();
            let given = match self.page().await? {
                Ok(given) => given,
                Err(fault) => return Ok(Err(fault)),
            };
            if self.comes_again(given, &before) {
                self.undo(before);
                break;
            }
            if !self.ends(given) {
                continue;
            }
            if given.features > 0 || self.report.matched.is_some() {
                break;
            }
            // Nothing else tells that this was the end.
            match self.is_end().await? {
                Err(_) if !std::mem::replace(&mut doubted, true) => {}
                end => {
                    self.signs.unproven = end.err();
                    break;
                }
            }
        }
        let again = self.wfs.hits(&self.dataset.type_name);
        Ok(self.outbox.meanwhile(again).await?.map(|after| self.signs.hits_after = after))
    }

    fn counts(&self) -> Counts {
        let PollReport { received, dead_letters, .. } = self.report;
        Counts { received, dead_letters, again: self.signs.again.clone() }
    }

    fn undo(&mut self, before: Counts) {
        let Counts { received, dead_letters, again } = before;
        (self.report.received, self.report.dead_letters) = (received, dead_letters);
        self.signs.again = again;
    }

    /// Whether a page is what a server that does not page gives when it has given all: nothing but
    /// what it gave before, and that was as many as there are.
    fn comes_again(&self, given: Given, before: &Counts) -> bool {
        let settled = self.report.distinct + before.dead_letters;
        given.new == 0 && given.again > 0 && self.report.matched == Some(settled)
    }

    /// Whether a page is the last. The number that the server named does not end them: it may be
    /// capped.
    fn ends(&mut self, given: Given) -> bool {
        if given.features == 0 {
            return true;
        }
        self.report.pages += 1;
        let place = self.report.received - given.features;
        self.seams.push((self.report.received - 1, self.last_id.take()));
        self.barren = if given.new == 0 { self.barren + 1 } else { 0 };
        let enough = match self.report.matched {
            // What is refused is new to nobody: the pages up to the number may hold nothing else.
            Some(matched) => place >= matched,
            None => self.barren >= BARREN_PAGES,
        };
        let same = self.last_page.replace(given.digest) == Some(given.digest);
        self.signs.stuck = given.new == 0 && (same || enough);
        self.signs.stuck
    }

    /// One page, asked for again when it breaks in the middle, and in another shape where that helps.
    async fn page(&mut self) -> Asked<Given> {
        let (wfs, dataset) = (self.wfs, self.dataset);
        let before = self.counts();
        let (mut attempt, mut refused) = (1, None);
        // What an attempt that broke gave is new to this page, and to none after it.
        let mut new = 0;
        loop {
            let mut given = Given { new, ..Given::default() };
            let (type_name, key) = (&dataset.type_name, &dataset.id_property);
            let asking = wfs.page(type_name, key, self.shape, before.received, wfs.page_size());
            let (asked, came) = match self.outbox.meanwhile(asking).await? {
                Ok(page) => (true, self.features_of(page, &mut given).await?),
                Err(fault) => (false, Err(fault)),
            };
            let Err(fault) = came else { return Ok(Ok(given)) };
            if asked && fault.is_transient() && attempt < PAGE_ATTEMPTS {
                tracing::warn!(%fault, dataset = dataset.type_name, "page broken, asking again");
                self.outbox.meanwhile(tokio::time::sleep(wfs.wait(attempt))).await?;
                attempt += 1;
            } else {
                // Only before anything was taken can the pages have another shape; but what has no
                // position is the same in any order of axes.
                let is_same =
                    !self.placed && (refused.is_some() || matches!(fault, Fault::Axes(_)));
                let is_free = self.report.received == 0 || is_same;
                let shape = self.shape.instead(&fault).filter(|_| is_free);
                let Some(shape) = shape else {
                    // The first refusal says more than that of the last attempt.
                    return Ok(Err(refused.unwrap_or(fault)));
                };
                tracing::debug!(%fault, ?shape, "asking the wfs for other pages");
                (self.shape, attempt) = (shape, 1);
                refused.get_or_insert(fault);
            }
            // From its beginning: what it gave is known now, and not published twice.
            self.undo(before.clone());
            new = given.new;
        }
    }

    async fn features_of(&mut self, mut page: Page, given: &mut Given) -> Asked<()> {
        // What a broken attempt of this page gave comes again, and is no repetition.
        let mut comes_again = given.new;
        loop {
            match self.outbox.meanwhile(page.next()).await? {
                Ok(None) => {
                    // The number of the hits may be capped where that of the pages is not.
                    self.report.matched = self.report.matched.max(page.matched());
                    return Ok(Ok(()));
                }
                Ok(Some(features)) => {
                    for feature in features {
                        if let Err(fault) = self.feature(feature, given, &mut comes_again) {
                            return Ok(Err(fault));
                        }
                        // A slow log slows the WFS, not the other way round.
                        while !self.outbox.has_room() {
                            self.outbox.turn().await?;
                        }
                    }
                }
                Err(fault) => return Ok(Err(fault)),
            }
        }
    }

    fn feature(&mut self, cut: Cut, given: &mut Given, comes_again: &mut u64) -> Result<(), Fault> {
        let bytes = match cut {
            Cut::Feature(bytes) => bytes,
            Cut::TooLarge { head, length } => {
                self.refuse(&too_large(length), head, Some(length), given);
                return Ok(());
            }
        };
        let feature = match feature::read(bytes.clone(), &self.dataset.id_property) {
            Ok(feature) => feature,
            Err(refusal) => {
                self.refuse(&refusal, bytes, None, given);
                return Ok(());
            }
        };
        if let Some(position) = feature.position {
            match axes::check(position, self.bounds) {
                Ok(()) => {
                    self.placed = true;
                    self.upright |= axes::tells(position, self.bounds);
                }
                // Not the server has it wrong, but this feature: no order of axes makes it right.
                Err(fault) if self.upright && axes::tells(position, self.bounds) => {
                    let refusal = Refusal { reason: feature::REFUSED, error: fault.to_string() };
                    self.refuse(&refusal, bytes, None, given);
                    self.last_id = Some(feature.id);
                    return Ok(());
                }
                Err(fault) => return Err(fault),
            }
        }
        self.count(given, feature.hash);
        self.last_id = Some(feature.id.clone());
        let seen = self.known.see(&feature, self.terms, self.report.started);
        match seen {
            Seen::Same | Seen::Changed => {
                self.report.distinct += 1;
                given.new += 1;
            }
            Seen::Again if *comes_again > 0 => *comes_again -= 1,
            Seen::Again => {
                given.again += 1;
                self.signs.again.get_or_insert_with(|| feature.id.clone());
            }
            Seen::Shared => {
                self.signs.shared.get_or_insert_with(|| feature.id.clone());
            }
        }
        match seen {
            Seen::Changed | Seen::Shared => {
                self.report.published += 1;
                self.change(feature.record(self.dataset, self.report.started));
            }
            Seen::Same => self.report.unchanged += 1,
            Seen::Again => {}
        }
        Ok(())
    }

    /// What can't be read is a dead letter, once. Of one that is too large, with its length, there
    /// is only the beginning.
    fn refuse(&mut self, refusal: &Refusal, bytes: Bytes, length: Option<u64>, given: &mut Given) {
        let hash = xxh3_128(&bytes) ^ u128::from(length.unwrap_or_default());
        self.last_id = None;
        self.count(given, hash);
        self.report.dead_letters += 1;
        if !self.known.refuse(hash) {
            return;
        }
        let source = super::source(&self.report.dataset);
        let mut extensions = BTreeMap::from([("dataset".to_owned(), self.report.dataset.clone())]);
        if let Some(length) = length {
            extensions.insert("bytes".to_owned(), length.to_string());
        }
        let refused = Refused {
            kind: FEATURE_REFUSED,
            source: &source,
            key: self.report.dataset.clone(),
            time: self.report.started,
            value: bytes,
            extensions,
        };
        self.outbox.push(refused.letter(refusal, GROUP));
    }

    fn count(&mut self, given: &mut Given, hash: u128) {
        self.report.received += 1;
        given.features += 1;
        given.digest = given.digest.rotate_left(1) ^ hash;
    }

    /// Whether the last feature is still the last of all: asked for once more, it comes alone. An empty
    /// page may be one that the server failed to fill. The inner error says so, for people.
    async fn is_end(&mut self) -> Result<Result<(), String>, Unpublished> {
        let Some((place, id)) = self.seams.last().cloned() else { return Ok(Ok(())) };
        let asking = there::found_at(self.wfs, self.dataset, self.shape, place, 2);
        Ok(match self.outbox.meanwhile(asking).await? {
            Ok((1, found)) if found == id => Ok(()),
            Ok((2.., _)) => Err("it gives an empty page where there is more".to_owned()),
            Ok(_) => Err("it gives no more, when asked again, what it gave last".to_owned()),
            Err(fault) => Err(fault.to_string()),
        })
    }

    /// Whether what ended each page still stands where it stood. When one feature goes and another
    /// comes during a poll, the numbers are right, and what moved from one page to the one before
    /// was in neither. The inner error says so, for people.
    async fn still_in_place(&mut self) -> Result<Result<(), String>, Unpublished> {
        // The last one has no page after it.
        self.seams.pop();
        for (place, id) in std::mem::take(&mut self.seams) {
            let (wfs, dataset, shape) = (self.wfs, self.dataset, self.shape);
            let asking = there::found_at(wfs, dataset, shape, place, 1);
            let reason = match self.outbox.meanwhile(asking).await? {
                Ok((_, found)) if found == id => continue,
                Ok(_) => format!(
                    "the data changed during the poll: another feature stands at {place} than the \
                     one that ended a page there"
                ),
                Err(fault) => format!("it can't be told whether the data changed: {fault}"),
            };
            return Ok(Err(format!("{reason}; nothing is taken for vanished")));
        }
        Ok(Ok(()))
    }

    /// Publishes what a whole poll did not have.
    async fn vanish(&mut self) -> Result<(), Unpublished> {
        let missing = self.known.missing();
        if self.report.dead_letters > 0 && !missing.is_empty() {
            // They may be those that could not be read.
            self.report.reason = Some(format!(
                "{} features can't be read (see the dead letters), so the {} that are missing are \
                 not taken for vanished",
                self.report.dead_letters,
                missing.len()
            ));
            return Ok(());
        }
        if !missing.is_empty()
            && let Err(reason) = self.still_in_place().await?
        {
            (self.report.outcome, self.report.reason) = (Outcome::Incomplete, Some(reason));
            return Ok(());
        }
        for id in missing {
            let time = self.report.started;
            self.known.vanish(&id, time);
            self.report.vanished += 1;
            self.change(feature::vanished(self.dataset, &id, time));
            while !self.outbox.has_room() {
                self.outbox.turn().await?;
            }
        }
        Ok(())
    }
}

fn too_large(length: u64) -> Refusal {
    let error =
        format!("it has {length} bytes, too many to be read; only its beginning is kept here");
    Refusal { reason: "feature-too-large", error }
}
