//! Data on stdout: text for people, JSON and CSV for programs.

use std::io::{self, BufWriter, Write as _};

use serde::Serialize;

use crate::args::Format;
use crate::failure::WrongUse;

/// Writes text as it is.
///
/// # Errors
/// When stdout can't be written.
pub fn text(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Writes a value as JSON for people and programs.
///
/// # Errors
/// When stdout can't be written.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    serde_json::to_writer_pretty(&mut out, value)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Writes one thing: `told` for people, the value as JSON.
///
/// # Errors
/// When stdout can't be written, or CSV is asked of something that is no list.
pub fn one(
    format: Format,
    command: &str,
    value: &impl Serialize,
    told: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    match format {
        Format::Text => text(&told()),
        Format::Json => json(value),
        Format::Csv => Err(no_csv(command)),
    }
}

/// Writes a list: aligned columns, a JSON array, or CSV with a header.
///
/// # Errors
/// When stdout can't be written.
pub fn rows<T: Serialize>(
    format: Format,
    rows: &[T],
    header: &[&str],
    cells: impl Fn(&T) -> Vec<String>,
) -> anyhow::Result<()> {
    match format {
        Format::Json => json(&rows),
        Format::Csv => {
            let mut out = BufWriter::new(io::stdout().lock());
            writeln!(out, "{}", header.join(","))?;
            for row in rows {
                let cells: Vec<String> = cells(row).iter().map(|cell| quoted(cell)).collect();
                writeln!(out, "{}", cells.join(","))?;
            }
            Ok(out.flush()?)
        }
        Format::Text => {
            let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
            text(&aligned(header, &rows))
        }
    }
}

/// That a command lists nothing that CSV could hold.
pub fn no_csv(command: &str) -> anyhow::Error {
    let message = format!("`{command}` lists nothing as CSV; use --output text or json");
    WrongUse(message).into()
}

/// Columns as wide as their widest cell; those of numbers to the right.
pub fn aligned(header: &[&str], rows: &[Vec<String>]) -> String {
    let column = |at: usize| rows.iter().filter_map(move |row| row.get(at));
    let widths: Vec<usize> = header
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let cells = column(at).map(|cell| cell.chars().count());
            cells.chain([name.chars().count()]).max().unwrap_or(0)
        })
        .collect();
    let numeric: Vec<bool> = (0..header.len())
        .map(|at| {
            let mut cells = column(at).filter(|cell| !cell.is_empty() && *cell != "-").peekable();
            cells.peek().is_some() && cells.all(|cell| cell.parse::<f64>().is_ok())
        })
        .collect();
    let mut text = String::new();
    let header: Vec<String> = header.iter().map(|&name| name.to_owned()).collect();
    for row in std::iter::once(&header).chain(rows) {
        let cells = row.iter().zip(&widths).zip(&numeric).map(|((cell, &width), &right)| {
            if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The beginning of a text, as much of its first line as there is room for.
pub fn shortened(text: &str, most: usize) -> String {
    text.lines().next().unwrap_or_default().chars().take(most).collect()
}

/// A CSV field (RFC 4180).
fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_numbers_stand_to_the_right() {
        let rows =
            [vec!["posts".to_owned(), "9".to_owned()], vec!["f".to_owned(), "1200".to_owned()]];
        assert_eq!(aligned(&["topic", "lag"], &rows), "topic   lag\nposts     9\nf      1200\n");
    }

    #[test]
    fn csv_fields_are_quoted_where_needed() {
        assert_eq!(quoted("a,b"), "\"a,b\"");
        assert_eq!(quoted("say \"x\""), "\"say \"\"x\"\"\"");
        assert_eq!(quoted("plain"), "plain");
    }
}
