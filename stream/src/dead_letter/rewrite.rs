//! Taking the content from letters. A log can only forget the head of a partition: so what stands
//! there and must stay is said again at the end, under the name that it has, and what is left of a
//! letter whose content must go likewise; then the head is forgotten.
//!
//! Until then the originals stand before their copies, and of one name the first record counts. So
//! being killed in between doubles nothing, and all of it is done once more.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::bits::Bits;
use super::deliver::deliver;
use super::mark::{Deed, Mark};
use super::read::{DeadLetters, TAKE};
use super::story::{Letter, LetterId};
use super::write::{erased, shortened};
use super::{ERASED, ERROR, ID, REASON};
use crate::error::LogError;
use crate::log::{EventLog, Outgoing, Record};
use crate::range::RangeReader;
use crate::topic::CLOSES;

/// A record of the topic under the name that it keeps: where it stood first.
pub(super) fn name_of(record: &Record) -> LetterId {
    let here = LetterId { partition: record.position.partition, offset: record.position.offset };
    record.headers.text(ID).and_then(|name| name.parse().ok()).unwrap_or(here)
}

/// Heads of the topic that are said again, and then forgotten.
#[derive(Debug)]
pub struct Rewriting<'a, L: EventLog> {
    letters: &'a DeadLetters<L>,
    reader: RangeReader<L::Consumer>,
    before: BTreeMap<i32, i64>,
    seen: Bits,
    /// Records that were handed out and not said again yet.
    open: usize,
    ended: bool,
}

impl<L: EventLog> DeadLetters<L> {
    /// All records of the topic from these offsets on, as they stand; of partitions that are not
    /// named from their beginning. Copies of one record come as often as there are.
    ///
    /// # Errors
    /// When the topic is not there, or can't be read.
    pub async fn records(
        &self,
        from: &BTreeMap<i32, i64>,
    ) -> Result<RangeReader<L::Consumer>, LogError> {
        let begin = |number, earliest| from.get(&number).copied().unwrap_or(earliest);
        let extents = self.extents().await?;
        self.reader(&extents, |number, earliest, end| {
            (begin(number, earliest).clamp(earliest, end), end)
        })
        .await
    }

    /// Begins to say again what stands before these offsets, so that it can be forgotten there. Two
    /// at the same time do the work twice, and no harm.
    ///
    /// # Errors
    /// When the topic is not there, or can't be read.
    pub async fn rewrite(&self, before: BTreeMap<i32, i64>) -> Result<Rewriting<'_, L>, LogError> {
        let extents = self.extents().await?;
        let upto = |number, end: i64| before.get(&number).copied().unwrap_or(0).min(end);
        let reader =
            self.reader(&extents, |number, earliest, end| (earliest, upto(number, end))).await?;
        let seen = Bits::new(&extents);
        Ok(Rewriting { letters: self, reader, before, seen, open: 0, ended: false })
    }
}

impl<L: EventLog> Rewriting<'_, L> {
    /// The next records that must be said again, never none and each name once; nothing at the end.
    ///
    /// # Errors
    /// When the log can't be read, as when somebody else has forgotten what is to be read.
    pub async fn next(&mut self) -> Result<Option<Vec<Record>>, LogError> {
        while let Some(mut records) = self.reader.next(TAKE).await? {
            records.retain(|record| self.seen.set(name_of(record)));
            if !records.is_empty() {
                self.open += records.len();
                return Ok(Some(records));
            }
        }
        self.ended = true;
        Ok(None)
    }

    /// Says records again: as they are, or, of a letter that comes with a reason, what is left of
    /// it without its content, with the mark of what became of that. The log has them when this
    /// returns.
    ///
    /// # Errors
    /// When the log does not take them.
    pub async fn say(&mut self, records: Vec<(Record, Option<Gone>)>) -> Result<(), LogError> {
        let (count, now) = (records.len(), Timestamp::now());
        let mut outgoing = Vec::with_capacity(count);
        for (record, gone) in records {
            let of = name_of(&record);
            let mut again = again(record);
            if let Some(gone) = gone {
                again = erased(again, &gone);
                let by = format!("notice {}", gone.event);
                let mark = Mark { of, deed: gone.deed, time: now, by };
                outgoing.push(mark.record(&self.letters.topic, again.key.clone()));
            }
            outgoing.push(again);
        }
        while !outgoing.is_empty() {
            let answers = deliver(&self.letters.log, outgoing.clone()).await?;
            let left = outgoing.into_iter().zip(answers).filter_map(|(record, answer)| {
                let error = answer.err()?;
                let is_too_large = matches!(error, LogError::TooLarge { .. });
                Some(smaller(record).filter(|_| is_too_large).ok_or(error))
            });
            outgoing = left.collect::<Result<_, _>>()?;
        }
        self.open -= count;
        Ok(())
    }

    /// Forgets the heads, all of which was said again.
    ///
    /// # Errors
    /// When something of them was not, or the log can't forget them.
    pub async fn forget(self) -> Result<(), LogError> {
        let Self { letters: DeadLetters { log, topic }, before, open, ended, .. } = self;
        if !ended || open > 0 {
            let reason = format!("{topic} was not said again before it was to be forgotten");
            return Err(LogError::Fatal { address: log.address(), reason });
        }
        log.forget(topic, &before).await
    }
}

/// A letter that is too large with its name, with less in it: first without the error's text. Nothing
/// of what is no letter: nobody knows what of that may be left out.
fn smaller(mut letter: Outgoing) -> Option<Outgoing> {
    letter.headers.get(REASON)?;
    if letter.headers.get(ERROR).is_none_or(<[u8]>::is_empty) {
        return shortened(letter);
    }
    letter.headers.set(ERROR, "");
    Some(letter)
}

/// Why the content of a letter must go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// The event that asks for it.
    pub event: String,
    /// What became of it: dropped, or on its way again without what must go.
    pub deed: Deed,
    /// What is told in the place of the error, which may quote the content.
    pub why: String,
}

/// A record of the topic, to be said again under the name that it has.
pub fn again(record: Record) -> Outgoing {
    let name = name_of(&record);
    let Record { position, key, value, mut headers, .. } = record;
    headers.retain(|header| header != CLOSES);
    headers.set(ID, name.to_string());
    Outgoing { topic: position.topic, key, value, headers }
}

impl Letter {
    /// Whether its content was taken from it.
    pub fn is_erased(&self) -> bool {
        self.record.headers.get(ERASED).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Reason, of_record};
    use super::*;
    use crate::event::Headers;
    use crate::log::Position;

    fn stands(outgoing: Outgoing, offset: i64) -> Record {
        let Outgoing { topic, key, value, headers } = outgoing;
        let position = Position { topic, partition: 1, offset };
        Record { position, appended: Timestamp::UNIX_EPOCH, key, value, headers }
    }

    #[test]
    fn a_copy_keeps_its_name_and_what_is_left_holds_no_content() {
        let text = "said by somebody";
        let why = Reason {
            reason: "payload".to_owned(),
            error: format!("invalid type: string {text:?}"),
            group: "bowerbird-posts".to_owned(),
            attempts: 2,
        };
        let headers: Headers = [
            ("ce_type", "post.received"),
            ("ce_rules", text),
            ("redrive", "0@5"),
            ("foreign", text),
        ]
        .into_iter()
        .collect();
        let record = Record {
            position: Position { topic: "posts".into(), partition: 3, offset: 42 },
            appended: Timestamp::UNIX_EPOCH,
            key: Some("1534".into()),
            value: Some(text.into()),
            headers,
        };
        let letter = stands(of_record(record, &why, Timestamp::UNIX_EPOCH), 7);
        let name = LetterId { partition: 1, offset: 7 };
        assert_eq!(name_of(&letter), name);

        let copy = stands(again(letter.clone()), 20);
        assert_eq!((name_of(&copy), Letter::of(copy.clone()).unwrap().id), (name, name));
        let mut closing = copy.clone();
        closing.headers.push(CLOSES, "dead-letters/1@20");
        let twice = stands(again(closing), 30);
        assert_eq!(twice.headers, copy.headers);
        let whole = Letter::of(copy.clone()).unwrap();
        assert_eq!((&whole.story, whole.is_erased()), (&Letter::of(letter).unwrap().story, false));

        let (event, why_gone) = ("gone-1".to_owned(), "removed".to_owned());
        let gone = Gone { event, deed: Deed::Dropped, why: why_gone };
        let left = stands(erased(again(copy), &gone), 21);
        let bytes = left.headers.encoded();
        assert!(!bytes.windows(text.len()).any(|window| window == text.as_bytes()));
        let left = Letter::of(left).unwrap();
        assert_eq!((left.id, left.is_erased(), left.is_cut()), (name, true, false));
        assert_eq!((left.key().as_deref(), &left.record.value), (Some("1534"), &None));
        assert_eq!((left.kind(), left.again().unwrap().offset), (Some("post.received"), 5));
        let why = Reason { error: "removed".to_owned(), ..why };
        assert_eq!((left.story.why, left.story.origin.unwrap().offset), (why, 42));
        assert_eq!(left.record.headers.text(ERASED), Some("gone-1"));
    }

    #[test]
    fn a_name_that_is_none_says_nothing() {
        let mut record = stands(
            Outgoing { topic: "t".into(), key: None, value: None, headers: Headers::new() },
            7,
        );
        for name in ["", "x", "1@", "-1@2"] {
            record.headers.set(ID, name);
            assert_eq!(name_of(&record), LetterId { partition: 1, offset: 7 });
        }
    }
}
