//! The ends that a run with `--once` drains to.

use std::collections::BTreeMap;

use bowerbird_stream::log::Extent;
use bowerbird_stream::{EventLog, LogError};

use crate::config::Projection;

/// What each partition held when the run began.
#[derive(Debug)]
pub(super) struct Ends(Vec<(&'static str, BTreeMap<i32, Extent>)>);

impl Ends {
    pub(super) async fn now<L: EventLog>(
        log: &L,
        projection: &Projection,
    ) -> Result<Self, LogError> {
        let mut ends = Vec::new();
        for topic in &projection.topics {
            ends.push((*topic, log.extents(topic).await?));
        }
        Ok(Self(ends))
    }

    /// Whether the group has committed past all of them, whoever of its members did.
    pub(super) async fn reached<L: EventLog>(
        &self,
        log: &L,
        projection: &Projection,
    ) -> Result<bool, LogError> {
        for (topic, extents) in &self.0 {
            let committed = log.committed(&projection.group, topic).await?;
            let open = extents.iter().any(|(partition, extent)| {
                extent.earliest < extent.end
                    && committed.get(partition).is_none_or(|offset| *offset < extent.end)
            });
            if open {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
