//! Every key that the configuration knows, read from the schema of [`Config`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use schemars::Schema;
use schemars::generate::SchemaSettings;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::{Config, ENV_PREFIX};

/// A section: `[log]`.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) doc: String,
    pub(super) keys: Vec<Key>,
}

/// A key of a section, or of one of its tables.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) doc: String,
    pub(super) kind: Kind,
    pub(super) default: Option<Value>,
    pub(super) example: Option<Value>,
    pub(super) required: bool,
}

/// What a key takes.
#[derive(Debug)]
pub(super) enum Kind {
    Text,
    /// Text that is never shown and never stands in the file.
    Secret,
    OneOf(Vec<String>),
    Boolean,
    Integer {
        min: i64,
        max: i64,
    },
    Number {
        min: f64,
        max: f64,
    },
    /// A list of text.
    List,
    /// A list of tables with these keys.
    Tables(Vec<Key>),
}

static SECTIONS: LazyLock<Vec<Section>> = LazyLock::new(read_schema);

/// The sections, in the order of their declaration.
pub(super) fn sections() -> &'static [Section] {
    &SECTIONS
}

/// The section of that name.
pub(super) fn section(name: &str) -> Option<&'static Section> {
    sections().iter().find(|section| section.name == name)
}

impl Section {
    /// The key of that name.
    pub(super) fn key(&self, name: &str) -> Option<&Key> {
        find(&self.keys, name)
    }

    /// The secret that `key` names a file for, if it does: `password` of `password_file`.
    pub(super) fn secret_of(&self, key: &Key) -> Option<&Key> {
        let secret = self.key(key.name.strip_suffix("_file")?)?;
        matches!(secret.kind, Kind::Secret).then_some(secret)
    }

    /// The environment variable that sets `key`.
    pub(super) fn variable(&self, key: &Key) -> String {
        format!("{ENV_PREFIX}{}__{}", self.name.to_uppercase(), key.name.to_uppercase())
    }
}

/// The key of that name.
pub(super) fn find<'a>(keys: &'a [Key], name: &str) -> Option<&'a Key> {
    keys.iter().find(|key| key.name == name)
}

/// The known name that was most likely meant, as a question to end a message with.
pub(super) fn did_you_mean<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    // Below this likeness a suggestion confuses more than it helps.
    const ALIKE: f64 = 0.75;
    known
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or_else(String::new, |(_, known)| format!("; did you mean {known}?"))
}

impl Kind {
    /// What it takes, in words: `an integer from 1 to 9`.
    pub(super) fn takes(&self) -> String {
        match self {
            Self::Text | Self::Secret => "text".to_owned(),
            Self::OneOf(names) => format!("one of {}", names.join(", ")),
            Self::Boolean => "true or false".to_owned(),
            Self::Integer { min, max: i64::MAX } => format!("an integer from {min}"),
            Self::Integer { min, max } => format!("an integer from {min} to {max}"),
            Self::Number { min, max } => format!("a number from {min} to {max}"),
            Self::List => "a list of texts".to_owned(),
            Self::Tables(_) => "tables".to_owned(),
        }
    }

    /// Takes a plain value, or says what it would take. A value is named in the message by its
    /// type alone, unless it is a number: texts may be secrets put into the wrong place.
    pub(super) fn check(&self, value: Value) -> Result<Value, String> {
        let fits = match (self, &value) {
            (Self::Text | Self::Secret, Value::String(_)) | (Self::Boolean, Value::Bool(_)) => true,
            (Self::OneOf(names), Value::String(name)) => names.contains(name),
            (Self::Integer { min, max }, Value::Number(number)) => {
                number.as_i64().is_some_and(|number| (*min..=*max).contains(&number))
            }
            (Self::Number { min, max }, Value::Number(number)) => {
                number.as_f64().is_some_and(|number| (*min..=*max).contains(&number))
            }
            (Self::List, Value::Array(items)) => items.iter().all(Value::is_string),
            _ => false,
        };
        if fits { Ok(value) } else { Err(format!("takes {}, not {}", self.takes(), said(&value))) }
    }
}

fn said(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(_) => "this text".to_owned(),
        Value::Array(_) => "this list".to_owned(),
        Value::Object(_) => "a table".to_owned(),
    }
}

/// The schema of [`Config`], without references.
pub(super) fn schema() -> Schema {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<Config>()
}

fn read_schema() -> Vec<Section> {
    let schema = schema().to_value();
    let order = declared_order();
    let sections = schema["properties"].as_object().cloned().unwrap_or_default();
    let mut sections: Vec<Section> = sections
        .into_iter()
        .map(|(name, schema)| Section { doc: doc(&schema), keys: read_keys(&schema), name })
        .collect();
    let place = |name: &str, order: &Names| order.0.iter().position(|(known, _)| known == name);
    sections.sort_by_key(|section| place(&section.name, &order));
    for section in &mut sections {
        let keys = order.0.iter().find(|(name, _)| *name == section.name).map(|(_, keys)| keys);
        section.keys.sort_by_key(|key| keys.and_then(|keys| place(&key.name, keys)));
    }
    sections
}

fn read_keys(schema: &Value) -> Vec<Key> {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties
        .map(|(name, schema)| Key {
            name: name.clone(),
            doc: doc(schema),
            kind: read_kind(schema),
            default: schema.get("default").filter(|value| !value.is_null()).cloned(),
            example: schema["examples"].get(0).cloned(),
            required: required.contains(&name.as_str()),
        })
        .collect()
}

fn read_kind(schema: &Value) -> Kind {
    // `Option<T>` is {"anyOf": [T, null]} or {"type": [T, "null"]}.
    if let Some(inner) = schema["anyOf"].get(0) {
        return read_kind(inner);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let names = choices.iter().filter_map(|choice| choice["const"].as_str());
        return Kind::OneOf(names.map(str::to_owned).collect());
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap_or("string");
    match kind {
        "boolean" => Kind::Boolean,
        "integer" => Kind::Integer {
            min: schema["minimum"].as_i64().unwrap_or(i64::MIN),
            max: schema["maximum"].as_i64().unwrap_or(i64::MAX),
        },
        "number" => Kind::Number {
            min: schema["minimum"].as_f64().unwrap_or(f64::MIN),
            max: schema["maximum"].as_f64().unwrap_or(f64::MAX),
        },
        "array" if schema["items"]["type"] == "object" => Kind::Tables(read_keys(&schema["items"])),
        "array" => Kind::List,
        _ if schema["format"] == "secret" => Kind::Secret,
        _ => Kind::Text,
    }
}

/// The doc comment as one paragraph a line.
fn doc(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    let paragraphs = text.split("\n\n").map(|lines| lines.split_whitespace().collect::<Vec<_>>());
    paragraphs.map(|words| words.join(" ")).collect::<Vec<_>>().join("\n")
}

/// Names in the order in which they were declared: the schema itself is sorted by name, and a
/// file that begins with a password's path instead of the address is hard to read.
#[derive(Default)]
struct Names(Vec<(String, Names)>);

fn declared_order() -> Names {
    let text = serde_json::to_string(&Config::default()).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut names = Names::default();
                while let Some(entry) = map.next_entry()? {
                    names.0.push(entry);
                }
                Ok(names)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Names, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Names::default())
            }

            fn visit_bool<E>(self, _: bool) -> Result<Names, E> {
                Ok(Names::default())
            }

            fn visit_i64<E>(self, _: i64) -> Result<Names, E> {
                Ok(Names::default())
            }

            fn visit_u64<E>(self, _: u64) -> Result<Names, E> {
                Ok(Names::default())
            }

            fn visit_f64<E>(self, _: f64) -> Result<Names, E> {
                Ok(Names::default())
            }

            fn visit_str<E>(self, _: &str) -> Result<Names, E> {
                Ok(Names::default())
            }

            fn visit_unit<E>(self) -> Result<Names, E> {
                Ok(Names::default())
            }
        }

        deserializer.deserialize_any(InOrder)
    }
}

/// Values by section and key, as a file or the environment gives them.
pub(super) type Tree = BTreeMap<String, BTreeMap<String, Value>>;
