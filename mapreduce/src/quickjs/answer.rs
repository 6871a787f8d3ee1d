//! Answering a query from an index.

use std::ops::Bound;

use rusqlite::Connection;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::collation;
use crate::design::Reduce;
use crate::error::ViewError;
use crate::query::{Group, Query, Row};
use crate::quickjs::engine::{Engine, Failure};
use crate::quickjs::index::{Entry, Index, IndexError, Range, entries};
use crate::quickjs::reduce::Reducer;

/// What is asked, once it is known to make sense.
pub(super) struct Ask {
    pub(super) design: String,
    pub(super) view: String,
    /// The view's number among those of its design.
    pub(super) number: u32,
    /// Its reduce function, if this reduces.
    pub(super) reduce: Option<Reduce>,
    pub(super) query: Query,
}

/// Answers from the index as it is.
pub(super) fn answer(
    connection: &Connection,
    index: &Index,
    ask: &Ask,
    engine: &Engine,
) -> Result<Vec<Row>, IndexError> {
    let mut window = Window::new(&ask.query);
    for range in ranges(&ask.query) {
        if window.is_full() {
            break;
        }
        match &ask.reduce {
            None => rows(connection, index, ask, &range, &mut window)?,
            Some(reduce) => {
                groups(connection, index, ask, &range, reduce, engine, &mut window)
                    .map_err(|error| in_design(error, &ask.design))?;
            }
        }
    }
    Ok(window.rows)
}

/// The rows that skip and limit leave.
struct Window {
    skip: u64,
    limit: u64,
    rows: Vec<Row>,
}

impl Window {
    fn new(query: &Query) -> Self {
        Self { skip: query.skip, limit: query.limit.unwrap_or(u64::MAX), rows: Vec::new() }
    }

    fn is_full(&self) -> bool {
        self.rows.len() as u64 >= self.limit
    }

    /// Whether the next row is to be left out.
    fn skips(&mut self) -> bool {
        let skips = self.skip > 0;
        self.skip = self.skip.saturating_sub(1);
        skips
    }
}

fn ranges(query: &Query) -> Vec<Range> {
    let only = |key: &Value| {
        let key = sort_key(key);
        Range { low: Bound::Included(key.clone()), high: Bound::Included(key) }
    };
    if let Some(keys) = &query.keys {
        let ranges = keys.iter().map(only);
        return if query.descending { ranges.rev().collect() } else { ranges.collect() };
    }
    if let Some(key) = &query.key {
        return vec![only(key)];
    }
    let start =
        query.start_key.as_ref().map_or(Bound::Unbounded, |key| Bound::Included(sort_key(key)));
    let end = query.end_key.as_ref().map_or(Bound::Unbounded, |key| {
        let key = sort_key(key);
        if query.inclusive_end { Bound::Included(key) } else { Bound::Excluded(key) }
    });
    let (low, high) = if query.descending { (end, start) } else { (start, end) };
    vec![Range { low, high }]
}

fn sort_key(key: &Value) -> Vec<u8> {
    collation::of_value(key)
}

fn rows(
    connection: &Connection,
    index: &Index,
    ask: &Ask,
    range: &Range,
    window: &mut Window,
) -> Result<(), IndexError> {
    entries(connection, index, ask.number, range, ask.query.descending, |entry| {
        if window.is_full() {
            return Ok(false);
        }
        if !window.skips() {
            let Entry { id, key_json, value, .. } = entry;
            let row = Row { id: Some(id.to_owned()), key: parse(key_json)?, value: parse(value)? };
            window.rows.push(row);
        }
        Ok(true)
    })
}

/// A group that is being gathered.
struct Gathering<'a> {
    sort_key: Vec<u8>,
    key: Value,
    /// Nothing when the group is left out.
    reducer: Option<Reducer<'a>>,
}

fn groups<'a>(
    connection: &Connection,
    index: &Index,
    ask: &Ask,
    range: &Range,
    reduce: &Reduce,
    engine: &'a Engine,
    window: &mut Window,
) -> Result<(), IndexError> {
    let mut last_key: Vec<u8> = Vec::new();
    let mut gathering: Option<Gathering<'a>> = None;
    entries(connection, index, ask.number, range, ask.query.descending, |entry| {
        // Most rows repeat the key before them: only a new one can begin a new group.
        if gathering.is_none() || entry.key != last_key {
            entry.key.clone_into(&mut last_key);
            let sort_key = group_sort_key(ask.query.group, &entry)?;
            if gathering.as_ref().is_none_or(|group| group.sort_key != sort_key) {
                close(gathering.take(), window)?;
                if window.is_full() {
                    return Ok(false);
                }
                let reducer = (!window.skips()).then(|| Reducer::new(reduce, &ask.view, engine));
                let key = group_key(ask.query.group, entry.key_json)?;
                gathering = Some(Gathering { sort_key, key, reducer });
            }
        }
        if let Some(Gathering { reducer: Some(reducer), .. }) = &mut gathering {
            reducer.push(entry.key_json, entry.id, entry.value).map_err(script)?;
        }
        Ok(true)
    })?;
    close(gathering, window)
}

fn close(gathering: Option<Gathering<'_>>, window: &mut Window) -> Result<(), IndexError> {
    if let Some(Gathering { key, reducer: Some(reducer), .. }) = gathering {
        window.rows.push(Row { id: None, key, value: reducer.finish().map_err(script)? });
    }
    Ok(())
}

fn group_sort_key(group: Group, entry: &Entry<'_>) -> Result<Vec<u8>, IndexError> {
    match group {
        Group::All | Group::Level(0) => Ok(Vec::new()),
        Group::Exact => Ok(entry.key.to_owned()),
        Group::Level(level) => {
            collation::of_prefix(entry.key_json, elements(level)).map_err(broken)
        }
    }
}

fn group_key(group: Group, key_json: &str) -> Result<Value, IndexError> {
    match group {
        Group::All | Group::Level(0) => Ok(Value::Null),
        Group::Exact => parse(key_json),
        Group::Level(level) => {
            if !key_json.starts_with('[') {
                return parse(key_json);
            }
            let items: Vec<&RawValue> = serde_json::from_str(key_json).map_err(broken)?;
            let kept = items.into_iter().take(elements(level));
            kept.map(|item| parse(item.get())).collect::<Result<_, _>>().map(Value::Array)
        }
    }
}

fn elements(level: u32) -> usize {
    usize::try_from(level).unwrap_or(usize::MAX)
}

fn parse(text: &str) -> Result<Value, IndexError> {
    serde_json::from_str(text).map_err(broken)
}

fn broken(error: serde_json::Error) -> IndexError {
    IndexError::Other(format!("a row is damaged: {error}; delete the file, it is built again"))
}

/// A failed function, still without its design.
fn script(failure: Failure) -> IndexError {
    let Failure { function, reason } = failure;
    IndexError::View(ViewError::Script { design: String::new(), function, reason })
}

fn in_design(error: IndexError, name: &str) -> IndexError {
    match error {
        IndexError::View(ViewError::Script { function, reason, .. }) => {
            IndexError::View(ViewError::Script { design: name.to_owned(), function, reason })
        }
        other => other,
    }
}
