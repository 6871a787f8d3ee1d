//! Who is the live member of a group.
//!
//! A group has one seat: an operating-system lock on a file beside the log. Whoever holds it has
//! all partitions, and others stand by. The system frees it when its holder ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::LogError;

/// The folder of the lock files of the log at `path`.
pub(super) fn folder(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-groups");
    PathBuf::from(name)
}

/// The seat, while it is held.
#[derive(Debug)]
pub(super) struct Seat {
    _lock: File,
}

/// Takes the seat of `group` if it is free, and writes down who has it.
pub(super) fn take(folder: &Path, group: &str, who: &str) -> Result<Option<Seat>, LogError> {
    let path = folder.join(file_name(group));
    let unreachable = |error: io::Error| LogError::Unreachable {
        address: super::address(&path),
        reason: format!("the group's lock file can't be used: {error}"),
    };
    std::fs::create_dir_all(folder).map_err(unreachable)?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(unreachable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(unreachable(error)),
    }
    // The name is for people; a full disk must not keep a group from its work.
    let written = file.set_len(0).and_then(|()| file.write_all(who.as_bytes()));
    if let Err(error) = written {
        tracing::debug!(group, %error, "name of the group's member not written");
    }
    Ok(Some(Seat { _lock: file }))
}

/// Who has the seat of `group`, if anyone.
pub(super) fn occupant(folder: &Path, group: &str) -> Option<String> {
    let mut file = File::open(folder.join(file_name(group))).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {
            let mut who = String::new();
            file.read_to_string(&mut who).ok()?;
            Some(who)
        }
        _ => None,
    }
}

/// A group's name as a file name: letters, digits, `.`, `_` and `-` as they are, others as `%XX`.
fn file_name(group: &str) -> String {
    let mut name = String::with_capacity(group.len() + 5);
    for byte in group.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => name.push(byte.into()),
            other => name.push_str(&format!("%{other:02X}")),
        }
    }
    name + ".lock"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let seat = take(folder.path(), "a/b", "first").unwrap();
        assert!(seat.is_some());
        assert!(take(folder.path(), "a/b", "second").unwrap().is_none());
        assert_eq!(occupant(folder.path(), "a/b").as_deref(), Some("first"));
        assert!(take(folder.path(), "a", "other group").unwrap().is_some());
        drop(seat);
        assert_eq!(occupant(folder.path(), "a/b"), None);
        assert!(take(folder.path(), "a/b", "second").unwrap().is_some());
    }

    #[test]
    fn names_of_groups_are_safe_file_names() {
        assert_eq!(file_name("posts-2"), "posts-2.lock");
        assert_eq!(file_name("../ä"), "..%2F%C3%A4.lock");
    }
}
