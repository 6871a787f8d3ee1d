//! What a replay reads and where it writes, resolved once when it begins.

use std::collections::BTreeMap;

use bowerbird_store::DocumentStore;
use bowerbird_stream::{EventLog, topic};
use jiff::Timestamp;

use super::bound::{Bound, Located, Slice, slices};
use super::{Asked, Counts, Into, Place, ReplayRefusal, Work, origin};
use crate::config::Projection;
use crate::error::SinkError;
use crate::meta;
use crate::projections::Generations;

/// The whole replay as it would be noted now.
///
/// # Errors
/// When what was asked for makes no sense, or log or store can't be asked.
pub async fn plan<L: EventLog, S: DocumentStore>(
    log: &L,
    generations: &Generations<S>,
    asked: &Asked,
    now: Timestamp,
) -> Result<Work, SinkError> {
    let mut filter = asked.filter.clone();
    let (from, to) = match &asked.of {
        None => {
            let from = located(log, asked, "the beginning", asked.from.as_deref(), now).await?;
            (from, located(log, asked, "the end", asked.to.as_deref(), now).await?)
        }
        Some(of) => {
            let origin = origin::find(log, of).await?;
            filter.headers.extend(origin.headers);
            let from = match origin.from {
                Some(from) => Located::ByTime(log.offsets_at(&asked.topic, from).await?),
                None => Located::Open,
            };
            (from, Located::ByTime(log.offsets_at(&asked.topic, origin.to).await?))
        }
    };
    let extents = log.extents(&asked.topic).await?;
    let mut all = named(&asked.topic, slices(&asked.topic, &extents, &from, &to)?);
    let place = place(generations, asked).await?;
    if asked.topic == topic::POSTS && matches!(asked.into, Into::Database(_)) {
        let extents = log.extents(topic::NOTICES).await?;
        let notices = slices(topic::NOTICES, &extents, &Located::Open, &Located::Open)?;
        all.extend(named(topic::NOTICES, notices));
    }
    Ok(Work {
        asked: asked.clone(),
        started: now,
        next: all.iter().map(|(name, slice)| (name.clone(), slice.from)).collect(),
        slices: all,
        filter,
        place,
        counts: Counts::default(),
        finished: None,
        told: false,
    })
}

fn named(topic: &str, slices: BTreeMap<i32, Slice>) -> BTreeMap<String, Slice> {
    slices.into_iter().map(|(partition, slice)| (format!("{topic}/{partition}"), slice)).collect()
}

async fn located<L: EventLog>(
    log: &L,
    asked: &Asked,
    what: &'static str,
    text: Option<&str>,
    now: Timestamp,
) -> Result<Located, SinkError> {
    let Some(text) = text else { return Ok(Located::Open) };
    let bound = Bound::parse(text, now).map_err(|why| ReplayRefusal::Bound {
        what,
        text: text.to_owned(),
        why,
    })?;
    Ok(match bound {
        Bound::Time(time) => Located::ByTime(log.offsets_at(&asked.topic, time).await?),
        Bound::Offsets(offsets) => Located::Given(offsets),
    })
}

async fn place<S: DocumentStore>(
    generations: &Generations<S>,
    asked: &Asked,
) -> Result<Place, SinkError> {
    if let Into::Topic(topic) = &asked.into {
        return Ok(Place::Topic { topic: topic.clone() });
    }
    let all = Projection::all();
    let filled = |base: &&Projection| base.topics.iter().any(|one| *one == asked.topic);
    let base = all.iter().find(filled);
    let base = base.ok_or_else(|| ReplayRefusal::NoProjection(asked.topic.clone()))?;
    let pointer = generations.pointer(base).await?;
    let live = generations.projection(base, &pointer, pointer.live)?;
    let projection = base.name.to_owned();
    let mapping = live.mapping.version();
    let Into::Database(database) = &asked.into else {
        let (database, generation) = (live.database, Some(pointer.live));
        return Ok(Place::Database { database, projection, mapping, generation });
    };
    for base in &all {
        let pointer = generations.pointer(base).await?;
        if pointer.generations.values().any(|generation| generation.database == *database) {
            let why = format!(
                "database {database} is a generation of {}, which only its own group fills; use \
                 --into live, or another database",
                base.name
            );
            return Err(ReplayRefusal::Taken(why).into());
        }
    }
    if database == meta::DATABASE {
        let why = format!("database {database} holds bowerbird's own notes; use another one");
        return Err(ReplayRefusal::Taken(why).into());
    }
    let database = database.clone();
    Ok(Place::Database { database, projection, mapping, generation: None })
}
