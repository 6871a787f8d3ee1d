//! Asking before something is destroyed.

use std::io::{self, IsTerminal as _, Write as _};

/// Asks, where somebody can answer; where nobody can, the answer is no.
///
/// # Errors
/// When the terminal can't be read or written.
pub fn ask(question: &str) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(false);
    }
    write!(io::stderr().lock(), "{question} [y/N] ")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
