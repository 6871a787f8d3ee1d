//! What a name says of the bytes. What they are they tell themselves; that they are not what they
//! were only the name tells, where their beginning is damaged or something else came in their
//! place.

/// Compressions. Also those that are known and not read: such a file is told when it is whole, and
/// no less when it is damaged.
const COMPRESSIONS: [&str; 12] =
    [".gz", ".gzip", ".bz2", ".bzip2", ".zst", ".zstd", ".xz", ".lz4", ".lz", ".7z", ".rar", ".z"];
/// What they hold where posts may be in it.
const COMPRESSED: [&str; 5] = [".json", ".jsonl", ".ndjson", ".jsonlines", ".tar"];
const CONTAINERS: [&str; 7] = [".tar", ".zip", ".tgz", ".tbz", ".tbz2", ".tzst", ".txz"];

/// The ending of a name that says that posts are packed in it: compressed JSON, or a container.
/// Other compressions hold anything, and other files lie beside archives.
pub fn packed(name: &str) -> Option<&str> {
    let file = name.rsplit_once('/').map_or(name, |(_, file)| file);
    // What macOS keeps beside a file has the file's name, and these two before it.
    if file.starts_with("._") {
        return None;
    }
    if let Some((_, ending)) = ending_of(file, &CONTAINERS) {
        return Some(ending);
    }
    let (stem, compression) = ending_of(file, &COMPRESSIONS)?;
    let (_, inner) = ending_of(stem, &COMPRESSED)?;
    file.get(file.len() - inner.len() - compression.len()..)
}

/// A name without one of these endings, however it is written, and the ending.
fn ending_of<'n>(name: &'n str, endings: &[&str]) -> Option<(&'n str, &'n str)> {
    let (stem, ending) = name.split_at(name.rfind('.')?);
    endings.iter().any(|one| one.eq_ignore_ascii_case(ending)).then_some((stem, ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_is_packed_in_it() {
        for (name, ending) in [
            ("2020/01/01.json.gz", Some(".json.gz")),
            ("a.tar/01.JSONL.BZ2", Some(".JSONL.BZ2")),
            ("a.b.ndjson.zst", Some(".ndjson.zst")),
            (".json.gz", Some(".json.gz")),
            ("a.json.xz", Some(".json.xz")),
            ("a.tar.gz", Some(".tar.gz")),
            ("a.tgz", Some(".tgz")),
            ("a.tar/b.zip", Some(".zip")),
            ("a.json.zip", Some(".zip")),
            ("a.json", None),
            ("a.gz", None),
            ("a.txt.gz", None),
            ("a.json.gz/README.txt", None),
            ("a.tar/._01.json.gz", None),
            ("__MACOSX/._a.zip", None),
            ("json.gz", None),
            ("json", None),
            ("", None),
        ] {
            assert_eq!(packed(name), ending, "{name}");
        }
    }
}
