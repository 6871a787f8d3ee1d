//! The names of the sink's metrics, in one place.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// What became of entities and records, by `projection` and `outcome`: documents `written`,
/// documents `unchanged`, records given up as a `dead_letter`.
pub const OUTCOMES: &str = "bowerbird_sink_outcomes_total";
/// Records settled, by `projection`.
pub const RECORDS: &str = "bowerbird_sink_records_total";
/// Documents written, by `projection`.
pub const DOCUMENTS: &str = "bowerbird_sink_documents_total";
/// Bulk writes that met a fault and were tried again, by `projection`.
pub const RETRIES: &str = "bowerbird_sink_retries_total";
/// How long a batch took from its first request to its last answer, by `projection`.
pub const BATCH_SECONDS: &str = "bowerbird_sink_batch_seconds";
/// Bytes of records taken and not yet settled, by `projection`.
pub const PENDING_BYTES: &str = "bowerbird_sink_pending_bytes";
/// Offsets that the log no longer held when they were due, by `projection`.
pub const OVERTAKEN: &str = "bowerbird_sink_offsets_overtaken_total";
/// Databases that were gone and have been made anew, without the documents of earlier events, by
/// `projection`.
pub const REMADE: &str = "bowerbird_sink_databases_remade_total";
/// Newest observations said again in the log since an older one came behind them, by `projection`.
pub const AFFIRMED: &str = "bowerbird_sink_observations_affirmed_total";
/// Such as could not be: the log had lost them already, by `projection`.
pub const NOT_AFFIRMED: &str = "bowerbird_sink_observations_not_affirmed_total";
/// Observations said again without the place that a geo scrub takes, by `projection`.
pub const SCRUBBED: &str = "bowerbird_sink_posts_scrubbed_total";
/// Tombstones published so that the log erases what was removed, by `projection`.
pub const ERASED: &str = "bowerbird_sink_posts_erased_total";
/// Dead letters that lost their content, since their posts were removed or lost their place.
pub const LETTERS_ERASED: &str = "bowerbird_sink_letters_erased_total";
/// The most documents of a batch, as the store bears it now, by `projection`.
pub const BATCH_DOCUMENTS: &str = "bowerbird_sink_batch_documents";
/// The most writes under way at once, as the store bears it now, by `projection`.
pub const WRITERS: &str = "bowerbird_sink_writers";

/// Tells the recorder what each metric means.
pub fn describe() {
    describe_counter!(OUTCOMES, "documents written or unchanged, and records given up");
    describe_counter!(RECORDS, "records settled");
    describe_counter!(DOCUMENTS, "documents written");
    describe_counter!(RETRIES, "bulk writes tried again");
    describe_histogram!(BATCH_SECONDS, Unit::Seconds, "time to settle a batch");
    describe_gauge!(PENDING_BYTES, Unit::Bytes, "bytes of records taken and not yet settled");
    describe_gauge!(BATCH_DOCUMENTS, "documents that a batch may have now");
    describe_gauge!(WRITERS, "writes that may be under way now");
    describe_counter!(AFFIRMED, "newest observations said again behind late older ones");
    describe_counter!(NOT_AFFIRMED, "newest observations that the log had lost by then");
    describe_counter!(SCRUBBED, "observations said again without the place that a scrub takes");
    describe_counter!(ERASED, "tombstones published so that the log erases what was removed");
    describe_counter!(REMADE, "databases that were gone, and made anew without earlier documents");
    describe_counter!(
        LETTERS_ERASED,
        "dead letters that lost content that platforms ask to remove"
    );
    describe_counter!(OVERTAKEN, "offsets that retention had removed before they were read");
}
