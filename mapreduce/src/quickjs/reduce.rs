//! Reducing rows: the functions that are built in, and those in JavaScript.

use std::sync::Arc;

use serde_json::{Number, Value, json};

use crate::design::Reduce;
use crate::quickjs::engine::{Engine, Failure, Program};

/// How many rows a JavaScript reduce gets at once, and how many reduced values are then reduced
/// again. It bounds what is held, and makes sure that a function's rereduce is used.
const AT_ONCE: usize = 100;
/// `CouchDB` refuses a reduced value that is larger than this and more than half as large as what
/// it was made of (`reduce_limit_threshold` and `reduce_limit_ratio` of its configuration).
const LIMIT_BYTES: usize = 5000;

/// What reduces the rows of one group.
pub(super) enum Reducer<'a> {
    Count(u64),
    Sum(Option<Value>),
    Stats(Option<Vec<Stats>>, bool),
    Script(Script<'a>),
}

/// `_stats` of one column.
#[derive(Clone, Debug)]
pub(super) struct Stats {
    sum: Value,
    count: u64,
    min: Number,
    max: Number,
    sum_of_squares: Value,
}

pub(super) struct Script<'a> {
    engine: &'a Engine,
    program: Arc<Program>,
    /// JSON texts, waiting to be reduced.
    keys: Vec<String>,
    values: Vec<String>,
    /// JSON texts that were reduced once or more.
    reduced: Vec<String>,
}

impl<'a> Reducer<'a> {
    /// An empty group of this function.
    pub(super) fn new(reduce: &Reduce, view: &str, engine: &'a Engine) -> Self {
        match reduce {
            Reduce::Count => Self::Count(0),
            Reduce::Sum => Self::Sum(None),
            Reduce::Stats => Self::Stats(None, false),
            Reduce::Script(source) => Self::Script(Script {
                engine,
                program: Arc::new(program(view, source)),
                keys: Vec::new(),
                values: Vec::new(),
                reduced: Vec::new(),
            }),
        }
    }

    /// Takes a row.
    pub(super) fn push(&mut self, key_json: &str, id: &str, value: &str) -> Result<(), Failure> {
        match self {
            Self::Count(count) => *count += 1,
            Self::Sum(total) => {
                let value = parse(value)?;
                *total = Some(match total.take() {
                    None if is_summable(&value) => value,
                    None => return Err(not_numeric("_sum", &value)),
                    Some(total) => add(total, value)?,
                });
            }
            Self::Stats(stats, is_array) => {
                let value = parse(value)?;
                let columns = columns(&value).ok_or_else(|| not_numeric("_stats", &value))?;
                *is_array = value.is_array();
                *stats = Some(match stats.take() {
                    None => columns.into_iter().map(Stats::one).collect(),
                    Some(stats) if stats.len() == columns.len() => {
                        stats.into_iter().zip(columns).map(|(all, one)| all.with(one)).collect()
                    }
                    Some(_) => return Err(not_numeric("_stats", &value)),
                });
            }
            Self::Script(script) => script.push(key_json, id, value)?,
        }
        Ok(())
    }

    /// The value of the group.
    pub(super) fn finish(self) -> Result<Value, Failure> {
        Ok(match self {
            Self::Count(count) => count.into(),
            Self::Sum(total) => total.unwrap_or_else(|| 0.into()),
            Self::Stats(stats, is_array) => {
                let mut columns: Vec<Value> =
                    stats.unwrap_or_default().into_iter().map(Stats::into_value).collect();
                match columns.pop() {
                    Some(only) if columns.is_empty() && !is_array => only,
                    last => Value::Array(columns.into_iter().chain(last).collect()),
                }
            }
            Self::Script(script) => parse(&script.finish()?)?,
        })
    }
}

impl Script<'_> {
    fn push(&mut self, key_json: &str, id: &str, value: &str) -> Result<(), Failure> {
        self.keys.push(format!("[{key_json},{}]", Value::from(id)));
        self.values.push(value.to_owned());
        if self.values.len() >= AT_ONCE { self.reduce() } else { Ok(()) }
    }

    fn reduce(&mut self) -> Result<(), Failure> {
        let keys = list(&std::mem::take(&mut self.keys));
        let values = list(&std::mem::take(&mut self.values));
        let reduced = self.call(keys, values, false)?;
        self.reduced.push(reduced);
        if self.reduced.len() >= AT_ONCE { self.rereduce() } else { Ok(()) }
    }

    fn rereduce(&mut self) -> Result<(), Failure> {
        let values = list(&std::mem::take(&mut self.reduced));
        let reduced = self.call("null".to_owned(), values, true)?;
        self.reduced.push(reduced);
        Ok(())
    }

    fn call(&self, keys: String, values: String, rereduce: bool) -> Result<String, Failure> {
        let given = keys.len() + values.len();
        let program = Arc::clone(&self.program);
        let reduced = self.engine.reduce_blocking(program, keys, values, rereduce)?;
        if reduced.len() > LIMIT_BYTES && reduced.len() * 2 > given {
            return Err(Failure {
                function: self.program.names.join(", "),
                reason: format!(
                    "its output must shrink more rapidly: {} bytes of {given}; CouchDB would \
                     refuse it too",
                    reduced.len()
                ),
            });
        }
        Ok(reduced)
    }

    fn finish(mut self) -> Result<String, Failure> {
        if !self.values.is_empty() || self.reduced.is_empty() {
            self.reduce()?;
        }
        while self.reduced.len() > 1 {
            self.rereduce()?;
        }
        Ok(self.reduced.pop().unwrap_or_else(|| "null".to_owned()))
    }
}

/// The program of a reduce function.
pub(super) fn program(view: &str, source: &str) -> Program {
    Program { names: vec![format!("reduce of view {view}")], sources: vec![source.to_owned()] }
}

fn list(texts: &[String]) -> String {
    format!("[{}]", texts.join(","))
}

fn parse(text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| Failure {
        function: "a function".to_owned(),
        reason: format!("its value can't be read back: {error}"),
    })
}

fn not_numeric(function: &str, value: &Value) -> Failure {
    Failure {
        function: function.to_owned(),
        reason: format!("the values must be numbers, or arrays of as many numbers: {value}"),
    }
}

fn is_summable(value: &Value) -> bool {
    match value {
        Value::Number(_) => true,
        Value::Array(items) => items.iter().all(is_summable),
        _ => false,
    }
}

/// `_sum`: numbers; arrays element by element, where the longer one's rest stays; a number counts
/// as an array of one.
fn add(a: Value, b: Value) -> Result<Value, Failure> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => Ok(plus(&a, &b)),
        (Value::Array(a), Value::Array(b)) => {
            let (longer, shorter) = if a.len() >= b.len() { (a, b) } else { (b, a) };
            let mut shorter = shorter.into_iter();
            let sums = longer.into_iter().map(|item| match shorter.next() {
                Some(other) => add(item, other),
                None => Ok(item),
            });
            sums.collect::<Result<_, _>>().map(Value::Array)
        }
        (Value::Array(items), number @ Value::Number(_))
        | (number @ Value::Number(_), Value::Array(items)) => {
            add(Value::Array(items), Value::Array(vec![number]))
        }
        (Value::Number(_) | Value::Array(_), other) | (other, _) => {
            Err(not_numeric("_sum", &other))
        }
    }
}

/// Whole numbers stay whole as long as they fit.
fn plus(a: &Number, b: &Number) -> Value {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) if a.checked_add(b).is_some() => Value::from(a + b),
        _ => Value::from(float(a) + float(b)),
    }
}

fn times(a: &Number, b: &Number) -> Value {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) if a.checked_mul(b).is_some() => Value::from(a * b),
        _ => Value::from(float(a) * float(b)),
    }
}

fn float(number: &Number) -> f64 {
    number.as_f64().unwrap_or(f64::MAX)
}

/// The numbers of a value of `_stats`; nothing when it has others.
fn columns(value: &Value) -> Option<Vec<Number>> {
    match value {
        Value::Number(number) => Some(vec![number.clone()]),
        Value::Array(items) => items
            .iter()
            .map(|item| if let Value::Number(number) = item { Some(number.clone()) } else { None })
            .collect(),
        _ => None,
    }
}

impl Stats {
    fn one(number: Number) -> Self {
        Self {
            sum: Value::Number(number.clone()),
            count: 1,
            sum_of_squares: times(&number, &number),
            min: number.clone(),
            max: number,
        }
    }

    fn with(self, number: Number) -> Self {
        let grown = |sum: &Value, by: &Value| match (sum, by) {
            (Value::Number(a), Value::Number(b)) => plus(a, b),
            _ => Value::Null,
        };
        let squared = times(&number, &number);
        Self {
            sum: grown(&self.sum, &Value::Number(number.clone())),
            count: self.count + 1,
            sum_of_squares: grown(&self.sum_of_squares, &squared),
            min: if float(&number) < float(&self.min) { number.clone() } else { self.min },
            max: if float(&number) > float(&self.max) { number } else { self.max },
        }
    }

    fn into_value(self) -> Value {
        json!({
            "sum": self.sum, "count": self.count, "min": self.min, "max": self.max,
            "sumsqr": self.sum_of_squares,
        })
    }
}

#[cfg(test)]
mod tests;
