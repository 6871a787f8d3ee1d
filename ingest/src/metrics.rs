//! The names of this crate's metrics.

/// Records acknowledged by the log; labels `topic` and `source` (`ingest-archive`, `ingest-x`,
/// `ingest-aurin`).
pub const RECORDS: &str = "bowerbird_ingest_records_total";
/// Attempts to publish that the log did not take and that are made again.
pub const PUBLISH_RETRIES: &str = "bowerbird_ingest_publish_retries_total";
/// Bytes of keys, values and headers acknowledged by the log.
pub const PUBLISHED_BYTES: &str = "bowerbird_ingest_published_bytes_total";
/// Items of the stream; label `kind`: `post`, `notice`, `control`, `problem` or `refused`.
pub const X_ITEMS: &str = "bowerbird_ingest_x_items_total";
/// Connections to the stream that were made.
pub const X_CONNECTIONS: &str = "bowerbird_ingest_x_connections_total";
/// Connections to the stream that ended or failed; label `cause`.
pub const X_DISCONNECTIONS: &str = "bowerbird_ingest_x_disconnections_total";
/// Times at which nobody listened to the stream, each told in the journal when it is over.
pub const X_GAPS: &str = "bowerbird_ingest_x_gaps_total";
/// 1 while reading from the stream waits for the log, else 0.
pub const X_HELD: &str = "bowerbird_ingest_x_held";
/// Posts of the stream as X bills them, each once a UTC day, and once for each rule; label `rule`: its
/// tag, or `other` for those beyond the first hundred.
pub const X_RULE_POSTS: &str = "bowerbird_ingest_x_rule_posts_total";
/// Posts of this UTC day, as X bills them.
pub const X_DAY_POSTS: &str = "bowerbird_ingest_x_day_posts";
/// Posts of this month of UTC, as X bills them.
pub const X_MONTH_POSTS: &str = "bowerbird_ingest_x_month_posts";
/// What those of this month cost, in US dollars, by the configured price.
pub const X_MONTH_COST: &str = "bowerbird_ingest_x_month_cost_dollars";
/// How many posts this month may bring by the configuration; absent where it sets no bound.
pub const X_MONTH_CAP: &str = "bowerbird_ingest_x_month_cap_posts";
/// Times at which other connections were ended to make room for this one.
pub const X_TAKE_OVERS: &str = "bowerbird_ingest_x_take_overs_total";
/// When the stream last gave a byte, in seconds since 1970.
pub const X_LAST_BYTE: &str = "bowerbird_ingest_x_last_byte_timestamp_seconds";
/// Polls that ended; label `outcome`.
pub const POLLS: &str = "bowerbird_ingest_polls_total";
/// How long a poll took.
pub const POLL_SECONDS: &str = "bowerbird_ingest_poll_seconds";
