//! `bowerbird ingest compliance`

use bowerbird_ingest::archive::ArchiveConfig;
use bowerbird_ingest::post;
use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::archive;
use crate::failure::{Outcome, WrongUse};
use crate::settings::Settings;
use crate::shutdown::Shutdown;

/// What `ingest compliance` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// What to import.
    #[command(flatten)]
    pub files: archive::Arguments,
    /// What the lines of batch compliance results are about, which they do not say [default: what
    /// the name of the file says (tweets, posts, users), else what each line looks like; one that
    /// may be about either is a dead letter]
    #[arg(long, value_name = "WHAT")]
    about: Option<About>,
    /// When the results were made, as 2026-01-31T12:00:00Z; what was observed before is removed
    /// [default: when the file was last changed]
    #[arg(long, value_name = "TIME")]
    as_of: Option<Timestamp>,
}

/// What a batch compliance job was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum About {
    /// A job of posts.
    Posts,
    /// A job of users.
    Users,
}

/// Imports results of batch compliance jobs, and notices as streams and archives carry them.
pub async fn run(
    arguments: Arguments,
    settings: &Settings,
    shutdown: &Shutdown,
) -> anyhow::Result<Outcome> {
    let Arguments { files, about, as_of } = arguments;
    let now = Timestamp::now();
    if let Some(as_of) = as_of.filter(|as_of| *as_of > now) {
        // It would keep out all that is observed until then.
        return Err(WrongUse(format!("--as-of {as_of} is still to come: it is {now} now")).into());
    }
    let results = Some(match about {
        Some(About::Posts) => post::About::Posts,
        Some(About::Users) => post::About::Users,
        None => post::About::Either,
    });
    let adapt = |config| ArchiveConfig { results, as_of, ..config };
    archive::run_with(files, settings, shutdown, adapt).await
}
