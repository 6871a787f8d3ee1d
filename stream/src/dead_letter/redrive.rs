//! Sending letters on their way again, and hearing what became of them.
//!
//! A batch is published, and then its letters are marked. A process that is killed between the two
//! leaves letters that are open although their records are in the log again: redriven once more,
//! these stand there twice, which merging makes harmless. No letter is ever lost by it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::deliver::deliver;
use super::filter::Filter;
use super::mark::{Deed, Marks};
use super::read::{DeadLetters, reader_config};
use super::story::{Letter, LetterId};
use crate::error::LogError;
use crate::log::{EventLog, Extent, Outgoing, Partition, Position, Record};
use crate::range::RangeReader;

/// The most letters that are published before they are marked.
const MAX_BATCH: u32 = 100;
/// How often is asked how far the groups are.
const ASKED_EVERY: Duration = Duration::from_millis(250);

/// How letters are redriven.
#[derive(Clone, Debug)]
pub struct Redrive {
    /// Which; only open ones are.
    pub filter: Filter,
    /// The most letters a second, so that live traffic keeps its share of the way.
    pub rate: u32,
    /// How long to wait for the groups to get to what was sent; with zero, not at all.
    pub wait: Duration,
    /// Which groups to wait for: those that consume a topic.
    pub groups: BTreeMap<String, Vec<String>>,
    /// Who does it; their marks say so.
    pub by: String,
    /// Only say what would be sent.
    pub dry_run: bool,
    /// The most troubles that the report names; all are counted.
    pub listed: usize,
}

/// What a redrive did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Redriven {
    /// Letters that were sent on their way and marked, or, in a dry run, would be.
    pub letters: u64,
    /// Records that they made, by topic.
    pub records: BTreeMap<String, u64>,
    /// Letters that can't be sent; they stay open.
    pub refused: u64,
    /// Letters that were sent and have failed again: each has a new letter, which is open.
    pub failed_again: u64,
    /// Whether it was waited until every group had got to what was sent, so that nothing of it
    /// can fail later.
    pub settled: bool,
    /// Where groups had not got to what was sent when the wait ended.
    pub unsettled: Vec<Unsettled>,
    /// What was refused or has failed again; [`Redrive::listed`] bounds them.
    pub troubles: Vec<Trouble>,
    /// It was stopped before it came to the end.
    pub stopped: bool,
}

/// A letter that was refused, or whose record has failed again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// The letter that was to be redriven.
    pub letter: LetterId,
    /// The new letter, where it was sent and has failed again.
    pub again: Option<LetterId>,
    /// Why.
    pub why: String,
}

/// A group that had not got to what was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unsettled {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Records up to the last one that was sent.
    pub behind: i64,
}

impl Redriven {
    /// Whether everything that was meant is on its way, and nothing is known to have failed.
    pub fn succeeded(&self) -> bool {
        self.refused == 0 && self.failed_again == 0 && self.unsettled.is_empty() && !self.stopped
    }

    fn trouble(&mut self, listed: usize, trouble: Trouble) {
        if self.troubles.len() < listed {
            self.troubles.push(trouble);
        }
    }

    fn refuse(&mut self, listed: usize, letter: LetterId, why: String) {
        self.refused += 1;
        self.trouble(listed, Trouble { letter, again: None, why });
    }
}

impl<L: EventLog> DeadLetters<L> {
    /// Redrives the open letters that fit, up to the end of the topic as it is now: back onto the
    /// topic that they came from, with the original key, value and headers. What never was in the
    /// log is read again by `read_again`, which gives its records or why there are none. Then
    /// waits for the groups, and tells what has failed again.
    ///
    /// What was done is in `done`, also when an error has ended it; `progress` is told how many
    /// letters were looked at so far. On `cancel` it ends after the batch that it is at.
    ///
    /// # Errors
    /// When the log can't be read, or takes nothing for too long.
    pub async fn redrive(
        &self,
        done: &mut Redriven,
        config: &Redrive,
        read_again: impl Fn(&Letter) -> Result<Vec<Outgoing>, String> + Send + Sync,
        mut progress: impl FnMut(u64) + Send,
        cancel: &CancellationToken,
    ) -> Result<(), LogError> {
        let before = self.extents().await?;
        let marks = self.marks(&before).await?;
        let filter = Filter { done: false, ..config.filter.clone() };
        let mut letters = self.between(&before, filter, marks).await?;
        let mut sent = Sent { ends: BTreeMap::new(), letters: Marks::new(&before) };
        let batch = (config.rate / 10).clamp(1, MAX_BATCH) as usize;
        let (begun, mut looked_at) = (Instant::now(), 0);
        while let Some(page) = letters.next().await? {
            for some in page.chunks(batch) {
                if cancel.is_cancelled() {
                    done.stopped = true;
                    return Ok(());
                }
                self.batch(some, done, config, &read_again, &mut sent).await?;
                looked_at += some.len() as u64;
                progress(looked_at);
                if !config.dry_run {
                    let due = sleep_until(begun + due(done.letters, config.rate));
                    // Between batches there is nothing to finish.
                    cancel.run_until_cancelled(due).await;
                }
            }
        }
        if !config.dry_run && !config.wait.is_zero() {
            self.settle(done, config, &sent, cancel).await?;
            self.look_for(done, config, &sent, &before).await?;
        }
        Ok(())
    }

    /// Publishes what some letters make, and then marks those whose records are all in the log.
    async fn batch(
        &self,
        letters: &[Letter],
        done: &mut Redriven,
        config: &Redrive,
        read_again: &(impl Fn(&Letter) -> Result<Vec<Outgoing>, String> + Sync),
        sent: &mut Sent,
    ) -> Result<(), LogError> {
        let (mut records, mut owners) = (Vec::new(), Vec::new());
        let mut planned = Vec::new();
        for letter in letters {
            match self.plan(letter, read_again).await? {
                Ok(made) => {
                    owners.extend(made.iter().map(|_| planned.len()));
                    records.extend(made);
                    planned.push((letter, None));
                }
                Err(why) => done.refuse(config.listed, letter.id, why),
            }
        }
        let topics: Vec<_> = records.iter().map(|record| record.topic.to_string()).collect();
        if !config.dry_run {
            let answers = deliver(&self.log, records).await?;
            for (answer, owner) in answers.into_iter().zip(&owners) {
                match answer {
                    Ok(position) => sent.note(&position),
                    Err(error) => planned[*owner].1 = Some(error.to_string()),
                }
            }
            let whole = planned.iter().filter(|(_, refused)| refused.is_none());
            self.mark(whole.map(|(letter, _)| *letter), Deed::Redriven, &config.by).await?;
        }
        for (topic, owner) in topics.into_iter().zip(owners) {
            if planned[owner].1.is_none() {
                *done.records.entry(topic).or_default() += 1;
            }
        }
        for (letter, refused) in planned {
            match refused {
                None => {
                    sent.letters.add(letter.id, Deed::Redriven);
                    done.letters += 1;
                }
                Some(why) => done.refuse(config.listed, letter.id, why),
            }
        }
        Ok(())
    }

    /// The records that a letter makes, or why it makes none.
    async fn plan(
        &self,
        letter: &Letter,
        read_again: &impl Fn(&Letter) -> Result<Vec<Outgoing>, String>,
    ) -> Result<Result<Vec<Outgoing>, String>, LogError> {
        let Some(origin) = &letter.story.origin else {
            let records = read_again(letter);
            let redriven = |records: Vec<Outgoing>| {
                records.into_iter().map(|record| letter.redriven(record)).collect()
            };
            return Ok(records.map(redriven));
        };
        if origin.topic == self.topic {
            return Ok(Err("it is a letter about the dead letters themselves".to_owned()));
        }
        if !letter.is_cut() {
            return Ok(Ok(vec![letter.restored(&origin.topic, &letter.record)]));
        }
        Ok(self.original(origin).await?.map_or_else(
            || {
                Err(format!(
                    "it was too large to be kept whole, and {origin}, where it stood, has left \
                     the log; bring it in again from its source, or drop it"
                ))
            },
            |original| Ok(vec![letter.restored(&origin.topic, &original)]),
        ))
    }

    /// The record that stands at a position, if it still does.
    async fn original(&self, origin: &Position) -> Result<Option<Record>, LogError> {
        let part = BTreeMap::from([(origin.in_partition(), (origin.offset, origin.offset + 1))]);
        let mut reader = match RangeReader::new(&self.log, part, reader_config()).await {
            Err(LogError::OutOfRange { .. } | LogError::MissingTopic { .. }) => return Ok(None),
            reader => reader?,
        };
        let found = reader.next(1).await?.and_then(|mut records| records.pop());
        Ok(found.filter(|record| record.position == *origin))
    }

    /// Waits until the groups have got to what was sent.
    async fn settle(
        &self,
        done: &mut Redriven,
        config: &Redrive,
        sent: &Sent,
        cancel: &CancellationToken,
    ) -> Result<(), LogError> {
        let deadline = Instant::now() + config.wait;
        loop {
            done.unsettled.clear();
            for (partition, end) in &sent.ends {
                let groups = config.groups.get(&*partition.topic).into_iter().flatten();
                for group in groups {
                    let committed = self.log.committed(group, &partition.topic).await?;
                    let at = committed.get(&partition.partition).copied().unwrap_or(0);
                    if at < *end {
                        done.unsettled.push(Unsettled {
                            group: group.clone(),
                            topic: partition.topic.to_string(),
                            partition: partition.partition,
                            behind: end - at,
                        });
                    }
                }
            }
            done.settled = done.unsettled.is_empty();
            if done.settled || Instant::now() >= deadline || cancel.is_cancelled() {
                return Ok(());
            }
            cancel.run_until_cancelled(sleep(ASKED_EVERY)).await;
        }
    }

    /// Looks for letters about what was sent: they stand behind what was there before.
    async fn look_for(
        &self,
        done: &mut Redriven,
        config: &Redrive,
        sent: &Sent,
        before: &BTreeMap<i32, Extent>,
    ) -> Result<(), LogError> {
        let mut new = self.extents().await?;
        for (number, extent) in &mut new {
            let end = before.get(number).map_or(extent.earliest, |before| before.end);
            extent.earliest = end.clamp(extent.earliest, extent.end);
        }
        let everything = Filter { done: true, ..Filter::default() };
        let mut letters = self.between(&new, everything, Marks::default()).await?;
        while let Some(page) = letters.next().await? {
            for letter in page {
                let Some(of) = letter.again().filter(|of| sent.letters.of(*of).is_some()) else {
                    continue;
                };
                done.failed_again += 1;
                let why = &letter.story.why;
                let why = format!("{}: {}", why.reason, why.error);
                let trouble = Trouble { letter: of, again: Some(letter.id), why };
                done.trouble(config.listed, trouble);
            }
        }
        Ok(())
    }
}

/// What this redrive has sent.
struct Sent {
    /// One past the last record, by partition.
    ends: BTreeMap<Partition, i64>,
    /// The letters.
    letters: Marks,
}

impl Sent {
    fn note(&mut self, position: &Position) {
        let end = self.ends.entry(position.in_partition()).or_default();
        *end = (*end).max(position.offset + 1);
    }
}

/// When, after the beginning, so many letters may have been sent.
fn due(letters: u64, rate: u32) -> Duration {
    Duration::from_secs_f64(letters as f64 / f64::from(rate.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_decides_when_the_next_batch_is_due() {
        assert_eq!(due(0, 10), Duration::ZERO);
        assert_eq!(due(25, 10), Duration::from_millis(2_500));
        assert_eq!(due(3, 0), Duration::from_secs(3));
    }
}
