//! Compiles the folder of design documents into the binary: writes a table of its files.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let variable = |name| env::var(name).map_err(io::Error::other);
    let root = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("designs");
    let mut table = String::from("static EMBEDDED: &[File<'static>] = &[\n");
    walk(&root, "", &mut table)?;
    table.push_str("];\n");
    fs::write(Path::new(&variable("OUT_DIR")?).join("designs.rs"), table)
}

/// Appends the files below `folder`, sorted, without what [`read_dir`] passes over.
fn walk(folder: &Path, below: &str, table: &mut String) -> io::Result<()> {
    // The folder itself too: a new file in it changes nothing that is listed.
    let mut out = format!("cargo::rerun-if-changed={}\n", folder.display());
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().into_string().map_err(|_| io::Error::other("not UTF-8"))?;
        if name.starts_with('.') || name.ends_with(".md") {
            continue;
        }
        let (path, relative) = (entry.path(), format!("{below}{name}"));
        if path.is_dir() {
            walk(&path, &format!("{relative}/"), table)?;
        } else {
            let absolute = path.display().to_string();
            writeln!(table, "    ({relative:?}, include_str!({absolute:?})),")
                .map_err(io::Error::other)?;
            out.push_str(&format!("cargo::rerun-if-changed={absolute}\n"));
        }
    }
    io::Write::write_all(&mut io::stdout(), out.as_bytes())
}
