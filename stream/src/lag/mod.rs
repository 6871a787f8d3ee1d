//! How far each group is behind: the data model of `bowerbird lag`, the dashboard and `/api/v1/lag`.
//!
//! [`LagMonitor`] samples a log, `series` and `evaluate` turn the samples into figures; both
//! are pure, with time as an argument.

mod evaluate;
mod monitor;
mod series;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use monitor::{LagConfig, LagMonitor};

/// Every group's lag at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LagReport {
    /// When the figures were taken; nothing before the first sample. It stays behind while the log
    /// can't be asked, and `errors` tells why.
    pub sampled_at: Option<Timestamp>,
    /// The groups, by name.
    pub groups: Vec<GroupLag>,
    /// The topics with what they hold, by name; also those that no group reads.
    pub topics: Vec<TopicExtent>,
    /// The sum over all groups.
    pub total: Totals,
    /// What could not be asked just now; for people.
    pub errors: Vec<String>,
}

/// One group's lag.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupLag {
    /// Its name.
    pub group: String,
    /// How it is doing.
    pub status: GroupStatus,
    /// Its state in the log's own words (`Stable`, `Empty`, …).
    pub state: String,
    /// Who is in it.
    pub members: Vec<String>,
    /// The topics that it reads, by name.
    pub topics: Vec<TopicLag>,
    /// The sum over its topics.
    pub total: Totals,
}

/// One group's lag on one topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopicLag {
    /// Its name.
    pub topic: String,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionLag>,
    /// The sum over its partitions.
    pub total: Totals,
}

/// One group's lag on one partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartitionLag {
    /// Its number.
    pub partition: i32,
    /// The first offset that the log holds.
    pub earliest: i64,
    /// One past the last.
    pub end: i64,
    /// The next offset that the group will read; nothing if it has committed none. Then all that
    /// the log holds is before it.
    pub committed: Option<i64>,
    /// Records between the commit and the end, of those that the log still holds.
    pub lag: u64,
    /// How long ago the next record to be read was appended; 0 without lag. Where the history does
    /// not go back so far, it is at least this long.
    pub seconds_behind: f64,
    /// Records appended per second; nothing before there are two samples.
    pub in_rate: Option<f64>,
    /// Records committed per second; nothing before there are two samples.
    pub out_rate: Option<f64>,
}

/// A sum over partitions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Records behind.
    pub lag: u64,
    /// The longest of the partitions' times.
    pub seconds_behind: f64,
    /// Records appended per second.
    pub in_rate: Option<f64>,
    /// Records committed per second.
    pub out_rate: Option<f64>,
    /// Seconds until the lag is gone at these rates; 0 without lag, nothing while it does not
    /// shrink.
    pub catch_up_seconds: Option<f64>,
}

/// How a group is doing, by its commits over a window of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupStatus {
    /// Too little was seen yet.
    #[default]
    Unknown,
    /// Level with the log at some time in the window, or getting there.
    Ok,
    /// Its commits move, and its lag has only grown.
    FallingBehind,
    /// It has members and lag, and its commits do not move.
    Stalled,
    /// It has lag, and nobody is in it.
    Stopped,
    /// A commit went back: somebody has reset it, or a former member committed late.
    Rewound,
}

/// What a topic holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopicExtent {
    /// Its name.
    pub topic: String,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionExtent>,
    /// Offsets between the starts and the ends: records, as far as none was compacted away.
    pub records: u64,
    /// Records appended per second; nothing before there are two samples.
    pub in_rate: Option<f64>,
}

/// What a partition holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartitionExtent {
    /// Its number.
    pub partition: i32,
    /// The first offset that the log holds.
    pub earliest: i64,
    /// One past the last.
    pub end: i64,
    /// Records appended per second; nothing before there are two samples.
    pub in_rate: Option<f64>,
}
