//! The pointer by table, and by any history of changes.

use proptest::prelude::*;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn second() -> Mapping {
    Mapping::new(2, |_, event, _| Err(crate::mapping::Unmappable::NoValue(event.kind.clone())))
}

#[test]
fn a_generation_is_filled_goes_live_and_back_and_away() {
    let base = Projection::posts();
    let first = Pointer::first(&base);
    assert_eq!(first.candidate(&base, None), Err(Refusal::NothingReady { projection: "posts" }));
    assert_eq!(first.predecessor(&base), Err(Refusal::NothingKept { projection: "posts" }));

    let (filling, two) = first.begin(&base, &second(), 0, None, at(1)).unwrap();
    assert_eq!((two, filling.live, filling.generations[&2].state), (2, 1, Standing::Filling));
    assert!(matches!(filling.candidate(&base, Some(2)), Err(Refusal::Standing { .. })));
    // Begun again it goes on; with another mapping it does not.
    let (filling, again) = filling.begin(&base, &second(), 0, None, at(2)).unwrap();
    assert_eq!((again, filling.generations[&2].created), (2, Some(at(1))));
    let other = filling.clone().begin(&base, &Mapping::CURRENT, 0, None, at(2)).unwrap_err();
    assert_eq!(other, Refusal::Begun { projection: "posts", number: 2, mapping: 2 });

    let ready = filling.ready(&base, 2, at(3)).unwrap();
    assert_eq!((ready.candidate(&base, None), ready.live), (Ok(2), 1));
    // Its rebuild may not have come to forgetting it; whoever knows nothing of that begins anew.
    let begin = |noted| ready.clone().begin(&base, &second(), 0, noted, at(4)).unwrap();
    assert_eq!((begin(Some(2)).1, begin(None).1, begin(Some(1)).1), (2, 3, 3));
    assert_eq!(begin(Some(2)).0, ready);
    let live = ready.switch(&base, 2, at(4)).unwrap();
    assert_eq!((live.live, live.generations[&1].state), (2, Standing::Kept));
    let projection = live.projection(&base, 2, &[Mapping::CURRENT, second()]).unwrap();
    let (database, group) = (projection.database.as_str(), projection.group.as_str());
    assert_eq!(
        (database, group, projection.mapping.version()),
        ("posts-2", "bowerbird-posts-2", 2)
    );
    let unknown = live.projection(&base, 2, &[Mapping::CURRENT]).unwrap_err();
    assert_eq!(unknown, Refusal::UnknownMapping { projection: "posts", number: 2, mapping: 2 });
    assert!(live.clone().dropping(&base, 2, at(5)).is_err());

    assert_eq!(live.predecessor(&base), Ok(1));
    let back = live.back(&base, 1, at(5)).unwrap();
    assert_eq!((back.live, back.generations[&2].state), (1, Standing::Kept));
    // Gone back once, back is where it is, until something else goes live.
    assert_eq!((back.back_from, back.predecessor(&base)), (Some(2), Ok(1)));
    assert_eq!(back.clone().back(&base, 1, at(6)).unwrap(), back);
    assert_eq!(back.clone().switch(&base, 1, at(6)).unwrap(), back);
    let forth = back.clone().switch(&base, 2, at(6)).unwrap();
    assert_eq!((forth.live, forth.back_from, forth.predecessor(&base)), (2, None, Ok(1)));
    let gone = back.dropping(&base, 2, at(6)).unwrap().dropped(2);
    assert_eq!(gone.generations.keys().copied().collect::<Vec<_>>(), [1]);
    // A number is never given twice: its group has commits.
    assert_eq!(gone.clone().begin(&base, &second(), 0, None, at(7)).unwrap().1, 3);
    assert_eq!(gone.begin(&base, &second(), 8, None, at(7)).unwrap().1, 9);
}

#[test]
fn it_reads_back_what_it_writes() {
    let base = Projection::posts();
    let (pointer, _) = Pointer::first(&base).begin(&base, &second(), 0, None, at(1)).unwrap();
    let gone_back = Pointer { back_from: Some(2), ..pointer.clone() };
    for pointer in [pointer, gone_back] {
        let text = serde_json::to_string(&pointer).unwrap();
        assert_eq!(serde_json::from_str::<Pointer>(&text).unwrap(), pointer);
    }
}

proptest! {
    #[test]
    fn exactly_one_is_live_whatever_is_tried(
        steps in proptest::collection::vec((0..7_u8, 0..5_u32), 0..40),
    ) {
        let base = Projection::posts();
        let mut pointer = Pointer::first(&base);
        let mut given = 1;
        for (time, (step, number)) in (1..).zip(steps) {
            let now = at(time);
            let before = pointer.clone();
            let back = before.predecessor(&base);
            let next = match step {
                0 => before.clone().begin(&base, &second(), number, None, now).map(|(next, _)| next),
                1 => before.clone().ready(&base, number, now),
                2 => before.clone().switch(&base, number, now),
                3 => before.predecessor(&base).and_then(|to| before.clone().back(&base, to, now)),
                6 => before.clone().back(&base, number, now),
                4 => before.clone().dropping(&base, number, now),
                _ => Ok(before.clone().dropped(number)),
            };
            pointer = next.unwrap_or(before);
            let live: Vec<u32> = pointer.numbers(Standing::Live).collect();
            prop_assert_eq!(live, vec![pointer.live]);
            // Whoever goes back is done, whether or not it was.
            if step == 3 && let Ok(to) = back {
                prop_assert_eq!((pointer.live, pointer.predecessor(&base)), (to, Ok(to)));
            }
            prop_assert!(pointer.last >= given);
            given = pointer.last;
            // No two share a database or a group.
            let databases: std::collections::BTreeSet<_> =
                pointer.generations.values().map(|one| (&one.database, &one.group)).collect();
            prop_assert_eq!(databases.len(), pointer.generations.len());
        }
    }
}
