//! A message of librdkafka as a record.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use jiff::Timestamp;
use rdkafka::message::{BorrowedMessage, Headers as _, Message, Timestamp as Time};

use crate::blocks::Blocks;
use crate::event::Headers;
use crate::headers::put_header;
use crate::log::{Position, Record};

/// Copies messages out of librdkafka's memory.
#[derive(Default)]
pub(super) struct Copier {
    /// Topic names seen so far: records share them.
    topics: Vec<Arc<str>>,
    scratch: Vec<u8>,
    blocks: Blocks,
}

impl Copier {
    pub(super) fn record(&mut self, message: &BorrowedMessage<'_>) -> Record {
        self.scratch.clear();
        if let Some(headers) = message.headers() {
            for index in 0..headers.count() {
                // rdkafka panics on a name that is not UTF-8, and anyone may send one.
                let header = catch_unwind(AssertUnwindSafe(|| headers.try_get(index)));
                match header {
                    Ok(Some(header)) => put_header(&mut self.scratch, header.key, header.value),
                    Ok(None) => break,
                    Err(_) => put_header(&mut self.scratch, UNREADABLE, None),
                }
            }
        }
        let parts = self.blocks.copy(message.key(), &self.scratch, message.payload());
        Record {
            position: Position {
                topic: self.topic(message.topic()),
                partition: message.partition(),
                offset: message.offset(),
            },
            appended: appended(message.timestamp()),
            key: parts.key,
            value: parts.value,
            headers: Headers::just_encoded(parts.headers),
        }
    }

    fn topic(&mut self, name: &str) -> Arc<str> {
        if let Some(topic) = self.topics.iter().find(|topic| ***topic == *name) {
            return Arc::clone(topic);
        }
        let topic: Arc<str> = name.into();
        self.topics.push(Arc::clone(&topic));
        topic
    }
}

/// Stands for a header whose name is not UTF-8.
const UNREADABLE: &str = "unreadable";

fn appended(time: Time) -> Timestamp {
    match time {
        Time::CreateTime(millis) | Time::LogAppendTime(millis) => {
            Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
        }
        Time::NotAvailable => Timestamp::UNIX_EPOCH,
    }
}
