//! One poll of one data set.

use std::collections::HashMap;
use std::time::Instant;

use bowerbird_stream::EventLog;
use bowerbird_stream::journal;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::config::DatasetConfig;
use super::fault::Fault;
use super::feature;
use super::wfs::{Page, Wfs};
use crate::metrics as names;
use crate::outbox::Outbox;
use crate::publish::Unpublished;
use crate::record::{FEATURE_REFUSED, Refused};

/// Who gives up features that can't be read, as dead letters name it.
pub const GROUP: &str = "ingest-aurin";
/// How often a page is asked for again from its beginning when it breaks in the middle.
const PAGE_ATTEMPTS: u32 = 3;

/// How a poll ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every feature that the server says it has was received.
    Complete,
    /// The pages ended, but not with as many features as there should be.
    Incomplete,
    /// The server does not give them.
    Failed,
}

/// What a poll did; as `poll.finished` in the journal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PollReport {
    /// The data set's type name.
    pub dataset: String,
    /// When it began: the time of its observations.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, where it is not complete; for people.
    pub reason: Option<String>,
    /// Features that the server says it has; nothing when it does not say.
    pub matched: Option<u64>,
    /// Features received, repetitions too.
    pub received: u64,
    /// Different features received.
    pub distinct: u64,
    /// Of these, those that were new or had changed, and were published.
    pub published: u64,
    /// Of these, those that were as they were at the last poll.
    pub unchanged: u64,
    /// Features that became dead letters.
    pub dead_letters: u64,
    /// Pages received.
    pub pages: u64,
    /// The licence.
    pub licence: String,
    /// Who is to be named.
    pub attribution: String,
}

/// What the features of a data set were at the last poll of this process.
#[derive(Debug, Default)]
pub struct Known {
    features: HashMap<String, Version>,
    poll: u64,
}

#[derive(Debug)]
struct Version {
    hash: u128,
    poll: u64,
}

/// How a poll goes on after a page.
enum Next {
    Page,
    End,
    /// The server gives the same again and again.
    Stuck,
}

/// A poll at work.
pub struct Poll<'a, L> {
    pub wfs: &'a Wfs,
    pub dataset: &'a DatasetConfig,
    pub known: &'a mut Known,
    pub outbox: &'a mut Outbox<L>,
}

impl<L: EventLog> Poll<'_, L> {
    /// Polls, and publishes what is new, and the fact that it polled. Returns when all of it is
    /// acknowledged.
    ///
    /// # Errors
    /// When the log refuses, or on shutdown. What the WFS does wrong is in the report.
    pub async fn run(mut self) -> Result<PollReport, Unpublished> {
        let begun = Instant::now();
        let now = Timestamp::now();
        self.known.poll += 1;
        let mut report = PollReport {
            dataset: self.dataset.type_name.clone(),
            started: now,
            finished: now,
            outcome: Outcome::Failed,
            reason: None,
            matched: None,
            received: 0,
            distinct: 0,
            published: 0,
            unchanged: 0,
            dead_letters: 0,
            pages: 0,
            licence: self.dataset.licence.clone(),
            attribution: self.dataset.attribution.clone(),
        };
        (report.outcome, report.reason) = match self.features(&mut report).await? {
            Ok(Next::Stuck) => (
                Outcome::Incomplete,
                Some(format!(
                    "the server gives the same features again: the values of {} are not unique, or \
                     it does not page",
                    self.dataset.id_property
                )),
            ),
            Ok(_) => judge(&report, &self.dataset.id_property),
            Err(fault) => (Outcome::Failed, Some(fault.to_string())),
        };
        report.finished = Timestamp::now();
        let source = super::source(&report.dataset);
        let fact = json!(report);
        self.outbox.push(journal::fact("poll.finished", &source, report.finished, &fact));
        self.outbox.drain().await?;
        let outcome = match report.outcome {
            Outcome::Complete => "complete",
            Outcome::Incomplete => "incomplete",
            Outcome::Failed => "failed",
        };
        metrics::counter!(names::POLLS, "outcome" => outcome).increment(1);
        metrics::histogram!(names::POLL_SECONDS).record(begun.elapsed().as_secs_f64());
        Ok(report)
    }

    /// All pages. The inner result is the WFS's.
    async fn features(
        &mut self,
        report: &mut PollReport,
    ) -> Result<Result<Next, Fault>, Unpublished> {
        let type_name = &self.dataset.type_name;
        let asking = async {
            let types = self.wfs.types().await?;
            if !types.iter().any(|one| one.name == *type_name) {
                return Err(missing(type_name, types.iter().map(|one| one.name.as_str())));
            }
            self.wfs.hits(type_name).await
        };
        report.matched = match self.outbox.meanwhile(asking).await? {
            Ok(matched) => matched,
            Err(fault) => return Ok(Err(fault)),
        };
        loop {
            match self.page(report).await? {
                Ok(Next::Page) => {}
                ended => return Ok(ended),
            }
        }
    }

    /// One page, asked for again when it breaks in the middle.
    async fn page(&mut self, report: &mut PollReport) -> Result<Result<Next, Fault>, Unpublished> {
        let (wfs, dataset) = (self.wfs, self.dataset);
        let (received, distinct) = (report.received, report.distinct);
        let mut attempt = 1;
        loop {
            let asking = wfs.page(&dataset.type_name, &dataset.id_property, received);
            let page = match self.outbox.meanwhile(asking).await? {
                Ok(page) => page,
                Err(fault) => return Ok(Err(fault)),
            };
            match self.features_of(page, report).await? {
                Ok(()) if report.received == received => return Ok(Ok(Next::End)),
                Ok(()) if report.distinct == distinct => return Ok(Ok(Next::Stuck)),
                Ok(()) => {
                    report.pages += 1;
                    let whole = report.matched.is_some_and(|matched| report.received >= matched);
                    return Ok(Ok(if whole { Next::End } else { Next::Page }));
                }
                Err(fault) if fault.is_transient() && attempt < PAGE_ATTEMPTS => {
                    tracing::warn!(%fault, dataset = report.dataset, "page broken, asking again");
                    self.outbox.meanwhile(tokio::time::sleep(wfs.wait(attempt))).await?;
                    // From its beginning: what it gave is known now, and not published twice.
                    report.received = received;
                    attempt += 1;
                }
                Err(fault) => return Ok(Err(fault)),
            }
        }
    }

    async fn features_of(
        &mut self,
        mut page: Page,
        report: &mut PollReport,
    ) -> Result<Result<(), Fault>, Unpublished> {
        loop {
            match self.outbox.meanwhile(page.next()).await? {
                Ok(None) => return Ok(Ok(())),
                Ok(Some(features)) => {
                    for feature in features {
                        self.feature(feature, report);
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

    fn feature(&mut self, bytes: Bytes, report: &mut PollReport) {
        report.received += 1;
        let feature = match feature::read(bytes.clone(), &self.dataset.id_property) {
            Ok(feature) => feature,
            Err(refusal) => {
                report.dead_letters += 1;
                let source = super::source(&report.dataset);
                let refused = Refused {
                    kind: FEATURE_REFUSED,
                    source: &source,
                    key: report.dataset.clone(),
                    time: report.started,
                    value: bytes,
                    extensions: [("dataset".to_owned(), report.dataset.clone())].into(),
                };
                self.outbox.push(refused.letter(&refusal, GROUP));
                return;
            }
        };
        let poll = self.known.poll;
        let before = self.known.features.get_mut(&feature.id);
        let is_new = before.as_ref().is_none_or(|before| before.poll < poll);
        let changed = before.as_ref().is_none_or(|before| before.hash != feature.hash);
        report.distinct += u64::from(is_new);
        report.published += u64::from(changed);
        report.unchanged += u64::from(is_new && !changed);
        match before {
            Some(before) => *before = Version { hash: feature.hash, poll },
            None => {
                let version = Version { hash: feature.hash, poll };
                self.known.features.insert(feature.id.clone(), version);
            }
        }
        if changed {
            self.outbox.push(feature.record(self.dataset, report.started));
        }
    }
}

/// Whether the pages were all.
fn judge(report: &PollReport, id_property: &str) -> (Outcome, Option<String>) {
    let distinct = report.distinct + report.dead_letters;
    match report.matched {
        None => (Outcome::Complete, None),
        Some(matched) if matched == distinct => (Outcome::Complete, None),
        Some(matched) if report.received > distinct => {
            let repeated = report.received - distinct;
            let reason = format!(
                "{distinct} of {matched} features, {repeated} of them twice: the values of \
                 {id_property} are not unique; name another aurin.datasets id_property"
            );
            (Outcome::Incomplete, Some(reason))
        }
        Some(matched) => {
            let reason = format!("the server says {matched} features and gives {distinct}");
            (Outcome::Incomplete, Some(reason))
        }
    }
}

fn missing<'a>(type_name: &str, there: impl Iterator<Item = &'a str>) -> Fault {
    let local = |name: &'a str| name.rsplit(':').next().unwrap_or(name);
    let wanted = type_name.rsplit(':').next().unwrap_or(type_name);
    let nearest = there.into_iter().find(|name| local(name).eq_ignore_ascii_case(wanted));
    let nearest = nearest.map(|name| format!(" (it has {name})")).unwrap_or_default();
    Fault::MissingType { type_name: type_name.to_owned(), nearest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_is_whole_or_says_why_not() {
        let report = |matched, received, distinct| PollReport {
            dataset: "a:b".into(),
            started: Timestamp::UNIX_EPOCH,
            finished: Timestamp::UNIX_EPOCH,
            outcome: Outcome::Failed,
            reason: None,
            matched,
            received,
            distinct,
            published: 0,
            unchanged: 0,
            dead_letters: 0,
            pages: 1,
            licence: String::new(),
            attribution: String::new(),
        };
        for (matched, received, distinct, outcome, part) in [
            (Some(5), 5, 5, Outcome::Complete, ""),
            (None, 5, 5, Outcome::Complete, ""),
            (Some(0), 0, 0, Outcome::Complete, ""),
            (Some(5), 5, 4, Outcome::Incomplete, "1 of them twice"),
            (Some(5), 4, 4, Outcome::Incomplete, "says 5 features and gives 4"),
        ] {
            let (found, reason) = judge(&report(matched, received, distinct), "code");
            assert_eq!(found, outcome);
            assert!(reason.unwrap_or_default().contains(part));
        }
    }

    #[test]
    fn a_missing_type_names_the_nearest() {
        let fault = missing("x:Income", ["a:b", "y:income"].into_iter());
        assert!(fault.to_string().contains("(it has y:income)"), "{fault}");
    }
}
