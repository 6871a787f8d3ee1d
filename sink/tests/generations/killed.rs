//! Killed at every write that a rebuild, a switch and a rollback make, before and after it.

use bowerbird_sink::projections::Standing;
use bowerbird_store::DocumentStore as _;
use bowerbird_stream::topic;
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use super::bed::{Bed, Dying, SECOND, arrive, post};

/// Rebuilds, switches and goes back, in a process that dies at one of its writes; says whether it
/// came to its end.
async fn all_of_it(bed: &Bed, dying: &Dying) -> bool {
    let work = async {
        let generations = bed.generations(dying);
        let pointer = generations.pointer(&bed.base).await.unwrap();
        let there = |standing| pointer.generations.values().any(|one| one.state == standing);
        // Whoever starts the commands again goes by what the pointer says.
        if !there(Standing::Ready) && !there(Standing::Kept) {
            bed.rebuild(dying, &SECOND).await.unwrap();
        }
        bed.switch(dying, 2).await.unwrap();
        bed.switch(dying, 1).await.unwrap();
        bed.switch(dying, 2).await.unwrap();
    };
    bed.lives(dying, work).await.is_some()
}

async fn dies_at(write: usize, after: bool) -> bool {
    let bed = Bed::new().await;
    let enough = CancellationToken::new();
    let arriving = tokio::spawn(arrive(bed.log.clone(), enough.clone()));
    let sink = bed.start();
    let dying = Dying::at(write, after);
    let lived = all_of_it(&bed, &dying).await;
    // The sink's process, too, is killed, and started again.
    sink.kill().await;
    let sink = bed.start();
    if !lived {
        let pointer = bed.generations(&Dying::default()).pointer(&bed.base).await.unwrap();
        let live: Vec<_> = pointer
            .generations
            .iter()
            .filter(|(_, one)| one.state == Standing::Live)
            .map(|(number, _)| *number)
            .collect();
        assert_eq!(live, [pointer.live], "killed at write {write}, after: {after}");
        assert!(all_of_it(&bed, &Dying::default()).await);
    }
    enough.cancel();
    let expected = arriving.await.unwrap();
    bed.level().await;
    bed.holds(2, &expected).await;
    // The former one is sound too, and takes the rest.
    bed.switch(&Dying::default(), 1).await.unwrap();
    bed.level().await;
    bed.holds(1, &expected).await;
    sink.stop().await;
    lived
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_write_nothing_is_missed_and_nothing_is_in_the_wrong_generation() {
    let cases: Vec<_> = (0..14).flat_map(|write| [(write, false), (write, true)]).collect();
    // Beside each other: each is mostly waiting.
    let runs = join_all(cases.iter().map(|&(write, after)| dies_at(write, after))).await;
    let died = runs.into_iter().filter(|lived| !lived).count();
    assert!(died >= 20, "only {died} of {} were killed: they make fewer writes now", cases.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_killed_at_any_write_is_done_by_saying_it_again() {
    let again = async |write, after| {
        let bed = Bed::new().await;
        let alive = Dying::default();
        bed.store.create_database("posts").await.unwrap();
        bed.publish(topic::POSTS, (0..10).map(|id| post(id, 1))).await;
        bed.rebuild(&alive, &SECOND).await.unwrap();
        bed.switch(&alive, 2).await.unwrap();
        // The one that is gone back to has something to catch up with.
        bed.publish(topic::POSTS, (10..20).map(|id| post(id, 1))).await;
        let dying = Dying::at(write, after);
        let lived =
            bed.lives(&dying, async { bed.rollback(&dying).await.unwrap() }).await.is_some();
        for _ in 0..2 {
            assert_eq!(bed.rollback(&alive).await.unwrap().to, 1, "at {write}, after: {after}");
        }
        assert_eq!(bed.documents("posts").await.len(), 20);
        assert_eq!(bed.told("projection.switched").await.len(), 2, "forth and back");
        // To go forth again is another thing to say, and then back is one more.
        assert_eq!(bed.switch(&alive, 2).await.unwrap().from, 1);
        assert_eq!(bed.rollback(&alive).await.unwrap().from, 2);
        lived
    };
    let cases: Vec<_> = (0..4).flat_map(|write| [(write, false), (write, true)]).collect();
    let runs = join_all(cases.iter().map(|&(write, after)| again(write, after))).await;
    assert!(runs.contains(&true) && runs.contains(&false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_killed_at_any_write_goes_on_with_the_generation_that_it_has_begun() {
    let again = async |write, after| {
        let bed = Bed::new().await;
        let dying = Dying::at(write, after);
        let first = bed.rebuild(&dying, &SECOND);
        let lived = bed.lives(&dying, async { first.await.unwrap() }).await.is_some();
        let generations = bed.generations(&Dying::default());
        let note = format!("rebuild:{}", bed.base.name);
        let note = generations.meta().read::<serde_json::Value>(&note).await.unwrap();
        // Where it is forgotten all was done, and the same command is another rebuild. Where it was
        // not even noted, nothing was begun.
        let pointer = generations.pointer(&bed.base).await.unwrap();
        if note.is_some() || pointer.last == 1 {
            bed.rebuild(&Dying::default(), &SECOND).await.unwrap();
        }
        let pointer = generations.pointer(&bed.base).await.unwrap();
        let stands: Vec<_> = pointer.generations.iter().map(|(n, one)| (*n, one.state)).collect();
        let expected = [(1, Standing::Live), (2, Standing::Ready)];
        assert_eq!(stands, expected, "killed at write {write}, after: {after}");
        lived
    };
    let cases: Vec<_> = (0..8).flat_map(|write| [(write, false), (write, true)]).collect();
    let runs = join_all(cases.iter().map(|&(write, after)| again(write, after))).await;
    assert!(runs.contains(&true) && runs.contains(&false));
}
