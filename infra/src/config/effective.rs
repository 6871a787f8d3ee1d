//! The configuration as it is in force, without secrets, and where each value came from.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use super::key::{self, Kind};
use super::load::Loaded;
use super::secret::REDACTED;

/// One key as it is in force.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// `section.key`.
    pub key: String,
    /// Its value; secrets are replaced, addresses are without userinfo. Nothing when it is unset.
    pub value: Option<Value>,
    /// The file with its line or the variable that set it; nothing for a default.
    pub origin: Option<String>,
}

/// Every key as it is in force, in the order of the reference.
pub fn settings(loaded: &Loaded) -> Vec<Setting> {
    // Serialising shows no secret: the types see to that.
    let values = serde_json::to_value(&loaded.config).unwrap_or_default();
    let mut settings = Vec::new();
    for section in key::sections() {
        for key in &section.keys {
            let path = format!("{}.{}", section.name, key.name);
            let value = values[&section.name].get(&key.name).filter(|value| !value.is_null());
            let value = match key.kind {
                Kind::Secret => value.map(|_| Value::from(REDACTED)),
                _ => value.cloned(),
            };
            let origin = loaded.origins.get(&path).map(|origin| origin.place.clone());
            settings.push(Setting { key: path, value, origin });
        }
    }
    settings
}

/// The settings as TOML, each that differs from its default with its origin as a comment.
pub fn to_toml(settings: &[Setting]) -> String {
    let mut text = String::new();
    let mut current = "";
    for setting in settings {
        let (section, key) = setting.key.split_once('.').unwrap_or(("", &setting.key));
        if section != current {
            let gap = if current.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}[{section}]");
            current = section;
        }
        let origin = setting.origin.as_ref().map_or_else(String::new, |from| format!("  # {from}"));
        let _ = match &setting.value {
            Some(value) => writeln!(text, "{key} = {}{origin}", toml_value(value)),
            None => writeln!(text, "# {key} is not set"),
        };
    }
    text
}

/// A JSON value as TOML on one line.
pub(super) fn toml_value(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!("[{}]", items.iter().map(toml_value).collect::<Vec<_>>().join(", "))
        }
        Value::Object(entries) => {
            let entries =
                entries.iter().map(|(key, value)| format!("{key} = {}", toml_value(value)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
        Value::Null => "\"\"".to_owned(),
        // JSON's escapes are valid in TOML's basic strings.
        other => other.to_string(),
    }
}
