//! Folders of design documents: `<database>/<design>/views/<view>/{map.js,reduce.js}`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bowerbird_store::name::illegal_database_name;

use crate::design::{Design, Reduce, View};
use crate::error::ViewError;

/// A file under the folder: its path with `/` between the parts, and its text.
type File<'a> = (&'a str, &'a str);

/// How deep the folders go, the file included.
const DEPTH: usize = 5;

include!(concat!(env!("OUT_DIR"), "/designs.rs"));

/// The design documents that the binary holds, by database and name.
///
/// # Errors
/// When they are not as they must be; a test rules that out.
pub fn embedded() -> Result<Vec<Design>, ViewError> {
    designs(EMBEDDED.iter().copied())
}

/// The design documents of a folder, by database and name.
///
/// # Errors
/// When it can't be read, or something in it is not as it must be: which file, and what is wrong.
pub fn read_dir(path: impl AsRef<Path>) -> Result<Vec<Design>, ViewError> {
    let root = path.as_ref();
    let mut files = Vec::new();
    collect(root, &mut Vec::new(), &mut files)?;
    let relative = files.iter().map(|(path, text)| (path.as_str(), text.as_str()));
    let designs = designs(relative).map_err(|error| match error {
        ViewError::Folder { path, reason } => {
            ViewError::Folder { path: root.join(path).display().to_string(), reason }
        }
        other => other,
    })?;
    if designs.is_empty() {
        return Err(folder(&root.display().to_string(), "there is no design document in it"));
    }
    Ok(designs)
}

fn collect(
    folder_path: &Path,
    parts: &mut Vec<String>,
    files: &mut Vec<(String, String)>,
) -> Result<(), ViewError> {
    let shown = |path: &Path| path.display().to_string();
    let failed = |path: &Path, error: &std::io::Error| folder(&shown(path), &error.to_string());
    let entries = fs::read_dir(folder_path).map_err(|error| failed(folder_path, &error))?;
    for entry in entries {
        let path = entry.map_err(|error| failed(folder_path, &error))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err(folder(&shown(&path), "its name is not UTF-8"));
        };
        if is_aside(name) {
            continue;
        }
        parts.push(name.to_owned());
        if parts.len() > DEPTH {
            return Err(folder(&shown(&path), "it lies too deep"));
        }
        if path.is_dir() {
            collect(&path, parts, files)?;
        } else {
            let text = fs::read_to_string(&path).map_err(|error| failed(&path, &error))?;
            files.push((parts.join("/"), text));
        }
        parts.pop();
    }
    Ok(())
}

/// Notes and hidden files may lie anywhere.
fn is_aside(name: &str) -> bool {
    name.starts_with('.') || name.ends_with(".md")
}

fn folder(path: &str, reason: &str) -> ViewError {
    ViewError::Folder { path: path.to_owned(), reason: reason.to_owned() }
}

/// The design documents of these files. Pure: what is compiled in and what is read take this way.
fn designs<'a>(files: impl Iterator<Item = File<'a>>) -> Result<Vec<Design>, ViewError> {
    let mut maps: BTreeMap<[&str; 3], String> = BTreeMap::new();
    let mut reduces: BTreeMap<[&str; 3], Reduce> = BTreeMap::new();
    for (path, text) in files {
        let parts: Vec<&str> = path.split('/').collect();
        let [database, design, "views", view, file] = parts[..] else {
            return Err(folder(path, "it does not belong there"));
        };
        if let Some(reason) = illegal_database_name(database) {
            return Err(folder(path, &reason));
        }
        for name in [design, view] {
            let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if name.is_empty() || name.starts_with('_') || !name.chars().all(legal) {
                return Err(folder(
                    path,
                    &format!("{name:?} may hold letters, digits, _ and - only"),
                ));
            }
        }
        let source = source(text).ok_or_else(|| folder(path, "it is empty"))?;
        let key = [database, design, view];
        match file {
            "map.js" => {
                maps.insert(key, source);
            }
            "reduce.js" => {
                let reduce = Reduce::parse(&source).ok_or_else(|| {
                    let known = Reduce::BUILT_IN.join(", ");
                    folder(path, &format!("{} is not one of {known}", source.trim()))
                })?;
                reduces.insert(key, reduce);
            }
            _ => return Err(folder(path, "it is neither map.js nor reduce.js")),
        }
    }
    let mut designs: BTreeMap<[&str; 2], Design> = BTreeMap::new();
    for ([database, name, view], map) in maps {
        let reduce = reduces.remove(&[database, name, view]);
        designs
            .entry([database, name])
            .or_insert_with(|| Design {
                database: database.to_owned(),
                name: name.to_owned(),
                views: BTreeMap::new(),
            })
            .views
            .insert(view.to_owned(), View { map, reduce });
    }
    if let Some([database, name, view]) = reduces.into_keys().next() {
        let path = format!("{database}/{name}/views/{view}");
        return Err(folder(&path, "it has a reduce.js and no map.js"));
    }
    Ok(designs.into_values().collect())
}

/// The function in a file. Engines put it into parentheses, so it must not end in a semicolon,
/// and a comment in its last line must not hide the closing one.
fn source(text: &str) -> Option<String> {
    let text = text.trim_start_matches('\u{feff}').trim();
    let text = text.trim_end_matches(';').trim_end();
    (!text.is_empty()).then(|| format!("{text}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_become_designs() {
        let found = designs(
            [
                ("posts/places/views/by_place/map.js", "// by place\nfunction (doc) {}; \n"),
                ("posts/places/views/by_place/reduce.js", "_sum\n"),
                ("posts/places/views/plain/map.js", "doc => 1 // end"),
                ("features/sets/views/all/map.js", "function (doc) {}"),
            ]
            .into_iter(),
        )
        .unwrap();
        let names: Vec<_> = found.iter().map(|design| (&*design.database, &*design.name)).collect();
        assert_eq!(names, [("features", "sets"), ("posts", "places")]);
        let views = &found[1].views;
        assert_eq!(views["by_place"].map, "// by place\nfunction (doc) {}\n");
        assert_eq!(views["by_place"].reduce, Some(Reduce::Sum));
        assert_eq!(views["plain"].map, "doc => 1 // end\n");
        assert_eq!(views["plain"].reduce, None);
    }

    #[test]
    fn what_does_not_belong_there_is_named() {
        let map = "function (doc) {}";
        for (path, text, said) in [
            ("posts/map.js", map, "belong"),
            ("posts/places/by_place/map.js", map, "belong"),
            ("posts/places/views/a/b/map.js", map, "belong"),
            ("Posts/places/views/a/map.js", map, "lower-case"),
            ("posts/_places/views/a/map.js", map, "_places"),
            ("posts/places/views/a b/map.js", map, "a b"),
            ("posts/places/views/a/map.js", " ;\n", "empty"),
            ("posts/places/views/a/map.ts", map, "neither"),
            ("posts/places/views/a/reduce.js", "_sum", "no map.js"),
            ("posts/places/views/a/reduce.js", "_median", "_sum, _count, _stats"),
        ] {
            let text = designs([(path, text)].into_iter()).unwrap_err().to_string();
            assert!(
                text.contains(said) && text.contains(path.split('/').next().unwrap()),
                "{path}: {text}"
            );
        }
    }

    #[test]
    fn a_folder_is_read_and_its_faults_are_told() {
        let root = tempfile::tempdir().unwrap();
        let view = root.path().join("posts/places/views/by_place");
        assert!(read_dir(root.path()).unwrap_err().to_string().contains("no design document"));
        assert!(read_dir(root.path().join("none")).is_err());
        fs::create_dir_all(&view).unwrap();
        fs::write(view.join("map.js"), "function (doc) {}").unwrap();
        fs::write(root.path().join("posts/README.md"), "notes").unwrap();
        fs::write(root.path().join(".hidden"), "x").unwrap();
        let found = read_dir(root.path()).unwrap();
        assert_eq!((found.len(), found[0].id().as_str()), (1, "_design/places"));
        fs::write(view.join("extra.js"), "x").unwrap();
        let text = read_dir(root.path()).unwrap_err().to_string();
        assert!(text.contains("by_place/extra.js") && text.contains("neither"), "{text}");
    }

    #[test]
    fn what_is_compiled_in_is_what_lies_in_the_folder() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("designs");
        assert_eq!(embedded().unwrap(), read_dir(folder).unwrap());
    }
}
