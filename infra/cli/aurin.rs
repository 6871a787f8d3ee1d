//! `bowerbird aurin`

use bowerbird_infra::config::Account;
use bowerbird_ingest::aurin::{AurinConfig, Column, FeatureType, Wfs};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::failure::{Outcome, WrongUse};
use crate::output;
use crate::parts;
use crate::settings::Settings;

/// What `aurin` takes.
#[derive(Debug, Subcommand)]
pub enum Arguments {
    /// List the data sets that the WFS has
    List(List),
    /// List the columns of a data set, to choose its id_property from
    Describe(Describe),
}

/// What `aurin list` takes.
#[derive(Debug, Args)]
pub struct List {
    /// Only those whose type name or title holds this, in any case; * stands for anything
    pattern: Option<String>,
}

/// What `aurin describe` takes.
#[derive(Debug, Args)]
pub struct Describe {
    /// The type name, as `aurin list` prints it
    #[arg(value_name = "TYPE")]
    type_name: String,
}

impl Arguments {
    /// The accounts whose secrets it needs.
    pub fn accounts(&self) -> &'static [Account] {
        &[Account::Aurin]
    }
}

/// A data set of the WFS.
#[derive(Debug, Serialize)]
struct Listed {
    type_name: String,
    title: String,
    /// The licence that the configuration names, else what the WFS says of all that it gives.
    licence: Option<String>,
    /// Whether the configuration has it polled.
    declared: bool,
}

/// A column of a data set.
#[derive(Debug, Serialize)]
struct Described {
    column: String,
    r#type: String,
    /// Whether it holds geometries.
    geometry: bool,
    /// Whether it is the configured id_property.
    id: bool,
}

/// Lists data sets, or the columns of one.
pub async fn run(arguments: Arguments, settings: &Settings) -> anyhow::Result<Outcome> {
    let config = parts::aurin(settings)?;
    let wfs = Wfs::new(&config)?;
    match arguments {
        Arguments::List(arguments) => Box::pin(list(arguments, &wfs, &config, settings)).await,
        Arguments::Describe(arguments) => {
            Box::pin(describe(arguments, &wfs, &config, settings)).await
        }
    }
}

async fn list(
    arguments: List,
    wfs: &Wfs,
    config: &AurinConfig,
    settings: &Settings,
) -> anyhow::Result<Outcome> {
    let capabilities = wfs.capabilities().await?;
    let pattern = arguments.pattern.unwrap_or_default();
    let listed = |one: FeatureType| {
        let declared = config.datasets.iter().find(|dataset| dataset.type_name == one.name);
        let licence =
            declared.map(|dataset| &dataset.licence).or(capabilities.constraints.as_ref());
        Listed {
            licence: licence.cloned(),
            declared: declared.is_some(),
            type_name: one.name,
            title: one.title.split_whitespace().collect::<Vec<_>>().join(" "),
        }
    };
    let types = capabilities.types.into_iter();
    let types = types.filter(|one| matches(&pattern, &one.name) || matches(&pattern, &one.title));
    let listed: Vec<Listed> = types.map(listed).collect();
    let header = ["type name", "title", "licence", "declared"];
    output::rows(settings.output, &listed, &header, |one| {
        let declared = if one.declared { "yes" } else { "no" };
        let licence = one.licence.clone().unwrap_or_else(|| "-".to_owned());
        vec![one.type_name.clone(), one.title.clone(), licence, declared.to_owned()]
    })?;
    Ok(Outcome::Done)
}

async fn describe(
    arguments: Describe,
    wfs: &Wfs,
    config: &AurinConfig,
    settings: &Settings,
) -> anyhow::Result<Outcome> {
    let name = &arguments.type_name;
    let types = wfs.capabilities().await?.types;
    if !types.iter().any(|one| one.name == *name) {
        let message =
            format!("the WFS has no type {name}; `bowerbird aurin list` prints those that it has");
        return Err(WrongUse(message).into());
    }
    let declared = config.datasets.iter().find(|dataset| dataset.type_name == *name);
    let described = |column: Column| Described {
        id: declared.is_some_and(|dataset| dataset.id_property == column.name),
        geometry: column.is_geometry(),
        column: column.name,
        r#type: column.kind,
    };
    let columns: Vec<Described> = wfs.columns(name).await?.into_iter().map(described).collect();
    output::rows(settings.output, &columns, &["column", "type", "what"], |one| {
        let what = match (one.geometry, one.id) {
            (true, _) => "geometry",
            (_, true) => "id_property",
            _ => "",
        };
        vec![one.column.clone(), one.r#type.clone(), what.to_owned()]
    })?;
    Ok(Outcome::Done)
}

/// Whether `text` holds `pattern`, whose parts between stars stand in it in this order.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.to_lowercase(), text.to_lowercase());
    let mut rest = text.as_str();
    pattern.split('*').all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_found_anywhere() {
        for (pattern, text, expected) in [
            ("", "a:b", true),
            ("income", "ABS - Personal Income", true),
            ("abs*sa2", "AU_Govt_ABS:income_sa2_2011", true),
            ("sa2*abs", "AU_Govt_ABS:income_sa2_2011", false),
            ("aa*a", "aa", false),
            ("health", "income", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
