//! The sample WFS's data sets, as they are harvested, and polls of them.

use std::time::Duration;

use bowerbird_ingest::aurin::{AurinConfig, AurinSummary, DatasetConfig, Schedule, once};
use bowerbird_sim::wfs::sample_datasets;
use bowerbird_stream::retry::RetryPolicy;
use bowerbird_stream::status::status;
use tokio_util::sync::CancellationToken;

use super::TestLog;

/// The harvest of all data sets of the sample WFS at this address, which is soon tried again.
pub fn config(url: &str) -> AurinConfig {
    let datasets = sample_datasets().map(|dataset| DatasetConfig {
        type_name: dataset.type_name.to_owned(),
        id_property: dataset.id_property.to_owned(),
        licence: dataset.licence.to_owned(),
        attribution: dataset.attribution.to_owned(),
        schedule: Schedule::default(),
    });
    let config = AurinConfig::new(format!("{url}/wfs").parse().unwrap(), datasets.to_vec());
    let ms = Duration::from_millis;
    let retry = RetryPolicy { initial: ms(5), max: ms(20), ..config.retry };
    AurinConfig { page_size: 150, retry, ..config }
}

/// Polls each data set once.
pub async fn poll(test: &TestLog, config: AurinConfig) -> AurinSummary {
    let (reporter, _status) = status("ingest-aurin");
    once(test.log.clone(), config, reporter, CancellationToken::new()).await.unwrap()
}
