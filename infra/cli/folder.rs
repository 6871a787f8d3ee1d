//! The data folder: where it is, and that one `up` at a time works in it.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use etcetera::BaseStrategy as _;

/// The platform's data folder for Bowerbird.
///
/// # Errors
/// When there is no home folder to find it by.
pub fn default() -> anyhow::Result<PathBuf> {
    let base = etcetera::choose_base_strategy().map_err(|error| {
        anyhow!("the platform's data folder can't be found ({error}); choose one by --data DIR")
    })?;
    Ok(base.data_dir().join("bowerbird"))
}

/// Makes the folder if it is not there.
///
/// # Errors
/// When it can't be made.
pub fn make(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| {
        format!("the data folder {} can't be made; choose another by --data DIR", folder.display())
    })
}

/// The right to run `up` in a folder; given back when it is dropped, also by a crash.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock lives as long as the file is open")] File);

impl Lock {
    /// Takes it.
    ///
    /// # Errors
    /// When another process has it.
    pub fn take(folder: &Path) -> anyhow::Result<Self> {
        make(folder)?;
        let path = folder.join("up.lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.with_context(|| format!("{} can't be opened", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => bail!(
                "another `bowerbird up` is at work in {}; stop it first, or choose another folder \
                 by --data DIR",
                folder.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("{} can't be locked", path.display()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path()).unwrap();
        let error = Lock::take(folder.path()).unwrap_err().to_string();
        assert!(error.contains("another `bowerbird up`"), "{error}");
        drop(first);
        Lock::take(folder.path()).unwrap();
    }
}
