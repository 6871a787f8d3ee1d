//! Reading the file as a member of a group, or with an assignment of its own.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::SqliteLog;
use super::reader::{self, Chunk, Reader, Want};
use super::seat::{self, Seat};
use super::writer::{Request, data_version};
use crate::error::LogError;
use crate::log::{ConsumerConfig, Delivery, EventConsumer, Extent, Partition, Record, StartAt};
use crate::metrics;

/// How often a member that stands by looks for the seat.
const STAND_BY: Duration = Duration::from_millis(200);
/// How often a reader looks for what other processes appended. This process's own wakes it.
const LOOK: Duration = Duration::from_millis(100);
/// How long a read that failed waits for its next attempt.
const AGAIN: Duration = Duration::from_millis(200);
/// The most that one read takes into memory.
const CHUNK_BYTES: usize = 4 << 20;

/// A partition of this consumer.
#[derive(Debug)]
struct Lane {
    partition: Partition,
    id: i64,
    /// The next offset to read from the file.
    next: i64,
    paused: bool,
}

/// By what right it reads.
enum Role {
    /// Waits until the group's seat is free.
    StandBy { topics: Vec<String> },
    /// The group's live member.
    Member { epoch: i64, _seat: Seat },
    /// A member of nothing.
    Reader,
}

/// A consumer of the embedded log.
pub struct SqliteConsumer {
    log: SqliteLog,
    reader: Reader,
    config: ConsumerConfig,
    role: Role,
    lanes: Vec<Lane>,
    buffer: VecDeque<Record>,
    buffered: usize,
    events: VecDeque<Delivery>,
    fetch: Option<JoinHandle<Result<Chunk, LogError>>>,
    /// There may be more in the file than was read.
    hungry: bool,
    version: i64,
    appended: watch::Receiver<u64>,
    trouble: Option<(LogError, Instant)>,
}

impl SqliteConsumer {
    fn new(log: SqliteLog, reader: Reader, config: ConsumerConfig, role: Role) -> Self {
        Self {
            appended: log.appended(),
            log,
            reader,
            config,
            role,
            lanes: Vec::new(),
            buffer: VecDeque::new(),
            buffered: 0,
            events: VecDeque::new(),
            fetch: None,
            hungry: true,
            version: 0,
            trouble: None,
        }
    }

    pub(super) async fn subscribe(
        log: SqliteLog,
        topics: &[&str],
        config: ConsumerConfig,
    ) -> Result<Self, LogError> {
        for topic in topics {
            log.partitions(topic).await?;
        }
        let reader = log.reader().await?;
        let topics = topics.iter().map(|&topic| topic.to_owned()).collect();
        Ok(Self::new(log, reader, config, Role::StandBy { topics }))
    }

    pub(super) async fn assign(
        log: SqliteLog,
        from: &BTreeMap<Partition, i64>,
        config: ConsumerConfig,
    ) -> Result<Self, LogError> {
        let mut lanes = Vec::with_capacity(from.len());
        for (partition, &offset) in from {
            let standing = log.partition(partition).await?;
            let extent = standing.extent;
            if offset > extent.end {
                return Err(out_of_range(partition, offset, extent));
            }
            let next = offset.max(extent.earliest);
            lanes.push(Lane { partition: partition.clone(), id: standing.id, next, paused: false });
        }
        let reader = log.reader().await?;
        Ok(Self { lanes, ..Self::new(log, reader, config, Role::Reader) })
    }

    /// Becomes the group's live member if there is none.
    async fn take_seat(&mut self, topics: Vec<String>) -> Result<bool, LogError> {
        let group = self.config.group.clone();
        let who = match &self.config.instance {
            Some(instance) => format!("{instance} (process {})", std::process::id()),
            None => format!("process {}", std::process::id()),
        };
        let folder = self.log.seats();
        let taken = {
            let group = group.clone();
            super::off_thread(&self.log.address, move || seat::take(&folder, &group, &who))
                .await??
        };
        let Some(seat) = taken else { return Ok(false) };
        let join = |answer| Request::Join { group: group.clone(), answer };
        let epoch = self.log.request(join).await??;
        let start = self.config.start;
        let resolve = move |connection: &rusqlite::Connection| {
            let committed = reader::committed(connection, &group)?;
            let mut lanes = Vec::new();
            let mut overtaken = Vec::new();
            for topic in topics {
                for (number, standing) in reader::partitions(connection, &topic)? {
                    let partition = Partition::new(topic.as_str(), number);
                    let extent = standing.extent;
                    let next = match (committed.get(&standing.id), start) {
                        (Some(&offset), _) if (extent.earliest..=extent.end).contains(&offset) => {
                            offset
                        }
                        (Some(&offset), _) => {
                            overtaken.push(out_of_range(&partition, offset, extent));
                            extent.earliest
                        }
                        (None, StartAt::Earliest) => extent.earliest,
                        (None, StartAt::End) => extent.end,
                    };
                    lanes.push(Lane { partition, id: standing.id, next, paused: false });
                }
            }
            Ok((lanes, overtaken))
        };
        let (lanes, overtaken) = self.reader.ask(resolve).await?;
        self.events.push_back(Delivery::Assigned(
            lanes.iter().map(|lane: &Lane| lane.partition.clone()).collect(),
        ));
        self.events.extend(overtaken.into_iter().map(Delivery::Trouble));
        self.lanes = lanes;
        self.role = Role::Member { epoch, _seat: seat };
        Ok(true)
    }

    fn take(&mut self, max: usize) -> Vec<Record> {
        let taken = self.buffer.len().min(max);
        let records: Vec<_> = self.buffer.drain(..taken).collect();
        let bytes = records.iter().map(Record::size).sum();
        self.buffered = self.buffered.saturating_sub(bytes);
        metrics::consumed("sqlite", records.len(), bytes);
        if self.buffered <= self.config.prefetch_bytes / 2 {
            self.start_fetch();
        }
        records
    }

    /// Reads on in the background, if there may be more.
    fn start_fetch(&mut self) {
        if self.fetch.is_some() || !self.hungry {
            return;
        }
        self.appended.borrow_and_update();
        let want =
            |lane: &Lane| Want { partition: lane.partition.clone(), id: lane.id, next: lane.next };
        let mut wants: Vec<_> = self.lanes.iter().filter(|l| !l.paused).map(want).collect();
        // Whoever was served last waits longest next time.
        if let Some(last) = self.buffer.back().map(|record| record.position.in_partition()) {
            let after = wants.iter().position(|want| want.partition == last).map_or(0, |at| at + 1);
            wants.rotate_left(after);
        }
        let budget = (self.config.prefetch_bytes / 2).clamp(1, CHUNK_BYTES);
        let reader = self.reader.clone();
        self.fetch = Some(tokio::task::spawn_blocking(move || {
            reader.ask_here(|connection| reader::read(connection, &wants, budget))
        }));
    }

    fn absorb(&mut self, chunk: Result<Chunk, LogError>) -> Result<(), LogError> {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) if error.is_transient() || error.pauses() => {
                self.events.push_back(Delivery::Trouble(error.clone()));
                self.trouble = Some((error, Instant::now() + AGAIN));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.trouble = None;
        self.hungry = chunk.more;
        self.version = chunk.version;
        self.buffered += chunk.bytes;
        self.buffer.extend(chunk.records);
        self.events.extend(chunk.overtaken.into_iter().map(Delivery::Trouble));
        for (partition, next) in chunk.next {
            if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.partition == partition) {
                lane.next = next;
            }
        }
        Ok(())
    }

    /// Waits until there may be more to read; `false` at the deadline.
    async fn wait(&mut self, deadline: Instant) -> Result<bool, LogError> {
        if let Some((_, again)) = self.trouble {
            sleep_until(again.min(deadline)).await;
            return Ok(again <= deadline);
        }
        let look = deadline.min(Instant::now() + LOOK);
        match timeout_at(look, self.appended.changed()).await {
            Ok(Ok(())) => self.hungry = true,
            _ => {
                let version = self.reader.ask(|c| Ok(data_version(c)?)).await?;
                self.hungry |= version != self.version;
            }
        }
        Ok(self.hungry || Instant::now() < deadline)
    }

    fn nothing(&self) -> Delivery {
        match &self.trouble {
            Some((error, _)) => Delivery::Trouble(error.clone()),
            None => Delivery::Idle,
        }
    }

    fn lane(&mut self, partition: &Partition) -> Result<usize, LogError> {
        let mine = self.lanes.iter().position(|lane| lane.partition == *partition);
        mine.ok_or_else(|| LogError::NotAssigned { partition: partition.to_string() })
    }

    /// Forgets what was read ahead of a partition; it goes on at `next`, or where that began.
    fn forget(&mut self, lane: usize, next: Option<i64>) {
        // What is being read may hold this partition too. Its result is dropped, and read again.
        self.fetch = None;
        self.hungry = true;
        let lane = &mut self.lanes[lane];
        let mut first = None;
        let mut freed = 0;
        self.buffer.retain(|record| {
            let forgotten = record.position.in_partition() == lane.partition;
            if forgotten {
                first.get_or_insert(record.position.offset);
                freed += record.size();
            }
            !forgotten
        });
        self.buffered = self.buffered.saturating_sub(freed);
        lane.next = next.or(first).unwrap_or(lane.next);
    }

    /// The lanes of these partitions, or an error when one is not this consumer's.
    fn lanes(&mut self, partitions: &[Partition]) -> Result<Vec<usize>, LogError> {
        partitions.iter().map(|partition| self.lane(partition)).collect()
    }
}

impl EventConsumer for SqliteConsumer {
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Delivery, LogError> {
        let deadline = Instant::now() + wait;
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            if max == 0 {
                // A live member keeps its seat, so there is nothing else to hear of.
                sleep_until(deadline).await;
                return Ok(self.nothing());
            }
            if !self.buffer.is_empty() {
                return Ok(Delivery::Records(self.take(max)));
            }
            if let Role::StandBy { topics } = &self.role {
                let topics = topics.clone();
                let told = self.trouble.take().is_some();
                match self.take_seat(topics).await {
                    Ok(true) => continue,
                    Ok(false) => {}
                    // A full disk, for one, has no room to note that there is a new member.
                    Err(error) if error.is_transient() || error.pauses() => {
                        self.trouble = Some((error.clone(), Instant::now() + STAND_BY));
                        if !told {
                            return Ok(Delivery::Trouble(error));
                        }
                    }
                    Err(error) => return Err(error),
                }
                let again = Instant::now() + STAND_BY;
                sleep_until(again.min(deadline)).await;
                if again > deadline {
                    return Ok(self.nothing());
                }
                continue;
            }
            if self.trouble.as_ref().is_none_or(|(_, again)| *again <= Instant::now()) {
                self.start_fetch();
            }
            if let Some(fetch) = &mut self.fetch {
                let Ok(done) = timeout_at(deadline, fetch).await else { return Ok(self.nothing()) };
                self.fetch = None;
                let chunk =
                    done.unwrap_or_else(|error| Err(super::gone(&self.log.address, &error)));
                self.absorb(chunk)?;
            } else if !self.wait(deadline).await? {
                return Ok(self.nothing());
            }
        }
    }

    fn pause(&mut self, partitions: &[Partition]) -> Result<(), LogError> {
        for lane in self.lanes(partitions)? {
            self.forget(lane, None);
            self.lanes[lane].paused = true;
        }
        Ok(())
    }

    fn resume(&mut self, partitions: &[Partition]) -> Result<(), LogError> {
        for lane in self.lanes(partitions)? {
            self.lanes[lane].paused = false;
            self.hungry = true;
            self.fetch = None;
        }
        Ok(())
    }

    async fn seek(&mut self, partition: &Partition, offset: i64) -> Result<(), LogError> {
        let lane = self.lane(partition)?;
        let extent = self.log.partition(partition).await?.extent;
        if !(extent.earliest..=extent.end).contains(&offset) {
            return Err(out_of_range(partition, offset, extent));
        }
        self.forget(lane, Some(offset));
        Ok(())
    }

    async fn commit(&mut self, offsets: &BTreeMap<Partition, i64>) -> Result<(), LogError> {
        let mut by_id = BTreeMap::new();
        for (partition, &offset) in offsets {
            let lane = self.lane(partition)?;
            by_id.insert(self.lanes[lane].id, offset);
        }
        let group = self.config.group.clone();
        let epoch = match self.role {
            Role::Member { epoch, .. } => Some(epoch),
            _ => {
                self.log.refuse_live(&group).await?;
                None
            }
        };
        self.log.request(|answer| Request::Commit { group, epoch, offsets: by_id, answer }).await?
    }

    async fn close(self) -> Result<(), LogError> {
        // Dropping it frees the seat at once.
        Ok(())
    }
}

fn out_of_range(partition: &Partition, offset: i64, extent: Extent) -> LogError {
    let Extent { earliest, end } = extent;
    let Partition { topic, partition } = partition;
    LogError::OutOfRange { topic: topic.to_string(), partition: *partition, offset, earliest, end }
}
