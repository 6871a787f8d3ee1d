//! Merging is associative, commutative and idempotent, also by way of the documents.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use bowerbird_sink::document;
use bowerbird_sink::merge::{Content, Notice, NoticeKind, PayloadHash, Stamp, State};
use bowerbird_stream::Position;
use jiff::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

/// Few times, payloads and positions, so that ties and repetitions are frequent.
fn observation() -> impl Strategy<Value = State> {
    (0..4i64, 0..3u8, 1..3u32, 0..3i64).prop_map(|(second, payload, mapping, offset)| {
        let stamp = Stamp {
            time: time(second),
            hash: PayloadHash::of(&[payload]),
            mapping,
            position: Position { topic: "posts".into(), partition: 0, offset },
        };
        let content = format!(
            r#"{{"type":"post","text":"{payload}.{mapping}.{second}.{offset}","place":{{"country":"AU"}},"lang":"en"}}"#
        );
        State::observation(stamp, Content(content))
    })
}

fn notice() -> impl Strategy<Value = State> {
    let kinds = prop_oneof![
        Just(NoticeKind::Removal),
        Just(NoticeKind::Restoration),
        Just(NoticeKind::Suspension),
        Just(NoticeKind::Unsuspension),
        Just(NoticeKind::GeoScrub),
        Just(NoticeKind::Withheld),
    ];
    (kinds, 0..4i64, 0..4usize).prop_map(|(kind, second, n)| {
        let notice = Notice {
            time: time(second),
            event: format!("e{n}"),
            action: "delete".to_owned(),
            reason: None,
            up_to: [None, Some("7"), Some("12"), Some("?")][n].map(str::to_owned),
        };
        State::notice(kind, notice)
    })
}

fn states() -> impl Strategy<Value = Vec<State>> {
    vec(prop_oneof![observation(), notice()], 1..9)
}

fn all(states: impl IntoIterator<Item = State>) -> State {
    states.into_iter().fold(State::default(), State::merge)
}

/// What the store gives back after it was given `state`.
fn stored(state: State) -> State {
    if state == State::default() {
        return state;
    }
    document::read(&document::render("1", &state).unwrap()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn order_and_repetition_do_not_matter(
        (once, again) in states().prop_flat_map(|states| {
            let twice: Vec<_> = states.iter().chain(&states).cloned().collect();
            (Just(states), Just(twice).prop_shuffle())
        }),
    ) {
        prop_assert_eq!(all(once), all(again));
    }

    #[test]
    fn grouping_does_not_matter(a in states(), b in states(), c in states()) {
        let (a, b, c) = (all(a), all(b), all(c));
        let left = a.clone().merge(b.clone()).merge(c.clone());
        prop_assert_eq!(left, a.merge(b.merge(c)));
    }

    #[test]
    fn going_by_way_of_the_store_at_every_step_does_not_matter(states in states()) {
        let by_store = states.iter().cloned().fold(State::default(), |known, state| {
            stored(known.merge(state))
        });
        prop_assert_eq!(by_store, all(states));
    }

    #[test]
    fn skipping_what_is_already_said_loses_nothing(states in states()) {
        let mut kept = State::default();
        for state in states.iter().cloned() {
            let merged = kept.clone().merge(state);
            if !kept.says_as_much_as(&merged) {
                kept = merged;
            }
        }
        prop_assert!(kept.says_as_much_as(&all(states)));
    }

    #[test]
    fn removed_stays_removed(before in vec(observation(), 0..6), second in 0..4i64) {
        let removal = Notice {
            time: time(second),
            event: "gone".to_owned(),
            action: "delete".to_owned(),
            reason: None,
            up_to: None,
        };
        let removal = State::notice(NoticeKind::Removal, removal);
        let state = all(before.into_iter().chain([removal]));
        match &state.observed {
            Some(seen) => prop_assert!(seen.stamp.time > time(second)),
            None => prop_assert!(state.removal().is_some()),
        }
    }
}

/// Each removal ends by its own restoration alone.
#[test]
fn a_restoration_ends_no_other_removal() {
    use NoticeKind::{
        Drop, Protection, Removal, Restoration, Suspension, Undrop, Unprotection, Unsuspension,
    };
    let said = |(kind, second): &(NoticeKind, i64)| {
        let (event, action) = (format!("e{second}"), String::new());
        let notice = Notice { time: time(*second), event, action, reason: None, up_to: None };
        State::notice(*kind, notice)
    };
    for (notices, holds) in [
        (vec![(Protection, 1), (Suspension, 2), (Unsuspension, 3)], Some(1)),
        (vec![(Suspension, 1), (Protection, 2), (Unsuspension, 3)], Some(2)),
        (vec![(Suspension, 1), (Protection, 2), (Unsuspension, 3), (Unprotection, 4)], None),
        (vec![(Drop, 1), (Removal, 2), (Undrop, 3)], Some(2)),
        (vec![(Removal, 1), (Drop, 2), (Restoration, 3)], Some(2)),
        (vec![(Removal, 1), (Restoration, 2), (Removal, 3)], Some(3)),
        (vec![(Restoration, 2), (Unprotection, 3)], None),
    ] {
        let state = all(notices.iter().map(said));
        let held = state.removal().map(|removal| removal.time);
        assert_eq!(held, holds.map(time), "{notices:?}");
    }
}

/// What the first of two scrubs reaches stays scrubbed, whichever comes first.
#[test]
fn two_scrubs_reach_as_far_as_the_one_that_reaches_farther() {
    for (one, two, farther) in [
        ((1, Some("30")), (2, Some("7")), Some("30")),
        ((2, Some("30")), (2, Some("7")), Some("30")),
        ((1, Some("7")), (2, Some("30")), Some("30")),
        ((1, None), (2, Some("7")), None),
    ] {
        let scrub = |(second, up_to): (i64, Option<&str>)| {
            let (event, action) = (format!("{up_to:?}"), "scrub_geo".to_owned());
            let up_to = up_to.map(str::to_owned);
            let notice = Notice { time: time(second), event, action, reason: None, up_to };
            State::notice(NoticeKind::GeoScrub, notice)
        };
        for state in [scrub(one).merge(scrub(two)), scrub(two).merge(scrub(one))] {
            let held = &state.notices[&NoticeKind::GeoScrub];
            assert_eq!((held.time, held.up_to.as_deref()), (time(2), farther), "{one:?} {two:?}");
        }
    }
}

#[test]
fn a_stub_has_no_content_and_says_which_notice() {
    let removal = Notice {
        time: time(9),
        event: "n1".to_owned(),
        action: "delete".to_owned(),
        reason: Some("protected".to_owned()),
        up_to: None,
    };
    let stub = document::render("5", &State::notice(NoticeKind::Removal, removal)).unwrap();
    let body: serde_json::Value = serde_json::from_str(stub.body.get()).unwrap();
    assert_eq!(body["type"], "removed");
    assert_eq!(body["notice"]["reason"], "protected");
    assert_eq!(body.as_object().unwrap().len(), 3);
}

#[test]
fn somebody_elses_document_is_told_apart() {
    for body in [r#"{"a":1}"#, "{}", r#"{"observed":{"time":"now"}}"#, "[]"] {
        let body = bowerbird_store::Body::read(body).unwrap();
        let document = bowerbird_store::Document { id: "x".to_owned(), revision: None, body };
        assert!(document::read(&document).is_err());
    }
}
