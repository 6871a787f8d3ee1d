//! Notices about users reach their posts.
//!
//! A notice about a user stands in a document of its own, `user:<id>`. A sweep goes through the
//! posts and publishes, for each post of such a user that the notice reaches, a notice about that
//! post; from there on it is a post's notice like any other, in the log and in every generation.
//! Before it looks it waits until the group has committed all that the log held when it began: so
//! it misses nothing that stood in the log before the notices that it knows. Posts that come
//! later are told of when they are written (`worker/writer/heed.rs`).
//! `docs/adr/0007-notices-about-users.md` tells what else was thought of.

pub mod beside;
mod close;
mod held;
pub mod keep;
pub mod letters;
pub(crate) mod users;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bowerbird_store::{Document, DocumentStore, StoreError};
use bowerbird_stream::log::{ConsumerConfig, Outgoing};
use bowerbird_stream::range::RangeReader;
use bowerbird_stream::{EventLog, Partition, topic};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

use self::users::{Asked, Authored, Kind, tell};
use crate::config::Projection;
use crate::document::{self, user_id};
use crate::error::SinkError;
use crate::journal::publish_all;
use crate::projections::fill;

/// Documents read at a time.
const PAGE: usize = 1_000;
/// Users looked for in one walk over the posts; of more, several walks are made.
const USERS: usize = 100_000;
/// How often it is asked whether the group has committed.
const LOOKED_AT_EVERY: Duration = Duration::from_millis(500);

/// What a sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swept {
    /// When it began: notices that the sink had by then have reached all posts that it had.
    pub began: Option<Timestamp>,
    /// Users of whom something is asked.
    pub users: u64,
    /// Posts that were looked at.
    pub posts: u64,
    /// Posts that must go.
    pub removed: u64,
    /// Posts whose place must go.
    pub scrubbed: u64,
    /// Up to where the notices of each partition are known to it.
    pub notices: BTreeMap<i32, i64>,
}

/// Notices about users that no sweep has known yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outstanding {
    /// How many.
    pub notices: u64,
    /// When the first of them came into the log.
    pub since: Option<Timestamp>,
}

/// The notices about users that `swept` does not know.
///
/// # Errors
/// When the log can't be read.
pub async fn outstanding<L: EventLog>(log: &L, swept: &Swept) -> Result<Outstanding, SinkError> {
    let extents = log.extents(topic::NOTICES).await?;
    let ranges = extents.into_iter().map(|(number, extent)| {
        let known = swept.notices.get(&number).copied().unwrap_or(extent.earliest);
        let from = known.clamp(extent.earliest, extent.end);
        (Partition::new(topic::NOTICES, number), (from, extent.end))
    });
    let ranges: BTreeMap<_, _> = ranges.filter(|(_, (from, end))| from < end).collect();
    let mut outstanding = Outstanding::default();
    if ranges.is_empty() {
        return Ok(outstanding);
    }
    let mut reader = RangeReader::new(log, ranges, ConsumerConfig::new("")).await?;
    while let Some(records) = reader.next(PAGE).await? {
        for record in records.iter().filter(|one| one.headers.text("ce_subject") == Some("user")) {
            outstanding.notices += 1;
            let since = outstanding.since.get_or_insert(record.appended);
            *since = (*since).min(record.appended);
        }
    }
    Ok(outstanding)
}

/// Sweeps once. With `dry_run` nothing is published.
///
/// # Errors
/// When the group has not committed what the log held within `patience`, and when the log or the
/// store fails.
pub async fn sweep<L: EventLog, S: DocumentStore>(
    log: &L,
    store: &S,
    projection: &Projection,
    patience: Duration,
    dry_run: bool,
    looked_at: impl Fn(u64),
) -> Result<Swept, SinkError> {
    let mut swept = Swept { began: Some(Timestamp::now()), ..Swept::default() };
    let ends = ends(log, projection).await?;
    barrier(log, projection, &ends, patience).await?;
    for (partition, end) in ends {
        if *partition.topic == *topic::NOTICES {
            swept.notices.insert(partition.partition, end);
        }
    }
    let database = &projection.database;
    let mut after = user_id("");
    loop {
        let (users, last) = asked(store, database, &after).await?;
        swept.users += users.len() as u64;
        if !users.is_empty() {
            walk(&mut swept, log, store, database, &users, dry_run, &looked_at).await?;
        }
        match last {
            Some(last) => after = last,
            None => return Ok(swept),
        }
    }
}

/// Up to where the log holds posts and notices now.
///
/// # Errors
/// When the log can't be asked.
pub async fn ends<L: EventLog>(
    log: &L,
    projection: &Projection,
) -> Result<BTreeMap<Partition, i64>, SinkError> {
    Ok(fill::ends(log, projection).await?)
}

/// Waits until the group has committed up to there.
async fn barrier<L: EventLog>(
    log: &L,
    projection: &Projection,
    ends: &BTreeMap<Partition, i64>,
    patience: Duration,
) -> Result<(), SinkError> {
    let reached = async {
        while !fill::reached(log, projection, ends).await? {
            sleep(LOOKED_AT_EVERY).await;
        }
        Ok::<_, SinkError>(())
    };
    match timeout(patience, reached).await {
        Ok(reached) => reached,
        Err(_) => Err(SinkError::Behind { group: projection.group.clone(), patience }),
    }
}

/// Users after the id `after` of whom something is asked, and where to go on.
async fn asked<S: DocumentStore>(
    store: &S,
    database: &str,
    after: &str,
) -> Result<(HashMap<String, Asked>, Option<String>), SinkError> {
    let prefix = user_id("");
    let mut users = HashMap::new();
    let mut after = after.to_owned();
    loop {
        let page = page(store, database, Some(&after)).await?;
        let Some(last) = page.last() else { return Ok((users, None)) };
        after.clone_from(&last.id);
        for document in &page {
            let Some(user) = document.id.strip_prefix(&prefix) else { return Ok((users, None)) };
            let state = document::read(document).ok();
            users.extend(state.as_ref().and_then(Asked::of).map(|asked| (user.to_owned(), asked)));
        }
        if users.len() >= USERS {
            return Ok((users, Some(after)));
        }
    }
}

/// The next documents; none where no sink has written yet.
async fn page<S: DocumentStore>(
    store: &S,
    database: &str,
    after: Option<&str>,
) -> Result<Vec<Document>, SinkError> {
    match store.scan(database, after, PAGE).await {
        Err(StoreError::MissingDatabase { .. }) => Ok(Vec::new()),
        page => Ok(page?),
    }
}

/// What was done; nothing where another process does it.
fn unless_held<T>(done: Result<T, SinkError>) -> Result<Option<T>, SinkError> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(SinkError::Held { .. } | SinkError::Contended { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Goes through all posts once.
async fn walk<L: EventLog, S: DocumentStore>(
    swept: &mut Swept,
    log: &L,
    store: &S,
    database: &str,
    users: &HashMap<String, Asked>,
    dry_run: bool,
    looked_at: &impl Fn(u64),
) -> Result<(), SinkError> {
    // Another walk looks at the same ones.
    swept.posts = 0;
    let mut after: Option<String> = None;
    loop {
        let page = page(store, database, after.as_deref()).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.id.clone());
        let mut notices = Vec::new();
        for document in &page {
            let Ok(state) = document::read(document) else { continue };
            let Some(seen) = &state.observed else { continue };
            let post = Authored::of(&seen.content);
            let Some((user, asked)) = post.by().and_then(|user| users.get_key_value(user)) else {
                continue;
            };
            if let Some((kind, notice)) = asked.of_post(&document.id, &state, post.has_place()) {
                match kind {
                    Kind::Removal => swept.removed += 1,
                    Kind::GeoScrub => swept.scrubbed += 1,
                }
                let told = tell(user, &document.id, notice)?;
                notices.push(Outgoing::event(topic::NOTICES, told));
            }
        }
        swept.posts += page.len() as u64;
        looked_at(swept.posts);
        if !dry_run && !notices.is_empty() {
            publish_all(log, notices).await?;
        }
    }
}

/// The ids in the documents that hold content, one after the other, each handed to `each`: of the
/// posts, or of their authors, which then come more than once.
///
/// # Errors
/// When the store can't be read.
pub async fn ids<S: DocumentStore>(
    store: &S,
    database: &str,
    authors: bool,
    mut each: impl FnMut(&str),
) -> Result<(), SinkError> {
    let mut after: Option<String> = None;
    loop {
        let page = page(store, database, after.as_deref()).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.id.clone());
        for document in &page {
            let Some(seen) = document::read(document).ok().and_then(|state| state.observed) else {
                continue;
            };
            if !authors {
                each(&document.id);
                continue;
            }
            Authored::of(&seen.content).by().into_iter().for_each(&mut each);
        }
    }
}
