//! Dead letters: records that could not be processed, with the reason why, in a topic of their own.
//!
//! A letter is never changed. What is done with one is a mark, itself a record of that topic:
//! the letters that are still open are all letters minus those that are marked. Only where content
//! must go are letters said again elsewhere (`rewrite`), under the names that they have.

mod bits;
mod counts;
mod deliver;
mod filter;
mod mark;
mod read;
mod redrive;
mod rewrite;
mod story;
mod write;

pub use counts::{Counts, Group};
pub use filter::Filter;
pub use mark::{Deed, Mark, Marks};
pub use read::{DeadLetters, Discarded, Letters};
pub use redrive::{Redrive, Redriven, Trouble, Unsettled};
pub use rewrite::{Gone, Rewriting, again};
pub use story::{Letter, LetterId, Reason, Story};
pub use write::{of_record, of_source, shortened};

/// Header: why, as a short name to group by (`mapping`, `forbidden`, `line`, …).
pub const REASON: &str = "dl_reason";
/// Header: the error in full.
pub const ERROR: &str = "dl_error";
/// Header: the topic that it came from; absent when it never was in the log.
pub const TOPIC: &str = "dl_topic";
/// Header: the partition that it came from.
pub const PARTITION: &str = "dl_partition";
/// Header: the offset that it came from.
pub const OFFSET: &str = "dl_offset";
/// Header: the group that gave it up.
pub const GROUP: &str = "dl_group";
/// Header: how often it was tried.
pub const ATTEMPTS: &str = "dl_attempts";
/// Header: when it was given up, RFC 3339.
pub const TIME: &str = "dl_time";
/// Header: the letter holds less than the record, which was too large with it; the size that the
/// whole letter would have, in bytes.
pub const CUT: &str = "dl_cut";
/// Header of a record of the topic that stood elsewhere in it before: where it stood first, as
/// `<partition>@<offset>`. That is its name.
pub const ID: &str = "dl_id";
/// Header: the letter's content was removed as the platform asks; the `ce_id` of what asks for it.
pub const ERASED: &str = "dl_erased";
/// Header of a mark: what was done with a letter, `redriven` or `dropped`.
pub const MARK: &str = "dl_mark";
/// Header of a mark: which letter, as `<partition>@<offset>`.
pub const OF: &str = "dl_of";
/// Header of a mark: who did it.
pub const BY: &str = "dl_by";
/// Header of a record that was redriven: from which letter, as `<partition>@<offset>`. It stays
/// with the record, so that a letter about it tells that it failed again.
pub const REDRIVE: &str = "redrive";

/// Header of an event: what it is ([`crate::EventType`]).
const TYPE: &str = "ce_type";
/// What the names of a letter's own headers begin with.
const OURS: &str = "dl_";
