use std::time::Duration;

use super::*;
use crate::quickjs::engine::Limits;

fn reduce(reduce: &Reduce, values: &[&str]) -> Result<Value, String> {
    let engine = Engine::start(Limits { memory: 32 << 20, time: Duration::from_secs(5) }).unwrap();
    let mut reducer = Reducer::new(reduce, "v", &engine);
    let mut push_all = || {
        for (number, value) in values.iter().enumerate() {
            reducer.push(&number.to_string(), "id", value)?;
        }
        Ok(())
    };
    push_all().and_then(|()| reducer.finish()).map_err(|failure: Failure| failure.reason)
}

#[test]
fn numbers_and_arrays_are_summed() {
    for (values, expected) in [
        (&["1", "2", "-3"][..], json!(0)),
        (&["1", "2.5"], json!(3.5)),
        (&["[1,2]", "[1,2,3]"], json!([2, 4, 3])),
        (&["[1,2]", "5"], json!([6, 2])),
        (&["5", "[1,2]"], json!([6, 2])),
        (&["9007199254740993", "1"], json!(9_007_199_254_740_994_i64)),
        (&["9223372036854775807", "1"], json!(9_223_372_036_854_775_808.0)),
    ] {
        assert_eq!(reduce(&Reduce::Sum, values), Ok(expected), "{values:?}");
    }
    for values in [&["\"a\""][..], &["1", "\"a\""], &["null"], &["[\"a\"]"], &["1", "{}"]] {
        assert!(reduce(&Reduce::Sum, values).is_err(), "{values:?}");
    }
}

#[test]
fn rows_are_counted_whatever_they_hold() {
    assert_eq!(reduce(&Reduce::Count, &["null", "\"a\"", "{}"]), Ok(json!(3)));
}

#[test]
fn statistics_are_gathered() {
    let expected = json!({"sum": 5, "count": 3, "min": -1, "max": 4, "sumsqr": 21});
    assert_eq!(reduce(&Reduce::Stats, &["4", "2", "-1"]), Ok(expected));
    let columns = reduce(&Reduce::Stats, &["[1,10]", "[3,20]"]).unwrap();
    assert_eq!(columns[1], json!({"sum": 30, "count": 2, "min": 10, "max": 20, "sumsqr": 500}));
    assert!(reduce(&Reduce::Stats, &["[1]"]).unwrap().is_array());
    assert!(reduce(&Reduce::Stats, &["\"a\""]).is_err());
    assert!(reduce(&Reduce::Stats, &["[1]", "[1,2]"]).is_err());
}

#[test]
fn scripts_reduce_and_rereduce() {
    let source = "function (keys, values, rereduce) {
        if (rereduce) return { n: sum(values.map(v => v.n)), again: true };
        return { n: values.length, again: keys === null };
    }";
    let script = Reduce::Script(source.to_owned());
    for (rows, again) in [(1, false), (100, false), (101, true), (25_000, true)] {
        let values = vec!["1"; rows];
        let expected = json!({"n": rows, "again": again});
        assert_eq!(reduce(&script, &values), Ok(expected), "{rows} rows");
    }
}

#[test]
fn a_reduce_that_does_not_reduce_is_refused() {
    let script = Reduce::Script("function (keys, values) { return values; }".to_owned());
    let text = format!("\"{}\"", "x".repeat(200));
    let error = reduce(&script, &vec![text.as_str(); 90]).unwrap_err();
    assert!(error.contains("shrink"), "{error}");
    assert!(reduce(&script, &["1", "2"]).is_ok());
}
