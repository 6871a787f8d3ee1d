//! What the log says of a month: the journal's facts, and the posts that came after the last.

use std::time::Duration;

use bowerbird_stream::log::ConsumerConfig;
use bowerbird_stream::range::RangeReader;
use bowerbird_stream::{EventLog, EventType, EventView, LogError, Partition, topic};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::Deserialize;

use super::count::{Count, Day, day_of};
use super::{CAPPED, COUNTED, UNCAPPED, WARNING, before, next_month, start_of};
use crate::x::SOURCE;

/// How long before what is counted is looked at, to know a post that was filled in: X's five
/// minutes, and one more.
const OVERLAP: Duration = Duration::from_secs(360);
/// So long after a month's end its last facts may have been appended: a log can be out of reach.
const LATE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Records taken at a time.
const TAKE: usize = 1_000;

/// What a month has brought.
#[derive(Clone, Debug)]
pub struct Usage {
    /// Its first day.
    pub month: Date,
    pub(super) count: Count,
    /// Of which cap it was warned last.
    pub(super) warned: Option<u64>,
    pub(super) capped: bool,
    /// The last day of which was told, and how much of it had been delivered.
    pub(super) told: Option<(Date, u64)>,
}

#[derive(Deserialize)]
struct Counted {
    day: Date,
    counted_to: Option<Timestamp>,
    #[serde(flatten)]
    of_day: Day,
}

#[derive(Deserialize)]
struct Warned {
    cap_posts: u64,
}

impl Usage {
    /// The month of this day, as long as nothing is known of it.
    pub fn empty(day: Date) -> Self {
        let month = day.first_of_month();
        Self { month, count: Count::default(), warned: None, capped: false, told: None }
    }

    /// The month in which this time is, as long as nothing is known of it.
    pub fn of_month(time: Timestamp) -> Self {
        Self::empty(day_of(time))
    }

    /// Its days on which any posts came.
    pub fn days(&self) -> impl Iterator<Item = (Date, &Day)> {
        let days = self.count.days.range(self.month..=self.month.last_of_month());
        days.map(|(date, day)| (*date, day))
    }

    /// Its posts, each once a day.
    pub fn posts(&self) -> u64 {
        self.count.month(self.month)
    }

    /// What X bills for it, in posts.
    pub fn billed(&self) -> u64 {
        self.count.billed(self.month)
    }

    fn fact(&mut self, event: &EventView<'_>) {
        let of_month = day_of(event.time).first_of_month() == self.month;
        match event.kind.as_str() {
            WARNING if of_month => {
                let warned = serde_json::from_slice::<Warned>(event.value.unwrap_or_default());
                self.warned = warned.ok().map(|warned| warned.cap_posts);
            }
            CAPPED if of_month => self.capped = true,
            UNCAPPED if of_month => self.capped = false,
            COUNTED => {
                let value = event.value.unwrap_or_default();
                let Ok(counted) = serde_json::from_slice::<Counted>(value) else { return };
                if counted.day.first_of_month() != self.month {
                    return;
                }
                self.count.counted_to = self.count.counted_to.max(counted.counted_to);
                self.told = self.told.max(Some((counted.day, counted.of_day.deliveries)));
                let day = self.count.days.entry(counted.day).or_default();
                // Each fact says all that its day had brought by then.
                if counted.of_day.deliveries >= day.deliveries {
                    *day = counted.of_day;
                }
            }
            _ => {}
        }
    }
}

/// What the log says of the month in which `day` is.
///
/// # Errors
/// When the log can't be read.
pub async fn usage<L: EventLog>(log: &L, day: Date) -> Result<Usage, LogError> {
    let mut usage = Usage::empty(day);
    let (Some(from), Some(to)) = (start_of(usage.month), next_month(usage.month)) else {
        return Ok(usage);
    };
    let late = to.checked_add(LATE).unwrap_or(Timestamp::MAX);
    each(log, topic::JOURNAL, (from, late), |event| usage.fact(event)).await?;
    let counted_to = usage.count.counted_to;
    let since = counted_to.map_or(from, |counted_to| before(counted_to, OVERLAP)).max(from);
    each(log, topic::POSTS, (since, late), |event| {
        let Some(id) = event.key.parse().ok().filter(|_| event.kind == EventType::PostReceived)
        else {
            return;
        };
        if day_of(event.time).first_of_month() != usage.month {
            return;
        }
        match counted_to {
            Some(counted_to) if event.time <= counted_to => {
                usage.count.recall(event.time, id, event.value.unwrap_or_default());
            }
            _ => {
                usage.count.add(event.time, id, event.value.unwrap_or_default());
            }
        }
    })
    .await?;
    Ok(usage)
}

/// Shows what the stream has brought into a topic, appended within a time.
async fn each<L: EventLog>(
    log: &L,
    topic: &str,
    (from, to): (Timestamp, Timestamp),
    mut show: impl FnMut(&EventView<'_>),
) -> Result<(), LogError> {
    let (first, end) = (log.offsets_at(topic, from).await?, log.offsets_at(topic, to).await?);
    let ranges = first.into_iter().filter_map(|(number, first)| {
        Some((Partition::new(topic, number), (first, *end.get(&number)?)))
    });
    let config = ConsumerConfig::new("bowerbird-x-usage");
    let mut reader = RangeReader::new(log, ranges.collect(), config).await?;
    while let Some(records) = reader.next(TAKE).await? {
        for record in &records {
            if let Ok(event) = record.view()
                && event.source == SOURCE
            {
                show(&event);
            }
        }
    }
    Ok(())
}
