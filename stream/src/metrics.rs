//! The names of this crate's metrics, and the one place that counts them.

use std::time::Duration;

/// Records that a log has acknowledged, by `log`.
pub const PUBLISHED: &str = "bowerbird_stream_published_records_total";
/// How long a publish took until it was durable, by `log`.
pub const PUBLISH_SECONDS: &str = "bowerbird_stream_publish_seconds";
/// Publishes that failed as a whole, by `log`.
pub const PUBLISH_FAILURES: &str = "bowerbird_stream_publish_failures_total";
/// Records handed out to consumers, by `log`.
pub const CONSUMED: &str = "bowerbird_stream_consumed_records_total";
/// Bytes handed out to consumers, by `log`.
pub const CONSUMED_BYTES: &str = "bowerbird_stream_consumed_bytes_total";
/// Records that the embedded log has erased because they were overwritten or too old.
pub const CLEANED: &str = "bowerbird_stream_cleaned_records_total";

pub(crate) fn published(log: &'static str, records: usize, took: Duration) {
    metrics::counter!(PUBLISHED, "log" => log).increment(records as u64);
    metrics::histogram!(PUBLISH_SECONDS, "log" => log).record(took.as_secs_f64());
}

pub(crate) fn publish_failed(log: &'static str) {
    metrics::counter!(PUBLISH_FAILURES, "log" => log).increment(1);
}

pub(crate) fn consumed(log: &'static str, records: usize, bytes: usize) {
    metrics::counter!(CONSUMED, "log" => log).increment(records as u64);
    metrics::counter!(CONSUMED_BYTES, "log" => log).increment(bytes as u64);
}

pub(crate) fn cleaned(records: usize) {
    metrics::counter!(CLEANED).increment(records as u64);
}
