//! Which files there are: those that are named, those in folders, those that match a pattern.

use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::config::Input;
use super::name::{Namer, of_path};
use super::pattern::Pattern;

/// A file to import, or why something is none.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A file.
    File {
        /// Where it lies.
        path: PathBuf,
        /// What it is called.
        name: String,
        /// It was named, not only found in a folder or by a pattern.
        named: bool,
    },
    /// Standard input, or another pipe.
    Live {
        /// Which.
        input: Input,
        /// What it is called.
        name: String,
    },
    /// Something that can't be imported.
    Wrong {
        /// What it is called.
        name: String,
        /// Why, and what to do.
        error: String,
    },
    /// Something in a folder that is no file.
    PassedOver {
        /// What it is called.
        name: String,
        /// Why.
        error: String,
    },
}

/// Hands out all files, one by one, in order; those of a folder by name. Of a walk only the
/// folders that it is in are in memory.
///
/// # Errors
/// As `take`.
pub fn each<E>(inputs: &[Input], mut take: impl FnMut(Found) -> Result<(), E>) -> Result<(), E> {
    let namer = namer(inputs);
    for input in inputs {
        match input {
            Input::Stdin => {
                take(Found::Live { input: Input::Stdin, name: "stdin".to_owned() })?;
            }
            Input::Path(path) => one(path, &namer, &mut take)?,
        }
    }
    Ok(())
}

fn namer(inputs: &[Input]) -> Namer {
    let folders: Vec<PathBuf> = inputs
        .iter()
        .filter_map(|input| match input {
            Input::Stdin => None,
            Input::Path(path) => match pattern(path) {
                Some(Ok(pattern)) => Some(pattern.base().to_owned()),
                _ => path.parent().map(Path::to_owned),
            },
        })
        .collect();
    Namer::new(folders.iter().map(PathBuf::as_path))
}

/// What is there under this name is no pattern, whatever it is called.
fn pattern(path: &Path) -> Option<Result<Pattern, String>> {
    if path.symlink_metadata().is_ok() { None } else { Pattern::of(path) }
}

fn one<E>(
    path: &Path,
    namer: &Namer,
    take: &mut impl FnMut(Found) -> Result<(), E>,
) -> Result<(), E> {
    let name = namer.name(path);
    let shown = of_path(path);
    let nothing = match pattern(path) {
        Some(Err(error)) => return take(Found::Wrong { name, error: format!("{shown} {error}") }),
        Some(Ok(pattern)) => {
            let base = Some(pattern.base()).filter(|base| !base.as_os_str().is_empty());
            let base = base.unwrap_or(Path::new("."));
            let within = |path: &Path| path.strip_prefix(base).unwrap_or(path).to_owned();
            let enters = |path: &Path, may_hold_more: bool| {
                let path = within(path);
                if may_hold_more { pattern.enters(&path) } else { pattern.takes(&path) }
            };
            if walk(base, namer, enters, take)? > 0 {
                return Ok(());
            }
            format!("no file matches {shown}")
        }
        None => match path.metadata() {
            Err(error) => format!("{shown} can't be read: {error}"),
            Ok(metadata) if metadata.is_dir() => {
                if walk(path, namer, |_, _| true, take)? > 0 {
                    return Ok(());
                }
                format!("{shown} is a folder without any file")
            }
            Ok(metadata) if metadata.is_file() => {
                return take(Found::File { path: path.to_owned(), name, named: true });
            }
            Ok(_) => return take(Found::Live { input: Input::Path(path.to_owned()), name }),
        },
    };
    take(Found::Wrong { name, error: nothing })
}

/// Walks through a folder; gives how much was handed out.
fn walk<E>(
    folder: &Path,
    namer: &Namer,
    enters: impl Fn(&Path, bool) -> bool,
    take: &mut impl FnMut(Found) -> Result<(), E>,
) -> Result<u64, E> {
    let mut count = 0;
    let entries = WalkDir::new(folder).follow_links(true).sort_by_file_name();
    let entered = |entry: &DirEntry| enters(entry.path(), entry.file_type().is_dir());
    for entry in entries.into_iter().filter_entry(entered) {
        let found = match entry {
            Ok(entry) if entry.file_type().is_dir() => continue,
            Ok(entry) if entry.file_type().is_file() => {
                let name = namer.name(entry.path());
                Found::File { path: entry.into_path(), name, named: false }
            }
            Ok(entry) => Found::PassedOver {
                name: namer.name(entry.path()),
                error: "it is no file; to read a pipe, name it".to_owned(),
            },
            Err(error) => {
                let path = error.path().unwrap_or(folder);
                if !enters(path, true) {
                    continue;
                }
                let (name, shown) = (namer.name(path), of_path(path));
                match (error.loop_ancestor(), error.io_error()) {
                    (Some(above), _) => Found::PassedOver {
                        name,
                        error: format!("it leads back to {}, where it lies", of_path(above)),
                    },
                    (None, Some(why)) => {
                        Found::Wrong { name, error: format!("{shown} can't be read: {why}") }
                    }
                    (None, None) => Found::Wrong { name, error: error.to_string() },
                }
            }
        };
        count += 1;
        take(found)?;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;

    use super::*;

    fn found(inputs: &[&Path]) -> Vec<String> {
        let inputs: Vec<Input> = inputs.iter().map(|path| Input::from_argument(path)).collect();
        let mut all = Vec::new();
        let Ok(()) = each(&inputs, |found| {
            all.push(match found {
                Found::File { name, named, .. } => {
                    format!("{} {name}", if named { "+" } else { "-" })
                }
                Found::Live { name, .. } => format!("live {name}"),
                Found::Wrong { error, .. } => format!("wrong {error}"),
                Found::PassedOver { name, error } => format!("not {name}: {error}"),
            });
            Ok::<(), Infallible>(())
        });
        all
    }

    #[test]
    fn folders_patterns_and_what_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for name in ["b/x.json", "a/x.json", "a/deep/er/[1].json", "a/y.gz"] {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs::write(root.join(name), "").unwrap();
        }
        fs::write(root.join("a").join(OsStr::from_bytes(b"\xff.json")), "").unwrap();
        symlink(root, root.join("b/loop")).unwrap();
        symlink(root.join("nowhere"), root.join("b/z")).unwrap();

        let all = found(&[root]);
        let name = root.file_name().unwrap().to_str().unwrap();
        let paths = ["a/deep/er/[1].json", "a/x.json", "a/y.gz", "a/\\xff.json", "b/x.json"];
        let mut files: Vec<&String> = all.iter().filter(|one| one.starts_with('-')).collect();
        files.sort();
        let mut expected = paths.map(|path| format!("- {name}/{path}"));
        expected.sort();
        assert_eq!(files, expected.iter().collect::<Vec<_>>());
        assert!(all.iter().any(|one| one.starts_with("not ") && one.contains("leads back")));
        assert!(all.iter().any(|one| one.starts_with("wrong ") && one.contains("b/z")));

        let pattern = root.join("*/*.json");
        let mut matched = found(&[&pattern]);
        matched.sort();
        assert_eq!(matched, ["- a/\\xff.json", "- a/x.json", "- b/x.json"]);
        // A name that is there is no pattern.
        assert_eq!(found(&[&root.join("a/deep/er/[1].json")]), ["+ [1].json"]);
        let same = found(&[&root.join("a/x.json"), &root.join("b/x.json"), Path::new("-")]);
        assert_eq!(same, ["+ a/x.json", "+ b/x.json", "live stdin"]);
        fs::create_dir(root.join("empty")).unwrap();
        for (path, part) in [
            ("none", "can't be read"),
            ("none*", "no file matches"),
            ("none[", "no pattern"),
            ("empty", "without any file"),
        ] {
            let told = found(&[&root.join(path)]);
            assert!(told.len() == 1 && told[0].starts_with("wrong "), "{told:?}");
            assert!(told[0].contains(part), "{told:?}");
        }
    }
}
