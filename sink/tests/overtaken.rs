//! A sink whose group was overtaken by retention, and a log that does not take the fact.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[expect(dead_code, reason = "what this file does not use, settling.rs does")]
mod harness;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowerbird_sink::{Projection, SinkReport};
use bowerbird_stream::log::{Outgoing, Position, Revocation};
use bowerbird_stream::status::{State, status};
use bowerbird_stream::{Delivery, EventLog, LogError, Partition, topic};
use bowerbird_testbed::log::{Between, Tapped};
use futures::FutureExt as _;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use harness::{Bed, Running, post, within};

/// A log that takes nothing for the journal, and whose consumers hand out what a test says once they
/// have partitions, before what else they have.
#[derive(Clone)]
struct Refusing {
    refuses: Arc<AtomicBool>,
    first: Arc<Mutex<VecDeque<Delivery>>>,
}

impl Between for Refusing {
    async fn publish<L: EventLog>(
        &self,
        log: &L,
        records: Vec<Outgoing>,
    ) -> Vec<Result<Position, LogError>> {
        let journal = records.iter().any(|record| *record.topic == *topic::JOURNAL);
        if journal && self.refuses.load(Ordering::Relaxed) {
            let (address, reason) = (log.address(), "no broker".to_owned());
            let error = LogError::Unreachable { address, reason };
            return records.iter().map(|_| Err(error.clone())).collect();
        }
        log.publish(records).await
    }

    fn first(&self) -> Option<Delivery> {
        self.first.lock().unwrap().pop_front()
    }
}

const POSTS: u64 = 60;
const DRAIN: Duration = Duration::from_secs(2);

/// A sink on a log that refuses the journal, overtaken on partition 0 of the posts, level on the
/// others.
async fn overtaken() -> (Bed, Refusing, Running) {
    let mut bed = Bed::new().await;
    bed.config.drain_timeout = DRAIN;
    bed.config.commit_interval = Duration::from_millis(20);
    bed.publish(topic::POSTS, (0..POSTS).map(|id| post(id, 0))).await;
    let gap = LogError::OutOfRange {
        topic: topic::POSTS.to_owned(),
        partition: 0,
        offset: 0,
        earliest: 1,
        end: 20,
    };
    let between = Refusing { refuses: Arc::new(AtomicBool::new(true)), first: Arc::default() };
    let log = Tapped { log: bed.log.clone(), between: between.clone() };
    let extents = bed.log.extents(topic::POSTS).await.unwrap();
    between.first.lock().unwrap().push_back(Delivery::Trouble(gap));
    let (reporter, status) = status("sink");
    let cancel = CancellationToken::new();
    let task = tokio::spawn({
        let (store, config) = (bed.store.clone(), bed.config.clone());
        let cancel = cancel.clone();
        async move {
            let projection = Projection::posts();
            bowerbird_sink::run(&log, &store, &projection, &config, &reporter, cancel).await
        }
    });
    let running = Running { task, cancel, status };
    within("all but partition 0 to be committed", async {
        loop {
            let committed = committed(&bed).await;
            let level = |number: &i32| committed.get(number) == Some(&extents[number].end);
            if bed.count().await == POSTS as usize && [1, 2].iter().all(level) {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    (bed, between, running)
}

async fn committed(bed: &Bed) -> BTreeMap<i32, i64> {
    bed.log.committed(&Projection::posts().group, topic::POSTS).await.unwrap()
}

/// Whether nothing of partition 0 is committed past the hole.
async fn held(bed: &Bed) -> bool {
    committed(bed).await.get(&0).is_none_or(|offset| *offset == 0)
}

async fn facts(bed: &Bed) -> i64 {
    let extents = bed.log.extents(topic::JOURNAL).await.unwrap();
    extents.values().map(|extent| extent.end - extent.earliest).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sink_goes_on_and_commits_past_the_hole_when_it_is_told() {
    let (bed, log, mut running) = overtaken().await;
    assert!(held(&bed).await && facts(&bed).await == 0);
    assert!(running.paused().await.contains("no broker"));
    // Writers go on, and that mends nothing.
    let mut status = running.status.clone();
    // From here on.
    status.changed().now_or_never();
    bed.publish(topic::POSTS, (POSTS..2 * POSTS).map(|id| post(id, 0))).await;
    let written = async {
        while bed.count().await < 2 * POSTS as usize {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = within("more posts", written) => {}
        _ = status.changed() => panic!("it is {:?}", status.get()),
    }
    log.refuses.store(false, Ordering::Relaxed);
    let end = bed.log.extents(topic::POSTS).await.unwrap()[&0].end;
    within("partition 0 to be committed", async {
        while committed(&bed).await.get(&0) != Some(&end) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(facts(&bed).await, 1);
    within("the sink to say so", async {
        while running.status.get() != State::Running {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let SinkReport { records, .. } = running.stop().await;
    assert!(records >= POSTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_heard_and_waits_for_the_journal_no_longer_than_for_a_drain() {
    let (bed, log, running) = overtaken().await;
    for (number, at_least, at_most) in
        [(1, Duration::ZERO, DRAIN), (0, DRAIN / 2, DRAIN + Duration::from_secs(3))]
    {
        let (sender, released) = oneshot::channel::<()>();
        let partitions = vec![Partition::new(topic::POSTS, number)];
        let revocation = Revocation { partitions, lost: false, released: Some(sender) };
        let asked = tokio::time::Instant::now();
        log.first.lock().unwrap().push_back(Delivery::Revoked(revocation));
        within("the partition to be let go", released).await.unwrap_err();
        let took = asked.elapsed();
        assert!((at_least..at_most).contains(&took), "partition {number}: {took:?}");
    }
    assert!(held(&bed).await && facts(&bed).await == 0);
    running.cancel.cancel();
    within("the sink to end", running.task).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_is_heard_and_what_is_not_told_is_not_committed() {
    let (bed, _log, running) = overtaken().await;
    let asked = tokio::time::Instant::now();
    running.stop().await;
    let took = asked.elapsed();
    assert!(took < DRAIN + Duration::from_secs(3), "{took:?}");
    assert!(held(&bed).await && facts(&bed).await == 0);
}
