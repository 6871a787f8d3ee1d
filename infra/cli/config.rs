//! `bowerbird config`

use bowerbird_infra::config::{self, Account};
use clap::Subcommand;

use crate::args::{Format, Global};
use crate::failure::Outcome;
use crate::output;
use crate::parts;
use crate::secrets;
use crate::settings::Settings;

/// What `config` takes.
#[derive(Debug, Subcommand)]
pub enum Arguments {
    /// Check it, and print what is in force without secrets, and where it came from
    Check,
    /// Print every key, its default, its meaning and its environment variable
    Reference,
}

/// Prints the reference.
pub fn reference(global: &Global) -> anyhow::Result<Outcome> {
    match global.output {
        Format::Text => output::text(&config::reference())?,
        Format::Json => output::json(&config::schema())?,
        Format::Csv => return Err(output::no_csv("config reference")),
    }
    Ok(Outcome::Done)
}

/// Prints what is in force; that it was loaded is the check.
pub fn check(settings: &Settings) -> anyhow::Result<Outcome> {
    // Without a token X is simulated.
    secrets::check(&settings.loaded, &[Account::Log, Account::Store, Account::Aurin])?;
    // Schedules are read there.
    parts::aurin(settings)?;
    let in_force = config::settings(&settings.loaded);
    match settings.output {
        Format::Text => {
            let origin = match &settings.file {
                Some(file) => file.display().to_string(),
                None => "no file, the defaults".to_owned(),
            };
            let data = settings.data.display();
            let head = format!("# configuration: {origin}\n# data folder: {data}\n");
            output::text(&(head + &config::to_toml(&in_force)))?;
        }
        format => output::rows(format, &in_force, &["key", "value", "origin"], |setting| {
            let value = setting.value.as_ref().map(ToString::to_string).unwrap_or_default();
            vec![setting.key.clone(), value, setting.origin.clone().unwrap_or_default()]
        })?,
    }
    Ok(Outcome::Done)
}
