//! What a poll did, and whether it was whole.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::config::DatasetConfig;

/// `ce_type` of the fact that a poll is about to change what the log has of a data set.
pub(crate) const BEGUN: &str = "poll.begun";
/// `ce_type` of the fact that a data set was polled.
pub(crate) const POLLED: &str = "poll.finished";

/// How a poll ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every feature that the server says it has was received; of one that does not say how many
    /// there are, all up to one after which, asked for again, nothing comes.
    Complete,
    /// The pages ended, but it can't be said that they were all.
    Incomplete,
    /// The server does not give them.
    Failed,
    /// It was told to stop.
    Stopped,
}

impl Outcome {
    /// Its name in metrics and for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Incomplete => "incomplete",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// What a poll did; as `poll.finished` in the journal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PollReport {
    /// Names this poll.
    pub poll: String,
    /// The data set's type name.
    pub dataset: String,
    /// When it began: the time of its observations.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, where it is not complete, or what a complete one leaves open; for people.
    pub reason: Option<String>,
    /// Whether the server has such a data set, for all that is known; nothing is missing of one that
    /// never was.
    pub there: bool,
    /// Features that the server says it has; nothing when it does not say.
    pub matched: Option<u64>,
    /// Features received, repetitions too.
    pub received: u64,
    /// Different features received.
    pub distinct: u64,
    /// Of these, those that were new or had changed, and were published.
    pub published: u64,
    /// Of these, those that were as the log has them.
    pub unchanged: u64,
    /// Features of earlier polls that are not there any more, published as vanished.
    pub vanished: u64,
    /// Features that became dead letters.
    pub dead_letters: u64,
    /// Pages received.
    pub pages: u64,
    /// Whether the server sorted them; some layers refuse to.
    pub sorted: bool,
    /// The licence.
    pub licence: String,
    /// Who is to be named.
    pub attribution: String,
}

impl PollReport {
    /// Of a poll that begins now.
    pub fn new(dataset: &DatasetConfig, now: Timestamp) -> Self {
        Self {
            poll: format!("{}@{now}", dataset.type_name),
            dataset: dataset.type_name.clone(),
            started: now,
            finished: now,
            outcome: Outcome::Failed,
            reason: None,
            there: true,
            matched: None,
            received: 0,
            distinct: 0,
            published: 0,
            unchanged: 0,
            vanished: 0,
            dead_letters: 0,
            pages: 0,
            sorted: true,
            licence: dataset.licence.clone(),
            attribution: dataset.attribution.clone(),
        }
    }
}

/// What pages told that the counts don't.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    /// An id that came again with another content.
    pub shared: Option<String>,
    /// An id that came again with the same content.
    pub again: Option<String>,
    /// The server gave the same page for another place, or went on past any end.
    pub stuck: bool,
    /// Why an empty page need not be the end, where the server does not say how many there are.
    pub unproven: Option<String>,
    /// The number of hits before the pages.
    pub hits_before: Option<u64>,
    /// The number of hits after them.
    pub hits_after: Option<u64>,
    /// Features of the data set that the log holds.
    pub known: u64,
}

/// Whether the pages were all, and why not.
pub fn judge(report: &PollReport, signs: &Signs, id_property: &str) -> (Outcome, Option<String>) {
    let settled = report.distinct + report.dead_letters;
    let repeated = report.received.saturating_sub(settled);
    let of = match report.matched {
        Some(matched) => format!("{settled} of {matched} features"),
        None => format!("{settled} features"),
    };
    let reason = if let Some(id) = &signs.shared {
        format!(
            "{of}, {repeated} more with an id that another has: the values of {id_property} are \
             not unique (such as {id:?}); name another aurin.datasets id_property"
        )
    } else if signs.stuck {
        format!(
            "{of}, then the same ones again and again: the server does not page, or the values \
             of {id_property} are not unique"
        )
    } else if let Some(id) = &signs.again {
        format!(
            "{of}, {repeated} of them twice (such as {id:?}): the data changed during the poll, \
             or the server has no lasting order by {id_property}"
        )
    } else if let Some(why) = &signs.unproven {
        format!(
            "{of}, and the server does not say how many there are; nothing tells that these are \
             all: {why}"
        )
    } else {
        match (signs.hits_before, signs.hits_after) {
            (Some(before), Some(after)) if before != after => format!(
                "the data changed during the poll: {before} features when it began, {after} when \
                 it ended"
            ),
            _ if settled == 0 && signs.known > 0 => format!(
                "the server gives no features; the log has {}, and none is taken for vanished: if \
                 the data set was emptied for good, take it out of aurin.datasets",
                signs.known
            ),
            _ => match report.matched {
                Some(matched) if matched != settled => {
                    format!("the server says {matched} features and gives {settled}")
                }
                _ => return (Outcome::Complete, None),
            },
        }
    };
    (Outcome::Incomplete, Some(reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aurin::config::Schedule;

    #[test]
    fn a_poll_is_whole_or_says_why_not() {
        let dataset = DatasetConfig {
            type_name: "a:b".into(),
            id_property: "code".into(),
            licence: String::new(),
            attribution: String::new(),
            schedule: Schedule::default(),
        };
        let plain = Signs::default();
        let id = || Some("VIC".to_owned());
        let hits = |before, after| Signs {
            hits_before: Some(before),
            hits_after: Some(after),
            ..Signs::default()
        };
        for (matched, received, distinct, dead_letters, signs, part) in [
            (Some(5), 5, 5, 0, plain.clone(), ""),
            (None, 5, 5, 0, plain.clone(), ""),
            (Some(0), 0, 0, 0, plain.clone(), ""),
            (Some(5), 5, 4, 1, plain.clone(), ""),
            (Some(5), 5, 5, 0, hits(5, 5), ""),
            (Some(5), 5, 5, 0, hits(3, 3), ""),
            (Some(5), 5, 5, 0, Signs { known: 9, ..plain.clone() }, ""),
            (
                Some(5),
                5,
                4,
                0,
                Signs { shared: id(), ..plain.clone() },
                "not unique (such as \"VIC\")",
            ),
            (None, 5, 4, 0, Signs { shared: id(), ..plain.clone() }, "4 features, 1 more"),
            (
                Some(5),
                5,
                4,
                0,
                Signs { again: id(), ..plain.clone() },
                "5 features, 1 of them twice",
            ),
            (None, 5, 4, 0, Signs { again: id(), ..plain.clone() }, "changed during the poll"),
            (None, 9, 4, 0, Signs { stuck: true, ..plain.clone() }, "does not page"),
            (
                None,
                5,
                5,
                0,
                Signs { unproven: Some("more".into()), ..plain.clone() },
                "5 features, and the server does not say",
            ),
            (Some(5), 5, 5, 0, hits(5, 6), "5 features when it began, 6 when"),
            (Some(5), 4, 4, 0, plain.clone(), "says 5 features and gives 4"),
            (Some(5), 6, 6, 0, plain.clone(), "says 5 features and gives 6"),
            (Some(0), 0, 0, 0, Signs { known: 9, ..plain.clone() }, "the log has 9"),
            (None, 0, 0, 0, Signs { known: 9, ..plain.clone() }, "the log has 9"),
        ] {
            let report = PollReport {
                matched,
                received,
                distinct,
                dead_letters,
                ..PollReport::new(&dataset, Timestamp::UNIX_EPOCH)
            };
            let (outcome, reason) = judge(&report, &signs, "code");
            assert_eq!(outcome == Outcome::Complete, part.is_empty(), "{reason:?}");
            assert!(reason.as_deref().unwrap_or_default().contains(part), "{reason:?}");
        }
    }
}
