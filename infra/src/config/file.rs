//! Reads a TOML text against the known keys, and says of each mistake on which line it stands.

use std::ops::Range;

use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::key::{self, Key, Kind, Section, did_you_mean};
use crate::error::Problem;

/// A value that was set, and where.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) section: &'static str,
    pub(super) key: &'static Key,
    pub(super) value: Value,
    pub(super) place: String,
}

/// Reads `text`, the content of the file `name`: what is set, and what is wrong.
pub(super) fn read(name: &str, text: &str) -> (Vec<Entry>, Vec<Problem>) {
    let place = |span: Range<usize>| format!("{name}:{}", line(text, span.start));
    let root = match DeTable::parse(text) {
        Ok(root) => root.into_inner(),
        Err(error) => {
            // The error's own text would show the line, which may hold a secret.
            let place = error.span().map_or_else(|| name.to_owned(), place);
            return (Vec::new(), vec![Problem { place, message: error.message().to_owned() }]);
        }
    };
    let mut entries = Vec::new();
    let mut walk = Walk { place: &place, problems: Vec::new() };
    for (name, value) in root {
        let Some(section) = key::section(name.get_ref()) else {
            walk.unknown_section(&name);
            continue;
        };
        let at = value.span();
        match value.into_inner() {
            DeValue::Table(table) => walk.section(section, table, &mut entries),
            _ => walk
                .problem(at, format!("{name} is a section: write [{name}]", name = name.get_ref())),
        }
    }
    (entries, walk.problems)
}

/// Reads the value of an environment variable for `key`.
pub(super) fn read_variable(
    variable: &str,
    key: &'static Key,
    text: &str,
) -> Result<Value, Vec<Problem>> {
    let problem = |message: String| vec![Problem { place: variable.to_owned(), message }];
    let value = match &key.kind {
        Kind::Text | Kind::Secret | Kind::OneOf(_) => Value::String(text.to_owned()),
        Kind::List if !text.trim_start().starts_with('[') => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Value::Array(items.map(|item| Value::String(item.to_owned())).collect())
        }
        kind => {
            let wrong = || problem(format!("takes {}, written as in the file", kind.takes()));
            let value = DeValue::parse(text.trim()).map_err(|_| wrong())?;
            let place = |_| variable.to_owned();
            let mut walk = Walk { place: &place, problems: Vec::new() };
            let value = walk.value(&key.name, key, value);
            return value.ok_or(walk.problems);
        }
    };
    key.kind.check(value).map_err(problem)
}

struct Walk<'a> {
    place: &'a dyn Fn(Range<usize>) -> String,
    problems: Vec<Problem>,
}

impl Walk<'_> {
    fn problem(&mut self, at: Range<usize>, message: String) {
        self.problems.push(Problem { place: (self.place)(at), message });
    }

    fn unknown_section<T: AsRef<str>>(&mut self, name: &Spanned<T>) {
        let word = name.get_ref().as_ref();
        let hint = did_you_mean(word, key::sections().iter().map(|section| section.name.as_str()));
        self.problem(name.span(), format!("there is no section or key {word}{hint}"));
    }

    fn section(&mut self, section: &'static Section, table: DeTable<'_>, entries: &mut Vec<Entry>) {
        for (name, value) in table {
            let path = format!("{}.{}", section.name, name.get_ref());
            let Some(key) = section.key(name.get_ref()) else {
                let hint = nearest(section, name.get_ref());
                self.problem(name.span(), format!("there is no key {path}{hint}"));
                continue;
            };
            let place = (self.place)(name.span());
            if matches!(key.kind, Kind::Secret) {
                let variable = section.variable(key);
                self.problem(
                    name.span(),
                    format!(
                        "{path} is a secret, and this file is no place for one (it gets copied and \
                         committed): set {variable} in the environment, or name a file that holds \
                         it by {path}_file"
                    ),
                );
                continue;
            }
            if let Some(value) = self.value(&path, key, value) {
                entries.push(Entry { section: &section.name, key, value, place });
            }
        }
    }

    fn value(&mut self, path: &str, key: &Key, value: Spanned<DeValue<'_>>) -> Option<Value> {
        let at = value.span();
        let checked = match (&key.kind, value.into_inner()) {
            (Kind::Tables(keys), DeValue::Array(items)) => {
                let tables = items.into_iter().enumerate();
                let tables: Vec<Option<Value>> = tables
                    .map(|(n, item)| self.table(&format!("{path}[{n}]"), keys, item))
                    .collect();
                return tables.into_iter().collect::<Option<Vec<Value>>>().map(Value::Array);
            }
            (Kind::Tables(_), _) => Err(format!("takes tables, one [[{path}]] each")),
            (kind, value) => plain(value).and_then(|value| kind.check(value)),
        };
        checked.map_err(|message| self.problem(at, format!("{path} {message}"))).ok()
    }

    fn table(&mut self, path: &str, keys: &[Key], value: Spanned<DeValue<'_>>) -> Option<Value> {
        let at = value.span();
        let DeValue::Table(table) = value.into_inner() else {
            self.problem(at, format!("{path} must be a table"));
            return None;
        };
        let before = self.problems.len();
        let mut object = Map::new();
        for (name, value) in table {
            let inner = format!("{path}.{}", name.get_ref());
            let Some(key) = key::find(keys, name.get_ref()) else {
                let hint = did_you_mean(name.get_ref(), keys.iter().map(|key| key.name.as_str()));
                self.problem(name.span(), format!("there is no key {inner}{hint}"));
                continue;
            };
            if let Some(value) = self.value(&inner, key, value) {
                object.insert(key.name.clone(), value);
            }
        }
        for key in keys.iter().filter(|key| key.required && !object.contains_key(&key.name)) {
            self.problem(at.clone(), format!("{path} needs {}: {}", key.name, key.doc));
        }
        (self.problems.len() == before).then_some(Value::Object(object))
    }
}

/// A hint for an unknown key: one of its section that looks like it, else the same name in
/// another section.
pub(super) fn nearest(section: &Section, name: &str) -> String {
    let hint = did_you_mean(name, section.keys.iter().map(|key| key.name.as_str()));
    if !hint.is_empty() {
        return hint;
    }
    let elsewhere = key::sections().iter().find(|section| section.key(name).is_some());
    elsewhere.map_or_else(String::new, |section| format!("; did you mean {}.{name}?", section.name))
}

fn plain(value: DeValue<'_>) -> Result<Value, String> {
    match value {
        DeValue::String(text) => Ok(Value::String(text.into_owned())),
        DeValue::Boolean(flag) => Ok(Value::Bool(flag)),
        DeValue::Integer(integer) => {
            let number = i64::from_str_radix(integer.as_str(), integer.radix());
            number.map(Value::from).map_err(|_| "holds an integer beyond 64 bits".to_owned())
        }
        DeValue::Float(float) => {
            let number = float.as_str().parse().ok().and_then(Number::from_f64);
            number.map(Value::Number).ok_or_else(|| "holds no finite number".to_owned())
        }
        DeValue::Array(items) => items
            .into_iter()
            .map(|item| plain(item.into_inner()))
            .collect::<Result<_, _>>()
            .map(Value::Array),
        DeValue::Datetime(_) => Err("holds a date; write it as text".to_owned()),
        DeValue::Table(_) => Ok(Value::Object(Map::new())),
    }
}

fn line(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count()
}
