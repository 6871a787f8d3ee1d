//! The reference of the configuration, made from the schema: `docs/CONFIGURATION.md`.

use std::fmt::Write as _;

use super::effective::toml_value;
use super::key::{self, Key, Kind, Section};

const INTRODUCTION: &str = "\
# Configuration

<!-- Made by `bowerbird config reference`; a test checks that it is current. -->

Bowerbird runs without any configuration. To change something, `bowerbird init` writes a commented
`bowerbird.toml`. It is read from `--config FILE`, else from `./bowerbird.toml` if there is one.
Environment variables go before the file, flags before both; an empty variable sets nothing.
Relative paths are relative to the working directory. `bowerbird config check` shows what is in
force and where it came from.

Secrets never stand in the file or in a flag: they come from the environment, or from a file that a
`*_file` key names (such as a Docker secret); on a terminal, a command asks for one that it needs and
has not. An address may hold `user:password@`; it is never shown with it. Lists are written in a
variable as in the file, or separated by commas.
";

/// Every key, its default, its meaning and its environment variable, as Markdown.
pub fn reference() -> String {
    let mut text = INTRODUCTION.to_owned();
    for section in key::sections() {
        let _ = write!(text, "\n## `[{}]`\n\n{}\n", section.name, section.doc);
        for key in &section.keys {
            describe(&mut text, section, key);
        }
    }
    text
}

fn describe(text: &mut String, section: &Section, key: &Key) {
    let _ = write!(text, "\n### `{}.{}`\n\n{}\n\n", section.name, key.name, key.doc);
    if matches!(key.kind, Kind::Secret) {
        let _ = writeln!(text, "- a secret: not in the file");
    } else {
        let _ = writeln!(text, "- takes {}", key.kind.takes());
        let _ = writeln!(text, "- default: {}", default(key));
    }
    let _ = writeln!(text, "- environment: `{}`", section.variable(key));
    if let Kind::Tables(keys) = &key.kind {
        let _ = writeln!(text, "\n| key | takes | default | meaning |\n|---|---|---|---|");
        for key in keys {
            let (name, doc) = (&key.name, key.doc.replace('\n', " "));
            let default = if key.required { "required".to_owned() } else { default(key) };
            let _ = writeln!(text, "| `{name}` | {} | {default} | {doc} |", key.kind.takes());
        }
    }
}

fn default(key: &Key) -> String {
    key.default
        .as_ref()
        .map_or_else(|| "not set".to_owned(), |value| format!("`{}`", toml_value(value)))
}
