//! Reads the log up to what the projection's group has committed, and notes what it says.

use std::collections::BTreeMap;

use bowerbird_stream::dead_letter::{DeadLetters, Filter};
use bowerbird_stream::log::ConsumerConfig;
use bowerbird_stream::range::RangeReader;
use bowerbird_stream::{EventLog, Partition, Record};

use super::Run;
use super::compare::Young;
use super::scratch::{Page, Scratch};
use crate::config::Projection;
use crate::error::SinkError;
use crate::mapping::Mapping;
use crate::merge::Content;

/// Records taken at a time.
const TAKE: usize = 2_000;

/// Fills `scratch`, and says up to where the log was judged.
pub(super) async fn from_log<L: EventLog>(
    log: &L,
    projection: &Projection,
    scratch: &Scratch,
    run: &mut Run<'_>,
    progress: &mut (impl FnMut(u64) + Send),
) -> Result<Young, SinkError> {
    let mut young = Young::default();
    let mut ranges = BTreeMap::new();
    for topic in &projection.topics {
        // Committed first: what is committed later is only younger.
        let committed = log.committed(&projection.group, topic).await?;
        for (number, extent) in log.extents(topic).await? {
            let partition = Partition::new(*topic, number);
            let bound = committed.get(&number).copied().unwrap_or(extent.earliest);
            let bound = bound.clamp(extent.earliest, extent.end);
            run.counts.not_judged += u64::try_from(extent.end - bound).unwrap_or_default();
            young.any |= bound < extent.end;
            young.bounds.insert(partition.clone(), bound);
            ranges.insert(partition, (extent.earliest, bound));
        }
    }
    read_letters(log, projection, scratch).await?;
    let reader = ConsumerConfig::new("bowerbird-verify");
    let mut reader = RangeReader::new(log, ranges, reader).await?;
    while let Some(records) = reader.next(TAKE).await? {
        run.counts.events += records.len() as u64;
        let added = scratch.add(page(&records, &projection.mapping)).await?;
        run.counts.dead_letters += added.lettered.open;
        run.counts.redriven += added.lettered.redriven;
        run.counts.dropped += added.lettered.dropped;
        for (position, why) in added.unlettered {
            run.unlettered(&position, &why);
        }
        progress(run.counts.events);
    }
    Ok(young)
}

fn page(records: &[Record], mapping: &Mapping) -> Page {
    let mut page = Page::default();
    for record in records {
        let position = record.position.clone();
        match record.view() {
            Ok(event) => match mapping.map(&event, &position) {
                Ok(mut mapped) => {
                    if let Some(seen) = &mut mapped.state.observed {
                        seen.content = Content(String::new());
                    }
                    page.expected.push((mapped.id, position, mapped.state));
                }
                Err(error) => page.unmappable.push((position, error.to_string())),
            },
            Err(error) => page.unmappable.push((position, error.to_string())),
        }
    }
    page
}

/// Notes which records the projection's group has given up, and what became of them.
async fn read_letters<L: EventLog>(
    log: &L,
    projection: &Projection,
    scratch: &Scratch,
) -> Result<(), SinkError> {
    let groups = vec![projection.group.clone()];
    let filter = Filter { groups, done: true, ..Filter::default() };
    let mut letters = DeadLetters::new(log.clone()).read(filter).await?;
    while let Some(page) = letters.next().await? {
        let origins =
            page.into_iter().filter_map(|letter| Some((letter.story.origin?, letter.done)));
        scratch.letters(origins.collect()).await?;
    }
    Ok(())
}
