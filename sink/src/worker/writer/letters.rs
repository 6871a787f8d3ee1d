//! What goes back into the log: dead letters, facts, and observations said again.

use std::time::Duration;

use bowerbird_store::DocumentStore;
use bowerbird_stream::dead_letter::{self, Reason};
use bowerbird_stream::log::Outgoing;
use bowerbird_stream::{EventLog, LogError, Position, Record, topic};
use jiff::Timestamp;

use super::patience::mends;
use super::{Settled, Writer};
use crate::error::SinkError;

impl<L: EventLog, S: DocumentStore> Writer<L, S> {
    /// Publishes dead letters; they are acknowledged when this returns.
    pub(super) async fn give_up(
        &self,
        rejects: Vec<(Record, Reason)>,
        settled: &mut Settled,
    ) -> Result<(), SinkError> {
        if rejects.is_empty() {
            return Ok(());
        }
        let now = Timestamp::now();
        let mut letters = Vec::with_capacity(rejects.len());
        let mut records = Vec::with_capacity(rejects.len());
        for (record, why) in rejects {
            tracing::warn!(position = %record.position, reason = why.reason, error = why.error, "dead letter");
            letters.push(dead_letter::of_record(record.clone(), &why, now));
            records.push(record);
        }
        settled.dead_letters += records.len() as u64;
        self.publish(letters).await?;
        settled.done(records);
        Ok(())
    }

    /// Publishes, and returns when the log has all of them.
    pub(in crate::worker) async fn publish(&self, records: Vec<Outgoing>) -> Result<(), SinkError> {
        self.offer(records).await?.into_iter().try_for_each(|answer| answer.map(drop))?;
        Ok(())
    }

    /// Publishes, and returns when the log has taken or refused each for good: one answer per
    /// record, in order.
    pub(super) async fn offer(
        &self,
        records: Vec<Outgoing>,
    ) -> Result<Vec<Result<Position, LogError>>, SinkError> {
        let mut answers: Vec<Option<_>> = records.iter().map(|_| None).collect();
        let mut open: Vec<(usize, Outgoing)> = records.into_iter().enumerate().collect();
        let mut pause = None;
        while !open.is_empty() {
            let records = open.iter().map(|(_, record)| record.clone()).collect();
            let mut failed = Vec::new();
            let mut trouble = None;
            for ((at, record), answer) in open.into_iter().zip(self.log.publish(records).await) {
                match answer {
                    // A letter with its own headers may be over the limit that the record met.
                    Err(error @ LogError::TooLarge { .. })
                        if *record.topic == *topic::DEAD_LETTERS =>
                    {
                        match dead_letter::shortened(record) {
                            Some(shorter) => failed.push((at, shorter)),
                            None => answers[at] = Some(Err(error)),
                        }
                    }
                    Err(error) if mends(&error) => {
                        failed.push((at, record));
                        trouble = Some(error);
                    }
                    answer => answers[at] = Some(answer),
                }
            }
            open = failed;
            if let Some(error) = trouble {
                if self.config.once {
                    return Err(error.into());
                }
                self.reporter.pausing(&mut pause, error.to_string());
                tokio::time::sleep(self.config.max_backoff.min(Duration::from_secs(2))).await;
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    pub(super) fn why(&self, reason: &str, error: String, attempts: u32) -> Reason {
        let group = self.projection.group.clone();
        Reason { reason: reason.to_owned(), error, group, attempts }
    }
}
