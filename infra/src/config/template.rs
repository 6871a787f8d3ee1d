//! The commented `bowerbird.toml` that `bowerbird init` writes.

use std::fmt::Write as _;

use serde_json::Value;

use super::effective::toml_value;
use super::key::{self, Key, Kind, Section};

const WIDTH: usize = 96;

const INTRODUCTION: &str = "\
# The configuration of Bowerbird. Everything here is optional: what is commented out shows the
# default, or an example where there is none. `bowerbird config check` shows what is in force.
";

/// The file's text: every key with its meaning, commented out, secrets as a hint where to put them.
pub fn template() -> String {
    let mut text = INTRODUCTION.to_owned();
    for section in key::sections() {
        text.push('\n');
        comment(&mut text, &section.doc);
        let _ = writeln!(text, "[{}]", section.name);
        for key in &section.keys {
            text.push('\n');
            describe(&mut text, section, key);
        }
    }
    text
}

fn describe(text: &mut String, section: &Section, key: &Key) {
    comment(text, &key.doc);
    match &key.kind {
        Kind::Secret => {
            let variable = section.variable(key);
            comment(text, &format!("A secret: set {variable}, or {}_file below.", key.name));
        }
        Kind::Tables(keys) => {
            let _ = writeln!(text, "#[[{}.{}]]", section.name, key.name);
            for key in keys {
                comment(text, &key.doc);
                value(text, key);
            }
        }
        kind => {
            if !matches!(kind, Kind::Text | Kind::List) {
                comment(text, &format!("Takes {}.", kind.takes()));
            }
            value(text, key);
        }
    }
}

fn value(text: &mut String, key: &Key) {
    let nothing = Value::from("");
    let value = key.default.as_ref().or(key.example.as_ref()).unwrap_or(&nothing);
    let _ = writeln!(text, "#{} = {}", key.name, toml_value(value));
}

fn comment(text: &mut String, words: &str) {
    for paragraph in words.lines() {
        let mut line = String::from("#");
        for word in paragraph.split(' ') {
            if line.len() + 1 + word.len() > WIDTH {
                let _ = writeln!(text, "{line}");
                line.truncate(1);
            }
            line.push(' ');
            line.push_str(word);
        }
        let _ = writeln!(text, "{line}");
    }
}
