//! What the pipeline notes about itself, in a database of its own: which generation of a
//! projection is live, and which long jobs are under way.
//!
//! Every document here is changed over the revision that was read, so of two who want to change
//! it one loses, and is told so.

pub mod job;
pub mod lease;

use std::time::Duration;

use bowerbird_store::{Body, Document, DocumentStore, Revision, StoreError, WriteOutcome};
use bowerbird_stream::retry::{RetryPolicy, Verdict, retry};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::SinkError;

/// The database.
pub const DATABASE: &str = "bowerbird";

/// The note that says who redrives dead letters: two at the same time would send the same ones twice.
pub const REDRIVE: &str = "dead-letters:redrive";

/// How long a store that can't be asked just now is asked again.
const PATIENCE: Duration = Duration::from_secs(30);

/// A note as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted<T> {
    /// What it says.
    pub value: T,
    /// The revision that a change must name.
    pub revision: Revision,
}

/// The database of notes.
#[derive(Clone, Debug)]
pub struct Meta<S> {
    store: S,
    may_create: bool,
}

impl<S: DocumentStore> Meta<S> {
    /// Notes in `store`; `may_create`: make the database when it is missing.
    pub fn new(store: S, may_create: bool) -> Self {
        Self { store, may_create }
    }

    /// The store that they are in.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// Reads a note; nothing when there is none.
    ///
    /// # Errors
    /// When the store can't be asked, or the note is not what is expected.
    pub async fn read<T: DeserializeOwned>(&self, id: &str) -> Result<Option<Noted<T>>, SinkError> {
        patiently(|| self.look(id)).await
    }

    /// Reads a note, without trying again.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn look<T: DeserializeOwned>(&self, id: &str) -> Result<Option<Noted<T>>, SinkError> {
        let found = match self.store.fetch(DATABASE, &[id.to_owned()]).await {
            Ok(found) => found.into_iter().next().flatten(),
            Err(StoreError::MissingDatabase { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        found.map(|document| noted(&document)).transpose()
    }

    /// Every note whose id begins with `prefix`, with its id.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn list<T: DeserializeOwned>(
        &self,
        prefix: &str,
    ) -> Result<Vec<(String, Noted<T>)>, SinkError> {
        const PAGE: usize = 100;
        let mut all = Vec::new();
        // The prefix itself is no id, and every id that begins with it comes after it.
        let mut after = prefix.to_owned();
        loop {
            let page = match self.store.scan(DATABASE, Some(&after), PAGE).await {
                Ok(page) => page,
                Err(StoreError::MissingDatabase { .. }) => return Ok(all),
                Err(error) => return Err(error.into()),
            };
            let Some(last) = page.last() else { return Ok(all) };
            after.clone_from(&last.id);
            for document in page {
                if !document.id.starts_with(prefix) {
                    return Ok(all);
                }
                all.push((document.id.clone(), noted(&document)?));
            }
        }
    }

    /// Writes a note over `revision`, or a new one without; says under which revision it stands.
    ///
    /// # Errors
    /// [`SinkError::Contended`] when somebody else was faster, or when the store can't be asked.
    pub async fn write<T: Serialize>(
        &self,
        id: &str,
        revision: Option<&Revision>,
        value: &T,
    ) -> Result<Revision, SinkError> {
        let body = Body::of(value)
            .map_err(|error| SinkError::Render { id: id.to_owned(), error: error.to_string() })?;
        let document = Document { id: id.to_owned(), revision: revision.cloned(), body };
        patiently(|| self.put(&document)).await
    }

    /// Removes a note over the revision that was read.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn remove(&self, id: &str, revision: Revision) -> Result<(), SinkError> {
        let document = Document::tombstone(id, revision)
            .map_err(|error| SinkError::Render { id: id.to_owned(), error: error.to_string() })?;
        patiently(|| self.put(&document)).await.map(|_| ())
    }

    async fn put(&self, document: &Document) -> Result<Revision, SinkError> {
        let documents = std::slice::from_ref(document);
        let rows = match self.store.write(DATABASE, documents).await {
            Err(StoreError::MissingDatabase { .. }) if self.may_create => {
                self.store.create_database(DATABASE).await?;
                self.store.write(DATABASE, documents).await?
            }
            rows => rows?,
        };
        match rows.into_iter().next() {
            Some(WriteOutcome::Written(revision)) => Ok(revision),
            Some(WriteOutcome::Failed { error, reason }) => {
                let address = self.store.address();
                let reason = format!("{error}: {reason}");
                Err(StoreError::Busy { address, reason, retry_after: None }.into())
            }
            Some(WriteOutcome::Refused { error, reason }) => {
                let address = self.store.address();
                Err(StoreError::Rejected { address, reason: format!("{error}: {reason}") }.into())
            }
            Some(WriteOutcome::Conflict) | None => self.was_it_us(document).await,
        }
    }

    /// After a conflict: a write whose answer got lost meets itself when it is tried again.
    async fn was_it_us(&self, document: &Document) -> Result<Revision, SinkError> {
        let contended = || SinkError::Contended { note: document.id.clone() };
        let there = self.store.fetch(DATABASE, std::slice::from_ref(&document.id)).await?;
        let there = there.into_iter().next().flatten().ok_or_else(contended)?;
        let parse = |body: &Body| serde_json::from_str::<serde_json::Value>(body.get()).ok();
        match there.revision {
            Some(revision) if parse(&there.body) == parse(&document.body) => Ok(revision),
            _ => Err(contended()),
        }
    }
}

fn noted<T: DeserializeOwned>(document: &Document) -> Result<Noted<T>, SinkError> {
    let unreadable = |error: String| SinkError::Unreadable { note: document.id.clone(), error };
    let value =
        serde_json::from_str(document.body.get()).map_err(|error| unreadable(error.to_string()))?;
    let revision = document.revision.clone();
    let revision = revision.ok_or_else(|| unreadable("it has no revision".to_owned()))?;
    Ok(Noted { value, revision })
}

/// Waits out what passes, within bounds.
async fn patiently<T, F: Future<Output = Result<T, SinkError>>>(
    ask: impl FnMut() -> F,
) -> Result<T, SinkError> {
    let policy = RetryPolicy {
        max: Duration::from_secs(2),
        max_elapsed: Some(PATIENCE),
        ..RetryPolicy::default()
    };
    let judge = |error: &SinkError| match error {
        SinkError::Store(error) if error.is_transient() => Verdict::Again { after: None },
        _ => Verdict::GiveUp,
    };
    retry(&policy, judge, |_, _| {}, ask).await
}
