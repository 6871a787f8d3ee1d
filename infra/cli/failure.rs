//! How the command ends: exit codes, and errors in words.

use std::error::Error;
use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use bowerbird_infra::InfraError;
use bowerbird_ingest::IngestError;
use bowerbird_mapreduce::ViewError;

/// How a command ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done: exit code 0.
    Done,
    /// It did what it should, and found that something falls short: exit code 1.
    FallsShort,
}

/// Wrong use, which no other try will mend: exit code 2.
#[derive(Debug)]
pub struct WrongUse(pub String);

impl fmt::Display for WrongUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for WrongUse {}

const FAILED: u8 = 1;
const WRONG: u8 = 2;

/// The exit code of `result`, with its error told on stderr.
pub fn exit_code(result: anyhow::Result<Outcome>) -> ExitCode {
    let error = match result {
        Ok(Outcome::Done) => return ExitCode::SUCCESS,
        Ok(Outcome::FallsShort) => return ExitCode::from(FAILED),
        Err(error) => error,
    };
    // Whoever read our output has left (`| head`): nothing failed, and nobody listens.
    if is_broken_pipe(&error) {
        return ExitCode::SUCCESS;
    }
    // Nowhere is left to say it when stderr fails too.
    let _ = writeln!(io::stderr().lock(), "error: {}", chain(&error));
    ExitCode::from(if is_wrong_use(&error) { WRONG } else { FAILED })
}

/// What failed, then why, one cause a line; a cause that its parent has told already is left out.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str("\n  because ");
            text.push_str(&cause);
        }
    }
    text
}

fn is_wrong_use(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<WrongUse>()
            || matches!(cause.downcast_ref(), Some(IngestError::Config { .. }))
            || matches!(cause.downcast_ref(), Some(ViewError::Query(_)))
            || matches!(
                cause.downcast_ref(),
                Some(
                    InfraError::Invalid(_)
                        | InfraError::Unreadable { .. }
                        | InfraError::NotLoopback { .. }
                )
            )
    })
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind = |cause: &(dyn Error + 'static)| Some(cause.downcast_ref::<io::Error>()?.kind());
    error.chain().any(|cause| kind(cause) == Some(io::ErrorKind::BrokenPipe))
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn causes_are_told_once() {
        let error =
            anyhow!("no route").context("can't reach it: no route").context("the sink ended");
        assert_eq!(chain(&error), "the sink ended\n  because can't reach it: no route");
    }

    #[test]
    fn wrong_use_is_found_under_its_context() {
        let wrong: anyhow::Result<()> = Err(WrongUse("no".to_owned()).into());
        assert!(is_wrong_use(&wrong.context("reading").unwrap_err()));
        assert!(!is_wrong_use(&anyhow!("no")));
    }
}
