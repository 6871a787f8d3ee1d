//! Which letters a command is about.

use bowerbird_stream::dead_letter::{Filter, LetterId};
use clap::Args;
use jiff::Timestamp;

use crate::instant::instant;

/// Which letters: those that fit all that is given.
#[derive(Debug, Args)]
#[command(next_help_heading = "Which letters")]
pub struct Selection {
    /// These ones, as `list --each` names them: PARTITION@OFFSET
    #[arg(value_name = "LETTER")]
    letters: Vec<LetterId>,
    /// Given up for this reason; several may be given
    #[arg(long, value_name = "REASON")]
    reason: Vec<String>,
    /// Of this event type, such as post.received; several may be given
    #[arg(long = "type", value_name = "TYPE")]
    kind: Vec<String>,
    /// From this topic, or - for what never was in the log; several may be given
    #[arg(long, value_name = "TOPIC", allow_hyphen_values = true)]
    topic: Vec<String>,
    /// Given up by this group or importer; several may be given
    #[arg(long, value_name = "GROUP")]
    group: Vec<String>,
    /// Of this key, such as a post's id; several may be given
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,
    /// Given up at this time or later: 2024-05-01T12:00:00Z, 2024-05-01 or "2h ago"
    #[arg(long, value_name = "TIME", value_parser = instant)]
    from: Option<Timestamp>,
    /// Given up before this time, written likewise
    #[arg(long, value_name = "TIME", value_parser = instant)]
    to: Option<Timestamp>,
}

impl Selection {
    /// As the library takes it; of open letters alone, or also of those that are done with.
    pub fn filter(self, done: bool) -> Filter {
        Filter {
            ids: self.letters,
            reasons: self.reason,
            kinds: self.kind,
            topics: self.topic,
            groups: self.group,
            keys: self.key,
            from: self.from,
            to: self.to,
            done,
        }
    }
}
