//! What fails inside the file, said as the log's errors.

use rusqlite::{Error, ErrorCode};

use crate::error::LogError;

/// A failure before it is known at which address.
#[derive(Debug)]
pub(super) enum Failure {
    /// SQLite's own.
    Sqlite(Error),
    /// The file was made by a later version.
    Newer(i32),
    /// The file is somebody else's.
    Foreign,
    /// A row that we could not have written.
    Broken(String),
    /// An answer of the log itself.
    Log(LogError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

const FROM_A_COPY: &str = "restore the file from a copy, or start a new one";

/// SQLITE_IOERR_SHMSIZE: the index beside the log can't grow, which a full disk does.
const SHM_SIZE: i32 = 10 | (19 << 8);

impl Failure {
    /// As the error of the log at `address`.
    pub(super) fn at(self, address: &str) -> LogError {
        let address = address.to_owned();
        let fatal = |reason: String| LogError::Fatal { address: address.clone(), reason };
        match self {
            Self::Sqlite(error) => of_sqlite(&error, address),
            Self::Newer(version) => fatal(format!(
                "it was written by a newer version (format {version}); update bowerbird, or name \
                 another file"
            )),
            Self::Foreign => {
                fatal("the file is a database, but not an event log; name another file".to_owned())
            }
            Self::Broken(what) => fatal(format!("{what}; {FROM_A_COPY}")),
            Self::Log(error) => error,
        }
    }
}

fn of_sqlite(error: &Error, address: String) -> LogError {
    let (code, extended) = match error {
        Error::SqliteFailure(failure, _) => (failure.code, failure.extended_code),
        _ => (ErrorCode::Unknown, 0),
    };
    let reason = error.to_string();
    match code {
        ErrorCode::DiskFull => LogError::Full { address, reason },
        ErrorCode::SystemIoFailure if extended == SHM_SIZE => LogError::Full { address, reason },
        ErrorCode::SystemIoFailure => LogError::Transient { address, reason },
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            LogError::Transient { address, reason: format!("another process holds it: {reason}") }
        }
        ErrorCode::CannotOpen => LogError::Unreachable {
            address,
            reason: format!("{reason}; check that its folder is there and may be written to"),
        },
        ErrorCode::PermissionDenied | ErrorCode::ReadOnly => LogError::Fatal {
            address,
            reason: format!("{reason}; check who may write to the file and its folder"),
        },
        ErrorCode::NotADatabase => {
            LogError::Fatal { address, reason: format!("{reason}; name another file") }
        }
        ErrorCode::DatabaseCorrupt => {
            LogError::Fatal { address, reason: format!("{reason}; {FROM_A_COPY}") }
        }
        _ => LogError::Fatal { address, reason },
    }
}
