//! Where an import stands, kept so that an interrupted one can go on.
//!
//! One small JSON file for each archive, named by what the archive holds and not by where it lies.
//! It says how far everything is acknowledged by the log, never more.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::file::Identity;
use super::summary::Findings;

const VERSION: u32 = 3;

/// A place in a file, or in a member of one: in which of the files within, after how much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Files with lines before.
    pub leaf: u64,
    /// Decompressed bytes of that file before.
    pub offset: u64,
    /// Its lines before.
    pub line: u64,
}

/// How far one member of an archive has been imported. An archive that is no container has one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Everything before is in the log.
    pub mark: Mark,
    /// What was found up to there.
    pub found: Findings,
    /// There is nothing after it.
    pub done: bool,
}

/// How far an archive has been imported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    version: u32,
    /// The file's name at the time, for people.
    pub file: String,
    /// When the file was last written.
    pub written: Option<Timestamp>,
    /// Its first members, so many, are done, but for those in `parts`.
    pub before: u64,
    /// What was found in those.
    pub found: Findings,
    /// Members under way, or done before others that come before them. Bounded by
    /// [`super::tracker::WINDOW`] and [`super::tracker::MAX_UNREADABLE`].
    pub parts: BTreeMap<u64, Part>,
    /// There is nothing more in it.
    pub finished: bool,
}

impl Checkpoint {
    /// At the beginning of `file`.
    pub fn new(file: String, written: Option<Timestamp>) -> Self {
        Self {
            version: VERSION,
            file,
            written,
            before: 0,
            found: Findings::default(),
            parts: BTreeMap::new(),
            finished: false,
        }
    }

    /// Where the import of a member goes on; nothing when it is done.
    pub fn from(&self, member: u64) -> Option<Mark> {
        match self.parts.get(&member) {
            Some(part) => (!part.done).then_some(part.mark),
            None => (member >= self.before).then(Mark::default),
        }
    }

    /// Everything that was found.
    pub fn all(&self) -> Findings {
        let mut all = self.found.clone();
        self.parts.values().for_each(|part| all.add(&part.found));
        all
    }
}

/// The checkpoint file of one archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    path: PathBuf,
}

impl Store {
    /// In `folder`, for the archive that `identity` is of.
    pub fn new(folder: &Path, identity: &Identity) -> Self {
        Self { path: folder.join(format!("{}-{}.json", identity.head, identity.size)) }
    }

    /// The checkpoint of a file that was last `written` then, if there is one. One that can't be
    /// read, or is of another time, is none: importing again from the beginning is harmless, and
    /// passing over what has changed is not.
    pub fn load(&self, written: Option<Timestamp>) -> Option<Checkpoint> {
        let path = self.path.display();
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(%path, %error, "checkpoint can't be read");
                return None;
            }
        };
        match serde_json::from_slice::<Checkpoint>(&bytes) {
            Ok(checkpoint) if checkpoint.version != VERSION => {
                tracing::warn!(%path, "checkpoint is not of this version");
                None
            }
            Ok(checkpoint) if checkpoint.written != written => {
                let file = checkpoint.file;
                tracing::warn!(file, "written to since its checkpoint; begins at its beginning");
                None
            }
            Ok(checkpoint) => Some(checkpoint),
            Err(error) => {
                tracing::warn!(%path, %error, "checkpoint is not of this version");
                None
            }
        }
    }

    /// Replaces the checkpoint at once or not at all.
    ///
    /// # Errors
    /// When the folder can't be written to.
    pub fn save(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let temporary = self.path.with_extension("json.new");
        // Not forced to the disk: one that power took is none, and there may be one a second for
        // each of many files.
        std::fs::write(&temporary, serde_json::to_vec(checkpoint)?)?;
        std::fs::rename(&temporary, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_as_it_was_and_survives_damage() {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity { size: 7, head: "ab".into(), written: None };
        let store = Store::new(&folder.path().join("new"), &identity);
        let written = Some(Timestamp::UNIX_EPOCH);
        assert_eq!(store.load(written), None);
        let mut checkpoint = Checkpoint::new("a.jsonl".into(), written);
        checkpoint.found.counts.add_dead_letters("not-json", 3);
        let mut part = Part { mark: Mark { leaf: 1, offset: 99, line: 9 }, ..Part::default() };
        part.found.problem("a.jsonl/b", "is cut");
        checkpoint.parts.insert(7, part);
        store.save(&checkpoint).unwrap();
        assert_eq!(store.load(written), Some(checkpoint.clone()));
        checkpoint.finished = true;
        store.save(&checkpoint).unwrap();
        assert_eq!(store.load(written), Some(checkpoint));
        assert_eq!(store.load(None), None, "the file has changed since");
        std::fs::write(&store.path, "{\"version\":3").unwrap();
        assert_eq!(store.load(written), None);
    }
}
