//! Names of this crate's metrics, and what they measure.

/// Seconds that a request to `CouchDB` took, by `operation` and `outcome`.
pub const REQUEST_SECONDS: &str = "bowerbird_store_request_seconds";
/// Documents of bulk writes, by `outcome` (`written`, `conflict`, `refused`, `failed`).
pub const DOCUMENTS: &str = "bowerbird_store_documents_total";
/// Seconds that a commit of the `SQLite` store took, its documents included.
pub const COMMIT_SECONDS: &str = "bowerbird_store_commit_seconds";

use crate::store::WriteOutcome;

/// Counts what became of the documents of one bulk write.
pub(crate) fn count(outcomes: &[WriteOutcome]) {
    let (mut written, mut conflict, mut refused, mut failed) = (0, 0, 0, 0);
    for outcome in outcomes {
        match outcome {
            WriteOutcome::Written(_) => written += 1,
            WriteOutcome::Conflict => conflict += 1,
            WriteOutcome::Refused { .. } => refused += 1,
            WriteOutcome::Failed { .. } => failed += 1,
        }
    }
    for (outcome, number) in
        [("written", written), ("conflict", conflict), ("refused", refused), ("failed", failed)]
    {
        if number > 0 {
            metrics::counter!(DOCUMENTS, "outcome" => outcome).increment(number);
        }
    }
}
