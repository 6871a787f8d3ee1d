//! Generations of projections: filled beside the live one, verified, switched to, gone back to,
//! dropped.
//!
//! A generation is a database, the group that fills it, and a mapping. The group writes to that
//! database and to no other, so no event can land in the wrong generation, and the group's commits
//! always say how far the database is. Which one is live is one document ([`mod@pointer`]); switching
//! is one write of it. `docs/adr/0003-generations.md` tells why no step in between can lose anything.

pub mod compare;
pub mod fill;
pub mod follow;
pub mod pointer;
pub mod rebuild;
pub mod switch;

use bowerbird_store::DocumentStore;
use jiff::Timestamp;

use crate::config::Projection;
use crate::error::SinkError;
use crate::mapping::Mapping;
use crate::meta::{Meta, Noted};
pub use pointer::{Generation, Pointer, Refusal, Standing};

/// The pointers, and the mappings that this program has.
#[derive(Clone, Debug)]
pub struct Generations<S> {
    meta: Meta<S>,
    mappings: Vec<Mapping>,
}

impl<S: DocumentStore> Generations<S> {
    /// The generations noted in `meta`, with the mappings that are known here.
    pub fn new(meta: Meta<S>, mappings: Vec<Mapping>) -> Self {
        Self { meta, mappings }
    }

    /// Where they are noted.
    pub fn meta(&self) -> &Meta<S> {
        &self.meta
    }

    /// The pointer of a projection.
    ///
    /// # Errors
    /// When the store can't be asked.
    pub async fn pointer(&self, base: &Projection) -> Result<Pointer, SinkError> {
        let noted = self.meta.read(&note(base)).await?;
        Ok(noted.map_or_else(|| Pointer::first(base), |Noted { value, .. }| value))
    }

    /// The same, without trying again when the store can't be asked just now.
    ///
    /// # Errors
    /// When the store can't be asked.
    pub async fn look(&self, base: &Projection) -> Result<Pointer, SinkError> {
        let noted = self.meta.look(&note(base)).await?;
        Ok(noted.map_or_else(|| Pointer::first(base), |Noted { value, .. }| value))
    }

    /// The live generation of a projection.
    ///
    /// # Errors
    /// When the store can't be asked, or this program does not have its mapping.
    pub async fn live(&self, base: &Projection) -> Result<Projection, SinkError> {
        let pointer = self.pointer(base).await?;
        self.projection(base, &pointer, pointer.live)
    }

    /// The live generation of each projection.
    ///
    /// # Errors
    /// As [`live`](Self::live).
    pub async fn all_live(&self) -> Result<Vec<Projection>, SinkError> {
        let mut all = Vec::new();
        for base in Projection::all() {
            all.push(self.live(&base).await?);
        }
        Ok(all)
    }

    /// The database that readers mean by `name`: the live generation's where it names a projection.
    ///
    /// # Errors
    /// When the store can't be asked.
    pub async fn database(&self, name: &str) -> Result<String, SinkError> {
        let Some(base) = Projection::all().into_iter().find(|base| base.name == name) else {
            return Ok(name.to_owned());
        };
        let pointer = self.pointer(&base).await?;
        Ok(pointer.get(&base, pointer.live)?.database.clone())
    }

    /// How many documents the live generation has; none where there is no database yet.
    ///
    /// # Errors
    /// When the store can't be asked.
    pub async fn documents(&self, name: &str) -> Result<u64, SinkError> {
        let database = self.database(name).await?;
        let found = self.meta.store().database(&database).await?;
        Ok(found.map_or(0, |found| found.documents))
    }

    /// A generation as a projection.
    ///
    /// # Errors
    /// When there is none of this number, or this program does not have its mapping.
    pub fn projection(
        &self,
        base: &Projection,
        pointer: &Pointer,
        number: u32,
    ) -> Result<Projection, SinkError> {
        Ok(pointer.projection(base, number, &self.mappings)?)
    }

    /// Changes the pointer by one write over what was read: of two who change it at the same time
    /// one is refused, and none of the two changes is half done.
    ///
    /// # Errors
    /// [`SinkError::Contended`], what `change` says, or when the store can't be asked.
    pub async fn change<T>(
        &self,
        base: &Projection,
        change: impl FnOnce(Pointer, Timestamp) -> Result<(Pointer, T), Refusal>,
    ) -> Result<(Pointer, T), SinkError> {
        let noted: Option<Noted<Pointer>> = self.meta.read(&note(base)).await?;
        let (before, revision) = match noted {
            Some(Noted { value, revision }) => (value, Some(revision)),
            None => (Pointer::first(base), None),
        };
        let (after, more) = change(before.clone(), Timestamp::now())?;
        if after != before {
            self.meta.write(&note(base), revision.as_ref(), &after).await?;
        }
        Ok((after, more))
    }
}

/// The id of the note that holds the pointer.
fn note(base: &Projection) -> String {
    format!("projection:{}", base.name)
}
