//! Secrets that were not configured: asked for where somebody can answer, else refused with what to
//! do.

use std::io::{self, IsTerminal as _};
use std::os::unix::process::parent_id;
use std::process;

use anyhow::Context as _;
use bowerbird_infra::InfraError;
use bowerbird_infra::config::{Account, Loaded, MissingSecret, Secret};
use console::Term;

/// The first process of a system or of a container.
const INIT: u32 = 1;

/// Completes what `accounts` need, before anything is begun.
///
/// # Errors
/// When a secret is missing and nobody can be asked, or gives none.
pub fn complete(loaded: &mut Loaded, accounts: &[Account], is_service: bool) -> anyhow::Result<()> {
    let missing = missing(loaded, accounts);
    if !somebody_answers(is_service) {
        return refuse(&missing);
    }
    for secret in missing {
        let answer = ask(&secret)?;
        if answer.is_empty() {
            return refuse(&[secret]);
        }
        secret.account.supply(&mut loaded.config, Secret::new(answer));
    }
    Ok(())
}

/// Says which secrets of `accounts` are missing: a mistake, unless they can be asked for here.
///
/// # Errors
/// When nobody can be asked.
pub fn check(loaded: &Loaded, accounts: &[Account]) -> anyhow::Result<()> {
    let missing = missing(loaded, accounts);
    if !somebody_answers(false) {
        return refuse(&missing);
    }
    for secret in missing {
        tracing::warn!("{}", secret.problem());
    }
    Ok(())
}

fn missing(loaded: &Loaded, accounts: &[Account]) -> Vec<MissingSecret> {
    accounts.iter().filter_map(|account| account.missing(loaded)).collect()
}

/// Whether a person sees what is asked and can answer. Containers may have a terminal with nobody
/// at it: a service that the system or the container itself has started is not to wait there.
fn somebody_answers(is_service: bool) -> bool {
    let unattended = is_service && (process::id() == INIT || parent_id() == INIT);
    !unattended && io::stdin().is_terminal() && io::stderr().is_terminal()
}

fn refuse(missing: &[MissingSecret]) -> anyhow::Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    Err(InfraError::Invalid(missing.iter().map(MissingSecret::problem).collect()).into())
}

/// Asks on stderr, without echo.
fn ask(secret: &MissingSecret) -> anyhow::Result<String> {
    let terminal = Term::stderr();
    let asked = terminal.write_str(&format!("{}: ", secret.what));
    let answer = asked.and_then(|()| terminal.read_secure_line());
    answer.with_context(|| format!("{} can't be asked for", secret.what))
}
