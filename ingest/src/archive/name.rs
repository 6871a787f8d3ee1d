//! What files and members are called in events and messages.
//!
//! A relative path is its own name, without `./`. Absolute ones lose the folders that all of them
//! in one import have in common: where a file lies on a machine says nothing about what is in it,
//! but two files of one name in different folders must be told apart.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

/// How long a name may be: it stands in the header of every event, and a tar may hold names of any
/// length. Paths of Linux are shorter.
const MAX_BYTES: usize = 4096;

/// Text for bytes. Control characters and bytes that are no UTF-8 are escaped, so that no name
/// writes to a terminal, and different names stay different. What is too long ends with its hash.
pub fn printable(bytes: &[u8]) -> String {
    let mut name = String::with_capacity(bytes.len().min(MAX_BYTES));
    if let Some(begin) = bytes.get(..MAX_BYTES) {
        return format!("{}…{:016x}", printable(&begin[..MAX_BYTES - 1]), xxh3_64(bytes));
    }
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter.is_control() {
                name.extend(letter.escape_default());
            } else {
                name.push(letter);
            }
        }
        for byte in chunk.invalid() {
            // A string takes all that is written to it.
            write!(name, "\\x{byte:02x}").ok();
        }
    }
    name
}

/// A path as text.
pub fn of_path(path: &Path) -> String {
    printable(path.as_os_str().as_bytes())
}

/// The name of a member of `container`, which is a path without the folders that it begins with
/// by habit (`./`, `/`).
pub fn of_member(container: &str, path: &[u8]) -> String {
    let mut path = path;
    while let Some(rest) = path.strip_prefix(b"./").or_else(|| path.strip_prefix(b"/")) {
        path = rest;
    }
    format!("{container}/{}", printable(path))
}

/// Names the files of one import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namer {
    /// The folders that all absolute paths have in common.
    common: PathBuf,
}

impl Namer {
    /// For files that lie in these folders.
    pub fn new<'a>(folders: impl IntoIterator<Item = &'a Path>) -> Self {
        let mut absolute = folders.into_iter().filter(|folder| folder.is_absolute());
        let first = absolute.next().map(Path::to_owned).unwrap_or_default();
        let common = absolute.fold(first, |common, folder| {
            let both = common.components().zip(folder.components());
            both.take_while(|(one, other)| one == other).map(|(one, _)| one).collect()
        });
        Self { common }
    }

    /// The name of a path.
    pub fn name(&self, path: &Path) -> String {
        let path =
            if path.is_absolute() { path.strip_prefix(&self.common).unwrap_or(path) } else { path };
        let parts = path.components().filter(|part| *part != Component::CurDir);
        let path: PathBuf = parts.collect();
        of_path(if path.as_os_str().is_empty() { Path::new(".") } else { &path })
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn names_are_text_and_stay_different() {
        for (bytes, name) in [
            (&b"2020/01 \xf0\x9f\x90\xa6.json"[..], "2020/01 🐦.json"),
            (b"caf\xe9", "caf\\xe9"),
            (b"caf\xe8", "caf\\xe8"),
            (b"a\x1b[2Jb\n", "a\\u{1b}[2Jb\\n"),
        ] {
            assert_eq!(printable(bytes), name);
        }
        let long = [vec![b'a'; 1 << 20], vec![b'b']].concat();
        assert!(printable(&long).len() < MAX_BYTES + 20);
        assert_ne!(printable(&long), printable(&long[1..]));
        assert_eq!(of_member("a.tar", b"./2020/01.json"), "a.tar/2020/01.json");
        assert_eq!(of_member("a.tar", b"/etc/../x"), "a.tar/etc/../x");
    }

    #[test]
    fn files_of_one_name_are_told_apart() {
        let names = |folders: &[&str], paths: &[&str]| -> Vec<String> {
            let namer = Namer::new(folders.iter().map(Path::new));
            paths.iter().map(|path| namer.name(Path::new(path))).collect()
        };
        assert_eq!(names(&["/data/x"], &["/data/x/a.jsonl"]), ["a.jsonl"]);
        assert_eq!(
            names(&["/data/x", "/data/y/z"], &["/data/x/a.jsonl", "/data/y/z/a.jsonl"]),
            ["x/a.jsonl", "y/z/a.jsonl"]
        );
        assert_eq!(
            names(&["a", "/b"], &["a/x", "/b/x", "./c/x", "../x"]),
            ["a/x", "x", "c/x", "../x"]
        );
        assert_eq!(names(&["/"], &["/a/x"]), ["a/x"]);
        assert_eq!(names(&[], &["."]), ["."]);
        let strange = Namer::default().name(Path::new(OsStr::from_bytes(b"\xff/x")));
        assert_eq!(strange, "\\xff/x");
    }
}
