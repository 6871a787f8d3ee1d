use std::fmt::Write as _;

use bowerbird_stream::log::Outgoing;
use bowerbird_stream::{Position, Record, journal};
use serde_json::{Value, json};

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn all() -> Asked {
    Asked { from: Timestamp::MIN, to: Timestamp::MAX, limit: 100 }
}

fn folded(asked: Asked, heard: Option<i64>, now: i64, facts: &[(&str, &str, i64, Value)]) -> Holes {
    let mut fold = Fold::new(asked);
    for (kind, source, second, value) in facts {
        let Outgoing { topic, key, value, headers } =
            journal::fact(kind, source, at(*second), value);
        let position = Position { topic, partition: 0, offset: 0 };
        let record = Record { position, appended: at(*second), key, value, headers };
        fold.fact(&record.view().unwrap());
    }
    fold.end(heard.map(at), at(now))
}

fn stream(kind: &'static str, second: i64, unheard_since: Option<i64>) -> Fact {
    let value = json!({
        "unheard_since": unheard_since.map(at), "cause": "shutdown", "reason": "it was stopped",
    });
    (kind, x::SOURCE, second, value)
}

fn gap(from: i64, to: i64) -> Fact {
    let value = json!({
        "from": at(from), "to": at(to), "cause": "network", "reason": "reset", "failed": 3,
        "backfill_minutes": 2,
    });
    (x::GAP, x::SOURCE, to, value)
}

type Fact = (&'static str, &'static str, i64, Value);

/// Each hole in short.
fn short(holes: &Holes) -> String {
    let mut text = String::new();
    for Hole { source, from, to, seconds, cause, .. } in &holes.holes {
        let second = |time: &Option<Timestamp>| {
            time.map_or_else(|| "-".to_owned(), |time| time.as_second().to_string())
        };
        let seconds = seconds.map_or_else(String::new, |seconds| format!(" {seconds}s"));
        write!(text, "{source} {}..{}{seconds} {cause}; ", second(from), second(to)).unwrap();
    }
    text
}

#[test]
fn of_a_stream_all_is_told_and_what_is_heard_is_measured() {
    let facts = [
        stream("stream.begun", 100, Some(100)),
        stream("stream.connected", 101, None),
        stream("stream.disconnected", 200, Some(190)),
        // A connection on which nothing was heard.
        stream("stream.connected", 205, Some(190)),
        stream("stream.disconnected", 206, Some(190)),
        stream("stream.connected", 209, Some(190)),
        gap(190, 210),
        // Told twice.
        gap(190, 210),
        stream("stream.disconnected", 300, Some(300)),
    ];
    let twice = [gap(10, 20), gap(30, 40), gap(10, 20), gap(30, 40)];
    assert_eq!(folded(all(), None, 99, &twice).stream.unwrap().gaps, 2);
    // It listens, or was killed: nothing says until when, but for the posts.
    let heard = folded(all(), Some(290), 1_000, &facts[..8]);
    assert_eq!(short(&heard), "x:stream 190..210 20s network; ");
    let told = heard.stream.unwrap();
    assert_eq!((told.begun, told.until, told.open), (at(100), at(290), false));
    assert_eq!((told.gaps, told.unheard_seconds), (1, 20.0));
    assert!((told.heard_percent.unwrap() - 100.0 * 170.0 / 190.0).abs() < 1e-9);

    // It was stopped.
    let stopped = folded(all(), Some(290), 400, &facts);
    assert_eq!(short(&stopped), "x:stream 190..210 20s network; x:stream 300..- 100s shutdown; ");
    let told = stopped.stream.unwrap();
    assert_eq!((told.until, told.open, told.gaps), (at(300), true, 2));
    assert_eq!((told.unheard_seconds, told.longest_seconds), (120.0, 100.0));
    assert_eq!(told.heard_percent, Some(60.0));

    // Of a part of the time.
    let of = |from, to, limit| {
        let asked = Asked { from: at(from), to: at(to), limit };
        let holes = folded(asked, Some(290), 400, &facts);
        let percent = holes.stream.as_ref().unwrap().heard_percent.map(|percent| percent.round());
        (short(&holes), percent, holes.more)
    };
    assert_eq!(of(210, 300, 100), ("x:stream 190..210 20s network; ".into(), Some(100.0), 0));
    assert_eq!(of(211, 300, 100), (String::new(), Some(100.0), 0));
    assert_eq!(of(0, 200, 100), ("x:stream 190..210 20s network; ".into(), Some(90.0), 0));
    assert_eq!(of(0, 350, 1), ("x:stream 300..- 50s shutdown; ".into(), Some(72.0), 1));
    assert_eq!(of(0, 50, 100), (String::new(), None, 0));
    assert_eq!(folded(all(), None, 9, &[]).stream, None);
    // Nothing was ever heard.
    let begun = folded(all(), Some(100), 150, &facts[..1]);
    assert_eq!(short(&begun), "x:stream 100..- 50s shutdown; ");
    assert_eq!(begun.stream.unwrap().heard_percent, Some(0.0));
}

#[test]
fn a_data_set_or_file_is_not_whole_until_it_is() {
    let poll = |second: i64, outcome: &str| -> Fact {
        let value = json!({"started": at(second), "outcome": outcome, "reason": "9 of 10"});
        (aurin::POLLED, "aurin:a", second + 1, value)
    };
    let import = |second: i64, source: &'static str, outcome: &str| -> Fact {
        let value = json!({"import": {"file": "f", "outcome": outcome, "error": "cut off"}});
        (archive::IMPORTED, source, second, value)
    };
    let begun =
        |second: i64, source: &'static str| -> Fact { (archive::BEGUN, source, second, json!({})) };
    let poll_begun = |second: i64| -> Fact { (aurin::BEGUN, "aurin:a", second, json!({})) };
    let facts = [
        poll_begun(9),
        poll(10, "failed"),
        poll(20, "complete"),
        poll(30, "incomplete"),
        import(31, "archive:a", "truncated"),
        import(32, "archive:b", "failed"),
        begun(33, "archive:a"),
        import(34, "archive:b", "complete"),
        poll(40, "complete"),
        poll_begun(45),
        import(50, "archive:a", "skipped"),
        ("replay.finished", "sink:posts", 60, json!({})),
    ];
    for (count, expected) in [
        (1, "aurin:a -..- begun; "),
        (2, "aurin:a -..- failed; "),
        (3, ""),
        (4, "aurin:a 20..- 79s incomplete; "),
        (6, "aurin:a 20..- 79s incomplete; archive:a -..- truncated; archive:b -..- failed; "),
        (8, "aurin:a 20..- 79s incomplete; archive:a -..- begun; "),
        (9, "archive:a -..- begun; "),
        (10, "aurin:a 40..- 59s begun; archive:a -..- begun; "),
        (12, "aurin:a 40..- 59s begun; "),
    ] {
        let holes = folded(all(), None, 99, &facts[..count]);
        assert_eq!(short(&holes), expected, "{count}");
        let (data_sets, files) = (1, [0, 1, 2][(count > 4) as usize + (count > 5) as usize]);
        assert_eq!((holes.data_sets, holes.files, holes.stream), (data_sets, files, None));
    }
    // Wherever it lies, and whatever has its name.
    let of = |kind: &'static str, source: &'static str, head: &str, outcome: &str| -> Fact {
        let value = json!({"import": {"outcome": outcome}, "size": 7, "head": head});
        (kind, source, 70, value)
    };
    let moved = [
        of(archive::BEGUN, "archive:a", "1", "interrupted"),
        of(archive::BEGUN, "archive:b", "2", "interrupted"),
        of(archive::IMPORTED, "archive:c", "1", "complete"),
        of(archive::IMPORTED, "archive:b", "3", "complete"),
        of(archive::FAILED, "archive:a", "4", "failed"),
    ];
    for (count, expected) in [
        (2, "archive:a -..- begun; archive:b -..- begun; "),
        (3, "archive:b -..- begun; "),
        (4, ""),
        (5, "archive:a -..- failed; "),
    ] {
        assert_eq!(short(&folded(all(), None, 99, &moved[..count])), expected, "{count}");
    }
    // Of a name that stands for another file by now, the former one says nothing.
    let replaced = [
        of(archive::BEGUN, "archive:a", "1", "interrupted"),
        of(archive::IMPORTED, "archive:a", "2", "truncated"),
        of(archive::IMPORTED, "archive:b", "1", "complete"),
    ];
    assert_eq!(short(&folded(all(), None, 99, &replaced)), "archive:a -..- truncated; ");
    // As of an earlier time.
    let then = folded(Asked { to: at(33), ..all() }, None, 99, &facts);
    assert_eq!(
        short(&then),
        "aurin:a 20..- 13s incomplete; archive:a -..- truncated; archive:b -..- failed; "
    );
}

#[test]
fn a_data_set_that_never_came_is_not_whole_unless_there_is_none() {
    let poll = |second: i64, outcome: &str, there: bool| -> Fact {
        let value = json!({"started": at(second), "outcome": outcome, "there": there});
        (aurin::POLLED, "aurin:a", second + 1, value)
    };
    let old = |second: i64| -> Fact {
        let value = json!({"started": at(second), "outcome": "failed"});
        (aurin::POLLED, "aurin:a", second + 1, value)
    };
    let begun = || -> Fact { (aurin::BEGUN, "aurin:a", 5, json!({})) };
    for (facts, expected) in [
        (vec![poll(10, "failed", true)], "aurin:a -..- failed; "),
        (vec![poll(10, "stopped", true)], "aurin:a -..- stopped; "),
        // A fact of before this was told.
        (vec![old(10)], "aurin:a -..- failed; "),
        // A name that was mistyped, also where the first polls did not come as far as that.
        (vec![poll(10, "failed", false)], ""),
        (vec![poll(10, "failed", true), poll(20, "failed", false)], ""),
        // One that is gone.
        (vec![begun(), poll(10, "failed", false)], "aurin:a -..- failed; "),
        (vec![poll(10, "complete", true), poll(20, "failed", false)], "aurin:a 10..- 89s failed; "),
    ] {
        let told = folded(all(), None, 99, &facts);
        assert_eq!((short(&told).as_str(), told.data_sets), (expected, 1), "{facts:?}");
    }
}
