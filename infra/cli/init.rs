//! `bowerbird init`

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bowerbird_infra::config;
use clap::Args;

use crate::args::Global;
use crate::failure::{Outcome, WrongUse};
use crate::output;

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
    if path.exists() && !arguments.yes && !overwrite(&path)? {
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

/// Asks, where somebody can answer.
fn overwrite(path: &Path) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(false);
    }
    write!(io::stderr().lock(), "{} exists. Overwrite it? [y/N] ", path.display())?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
