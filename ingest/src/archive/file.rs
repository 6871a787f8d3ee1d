//! The import of one file: where it begins, how it ends.

use std::sync::Arc;
use std::time::Instant;

use bowerbird_stream::EventLog;
use bowerbird_stream::journal;
use bowerbird_stream::log::Outgoing;
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio_util::sync::CancellationToken;

use super::checkpoint::{Checkpoint, Store};
use super::config::{ArchiveConfig, Input};
use super::input::{self, Identity, OpenError};
use super::pipeline::{Ending, Pipeline};
use super::progress::Progress;
use super::summary::{Counts, FileSummary, Outcome};
use crate::post::Reader;
use crate::publish::Publisher;

/// RFC 3986 2.3: what stands for itself in a URI.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// An input that was looked at.
pub struct Candidate {
    input: Input,
    identity: Result<Option<Identity>, String>,
}

impl Candidate {
    /// Looks at an input without reading it.
    pub async fn look_at(input: Input) -> Self {
        let Input::Path(path) = &input else { return Self { input, identity: Ok(None) } };
        let path = path.clone();
        let looked = tokio::task::spawn_blocking(move || input::identify(&path)).await;
        let identity = match looked {
            Ok(identity) => identity.map_err(|error: OpenError| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        Self { input, identity }
    }

    /// Its size as it lies there; 0 when it has none.
    pub fn size(&self) -> u64 {
        self.identity.iter().flatten().map(|identity| identity.size).sum()
    }
}

/// What the imports of all files share.
pub struct Import<'a, L> {
    pub publisher: &'a Publisher<L>,
    pub config: &'a ArchiveConfig,
    pub progress: &'a Arc<Progress>,
    pub cancel: &'a CancellationToken,
    pub started: Timestamp,
}

impl<L: EventLog> Import<'_, L> {
    /// Imports one file; `false` beside the summary when the others need not be tried.
    pub async fn run(&self, candidate: Candidate) -> (FileSummary, bool) {
        let Candidate { input, identity } = candidate;
        let name = input.name();
        self.progress.set_file(&name);
        let begun = Instant::now();
        let mut file = FileSummary {
            file: name.clone(),
            outcome: Outcome::Failed,
            error: None,
            counts: Counts::default(),
            resumed_after_line: None,
            seconds: 0.0,
        };
        let identity = match identity {
            Ok(identity) => identity,
            Err(error) => {
                file.error = Some(error);
                return (file, true);
            }
        };
        let folder = self.config.checkpoint_dir.as_deref();
        let store =
            identity.as_ref().zip(folder).map(|(identity, folder)| Store::new(folder, identity));
        let kept = store.as_ref().filter(|_| self.config.resume).and_then(Store::load);
        if let Some(kept) = kept.as_ref().filter(|kept| kept.finished) {
            tracing::info!(file = name, lines = kept.counts.lines, "imported before, passed over");
            file.outcome = Outcome::Skipped;
            self.progress.add_bytes(identity.map_or(0, |identity| identity.size));
            return (file, true);
        }
        let checkpoint = kept.unwrap_or_else(|| Checkpoint::new(name.clone()));
        if checkpoint.offset > 0 {
            file.resumed_after_line = Some(checkpoint.counts.lines);
            self.progress.add_counts(&checkpoint.counts);
            tracing::info!(file = name, line = checkpoint.counts.lines, "import goes on");
        }
        let source = format!("archive:{}", utf8_percent_encode(&name, RESERVED));
        let written = identity.as_ref().and_then(|identity| identity.written);
        let reader = Reader::archive(source.clone(), name, written, self.started);
        let pipeline = Pipeline { import: self, store: store.as_ref(), source: &source };
        let plain = identity.as_ref().is_some_and(|identity| identity.plain);
        let (mut checkpoint, ending) = pipeline.run(input, plain, reader, checkpoint).await;
        (file.outcome, file.error) = match &ending {
            Ending::Complete if checkpoint.counts.lines == 0 => {
                tracing::warn!(file = file.file, "the archive is empty");
                (Outcome::Empty, None)
            }
            Ending::Complete => (Outcome::Complete, None),
            Ending::Broken(error) => (Outcome::Truncated, Some(error.clone())),
            Ending::Interrupted => {
                let error = "interrupted; with --resume the import goes on here";
                (Outcome::Interrupted, Some(error.to_owned()))
            }
            Ending::Unreadable(error) | Ending::Refused(error) => {
                (Outcome::Failed, Some(error.clone()))
            }
        };
        file.counts = checkpoint.counts.clone();
        file.seconds = begun.elapsed().as_secs_f64();
        let mut go_on = !matches!(ending, Ending::Interrupted | Ending::Refused(_));
        if matches!(ending, Ending::Complete | Ending::Broken(_)) {
            let record = self.journal(&source, &file, identity.as_ref());
            if let Err(error) = self.publisher.publish(vec![record], self.cancel).await {
                file.outcome = Outcome::Failed;
                file.error = Some(error.to_string());
                go_on = false;
            }
        }
        checkpoint.finished = matches!(file.outcome, Outcome::Complete | Outcome::Empty);
        pipeline.save(&checkpoint).await;
        (file, go_on)
    }

    fn journal(&self, source: &str, file: &FileSummary, identity: Option<&Identity>) -> Outgoing {
        let now = Timestamp::now();
        let fact = serde_json::json!({
            "import": file,
            "size": identity.map(|identity| identity.size),
            "head": identity.map(|identity| &identity.head),
            "started": self.started,
            "finished": now,
        });
        journal::fact("import.finished", source, now, &fact)
    }
}
