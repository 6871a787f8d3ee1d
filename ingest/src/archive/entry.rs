//! What a member of a tar is, told by its headers.

use std::io::{self, Read};

use tar::{Entry, EntryType};

/// What a member of a tar is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file of its own.
    File,
    /// A file with holes whose map stands in its header, as GNU tar writes it by habit.
    Sparse,
    /// It names another file, which may be a member as well.
    Link,
    /// Its bytes are not those of a file, and why.
    Unread(&'static str),
    /// It has no content: a folder, a device, a label.
    Empty,
}

/// Why a file with holes is not read.
pub const HOLES: &str = "it has holes (tar --sparse), which are not read; unpack it first, and \
                         import what comes out";
const VOLUMES: &str = "it goes on from another volume (GNU tar --multi-volume), which is not read; \
                       unpack all volumes first, and import what comes out";

impl Kind {
    /// The kind of a member of which nothing was read yet.
    ///
    /// Source: POSIX pax, "ustar Interchange Format", typeflag; GNU tar manual, "Storing Sparse
    /// Files" and "Basic Tar Format".
    ///
    /// # Errors
    /// When its extended header can't be read.
    pub fn of<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<Self> {
        let kind = entry.header().entry_type();
        Ok(match (kind, kind.as_byte()) {
            (EntryType::GNUSparse, _) => Self::Sparse,
            (EntryType::Link | EntryType::Symlink, _) => Self::Link,
            (EntryType::Char | EntryType::Block | EntryType::Directory | EntryType::Fifo, _)
            | (EntryType::XGlobalHeader, _)
            | (_, b'D' | b'N' | b'V') => Self::Empty,
            (_, b'M') => Self::Unread(VOLUMES),
            _ if entry.path_bytes().ends_with(b"/") => Self::Empty,
            // Of POSIX's form the map may stand before the content, as if it were a part of it.
            _ if has_map(entry)? => Self::Unread(HOLES),
            // Also what is of no known type.
            _ => Self::File,
        })
    }
}

fn has_map<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<bool> {
    let Some(records) = entry.pax_extensions()? else { return Ok(false) };
    Ok(records.flatten().any(|record| record.key_bytes().starts_with(b"GNU.sparse.")))
}
