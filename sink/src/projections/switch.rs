//! Switching to another generation, going back, and dropping one.

use std::time::Duration;

use bowerbird_store::DocumentStore;
use bowerbird_stream::EventLog;
use bowerbird_stream::status::Reporter;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::fill::{self, Fill, Standing};
use super::{Generations, Pointer};
use crate::config::{Projection, SinkConfig};
use crate::error::SinkError;
use crate::journal;
use crate::meta::job::Note;
use crate::replay::{self, Work};
use crate::worker::SinkReport;

/// How long a drop waits until nobody fills the generation any more: sinks look every second
/// whether another one is live, and then drain.
const EMPTY_WITHIN: Duration = Duration::from_secs(30);
/// How often it looks.
const LOOKED_AT_EVERY: Duration = Duration::from_millis(500);

/// What a switch works with.
#[derive(Debug)]
pub struct Switching<'a, L, S> {
    /// The log.
    pub log: &'a L,
    /// The generations, in their store.
    pub generations: &'a Generations<S>,
    /// The projection, in its first generation.
    pub base: &'a Projection,
    /// How a live sink works.
    pub config: &'a SinkConfig,
    /// Is told when it must wait for something to be mended.
    pub reporter: &'a Reporter,
    /// Ends it; the pointer has then moved or not, and both are sound.
    pub cancel: &'a CancellationToken,
}

/// What a switch did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switched {
    /// The projection.
    pub projection: String,
    /// The generation that was live.
    pub from: u32,
    /// The one that is.
    pub to: u32,
    /// Records that it was filled with before the pointer moved.
    pub caught_up: u64,
    /// Records that it had still to read when the pointer moved; its sink goes on with them.
    pub behind: u64,
}

/// Which way the pointer moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By a switch.
    Forth,
    /// By a rollback.
    Back {
        /// The pointer moves first of all, and the sink catches up behind it.
        at_once: bool,
    },
}

impl<L: EventLog, S: DocumentStore> Switching<'_, L, S> {
    /// Lets the generation `to` catch up with the log by its own group, then moves the pointer to it.
    ///
    /// # Errors
    /// When it can't go live, or has lost its database; somebody else has changed the pointer meanwhile,
    /// or log or store fail.
    pub async fn to(
        &self,
        to: u32,
        way: Way,
        progress: impl AsyncFnMut(Standing) -> Result<(), SinkError>,
    ) -> Result<Switched, SinkError> {
        let Self { log, generations, base, .. } = self;
        let pointer = generations.pointer(base).await?;
        let to = pointer.candidate(base, Some(to))?;
        let projection = generations.projection(base, &pointer, to)?;
        let mut caught_up = SinkReport::default();
        let database = &*projection.database;
        if to != pointer.live && generations.meta().store().database(database).await?.is_none() {
            let (projection, database) = (base.name, database.to_owned());
            return Err(SinkError::Gone { projection, generation: to, database });
        }
        if to != pointer.live && way != (Way::Back { at_once: true }) {
            let config = fill::bulk(self.config);
            let store = generations.meta().store();
            let Self { log, reporter, cancel, .. } = *self;
            let projection = &projection;
            let fill = Fill { log, store, projection, config: &config, reporter, cancel };
            fill.to_level(&mut caught_up, progress).await?;
        }
        // Over what is there now: of two switches at the same time one goes first, and the other
        // starts from where that led.
        let (after, from) = generations
            .change(base, |now, time| {
                let from = now.live;
                let after = match way {
                    Way::Forth => now.switch(base, to, time),
                    Way::Back { .. } => now.back(base, to, time),
                };
                Ok((after?, from))
            })
            .await?;
        let behind = fill::standing(*log, &projection).await?.behind();
        let switched = Switched {
            projection: base.name.to_owned(),
            from,
            to,
            caught_up: caught_up.records,
            behind,
        };
        self.tell(&after, &switched).await?;
        Ok(switched)
    }

    /// Notes it in the journal. Told twice it is told once: the event's id is the same.
    async fn tell(&self, pointer: &Pointer, switched: &Switched) -> Result<(), SinkError> {
        let since = pointer.generations.get(&switched.to).and_then(|generation| generation.since);
        let Some(since) = since else { return Ok(()) };
        let source = format!("projection:{}", self.base.name);
        let fact = json!({ "projection": self.base.name, "live": switched.to, "since": since });
        let id = format!("projection.switched-{}-{}", self.base.name, since.as_nanosecond());
        let fact = journal::Fact { kind: "projection.switched", id, source, time: since, fact };
        journal::publish(self.log, fact).await
    }
}

/// Drops a generation that is not live: first nobody may use it any more, then its database goes,
/// then the note of it. Killed in between, the same command goes on.
///
/// # Errors
/// When it is live, or somebody still fills it; or log or store fail.
pub async fn drop_generation<L: EventLog, S: DocumentStore>(
    log: &L,
    generations: &Generations<S>,
    base: &Projection,
    number: u32,
) -> Result<(), SinkError> {
    let pointer = generations.pointer(base).await?;
    let doomed = pointer.get(base, number)?.clone();
    let meta = generations.meta();
    let jobs = meta.list::<Note<Work>>(replay::PREFIX).await?;
    let now = Timestamp::now();
    for (job, noted) in jobs {
        let lease = noted.value.lease.filter(|lease| lease.holds(now));
        if let Some(lease) = lease
            && noted.value.work.writes_to(&doomed.database)
        {
            let (holder, until) = (lease.holder.to_string(), lease.until);
            return Err(SinkError::Held { job, holder, until });
        }
    }
    generations.change(base, |now, time| Ok((now.dropping(base, number, time)?, ()))).await?;
    empty(log, &doomed.group).await?;
    meta.store().drop_database(&doomed.database).await?;
    generations.change(base, |now, _| Ok((now.dropped(number), ()))).await?;
    Ok(())
}

/// Waits until nobody is in the group.
async fn empty<L: EventLog>(log: &L, group: &str) -> Result<(), SinkError> {
    let deadline = Instant::now() + EMPTY_WITHIN;
    loop {
        let groups = log.groups().await?;
        let members = groups.into_iter().find(|found| found.name == group);
        let members = members.map_or_else(Vec::new, |found| found.members);
        if members.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let (group, members) = (group.to_owned(), members.join(", "));
            return Err(SinkError::InUse { group, members });
        }
        tokio::time::sleep(LOOKED_AT_EVERY).await;
    }
}
