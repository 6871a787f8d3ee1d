//! Watching the lag, as `lag`, the dashboard and `up` do.

use std::time::Duration;

use bowerbird_sink::Projection;
use bowerbird_stream::AnyLog;
use bowerbird_stream::lag::{LagConfig, LagMonitor, LagReport};
use bowerbird_stream::topic;
use tokio::sync::watch;

use crate::settings::Settings;

/// A monitor of every group on our topics, those of the projections also before their first
/// commit; and where its reports can be read.
pub fn monitor(
    log: AnyLog,
    settings: &Settings,
) -> (LagMonitor<AnyLog>, watch::Receiver<LagReport>) {
    let expected = Projection::all().into_iter().map(|projection| {
        (projection.group, projection.topics.into_iter().map(str::to_owned).collect())
    });
    let config = LagConfig {
        expected: expected.collect(),
        interval: Duration::from_millis(settings.config().dashboard.interval_ms),
        ..LagConfig::new(topic::ALL)
    };
    LagMonitor::new(log, config)
}
