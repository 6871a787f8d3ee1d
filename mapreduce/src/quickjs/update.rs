//! Bringing an index up to what the store holds: changes → maps → rows, one page ahead.

use std::sync::Arc;
use std::time::Instant;

use bowerbird_store::{Change, Document, DocumentStore, StoreError, body};

use crate::collation;
use crate::design::Design;
use crate::error::ViewError;
use crate::metrics;
use crate::quickjs::engine::{Emitted, Engine, Failure, Input, Program};
use crate::quickjs::index::{Index, IndexFile, Mapped, Name, reset, store};
use crate::views::Progress;

/// How many changes are mapped and committed at once.
const PAGE: usize = 500;

/// An index and what it is made with.
pub(super) struct Update<'a, S> {
    pub(super) documents: &'a S,
    pub(super) engine: &'a Engine,
    pub(super) file: &'a IndexFile,
    pub(super) name: &'a Name,
    pub(super) design: &'a Design,
    /// When it must be done, if ever.
    pub(super) deadline: Option<Instant>,
    pub(super) progress: &'a (dyn Fn(Progress) + Send + Sync),
}

/// A page of changes, mapped.
struct Page {
    mapped: Vec<Mapped>,
    last: String,
    more: bool,
    errors: u64,
}

/// How far paging came.
enum Forward {
    /// Nothing was waiting any more.
    Level(Index),
    /// The index is not where we left it.
    Elsewhere,
    /// The time is up.
    Late,
}

impl<S: DocumentStore> Update<'_, S> {
    /// Brings the index forward until nothing is waiting; the index as it then stands, or nothing
    /// when there was no time left. What was done stays done.
    pub(super) async fn run(&self) -> Result<Option<Index>, ViewError> {
        let program = Arc::new(maps(self.design));
        let total = self.documents.database(&self.name.database).await?.map(|info| info.documents);
        let mut done = 0;
        loop {
            let index = self.find().await?;
            match self.forward(&program, index, &mut done, total).await {
                Ok(Forward::Level(index)) => return Ok(Some(index)),
                Ok(Forward::Late) => return Ok(None),
                // Another process works on it too: go on from where it stands now.
                Ok(Forward::Elsewhere) => {}
                Err(ViewError::Store(StoreError::StaleSequence { .. })) => {
                    let index = self.find().await?;
                    self.file.with(move |connection| reset(connection, &index)).await?;
                }
                Err(error) => return Err(error),
            }
            if self.is_late() {
                return Ok(None);
            }
        }
    }

    /// Pages forward from where the index stands. While one page is stored, the next is mapped.
    async fn forward(
        &self,
        program: &Arc<Program>,
        mut index: Index,
        done: &mut u64,
        total: Option<u64>,
    ) -> Result<Forward, ViewError> {
        let mut ready = Some(self.page(program, index.since.as_deref()).await?);
        while let Some(page) = ready.take() {
            let Page { mapped, last, more, errors } = page;
            let changed = !mapped.is_empty() || index.since.as_deref() != Some(&*last);
            if !changed {
                return Ok(Forward::Level(index));
            }
            let documents = mapped.len() as u64;
            let from = last.clone();
            let stored =
                self.file.with(move |connection| store(connection, &index, &last, &mapped));
            let following = async {
                if more { self.page(program, Some(&from)).await.map(Some) } else { Ok(None) }
            };
            let (stored, following) = tokio::join!(stored, following);
            let Some(next) = stored? else { return Ok(Forward::Elsewhere) };
            index = next;
            *done += documents;
            self.tell(documents, errors, Progress { done: *done, total });
            ready = following?;
            if ready.is_some() && self.is_late() {
                return Ok(Forward::Late);
            }
        }
        Ok(Forward::Level(index))
    }

    async fn find(&self) -> Result<Index, ViewError> {
        let name = self.name.clone();
        self.file.with(move |connection| Index::find(connection, &name)).await
    }

    async fn page(&self, program: &Arc<Program>, since: Option<&str>) -> Result<Page, ViewError> {
        let changes = self.documents.changes(&self.name.database, since, PAGE).await?;
        let mut ids = Vec::with_capacity(changes.rows.len());
        let mut texts = Vec::with_capacity(changes.rows.len());
        for Change { id, document } in changes.rows {
            // What was deleted has no rows; it is in the page so that its old ones go.
            if let Some(document) = &document {
                texts.push(Input { id: id.clone(), json: text(document)? });
            }
            ids.push((id, document.is_some()));
        }
        let emitted = self
            .engine
            .map(Arc::clone(program), texts)
            .await
            .map_err(|failure| in_design(failure, &self.design.name))?;
        let (mut emitted, mut errors) = (emitted.into_iter(), 0);
        let mut mapped = Vec::with_capacity(ids.len());
        for (id, lives) in ids {
            let of_document = if lives { emitted.next().unwrap_or_default() } else { Vec::new() };
            let rows = self.rows(program, &id, of_document, &mut errors);
            mapped.push(Mapped { id, rows });
        }
        Ok(Page { mapped, last: changes.last, more: changes.more, errors })
    }

    /// The rows of a document. A view whose map failed on it has none, as in `CouchDB`.
    fn rows(
        &self,
        program: &Program,
        id: &str,
        emitted: Vec<Emitted>,
        errors: &mut u64,
    ) -> Vec<(u32, Vec<u8>, String, String)> {
        let mut rows = Vec::new();
        for ((view, function), emitted) in (0_u32..).zip(&program.names).zip(emitted) {
            let keyed = emitted.and_then(|pairs| {
                let keyed = pairs.into_iter().map(|(key_json, value)| {
                    let key = collation::of_text(&key_json).map_err(|error| error.to_string())?;
                    Ok((view, key, key_json, value))
                });
                keyed.collect::<Result<Vec<_>, String>>()
            });
            match keyed {
                Ok(keyed) => rows.extend(keyed),
                Err(error) => {
                    *errors += 1;
                    let design = &self.design.name;
                    tracing::debug!(design, function, id, error, "a map failed on a document");
                }
            }
        }
        rows
    }

    fn tell(&self, documents: u64, errors: u64, progress: Progress) {
        ::metrics::counter!(metrics::MAPPED).increment(documents);
        if errors > 0 {
            ::metrics::counter!(metrics::MAP_ERRORS).increment(errors);
            let Name { database, design, .. } = self.name;
            tracing::warn!(
                database,
                design,
                errors,
                "maps failed on documents, which are left out"
            );
        }
        (self.progress)(progress);
    }

    fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

/// The program of a design's maps, in the order of the views' names.
pub(super) fn maps(design: &Design) -> Program {
    Program {
        names: design.views.keys().map(|view| format!("map of view {view}")).collect(),
        sources: design.views.values().map(|view| view.map.clone()).collect(),
    }
}

/// A failed function with its design.
pub(super) fn in_design(failure: Failure, design: &str) -> ViewError {
    let Failure { function, reason } = failure;
    ViewError::Script { design: design.to_owned(), function, reason }
}

/// The document as a map function gets it.
fn text(document: &Document) -> Result<String, ViewError> {
    let mut out = Vec::with_capacity(document.size() + 64);
    body::splice(document, &mut out);
    // Spliced of texts; it is one.
    String::from_utf8(out).map_err(|error| ViewError::Query(error.to_string()))
}
