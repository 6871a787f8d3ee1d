//! Walks expectations and documents side by side, both in the order of their ids' bytes.

use std::collections::VecDeque;

use bowerbird_store::{Document, DocumentStore};

use super::compare::{Judged, judge, missing};
use super::expect::{Judging, joined};
use super::runs::{Expected, Merged};
use super::scratch::Scratch;
use super::{Kind, Run};
use crate::document;
use crate::error::SinkError;
use crate::merge::State;
use crate::summary::summarised;

/// How many documents or expectations are compared at a time.
const PAGE: usize = 1_000;
/// After so many pages is noted how far it has come.
const NOTED_EVERY: u32 = 50;

/// Compares what is expected with the documents.
pub(super) async fn compare<S: DocumentStore>(
    store: &S,
    judging: &mut Judging,
    scratch: &Scratch,
    run: &mut Run,
    progress: &mut (impl FnMut(u64) + Send),
) -> Result<(), SinkError> {
    let database = judging.projection.database.clone();
    let exists = store.database(&database).await?.is_some();
    let merged = scratch.merged(judging.compared.clone()).await?;
    let mut expected = Expectations { merged: Some(merged), page: VecDeque::new() };
    let mut pages = 0;
    let mut documents = match exists {
        true => store.scan(&database, judging.compared.as_deref(), PAGE).await?,
        false => Vec::new(),
    };
    while let Some(last) = documents.last().map(|document| document.id.clone()) {
        // One page is read while the next one is fetched.
        let sample = judging.sample;
        let reading = tokio::task::spawn_blocking(move || {
            documents
                .into_iter()
                .filter(|document| sample.has(&document.id))
                .map(|document| (said(&document), document.id))
                .collect::<Vec<_>>()
        });
        let (read, next) = tokio::join!(reading, store.scan(&database, Some(&last), PAGE));
        documents = next?;
        for (there, id) in joined(read)? {
            run.counts.documents += 1;
            // Everything expected before this document has none.
            while let Some((id, want)) = expected.next_if(|next| next < id.as_str()).await? {
                absent(id, &want, run);
            }
            let want = expected.next_if(|next| next == id).await?.map(|(_, want)| want);
            if let Judged::Differs(kind, detail) = judge(&there, want.as_ref(), &judging.young) {
                run.differs(kind, id, detail);
            }
        }
        progress(run.counts.events + run.counts.documents);
        pages += 1;
        if pages % NOTED_EVERY == 0 {
            // What is expected before it and has no document belongs to the part that is done.
            while let Some((id, want)) = expected.next_if(|next| next <= last.as_str()).await? {
                absent(id, &want, run);
            }
            judging.compared = Some(last);
            judging.note(scratch, run)?;
        }
    }
    while let Some((id, want)) = expected.next_if(|_| true).await? {
        absent(id, &want, run);
    }
    Ok(())
}

/// What a document says, or why it is not one of ours; a summary stands for its content.
fn said(document: &Document) -> Result<State, String> {
    let mut state = document::read(document).map_err(|foreign| foreign.to_string())?;
    if let Some(seen) = &mut state.observed {
        seen.content = summarised(&seen.content);
    }
    Ok(state)
}

/// What is expected, a page of it in memory.
struct Expectations {
    /// Nothing when a page is being read or the end was reached.
    merged: Option<Merged>,
    page: VecDeque<(String, Expected)>,
}

impl Expectations {
    /// The next one if its id is as asked.
    async fn next_if(
        &mut self,
        asked: impl Fn(&str) -> bool,
    ) -> Result<Option<(String, Expected)>, SinkError> {
        if self.page.is_empty()
            && let Some(mut merged) = self.merged.take()
        {
            let read = tokio::task::spawn_blocking(move || {
                let mut page = VecDeque::with_capacity(PAGE);
                while page.len() < PAGE {
                    match merged.next_entry()? {
                        Some(entry) => page.push_back(entry),
                        None => return Ok((page, None)),
                    }
                }
                Ok((page, Some(merged)))
            });
            let read: std::io::Result<_> = joined(read.await)?;
            (self.page, self.merged) =
                read.map_err(|error| SinkError::Scratch(error.to_string()))?;
        }
        let wanted = self.page.front().is_some_and(|(id, _)| asked(id));
        Ok(if wanted { self.page.pop_front() } else { None })
    }
}

fn absent(id: String, want: &Expected, run: &mut Run) {
    if let Some(detail) = missing(want) {
        run.differs(Kind::Missing, id, detail);
    }
}
