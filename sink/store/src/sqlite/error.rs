//! What `SQLite` says, in the words of [`StoreError`].

use std::path::Path;

use rusqlite::{Error, ErrorCode};

use crate::error::StoreError;

/// `SQLITE_IOERR_SHMSIZE`: the write-ahead log's index could not grow, which a full disk does.
/// Source: <https://sqlite.org/rescode.html#ioerr_shmsize>
const SHARED_MEMORY_SIZE: i32 = 4874;

/// How the store calls itself in messages.
pub(super) fn address(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

pub(super) fn classify(path: &Path, error: &Error) -> StoreError {
    let address = address(path);
    let reason = error.to_string();
    let Error::SqliteFailure(failure, _) = error else {
        return StoreError::Fatal { address, reason };
    };
    match failure.code {
        ErrorCode::DiskFull => StoreError::Full { address, reason },
        _ if failure.extended_code == SHARED_MEMORY_SIZE => StoreError::Full { address, reason },
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::SystemIoFailure => {
            StoreError::Busy { address, reason, retry_after: None }
        }
        ErrorCode::CannotOpen => StoreError::Unreachable { address, reason },
        _ => StoreError::Fatal { address, reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    #[test]
    fn a_full_disk_and_a_busy_file_are_told_apart() {
        let of = |code| {
            let failure = Error::SqliteFailure(ffi::Error::new(code), None);
            classify(Path::new("x.db"), &failure)
        };
        assert!(matches!(of(ffi::SQLITE_FULL), StoreError::Full { .. }));
        assert!(matches!(of(SHARED_MEMORY_SIZE), StoreError::Full { .. }));
        assert!(matches!(of(ffi::SQLITE_BUSY), StoreError::Busy { .. }));
        assert!(matches!(of(ffi::SQLITE_IOERR), StoreError::Busy { .. }));
        assert!(matches!(of(ffi::SQLITE_CANTOPEN), StoreError::Unreachable { .. }));
        assert!(matches!(of(ffi::SQLITE_CORRUPT), StoreError::Fatal { .. }));
    }
}
