//! The pointer: which generations of a projection there are, and which one is live. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::Projection;
use crate::mapping::Mapping;

/// The mapping of a first generation of which nothing was noted.
const FIRST_MAPPING: u32 = 1;

/// Where a generation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Being filled beside the live one; a rebuild goes on with it.
    Filling,
    /// Filled and verified: it can go live.
    Ready,
    /// What readers see and the sink fills.
    Live,
    /// Was live before, and can be again.
    Kept,
    /// Being removed.
    Dropping,
}

impl Standing {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Filling => "filling",
            Self::Ready => "ready",
            Self::Live => "live",
            Self::Kept => "kept",
            Self::Dropping => "dropping",
        }
    }
}

/// A generation: a database, the group that fills it, and the mapping that made its documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// The database.
    pub database: String,
    /// The consumer group. It writes to this database only, so its commits say how far that is.
    pub group: String,
    /// The version of the mapping.
    pub mapping: u32,
    /// Where it stands.
    pub state: Standing,
    /// When it was begun; nothing for the one that was always there.
    pub created: Option<Timestamp>,
    /// Since when it stands there.
    pub since: Option<Timestamp>,
}

/// The generations of one projection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    /// The number of the live one.
    pub live: u32,
    /// The highest number ever given: a new generation never takes over a group's old commits.
    pub last: u32,
    /// The generation that the last move went back from; nothing where it went forth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_from: Option<u32>,
    /// By number.
    pub generations: BTreeMap<u32, Generation>,
}

/// Why the pointer can't be changed so.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    /// No such generation.
    #[error(
        "{projection} has no generation {number}; `bowerbird projections list` shows those that there are"
    )]
    Unknown {
        /// The projection.
        projection: &'static str,
        /// What was asked for.
        number: u32,
    },
    /// Another one is being filled.
    #[error(
        "generation {number} of {projection} was begun with mapping {mapping}, which is not the \
         current one; drop it first: `bowerbird projections drop {projection} {number}`"
    )]
    Begun {
        /// The projection.
        projection: &'static str,
        /// The generation.
        number: u32,
        /// Its mapping.
        mapping: u32,
    },
    /// It must stand elsewhere for that.
    #[error("generation {number} of {projection} is {}; {needed}", state.as_str())]
    Standing {
        /// The projection.
        projection: &'static str,
        /// The generation.
        number: u32,
        /// Where it stands.
        state: Standing,
        /// What would be needed.
        needed: &'static str,
    },
    /// Nothing to switch to.
    #[error(
        "no generation of {projection} is ready; make one: `bowerbird projections rebuild {projection}`"
    )]
    NothingReady {
        /// The projection.
        projection: &'static str,
    },
    /// Nothing to go back to.
    #[error("no earlier generation of {projection} is kept, so there is nothing to go back to")]
    NothingKept {
        /// The projection.
        projection: &'static str,
    },
    /// This program is older than the generation.
    #[error(
        "generation {number} of {projection} is made by mapping {mapping}, which this version of \
         bowerbird does not have; use the version that made it, or go back by `bowerbird \
         projections rollback {projection}`"
    )]
    UnknownMapping {
        /// The projection.
        projection: &'static str,
        /// The generation.
        number: u32,
        /// Its mapping.
        mapping: u32,
    },
}

const NEEDS_READY: &str = "only a generation that is ready or kept can go live";
const NEEDS_FILLING: &str = "only one that is being filled can become ready";
const NEEDS_SPARE: &str = "what readers see can't be dropped; switch or roll back first";

impl Pointer {
    /// What holds while nothing was noted: the first generation is live, made by the first mapping.
    pub fn first(base: &Projection) -> Self {
        let generation = Generation {
            database: base.database.clone(),
            group: base.group.clone(),
            mapping: FIRST_MAPPING,
            state: Standing::Live,
            created: None,
            since: None,
        };
        let generations = BTreeMap::from([(1, generation)]);
        Self { live: 1, last: 1, back_from: None, generations }
    }

    /// A generation as a projection that can be filled and read.
    ///
    /// # Errors
    /// When there is no such generation, or `mappings` does not hold its mapping.
    pub fn projection(
        &self,
        base: &Projection,
        number: u32,
        mappings: &[Mapping],
    ) -> Result<Projection, Refusal> {
        let projection = base.name;
        let generation = self.get(base, number)?;
        let version = generation.mapping;
        let mapping = mappings.iter().find(|mapping| mapping.version() == version).copied();
        let mapping =
            mapping.ok_or(Refusal::UnknownMapping { projection, number, mapping: version })?;
        Ok(Projection {
            database: generation.database.clone(),
            group: generation.group.clone(),
            mapping,
            ..base.clone()
        })
    }

    /// The generation of this number.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, base: &Projection, number: u32) -> Result<&Generation, Refusal> {
        let unknown = Refusal::Unknown { projection: base.name, number };
        self.generations.get(&number).ok_or(unknown)
    }

    /// Begins a generation with `mapping`, or goes on with the one that was begun; says which. That
    /// may be ready already, where the rebuild that has `noted` it was ended before it could forget
    /// that. A new one's number is higher than `known`: the log may remember groups that the
    /// pointer, once lost with its store, does not.
    ///
    /// # Errors
    /// When the one that was begun has another mapping.
    pub fn begin(
        mut self,
        base: &Projection,
        mapping: &Mapping,
        known: u32,
        noted: Option<u32>,
        now: Timestamp,
    ) -> Result<(Self, u32), Refusal> {
        let is_done = |number: &u32| {
            self.generations
                .get(number)
                .is_some_and(|one| one.state == Standing::Ready && one.mapping == mapping.version())
        };
        if let Some(number) = noted.filter(is_done) {
            return Ok((self, number));
        }
        let filling = |generation: &Generation| generation.state == Standing::Filling;
        if let Some((&number, begun)) = self.generations.iter().find(|(_, one)| filling(one)) {
            let of = begun.mapping;
            if of != mapping.version() {
                return Err(Refusal::Begun { projection: base.name, number, mapping: of });
            }
            return Ok((self, number));
        }
        self.last = self.last.max(known) + 1;
        let Projection { database, group, .. } = base.clone().generation(self.last);
        let generation = Generation {
            database,
            group,
            mapping: mapping.version(),
            state: Standing::Filling,
            created: Some(now),
            since: Some(now),
        };
        self.generations.insert(self.last, generation);
        let number = self.last;
        Ok((self, number))
    }

    /// A generation that was filled and verified is ready.
    ///
    /// # Errors
    /// When it is not being filled.
    pub fn ready(
        mut self,
        base: &Projection,
        number: u32,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        match self.get(base, number)?.state {
            Standing::Ready => {}
            Standing::Filling => self.stand(number, Standing::Ready, now),
            state => return Err(refused(base, number, state, NEEDS_FILLING)),
        }
        Ok(self)
    }

    /// The generation that a switch goes to: `asked`, else the newest that is ready.
    ///
    /// # Errors
    /// When there is none, or it can't go live.
    pub fn candidate(&self, base: &Projection, asked: Option<u32>) -> Result<u32, Refusal> {
        let Some(number) = asked else {
            let mut ready = self.numbers(Standing::Ready);
            return ready.next_back().ok_or(Refusal::NothingReady { projection: base.name });
        };
        match self.get(base, number)?.state {
            Standing::Ready | Standing::Kept | Standing::Live => Ok(number),
            state => Err(refused(base, number, state, NEEDS_READY)),
        }
    }

    /// The generation that a rollback goes to: the one that was live before. Once gone back to it
    /// is this one until something is switched to: who says it again may not know that it is done.
    ///
    /// # Errors
    /// When none is kept.
    pub fn predecessor(&self, base: &Projection) -> Result<u32, Refusal> {
        if self.back_from.is_some() {
            return Ok(self.live);
        }
        let kept = self.numbers(Standing::Kept);
        let newest = kept.max_by_key(|number| self.generations[number].since);
        newest.ok_or(Refusal::NothingKept { projection: base.name })
    }

    /// A generation goes live, and the one that was is kept.
    ///
    /// # Errors
    /// When it is not ready.
    pub fn switch(
        mut self,
        base: &Projection,
        number: u32,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        let number = self.candidate(base, Some(number))?;
        if number != self.live {
            self.stand(self.live, Standing::Kept, now);
            self.stand(number, Standing::Live, now);
            self.live = number;
            self.back_from = None;
        }
        Ok(self)
    }

    /// The same, as a rollback.
    ///
    /// # Errors
    /// When it is not ready.
    pub fn back(self, base: &Projection, number: u32, now: Timestamp) -> Result<Self, Refusal> {
        let from = self.live;
        let mut after = self.switch(base, number, now)?;
        if after.live != from {
            after.back_from = Some(from);
        }
        Ok(after)
    }

    /// A generation is about to be removed; from here on nobody uses it.
    ///
    /// # Errors
    /// When it is live.
    pub fn dropping(
        mut self,
        base: &Projection,
        number: u32,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        match self.get(base, number)?.state {
            state @ Standing::Live => return Err(refused(base, number, state, NEEDS_SPARE)),
            Standing::Dropping => {}
            _ => self.stand(number, Standing::Dropping, now),
        }
        Ok(self)
    }

    /// A generation was removed.
    #[must_use]
    pub fn dropped(mut self, number: u32) -> Self {
        if number != self.live {
            self.generations.remove(&number);
        }
        self
    }

    fn numbers(&self, state: Standing) -> impl DoubleEndedIterator<Item = u32> {
        self.generations
            .iter()
            .filter(move |(_, generation)| generation.state == state)
            .map(|(number, _)| *number)
    }

    fn stand(&mut self, number: u32, state: Standing, now: Timestamp) {
        if let Some(generation) = self.generations.get_mut(&number) {
            generation.state = state;
            generation.since = Some(now);
        }
    }
}

fn refused(base: &Projection, number: u32, state: Standing, needed: &'static str) -> Refusal {
    Refusal::Standing { projection: base.name, number, state, needed }
}

#[cfg(test)]
mod tests;
