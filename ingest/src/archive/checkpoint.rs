//! Where an import stands, kept so that an interrupted one can go on.
//!
//! One small JSON file for each archive, named by what the archive holds and not by where it lies.
//! It says how far everything is acknowledged by the log, never more.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::input::Identity;
use super::summary::Counts;

const VERSION: u32 = 1;

/// How far an archive has been imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    version: u32,
    /// The file's name at the time, for people.
    pub file: String,
    /// Decompressed bytes before which everything is in the log.
    pub offset: u64,
    /// What was found up to there; its lines are the line to go on after.
    pub counts: Counts,
    /// There is nothing after it.
    pub finished: bool,
}

impl Checkpoint {
    /// At the beginning of `file`.
    pub fn new(file: String) -> Self {
        Self { version: VERSION, file, offset: 0, counts: Counts::default(), finished: false }
    }
}

/// The checkpoint file of one archive.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
}

impl Store {
    /// In `folder`, for the archive that `identity` is of.
    pub fn new(folder: &Path, identity: &Identity) -> Self {
        Self { path: folder.join(format!("{}-{}.json", identity.head, identity.size)) }
    }

    /// The checkpoint, if there is one. One that can't be read is none: importing again from the
    /// beginning is harmless.
    pub fn load(&self) -> Option<Checkpoint> {
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "checkpoint can't be read");
                return None;
            }
        };
        match serde_json::from_slice::<Checkpoint>(&bytes) {
            Ok(checkpoint) if checkpoint.version == VERSION => Some(checkpoint),
            _ => {
                tracing::warn!(path = %self.path.display(), "checkpoint is not of this version");
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
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(checkpoint)?)?;
        file.sync_data()?;
        std::fs::rename(&temporary, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_as_it_was_and_survives_damage() {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity { size: 7, head: "ab".into(), written: None, plain: true };
        let store = Store::new(&folder.path().join("new"), &identity);
        assert_eq!(store.load(), None);
        let mut checkpoint = Checkpoint::new("a.jsonl".into());
        checkpoint.offset = 99;
        checkpoint.counts.add_dead_letters("not-json", 3);
        store.save(&checkpoint).unwrap();
        assert_eq!(store.load(), Some(checkpoint.clone()));
        checkpoint.finished = true;
        store.save(&checkpoint).unwrap();
        assert_eq!(store.load(), Some(checkpoint));
        std::fs::write(&store.path, "{\"version\":1").unwrap();
        assert_eq!(store.load(), None);
    }
}
