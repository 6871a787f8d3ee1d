//! What can go wrong with a log, said for whoever runs it.

use thiserror::Error;

/// An error of an event log. The text says what, why and what to do; it never holds a secret.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum LogError {
    /// No broker answers, or the file can't be reached; going on trying makes sense.
    #[error("the event log at {address} can't be reached: {reason}")]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// The log refuses who we are; nothing goes on until that is mended.
    #[error(
        "the event log at {address} refuses the credentials: {reason}; check log.user and log.password"
    )]
    Unauthorised {
        /// Which log.
        address: String,
        /// What it said.
        reason: String,
    },
    /// A topic is not there.
    #[error("topic {topic} does not exist on {address}; create it with `bowerbird topics apply`")]
    MissingTopic {
        /// Which log.
        address: String,
        /// Its name.
        topic: String,
    },
    /// A topic is there with other partitions than declared.
    #[error(
        "topic {topic} has {actual} partitions, the configuration declares {declared}: keys would \
         move between partitions, so it is left as it is; set the configuration to {actual}, or \
         make a new topic"
    )]
    PartitionsDiffer {
        /// Its name.
        topic: String,
        /// Partitions declared.
        declared: u32,
        /// Partitions that it has.
        actual: u32,
    },
    /// A record is larger than the log takes: it will never be taken.
    #[error("a record of {bytes} bytes for topic {topic} is larger than the log takes: {reason}")]
    TooLarge {
        /// The topic.
        topic: String,
        /// The record's size.
        bytes: usize,
        /// What the log said.
        reason: String,
    },
    /// The disk under the log is full; work pauses until there is room.
    #[error(
        "no room left for the event log at {address}: {reason}; free some space, it goes on by itself"
    )]
    Full {
        /// Which log.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// The position asked for is not in the log any more (or not yet).
    #[error(
        "topic {topic} partition {partition} has no offset {offset}: it holds {earliest} up to {end}"
    )]
    OutOfRange {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// What was asked for.
        offset: i64,
        /// The first offset held.
        earliest: i64,
        /// One past the last.
        end: i64,
    },
    /// A consumer was asked about a partition that it does not have (any more): it was revoked.
    #[error("{partition} is not assigned to this consumer")]
    NotAssigned {
        /// The partition.
        partition: String,
    },
    /// Another member of the group has the same name, and each puts the other out.
    #[error(
        "another member of group {group} uses the name {instance} too, and each puts the other out; \
         stop one of them, or give each a sink.instance of its own, or none, and start this one again"
    )]
    Fenced {
        /// The group.
        group: String,
        /// The name.
        instance: String,
    },
    /// A passing fault: the same call may go through later.
    #[error("the event log at {address} can't do that just now: {reason}")]
    Transient {
        /// Which log.
        address: String,
        /// What it said.
        reason: String,
    },
    /// Anything else; trying again will not help.
    #[error("the event log at {address} failed: {reason}")]
    Fatal {
        /// Which log.
        address: String,
        /// What it said.
        reason: String,
    },
}

impl LogError {
    /// Whether the same call may go through later with nothing changed on our side.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Transient { .. } | Self::Full { .. })
    }

    /// Whether work must pause until an operator mends something, and then goes on by itself.
    pub fn pauses(&self) -> bool {
        matches!(self, Self::Unauthorised { .. } | Self::Full { .. })
    }
}
