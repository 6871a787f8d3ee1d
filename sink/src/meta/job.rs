//! A long job as a note: what it is, how far it is, and who does it. After `kill -9` whoever
//! starts the same job goes on from there.

use bowerbird_store::{DocumentStore, Revision};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::lease::{Held, Holder, Lease, RENEWED_EVERY};
use super::{Meta, Noted};
use crate::error::SinkError;

/// How often a job is claimed that somebody else changes at the same time.
const TRIES: usize = 3;

/// Who does jobs, and how it is known whether another process lives.
#[derive(Clone, Debug)]
pub struct Worker {
    /// This process.
    pub holder: Holder,
    /// Whether a process of this machine is alive.
    pub lives: fn(u32) -> bool,
}

/// A job's note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note<T> {
    /// Who does it; nobody when it is done or was interrupted in an orderly way.
    pub lease: Option<Lease>,
    /// What it is and how far it is.
    pub work: T,
}

/// A job that is ours.
#[derive(Debug)]
pub struct Job<S, T> {
    meta: Meta<S>,
    id: String,
    revision: Revision,
    lease: Lease,
    /// What it is and how far it is; [`save`](Self::save) notes it.
    pub work: T,
}

impl<S: DocumentStore, T: Serialize + DeserializeOwned> Job<S, T> {
    /// Takes the job `id`, unless somebody else is at it. `begin` is told what was noted of it
    /// before and says what it is now: the same when it shall go on.
    ///
    /// # Errors
    /// [`SinkError::Held`] and [`SinkError::Contended`] when somebody else is at it; what `begin`
    /// says; or when the store can't be asked.
    pub async fn claim(
        meta: &Meta<S>,
        id: String,
        worker: &Worker,
        mut begin: impl AsyncFnMut(Option<T>) -> Result<T, SinkError>,
    ) -> Result<Self, SinkError> {
        let mut again = 1..TRIES;
        loop {
            match Self::try_claim(meta, id.clone(), worker, &mut begin).await {
                // Who was faster may be at it now; or it was the last write of one that was killed.
                Err(SinkError::Contended { .. }) if again.next().is_some() => {}
                outcome => return outcome,
            }
        }
    }

    async fn try_claim(
        meta: &Meta<S>,
        id: String,
        worker: &Worker,
        begin: &mut impl AsyncFnMut(Option<T>) -> Result<T, SinkError>,
    ) -> Result<Self, SinkError> {
        let before: Option<Noted<Note<T>>> = meta.read(&id).await?;
        let (revision, noted) = match before {
            Some(Noted { value, revision }) => (Some(revision), Some(value)),
            None => (None, None),
        };
        let held = noted.as_ref().and_then(|note| note.lease.as_ref());
        let now = Timestamp::now();
        if let Err(Held(lease)) = Lease::claim(held, &worker.holder, worker.lives, now) {
            let Lease { holder, until } = lease;
            return Err(SinkError::Held { job: id, holder: holder.to_string(), until });
        }
        let work = begin(noted.map(|note| note.work)).await?;
        let lease = Lease::begin(worker.holder.clone(), Timestamp::now());
        let note = Note { lease: Some(lease), work };
        let revision = meta.write(&id, revision.as_ref(), &note).await?;
        let Note { lease, work } = note;
        let lease = lease.unwrap_or_else(|| Lease::begin(worker.holder.clone(), now));
        Ok(Self { meta: meta.clone(), id, revision, lease, work })
    }

    /// Does work while nobody else does the same, and notes by `note` what it gave. Gives that, and
    /// whether it could be noted: the work is done in any case, and its lease runs out by itself.
    ///
    /// # Errors
    /// As [`claim`](Self::claim); or when the lease is lost, and the work left undone.
    pub async fn alone<R>(
        meta: &Meta<S>,
        id: &str,
        worker: &Worker,
        work: impl Future<Output = R>,
        note: impl FnOnce(&mut T, &R),
    ) -> Result<(R, Result<(), SinkError>), SinkError>
    where
        T: Default,
    {
        let begin = async |before: Option<T>| Ok(before.unwrap_or_default());
        let mut job = Self::claim(meta, id.to_owned(), worker, begin).await?;
        let done = job.keep_while(work).await?;
        note(&mut job.work, &done);
        let noted = job.release().await;
        Ok((done, noted.map(drop)))
    }

    /// Does work while nobody else does the same, and notes what it has done; where it fails, what was
    /// noted before stands.
    ///
    /// # Errors
    /// As [`claim`](Self::claim), and the work's own.
    pub async fn alone_noting(
        meta: &Meta<S>,
        id: &str,
        worker: &Worker,
        work: impl Future<Output = Result<T, SinkError>>,
    ) -> Result<T, SinkError>
    where
        T: Clone + Default,
    {
        let note = |noted: &mut T, done: &Result<T, _>| {
            if let Ok(done) = done {
                noted.clone_from(done);
            }
        };
        let (done, noted) = Self::alone(meta, id, worker, work, note).await?;
        noted.and(done)
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether the lease still holds; without it nothing new may be begun.
    pub fn holds(&self) -> bool {
        self.lease.holds(Timestamp::now())
    }

    /// Notes how far it is, and renews the lease.
    ///
    /// # Errors
    /// [`SinkError::Contended`] when somebody else has taken it over, or when the store can't be
    /// asked.
    pub async fn save(&mut self) -> Result<(), SinkError> {
        self.lease = Lease::begin(self.lease.holder.clone(), Timestamp::now());
        self.put(Some(self.lease.clone())).await
    }

    /// Renews the lease when it is time.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub async fn keep(&mut self) -> Result<(), SinkError> {
        match self.lease.is_due(Timestamp::now()) {
            true => self.save().await,
            false => Ok(()),
        }
    }

    /// Does work that takes its time, and renews the lease meanwhile.
    ///
    /// # Errors
    /// When the lease is lost; the work is then left undone.
    pub async fn keep_while<R>(&mut self, work: impl Future<Output = R>) -> Result<R, SinkError> {
        let mut work = Box::pin(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                () = tokio::time::sleep(RENEWED_EVERY) => self.save().await?,
            }
        }
    }

    /// Notes how far it is and lets it go, so that it can be taken at once.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub async fn release(mut self) -> Result<T, SinkError> {
        self.put(None).await?;
        Ok(self.work)
    }

    /// Forgets it: nothing is left to go on with.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub async fn forget(self) -> Result<T, SinkError> {
        self.meta.remove(&self.id, self.revision).await?;
        Ok(self.work)
    }

    async fn put(&mut self, lease: Option<Lease>) -> Result<(), SinkError> {
        let note = Note { lease, work: &self.work };
        self.revision = self.meta.write(&self.id, Some(&self.revision), &note).await?;
        Ok(())
    }
}
