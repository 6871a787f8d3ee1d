//! How many documents there are, the pipeline's own aside.

use bowerbird_mapreduce::Design;
use bowerbird_sink::{Generations, SinkError};
use bowerbird_store::{AnyStore, DocumentStore as _, StoreError};

/// Counts documents without design documents.
#[derive(Clone, Debug)]
pub struct Counter {
    store: AnyStore,
    generations: Generations<AnyStore>,
    designs: Vec<(String, String)>,
}

impl Counter {
    /// A counter for a store into which these are deployed.
    pub fn new(store: AnyStore, generations: Generations<AnyStore>, designs: &[Design]) -> Self {
        let ids = designs.iter().map(|design| (design.database.clone(), design.id()));
        Self { store, generations, designs: ids.collect() }
    }

    /// The documents of a projection's live generation; none where there is no database yet.
    ///
    /// # Errors
    /// When the store can't be asked.
    pub async fn documents(&self, projection: &str) -> Result<u64, SinkError> {
        let database = self.generations.database(projection).await?;
        Ok(self.of(projection, &database).await?.unwrap_or_default())
    }

    /// The documents of one of a projection's generations; nothing where there is no database.
    ///
    /// # Errors
    /// When the store can't be asked.
    pub async fn of(&self, projection: &str, database: &str) -> Result<Option<u64>, StoreError> {
        let Some(found) = self.store.database(database).await? else { return Ok(None) };
        let designs = self.designs.iter().filter(|(of, _)| of == projection);
        let ids: Vec<String> = designs.map(|(_, id)| id.clone()).collect();
        let deployed = self.store.fetch(database, &ids).await?.into_iter().flatten().count();
        Ok(Some(found.documents.saturating_sub(deployed as u64)))
    }
}
