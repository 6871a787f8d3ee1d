//! Patterns of paths, as a shell has them, for those that a shell did not see. Pure.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

/// A pattern of paths: `*`, `?`, `[…]`, `{…,…}` within a name, `**` for any folders. As in a shell,
/// a name that begins with a dot is matched only by a dot.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// The folders before anything that is a pattern.
    base: PathBuf,
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    /// `**`
    Any,
    /// A name. The glob, and whether it begins with a dot.
    One(GlobMatcher, bool),
}

impl Pattern {
    /// Reads a pattern; nothing when the path is none.
    ///
    /// # Errors
    /// What is wrong with it; for people.
    pub fn of(path: &Path) -> Option<Result<Self, String>> {
        let text = path.to_str()?;
        let special = |text: &str| text.contains(['*', '?', '[', '{']);
        if !special(text) {
            return None;
        }
        let (mut base, mut parts) = (PathBuf::new(), Vec::new());
        for component in path.components() {
            match component.as_os_str().to_str().unwrap_or_default() {
                "**" => parts.push(Part::Any),
                name if !parts.is_empty() || special(name) => {
                    match GlobBuilder::new(name).literal_separator(true).build() {
                        Ok(glob) => {
                            let one = Part::One(glob.compile_matcher(), name.starts_with('.'));
                            parts.push(one);
                        }
                        Err(error) => {
                            return Some(Err(format!("is no pattern that can be read: {error}")));
                        }
                    }
                }
                _ => base.push(component),
            }
        }
        Some(Ok(Self { base, parts }))
    }

    /// The folder that everything it matches lies in; empty for the current one.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Whether it matches this path, relative to [`base`](Self::base), or a folder that it is in.
    pub fn takes(&self, path: &Path) -> bool {
        let names = names(path);
        (1..=names.len()).any(|length| whole(&self.parts, &names[..length]))
    }

    /// Whether something in this folder could match.
    pub fn enters(&self, folder: &Path) -> bool {
        begins(&self.parts, &names(folder)) || self.takes(folder)
    }
}

fn names(path: &Path) -> Vec<&OsStr> {
    let normal = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name),
        _ => None,
    });
    normal.collect()
}

impl Part {
    fn fits(&self, name: &OsStr) -> bool {
        let hidden = name.as_bytes().starts_with(b".");
        match self {
            Self::Any => !hidden,
            Self::One(glob, dotted) => (*dotted || !hidden) && glob.is_match(name),
        }
    }
}

/// Whether the parts match all of the names.
fn whole(parts: &[Part], names: &[&OsStr]) -> bool {
    match (parts.split_first(), names.split_first()) {
        (None, None) => true,
        (Some((Part::Any, rest)), None) => whole(rest, names),
        (Some((part @ Part::Any, rest)), Some((name, others))) => {
            whole(rest, names) || (part.fits(name) && whole(parts, others))
        }
        (Some((part, rest)), Some((name, others))) => part.fits(name) && whole(rest, others),
        _ => false,
    }
}

/// Whether the parts match the names and more.
fn begins(parts: &[Part], names: &[&OsStr]) -> bool {
    match (parts.split_first(), names.split_first()) {
        (Some(_), None) => true,
        (Some((part @ Part::Any, rest)), Some((name, others))) => {
            begins(rest, names) || (part.fits(name) && begins(parts, others))
        }
        (Some((part, rest)), Some((name, others))) => part.fits(name) && begins(rest, others),
        (None, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_as_a_shell_does() {
        for (pattern, base, path, takes) in [
            ("*.jsonl", "", "a.jsonl", true),
            ("*.jsonl", "", ".a.jsonl", false),
            (".*.jsonl", "", ".a.jsonl", true),
            ("*.jsonl", "", "a.jsonl.gz", false),
            // A folder that matches is taken with all that is in it.
            ("2020-*", "", "2020-01/02/a.json.bz2", true),
            ("data/2020-0[1-3]/*.gz", "data", "2020-02/x.gz", true),
            ("data/2020-0[1-3]/*.gz", "data", "2020-04/x.gz", false),
            ("/data/**/*.{gz,bz2}", "/data", "a/b/c.bz2", true),
            ("/data/**/*.{gz,bz2}", "/data", "c.gz", true),
            ("/data/**/*.{gz,bz2}", "/data", "a/c.zip", false),
            ("a/**", "a", "b/c", true),
            ("*/x.json", "", "x.json", false),
            ("?.json", "", "a.json", true),
        ] {
            let found = Pattern::of(Path::new(pattern)).unwrap().unwrap();
            assert_eq!(found.base(), Path::new(base), "{pattern}");
            assert_eq!(found.takes(Path::new(path)), takes, "{pattern} {path}");
            let folder = Path::new(path).parent().unwrap();
            assert!(!takes || found.enters(folder), "{pattern} {path}");
        }
        // A name that is no UTF-8 matches as its bytes do.
        let found = Pattern::of(Path::new("*.json")).unwrap().unwrap();
        assert!(found.takes(Path::new(OsStr::from_bytes(b"caf\xe9.json"))));
        assert!(Pattern::of(Path::new("a.json")).is_none());
        assert!(Pattern::of(Path::new("a[.json")).unwrap().is_err());
    }

    #[test]
    fn what_can_not_match_is_not_entered() {
        let found = Pattern::of(Path::new("2020/*/x")).unwrap().unwrap();
        assert_eq!(found.base(), Path::new("2020"));
        assert!(found.enters(Path::new("")) && found.enters(Path::new("01")));
        assert!(!found.enters(Path::new("01/y")));
    }
}
