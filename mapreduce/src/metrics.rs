//! Names of this crate's metrics, and what they measure.

/// Documents that the embedded views mapped.
pub const MAPPED: &str = "bowerbird_mapreduce_documents_total";
/// Documents of which a map function failed, and which its view therefore lacks.
pub const MAP_ERRORS: &str = "bowerbird_mapreduce_map_errors_total";
/// Seconds that a query took, the update of its index included, by `outcome`.
pub const QUERY_SECONDS: &str = "bowerbird_mapreduce_query_seconds";
