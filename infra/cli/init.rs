//! `bowerbird init`

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use bowerbird_infra::config;
use clap::Args;

use crate::args::Global;
use crate::failure::{Outcome, WrongUse};
use crate::output;
use crate::question;

/// What `init` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Overwrite an existing file without asking
    #[arg(long)]
    yes: bool,
    /// Print the file instead of writing it
    #[arg(long)]
    dry_run: bool,
}

/// Writes a commented `bowerbird.toml`, or the file that `--config` names.
pub fn run(arguments: &Arguments, global: &Global) -> anyhow::Result<Outcome> {
    let text = config::template();
    if arguments.dry_run {
        output::text(&text)?;
        return Ok(Outcome::Done);
    }
    let path = global.config.clone().unwrap_or_else(|| PathBuf::from("bowerbird.toml"));
    if path.exists()
        && !arguments.yes
        && !question::ask(&format!("{} exists. Overwrite it?", path.display()))?
    {
        return Err(WrongUse(format!(
            "{} exists and was left as it is; --yes overwrites it",
            path.display()
        ))
        .into());
    }
    fs::write(&path, text).with_context(|| format!("{} can't be written", path.display()))?;
    output::text(&format!("{}\n", path.display()))?;
    Ok(Outcome::Done)
}
