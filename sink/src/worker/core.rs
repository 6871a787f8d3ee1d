//! What a sink does next: a pure function of what it knows, what happens, and the time. The loop
//! around it (`worker`) carries out what it says; tests drive it on simulated time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bowerbird_stream::{Partition, Position, Record};

use super::gaps::{Gap, Gaps};
use super::pace::{Bounds, Pace, Sample};
use super::window::Window;
use crate::batch::{Batch, Limits};
use crate::watermark::Watermarks;

/// So many batches may wait to be written, so that they can be written in the order of their keys.
/// More would take long to drain where the store is slow.
const WINDOW: usize = 16;

/// What the configuration says of it.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Batch size and concurrency, at most.
    pub bounds: Bounds,
    /// A batch is written when its oldest record has waited so long.
    pub flush_interval: Duration,
    /// The most bytes of records taken and not yet settled, before no more are asked for.
    pub max_pending_bytes: usize,
    /// How often offsets are committed.
    pub commit_interval: Duration,
    /// How long revoked partitions, and shutdown, may take to finish what was begun.
    pub drain_timeout: Duration,
}

/// What happens.
#[derive(Debug)]
pub enum Input {
    /// Records came, each partition's in order.
    Taken(Vec<Record>),
    /// These partitions are ours from here on.
    Assigned(Vec<Partition>),
    /// These are to be let go, after what was begun of them is settled and committed.
    Revoked(Vec<Partition>),
    /// These are somebody else's already.
    Lost(Vec<Partition>),
    /// A batch is settled: each of its records is durable somewhere.
    Settled {
        /// Its records.
        positions: Vec<Position>,
        /// Their bytes.
        bytes: usize,
        /// What it has taught.
        sample: Sample,
    },
    /// Retention was faster than this group: a hole.
    Overtaken(Gap),
    /// The journal has what was told of this partition.
    Told(Partition),
    /// A batch could not be settled; its records stay unsettled.
    Failed,
    /// What waits need not wait for more.
    Hurry,
    /// Time went by.
    Tick,
    /// Take nothing new and finish what was begun; after a failure nothing more is begun.
    Stop {
        /// Whether what waits is still written.
        flush: bool,
    },
}

/// What to do.
#[derive(Debug)]
pub enum Action {
    /// Settle this batch.
    Write(Batch),
    /// Commit these offsets.
    Commit(BTreeMap<Partition, i64>),
    /// Commit these offsets, then let the revoked partitions go.
    Release(BTreeMap<Partition, i64>),
    /// Tell the journal of these holes, all of one partition.
    Tell(Vec<Gap>),
    /// Time is up: give up what is still being written and told.
    Abandon,
}

/// All that a sink knows.
#[derive(Debug)]
pub struct Core {
    settings: Settings,
    pace: Pace,
    marks: Watermarks,
    gaps: Gaps,
    waiting: Window,
    writing: usize,
    pending_bytes: usize,
    hurried: bool,
    next_commit: Instant,
    revoking: Option<(Vec<Partition>, Instant)>,
    stopping: Option<Instant>,
}

impl Core {
    /// Knows nothing yet.
    pub fn new(settings: Settings, now: Instant) -> Self {
        Self {
            pace: Pace::new(settings.bounds),
            marks: Watermarks::default(),
            gaps: Gaps::default(),
            waiting: Window::default(),
            writing: 0,
            pending_bytes: 0,
            hurried: false,
            next_commit: now + settings.commit_interval,
            revoking: None,
            stopping: None,
            settings,
        }
    }

    /// Takes in what happens, and says what to do.
    pub fn apply(&mut self, input: Input, now: Instant) -> Vec<Action> {
        let mut told = None;
        match input {
            Input::Taken(records) => records.into_iter().for_each(|record| self.take(record, now)),
            Input::Assigned(partitions) | Input::Lost(partitions) => self.forget(&partitions),
            Input::Overtaken(gap) => {
                if gap.to < gap.from {
                    // Made anew: what was committed of the former one says nothing of this one.
                    self.marks.forget([&gap.partition]);
                }
                told = self.gaps.open(gap);
            }
            Input::Told(partition) => told = self.gaps.told(&partition),
            Input::Revoked(partitions) => {
                self.revoking = Some((partitions, now + self.settings.drain_timeout));
            }
            Input::Settled { positions, bytes, sample } => {
                self.writing -= 1;
                self.pending_bytes -= bytes;
                positions.iter().for_each(|position| self.marks.settle(position));
                self.pace.learn(&sample);
            }
            Input::Failed => self.writing -= 1,
            Input::Hurry => self.hurried = true,
            Input::Tick => {}
            Input::Stop { flush } => {
                self.stopping.get_or_insert(now + self.settings.drain_timeout);
                if !flush {
                    self.waiting = Window::default();
                }
            }
        }
        let mut actions = Vec::from_iter(told.map(Action::Tell));
        self.due(now, &mut actions);
        actions
    }

    /// The log has these commits. Nothing becomes due by that.
    pub fn committed(&mut self, offsets: &BTreeMap<Partition, i64>) {
        self.marks.committed(offsets);
    }

    /// How many records it has room for; bytes may exceed their bound by one delivery. While
    /// partitions are let go, nothing new is taken.
    pub fn room(&self) -> usize {
        let batch = self.pace.now().documents;
        if !self.listens() || self.pending_bytes >= self.settings.max_pending_bytes {
            return 0;
        }
        (WINDOW * batch).saturating_sub(self.waiting.len())
    }

    /// Whether deliveries are heard: not while partitions are let go, and not when stopping.
    pub fn listens(&self) -> bool {
        self.revoking.is_none() && self.stopping.is_none()
    }

    /// When to look again if nothing happens.
    pub fn wake_at(&self) -> Instant {
        let due = self.waiting.due_at(&self.limits()).filter(|_| self.has_free_writer());
        let revoking = self.revoking.as_ref().map(|(_, deadline)| *deadline);
        let stopping = self.stopping.filter(|_| self.is_at_work());
        [due, revoking, stopping].into_iter().flatten().fold(self.next_commit, Instant::min)
    }

    /// Whether nothing waits and no batch is under way.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.writing == 0
    }

    /// Bytes of records taken and not yet settled.
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Records taken and not yet settled.
    pub fn unsettled(&self) -> usize {
        self.marks.all_unsettled()
    }

    /// Batch size and concurrency of now.
    pub fn pace(&self) -> Bounds {
        self.pace.now()
    }

    /// What may be committed and is not yet.
    pub fn committable(&self) -> BTreeMap<Partition, i64> {
        self.marks.due_within(|partition| self.gaps.limit(partition))
    }

    /// Whether something is being written or told.
    fn is_at_work(&self) -> bool {
        self.writing > 0 || self.gaps.is_telling()
    }

    fn take(&mut self, record: Record, now: Instant) {
        self.marks.take(&record.position.in_partition(), record.position.offset);
        self.pending_bytes += record.size();
        self.waiting.add(record, now);
    }

    fn limits(&self) -> Limits {
        let Bounds { documents, bytes, .. } = self.pace.now();
        Limits { records: documents, bytes, age: self.settings.flush_interval }
    }

    fn has_free_writer(&self) -> bool {
        self.writing < self.pace.now().writers
    }

    fn due(&mut self, now: Instant, actions: &mut Vec<Action>) {
        while self.has_free_writer() && self.is_flush_due(now) {
            self.hurried = false;
            self.writing += 1;
            actions.push(Action::Write(self.waiting.cut(&self.limits())));
        }
        self.release(now, actions);
        if now >= self.next_commit {
            self.next_commit = now + self.settings.commit_interval;
            let offsets = self.committable();
            if !offsets.is_empty() {
                actions.push(Action::Commit(offsets));
            }
        }
        if self.is_at_work() && self.stopping.is_some_and(|deadline| now >= deadline) {
            self.gaps.give_up();
            actions.push(Action::Abandon);
        }
    }

    fn is_flush_due(&self, now: Instant) -> bool {
        !self.waiting.is_empty()
            && (self.waiting.is_due(&self.limits(), now) || self.hurried || !self.listens())
    }

    /// Lets revoked partitions go once they are settled and their holes told, or out of time.
    fn release(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Some((partitions, deadline)) = &self.revoking else { return };
        let left = self.marks.unsettled(partitions) > 0 || self.gaps.hold(partitions);
        if left && now < *deadline {
            return;
        }
        let mut offsets = self.committable();
        offsets.retain(|partition, _| partitions.contains(partition));
        let partitions = partitions.clone();
        self.forget(&partitions);
        self.revoking = None;
        actions.push(Action::Release(offsets));
    }

    /// Knows no more of partitions that are somebody else's, or begin anew.
    fn forget(&mut self, partitions: &[Partition]) {
        self.marks.forget(partitions);
        self.gaps.forget(partitions);
        self.pending_bytes -= self.waiting.forget(partitions);
    }
}
