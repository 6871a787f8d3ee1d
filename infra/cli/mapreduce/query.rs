//! `bowerbird mapreduce query`

use bowerbird_mapreduce::{Group, Query, Row, Views as _};
use bowerbird_store::DocumentStore as _;
use clap::Args;
use serde_json::Value;

use crate::failure::Outcome;
use crate::generations;
use crate::output;
use crate::parts;
use crate::settings::Settings;

/// What `mapreduce query` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Which view: DATABASE/DESIGN/VIEW, such as posts/places/by_place
    #[arg(value_name = "DATABASE/DESIGN/VIEW", value_parser = path)]
    view: Path,
    /// One row for each key
    #[arg(long, conflicts_with = "group_level")]
    group: bool,
    /// One row for each beginning of this many elements of the keys
    #[arg(long, value_name = "ELEMENTS")]
    group_level: Option<u32>,
    /// The rows as they were mapped, not reduced
    #[arg(long)]
    no_reduce: bool,
    /// Only this key, in JSON; what is no JSON is taken as text
    #[arg(long, value_name = "KEY", value_parser = json)]
    key: Option<Value>,
    /// The key to begin at, likewise
    #[arg(long, value_name = "KEY", value_parser = json)]
    start_key: Option<Value>,
    /// The key to end at, likewise
    #[arg(long, value_name = "KEY", value_parser = json)]
    end_key: Option<Value>,
    /// Leave rows at the end key out
    #[arg(long)]
    exclusive_end: bool,
    /// From the greatest key to the least
    #[arg(long)]
    descending: bool,
    /// At most so many rows
    #[arg(long, value_name = "ROWS")]
    limit: Option<u64>,
    /// Leave so many rows out first
    #[arg(long, value_name = "ROWS", default_value_t = 0)]
    skip: u64,
}

/// The three parts of a view's name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Path {
    database: String,
    design: String,
    view: String,
}

/// Asks, and prints the rows.
pub async fn run(arguments: Arguments, settings: &Settings) -> anyhow::Result<Outcome> {
    let Path { database, design, view } = arguments.view.clone();
    let store = parts::store(settings)?;
    let views = parts::views(settings, &store)?;
    // A wrong password is found out once, before views would try it several times.
    store.ping().await?;
    let database = generations::of(settings, &store).database(&database).await?;
    let rows = views.query(&database, &design, &view, &query(arguments)).await?;
    let (keys, values) = (width(&rows, |row| &row.key), width(&rows, |row| &row.value));
    let with_id = rows.iter().any(|row| row.id.is_some());
    let header: Vec<String> = with_id
        .then(|| "id".to_owned())
        .into_iter()
        .chain(names("key", keys))
        .chain(names("value", values))
        .collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    output::rows(settings.output, &rows, &header, |row| {
        let id = with_id.then(|| row.id.clone().unwrap_or_default());
        id.into_iter().chain(cells(&row.key, keys)).chain(cells(&row.value, values)).collect()
    })?;
    Ok(Outcome::Done)
}

fn query(arguments: Arguments) -> Query {
    let group = match (arguments.group, arguments.group_level) {
        (true, _) => Group::Exact,
        (false, Some(level)) => Group::Level(level),
        (false, None) => Group::All,
    };
    Query {
        reduce: arguments.no_reduce.then_some(false),
        group,
        start_key: arguments.start_key,
        end_key: arguments.end_key,
        inclusive_end: !arguments.exclusive_end,
        key: arguments.key,
        keys: None,
        descending: arguments.descending,
        limit: arguments.limit,
        skip: arguments.skip,
    }
}

/// How many columns a part of the rows takes: the elements of the longest list, else one.
fn width(rows: &[Row], part: impl Fn(&Row) -> &Value) -> usize {
    rows.iter().map(|row| part(row).as_array().map_or(1, Vec::len)).max().unwrap_or(1).max(1)
}

fn names(name: &str, width: usize) -> Vec<String> {
    match width {
        1 => vec![name.to_owned()],
        _ => (1..=width).map(|at| format!("{name} {at}")).collect(),
    }
}

fn cells(value: &Value, width: usize) -> Vec<String> {
    let mut cells: Vec<String> = match value.as_array() {
        Some(elements) => elements.iter().map(plain).collect(),
        None => vec![plain(value)],
    };
    cells.resize(width, String::new());
    cells
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn path(text: &str) -> Result<Path, String> {
    let parts: Vec<&str> = text.split('/').collect();
    match parts[..] {
        [database, design, view] if parts.iter().all(|part| !part.is_empty()) => Ok(Path {
            database: database.to_owned(),
            design: design.to_owned(),
            view: view.to_owned(),
        }),
        _ => Err("write it as DATABASE/DESIGN/VIEW, such as posts/places/by_place".to_owned()),
    }
}

fn json(text: &str) -> Result<Value, String> {
    Ok(serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_become_columns() {
        let row = |key, value| Row { id: None, key, value };
        let rows = [row(json!(["AU"]), json!([1, 2])), row(json!(null), json!([3]))];
        assert_eq!((width(&rows, |row| &row.key), width(&rows, |row| &row.value)), (1, 2));
        assert_eq!(names("value", 2), ["value 1", "value 2"]);
        assert_eq!(cells(&json!([3]), 2), ["3", ""]);
        assert_eq!(cells(&json!("AU"), 1), ["AU"]);
    }

    #[test]
    fn names_and_keys_are_read() {
        assert_eq!(path("a/b/c").unwrap().view, "c");
        for wrong in ["a/b", "a/b/c/d", "a//c", ""] {
            assert!(path(wrong).is_err(), "{wrong}");
        }
        assert_eq!(json("AU"), Ok(json!("AU")));
        assert_eq!(json("[\"AU\"]"), Ok(json!(["AU"])));
    }
}
