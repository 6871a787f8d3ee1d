//! Two generations side by side: how many documents, and whether they say the same.

use bowerbird_store::{Document, DocumentStore, StoreError};
use serde::Serialize;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use crate::document;
use crate::error::SinkError;
use crate::summary::summarised;

/// How many documents are read at a time.
const PAGE: usize = 1_000;
/// Into how many buckets ids are spread.
const BUCKETS: usize = 16;
/// The most differing ids that are kept to be looked at again.
const KEPT: usize = 10_000;

/// The documents of one bucket in one generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Bucket {
    /// How many.
    pub documents: u64,
    /// The sum of their checksums (wrapping).
    pub checksum: u64,
}

impl Bucket {
    fn add(&mut self, checksum: u64) {
        self.documents += 1;
        self.checksum = self.checksum.wrapping_add(checksum);
    }
}

/// Two generations side by side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Documents of the live one.
    pub live: u64,
    /// Documents of the new one.
    pub new: u64,
    /// Only in the live one.
    pub only_live: u64,
    /// Only in the new one.
    pub only_new: u64,
    /// In both, and saying something else: of content only where both have the same mapping.
    pub differ: u64,
    /// Whether content was compared too.
    pub content: bool,
    /// The live one's documents by bucket of ids,
    pub live_buckets: Vec<Bucket>,
    /// and the new one's.
    pub new_buckets: Vec<Bucket>,
    /// Ids that differ, the first of them.
    #[serde(skip)]
    pub ids: Vec<String>,
}

impl Comparison {
    /// How many documents differ in any way.
    pub fn differences(&self) -> u64 {
        self.only_live + self.only_new + self.differ
    }

    /// How many buckets have another checksum.
    pub fn buckets_differ(&self) -> usize {
        self.live_buckets.iter().zip(&self.new_buckets).filter(|(live, new)| live != new).count()
    }

    fn differs(&mut self, id: &str) {
        if self.ids.len() < KEPT {
            self.ids.push(id.to_owned());
        }
    }

    fn pair(&mut self, id: &str, live: Option<u64>, new: Option<u64>) {
        match (live, new) {
            (Some(live), Some(new)) if live == new => return,
            (Some(_), Some(_)) => self.differ += 1,
            (Some(_), None) => self.only_live += 1,
            (None, Some(_)) => self.only_new += 1,
            (None, None) => return,
        }
        self.differs(id);
    }
}

/// The checksum of what a document says: without where its event stands and which copy of it that is,
/// and of its content only with `content`.
fn checksum(document: &Document, content: bool) -> u64 {
    let mut hash = Xxh3Default::new();
    hash.update(document.id.as_bytes());
    match document::read(document) {
        Ok(state) => {
            if let Some(seen) = &state.observed {
                hash.update(&seen.stamp.time.as_nanosecond().to_be_bytes());
                hash.update(String::from(seen.stamp.hash).as_bytes());
                if content {
                    hash.update(summarised(&seen.content).0.as_bytes());
                }
            }
            // A map of plain values, in its order: it can be told.
            hash.update(serde_json::to_string(&state.notices).unwrap_or_default().as_bytes());
        }
        // Not one of ours: the whole of it.
        Err(_) => hash.update(document.body.get().as_bytes()),
    }
    hash.digest()
}

fn bucket(id: &str) -> usize {
    xxh3_64(id.as_bytes()) as usize % BUCKETS
}

/// Reads two databases in the order of their ids; `content`: compare what the mapping made, too.
/// `looked_at` is told how many documents were read.
///
/// # Errors
/// When the store can't be read.
pub async fn compare<S: DocumentStore>(
    store: &S,
    live: &str,
    new: &str,
    content: bool,
    mut looked_at: impl FnMut(u64),
) -> Result<Comparison, SinkError> {
    let mut comparison = Comparison {
        content,
        live_buckets: vec![Bucket::default(); BUCKETS],
        new_buckets: vec![Bucket::default(); BUCKETS],
        ..Comparison::default()
    };
    let mut ours = Pages::new(store, live);
    let mut theirs = Pages::new(store, new);
    loop {
        let (left, right) = (ours.peek().await?, theirs.peek().await?);
        let order = match (&left, &right) {
            (None, None) => return Ok(comparison),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(left), Some(right)) => left.cmp(right),
        };
        let left = if order.is_le() { ours.next() } else { None };
        let right = if order.is_ge() { theirs.next() } else { None };
        let Some(id) = left.as_ref().or(right.as_ref()).map(|document| document.id.clone()) else {
            return Ok(comparison);
        };
        let left = left.map(|document| checksum(&document, content));
        let right = right.map(|document| checksum(&document, content));
        if let Some(sum) = left {
            comparison.live += 1;
            comparison.live_buckets[bucket(&id)].add(sum);
        }
        if let Some(sum) = right {
            comparison.new += 1;
            comparison.new_buckets[bucket(&id)].add(sum);
        }
        comparison.pair(&id, left, right);
        looked_at(comparison.live + comparison.new);
    }
}

/// Looks at the differing documents again: what is left of the differences once both have caught
/// up. Where more differ than were kept, nothing is looked at again.
///
/// # Errors
/// When the store can't be read.
pub async fn again<S: DocumentStore>(
    store: &S,
    live: &str,
    new: &str,
    before: Comparison,
) -> Result<Comparison, SinkError> {
    if before.differences() > before.ids.len() as u64 {
        return Ok(before);
    }
    let content = before.content;
    let mut comparison = Comparison { only_live: 0, only_new: 0, differ: 0, ..before };
    let ids = std::mem::take(&mut comparison.ids);
    for ids in ids.chunks(PAGE) {
        let ours = fetch(store, live, ids).await?;
        let theirs = fetch(store, new, ids).await?;
        for (id, (ours, theirs)) in ids.iter().zip(ours.into_iter().zip(theirs)) {
            let sum = |document: Option<Document>| document.map(|one| checksum(&one, content));
            comparison.pair(id, sum(ours), sum(theirs));
        }
    }
    Ok(comparison)
}

/// A database that is not there holds none of them.
async fn fetch<S: DocumentStore>(
    store: &S,
    database: &str,
    ids: &[String],
) -> Result<Vec<Option<Document>>, SinkError> {
    match store.fetch(database, ids).await {
        Err(StoreError::MissingDatabase { .. }) => Ok(vec![None; ids.len()]),
        found => Ok(found?),
    }
}

/// The documents of a database, page by page.
struct Pages<'a, S> {
    store: &'a S,
    database: &'a str,
    page: std::iter::Peekable<std::vec::IntoIter<Document>>,
    after: Option<String>,
    ended: bool,
}

impl<'a, S: DocumentStore> Pages<'a, S> {
    fn new(store: &'a S, database: &'a str) -> Self {
        Self { store, database, page: Vec::new().into_iter().peekable(), after: None, ended: false }
    }

    /// The id of the next document.
    async fn peek(&mut self) -> Result<Option<String>, SinkError> {
        if self.page.peek().is_none() && !self.ended {
            let page = match self.store.scan(self.database, self.after.as_deref(), PAGE).await {
                Err(StoreError::MissingDatabase { .. }) => Vec::new(),
                page => page?,
            };
            self.ended = page.is_empty();
            if let Some(last) = page.last() {
                self.after = Some(last.id.clone());
            }
            self.page = page.into_iter().peekable();
        }
        Ok(self.page.peek().map(|document| document.id.clone()))
    }

    fn next(&mut self) -> Option<Document> {
        self.page.next()
    }
}
