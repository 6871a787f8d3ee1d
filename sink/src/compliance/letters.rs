//! What became a dead letter loses its content too when its post is removed, or its place.
//!
//! A letter holds the record that was given up, and the record itself stands in the log; of neither
//! does the store have anything. So now and then the letters are looked through: of those about
//! posts the store is asked what holds of these. Where a removal does, a tombstone of the post is
//! published, as the sink would do it; where a geo scrub does, the record is sent on its way again
//! without its place. Then the letter is said again without its content, and the head of the topic
//! is forgotten (`bowerbird_stream::dead_letter::Rewriting`).
//!
//! The look waits first until the group has committed all that the log held when it began: then
//! every notice that it knows is in the store, and every record that will not become a document has
//! its letter. What comes later, letter or notice, is a reason to look again.
//! `docs/adr/0008-letters-of-removed-posts.md` tells what else was thought of.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use bowerbird_store::{DocumentStore, StoreError};
use bowerbird_stream::dead_letter::{DeadLetters, Deed, Gone};
use bowerbird_stream::log::{ConsumerConfig, Extent, Outgoing};
use bowerbird_stream::range::RangeReader;
use bowerbird_stream::{EventLog, Partition, Record, topic};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::held::{Post, sent_on_without_place};
use super::users::Kind;
use super::{barrier, unless_held};
use crate::config::Projection;
use crate::document::{self, user_id};
use crate::error::SinkError;
use crate::journal::publish_all;
use crate::merge::{Notice, State};
use crate::meta::job::{Job, Note, Worker};
use crate::meta::{Meta, REDRIVE};
use crate::metrics as names;
use crate::projections::Generations;
use crate::worker::writer::tombstone;

/// The note that says how far the letters have been looked through.
const NOTE: &str = "compliance:letters";
/// Records taken at a time.
const PAGE: usize = 500;

/// What a look through the letters found, and did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looked {
    /// When it began.
    pub began: Option<Timestamp>,
    /// Records of the topic that were looked at.
    pub records: u64,
    /// Letters that lost their content, or, in a dry run, would; a copy of one counts by itself.
    pub erased: u64,
    /// Up to where the letters of each partition are known to it.
    pub letters: BTreeMap<i32, i64>,
    /// Up to where the notices of each partition are known to it.
    pub notices: BTreeMap<i32, i64>,
}

/// What no look has known yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unlooked {
    /// Records among the dead letters.
    pub letters: u64,
    /// Notices, while there are dead letters that they may be about.
    pub notices: u64,
    /// When the first of them came into the log.
    pub since: Option<Timestamp>,
}

/// What the look that `looked` tells of does not know.
///
/// # Errors
/// When the log can't be read.
pub async fn unlooked<L: EventLog>(log: &L, looked: &Looked) -> Result<Unlooked, SinkError> {
    let mut unlooked = Unlooked::default();
    let new = new(log, looked).await?;
    let mut firsts = BTreeMap::new();
    for (partition, (from, end)) in new {
        let count = u64::try_from(end - from).unwrap_or_default();
        match &*partition.topic {
            topic::NOTICES => unlooked.notices += count,
            _ => unlooked.letters += count,
        }
        firsts.insert(partition, (from, from + 1));
    }
    let mut reader = RangeReader::new(log, firsts, ConsumerConfig::new("")).await?;
    while let Some(records) = reader.next(PAGE).await? {
        unlooked.since = records.iter().map(|one| one.appended).chain(unlooked.since).min();
    }
    Ok(unlooked)
}

/// The ranges of letters and notices that `looked` does not know; none where there are no letters.
async fn new<L: EventLog>(
    log: &L,
    looked: &Looked,
) -> Result<BTreeMap<Partition, (i64, i64)>, SinkError> {
    let letters = log.extents(topic::DEAD_LETTERS).await?;
    if letters.values().all(|extent| extent.earliest == extent.end) {
        return Ok(BTreeMap::new());
    }
    let notices = log.extents(topic::NOTICES).await?;
    let topics = [
        (topic::DEAD_LETTERS, letters, &looked.letters),
        (topic::NOTICES, notices, &looked.notices),
    ];
    let ranges = topics.into_iter().flat_map(|(topic, extents, known)| {
        extents.into_iter().map(move |(number, Extent { earliest, end })| {
            let from = known.get(&number).copied().unwrap_or(earliest).clamp(earliest, end);
            (Partition::new(topic, number), (from, end))
        })
    });
    Ok(ranges.filter(|(_, (from, end))| from < end).collect())
}

/// What the last look did.
///
/// # Errors
/// When the store can't be asked.
pub async fn last<S: DocumentStore>(meta: &Meta<S>) -> Result<Option<Looked>, SinkError> {
    let note = meta.read::<Note<Looked>>(NOTE).await?;
    Ok(note.map(|note| note.value.work).filter(|looked| looked.began.is_some()))
}

/// Looks if there is something new, and the last look is long enough ago.
pub(super) async fn due<L: EventLog, S: DocumentStore>(
    log: &L,
    generations: &Generations<S>,
    worker: &Worker,
    every: SignedDuration,
    patience: Duration,
) -> Result<Option<Looked>, SinkError> {
    let before = last(generations.meta()).await?.unwrap_or_default();
    let lately = before.began.is_some_and(|at| Timestamp::now().duration_since(at) < every);
    if lately || new(log, &before).await?.is_empty() {
        return Ok(None);
    }
    let ends = super::ends(log, &generations.live(&Projection::posts()).await?).await?;
    // Or somebody redrives.
    unless_held(apply(log, generations, worker, &ends, patience).await)
}

/// Looks while nobody else does, has what must go erased, and notes how far it has looked. It knows
/// of the notices before `ends` ([`ends`](super::ends)), to which the group must get first.
///
/// # Errors
/// [`SinkError::Held`] when somebody else does, or redrives letters where some must go; when the
/// group has not committed what the log held within `patience`; and when the log or the store fails.
pub async fn apply<L: EventLog, S: DocumentStore>(
    log: &L,
    generations: &Generations<S>,
    worker: &Worker,
    ends: &BTreeMap<Partition, i64>,
    patience: Duration,
) -> Result<Looked, SinkError> {
    let (meta, projection) = (generations.meta(), generations.live(&Projection::posts()).await?);
    let looking = async {
        let look = Look { log, store: meta.store(), projection: &projection };
        let before = last(meta).await?.unwrap_or_default();
        let (mut looked, heads) = look.through(&before, ends, patience).await?;
        if !heads.is_empty() {
            // Who redrives would meet letters that are on their way elsewhere.
            let rewriting = Box::pin(look.rewrite(heads));
            let (erased, noted) = Job::alone(meta, REDRIVE, worker, rewriting, |(), _| {}).await?;
            looked.erased = erased?;
            if let Err(error) = noted {
                tracing::debug!(%error, "the note of who redrives was not let go");
            }
        }
        Ok(looked)
    };
    Job::alone_noting(meta, NOTE, worker, Box::pin(looking)).await
}

/// Looks through all letters, and only says what would be erased.
///
/// # Errors
/// As those of [`apply`], but for other processes.
pub async fn dry_run<L: EventLog, S: DocumentStore>(
    log: &L,
    store: &S,
    projection: &Projection,
    ends: &BTreeMap<Partition, i64>,
    patience: Duration,
) -> Result<Looked, SinkError> {
    let look = Look { log, store, projection };
    Ok(look.through(&Looked::default(), ends, patience).await?.0)
}

/// What must go.
struct Judged {
    /// The notice that asks for it.
    by: Notice,
    /// What the log must have before: the tombstone of a post that it holds besides, or what is
    /// sent on its way again.
    first: Option<Outgoing>,
    /// What becomes of the letter.
    deed: Deed,
}

struct Look<'a, L, S> {
    log: &'a L,
    store: &'a S,
    projection: &'a Projection,
}

impl<L: EventLog, S: DocumentStore> Look<'_, L, S> {
    /// What there is since `before`, and up to where in each partition something of it must go.
    async fn through(
        &self,
        before: &Looked,
        ends: &BTreeMap<Partition, i64>,
        patience: Duration,
    ) -> Result<(Looked, BTreeMap<i32, i64>), SinkError> {
        let mut looked = Looked { began: Some(Timestamp::now()), ..Looked::default() };
        let letters = DeadLetters::new(self.log.clone());
        barrier(self.log, self.projection, ends, patience).await?;
        let notices = ends.iter().filter(|(at, _)| *at.topic == *topic::NOTICES);
        looked.notices = notices.map(|(at, end)| (at.partition, *end)).collect();
        // Only now: what the group gave up before it committed has its letter.
        let ends = letters.extents().await?.into_iter();
        looked.letters = ends.map(|(number, extent)| (number, extent.end)).collect();
        // Of letters that were looked at before nothing has changed without a notice.
        let nowhere = BTreeMap::new();
        let from = if looked.notices == before.notices { &before.letters } else { &nowhere };
        let mut reader = letters.records(from).await?;
        let mut heads = BTreeMap::new();
        while let Some(page) = reader.next(PAGE).await? {
            looked.records += page.len() as u64;
            for (record, judged) in page.iter().zip(self.judged(&page).await?) {
                if judged.is_some() {
                    looked.erased += 1;
                    heads.insert(record.position.partition, record.position.offset + 1);
                }
            }
        }
        Ok((looked, heads))
    }

    /// Says again what stands before these offsets, without what must go, and has the log forget
    /// it there; how many letters lost their content.
    async fn rewrite(&self, heads: BTreeMap<i32, i64>) -> Result<u64, SinkError> {
        let letters = DeadLetters::new(self.log.clone());
        let mut rewriting = letters.rewrite(heads).await?;
        let (mut records, mut erased) = (0, 0);
        while let Some(page) = rewriting.next().await? {
            let judged = self.judged(&page).await?;
            let mut first = Vec::new();
            let mut again = Vec::with_capacity(page.len());
            for (record, judged) in page.into_iter().zip(judged) {
                records += 1;
                erased += u64::from(judged.is_some());
                let gone = judged.map(|judged| {
                    // Of one post all tombstones for one notice are the same.
                    first.extend(judged.first.filter(|one| !first.contains(one)));
                    gone(&judged.by, judged.deed)
                });
                again.push((record, gone));
            }
            // First, as long as the letter tells that there is something to erase.
            if !first.is_empty() {
                publish_all(self.log, first).await?;
            }
            rewriting.say(again).await?;
        }
        rewriting.forget().await?;
        metrics::counter!(names::LETTERS_ERASED).increment(erased);
        tracing::info!(erased, records, "dead letters lost content that platforms ask to remove");
        Ok(erased)
    }

    /// What each record holds that must go, and for which notice.
    async fn judged(&self, page: &[Record]) -> Result<Vec<Option<Judged>>, SinkError> {
        let posts: Vec<Option<Post>> = page.iter().map(Post::of).collect();
        let ids = posts.iter().flatten().flat_map(|post| {
            [Some(post.id.clone()), post.author.as_deref().map(user_id)].into_iter().flatten()
        });
        let ids: Vec<String> = ids.collect::<BTreeSet<_>>().into_iter().collect();
        let stored = match ids.is_empty() {
            true => Vec::new(),
            false => match self.store.fetch(&self.projection.database, &ids).await {
                // No sink has written yet.
                Err(StoreError::MissingDatabase { .. }) => Vec::new(),
                stored => stored?,
            },
        };
        let known = ids
            .into_iter()
            .zip(stored)
            .filter_map(|(id, stored)| Some((id, document::read(&stored?).ok()?)));
        let known: HashMap<String, State> = known.collect();
        let judged = posts.into_iter().zip(page).map(|(post, record)| {
            let post = post?;
            let user = post.author.as_deref().and_then(|user| known.get(&user_id(user)));
            let there = known.get(&post.id);
            let (kind, by) = post.asked(there, user)?;
            let (first, deed) = match kind {
                Kind::Removal => {
                    let needed = post.needs_tombstone(there);
                    (needed.then(|| tombstone(&post.id, &by)), Deed::Dropped)
                }
                Kind::GeoScrub => (Some(sent_on_without_place(record)?), Deed::Redriven),
            };
            Some(Judged { by, first, deed })
        });
        Ok(judged.collect())
    }
}

/// What is told in the place of the letter's content.
fn gone(by: &Notice, deed: Deed) -> Gone {
    let Notice { event, action, .. } = by;
    let why = match deed {
        Deed::Dropped => format!("its content was removed, as the platform asks ({action})"),
        Deed::Redriven => format!(
            "its place was removed, as the platform asks ({action}); the rest is on its way again"
        ),
    };
    Gone { event: event.clone(), deed, why }
}
