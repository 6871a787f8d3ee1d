use std::sync::Arc;

use bowerbird_mapreduce::{Group, Query, ViewError, Views};
use serde_json::{Value, json};

use crate::bed::{Bed, design, expected};

const BY_KEY: &str = "function (doc) { emit(doc.k, doc.v === undefined ? null : doc.v); }";

/// Documents of these keys.
fn keyed(keys: &[Value]) -> Vec<Value> {
    keys.iter().map(|key| json!({"k": key})).collect()
}

pub async fn keeps_couchdbs_order(bed: Arc<Bed>) {
    // Where case and accents matter PouchDB differs from CouchDB; the unit tests of the
    // collation have those.
    let ordered = [
        json!(null),
        json!(false),
        json!(true),
        json!(-7.5),
        json!(0),
        json!(1),
        json!(1.5),
        json!(10),
        json!(1e100),
        json!(""),
        json!("1"),
        json!("a"),
        json!("aa"),
        json!("b"),
        json!("z"),
        json!([]),
        json!([null]),
        json!([1]),
        json!([1, "a"]),
        json!([1, "b"]),
        json!([2]),
        json!(["a"]),
        json!([["a"]]),
        json!({}),
        json!({"a": 1}),
        json!({"a": 2}),
        json!({"b": 0}),
    ];
    // In another order than the ids' would give.
    let mut shuffled = ordered.to_vec();
    shuffled.reverse();
    shuffled.swap(3, 17);
    let db = bed.database(&keyed(&shuffled)).await;
    bed.deploy(&db, &design(BY_KEY, None)).await.unwrap();
    let keys = |rows: Vec<Value>| rows.into_iter().map(|row| row[1].clone()).collect::<Vec<_>>();
    let mut wanted = expected(Value::from(ordered.to_vec()));
    assert_eq!(keys(bed.rows(&db, &Query::default()).await), wanted);
    wanted.reverse();
    let descending = Query { descending: true, ..Query::default() };
    assert_eq!(keys(bed.rows(&db, &descending).await), wanted);
}

pub async fn selects_by_key(bed: Arc<Bed>) {
    let keys = [json!("a"), json!("b"), json!("b"), json!("c"), json!("d"), json!(["b"])];
    let db = bed.database(&keyed(&keys)).await;
    bed.deploy(&db, &design(BY_KEY, None)).await.unwrap();
    let any = Query::default;
    let text = |key: &str| Some(json!(key));
    for (query, ids) in [
        (any(), vec!["000", "001", "002", "003", "004", "005"]),
        (Query { key: text("b"), ..any() }, vec!["001", "002"]),
        (Query { key: text("x"), ..any() }, vec![]),
        (Query { start_key: text("c"), ..any() }, vec!["003", "004", "005"]),
        (Query { end_key: text("b"), ..any() }, vec!["000", "001", "002"]),
        (Query { end_key: text("b"), inclusive_end: false, ..any() }, vec!["000"]),
        (Query { start_key: text("b"), end_key: text("c"), ..any() }, vec!["001", "002", "003"]),
        (
            Query { start_key: text("c"), end_key: text("b"), descending: true, ..any() },
            vec!["003", "002", "001"],
        ),
        (
            Query { start_key: text("c"), descending: true, limit: Some(2), ..any() },
            vec!["003", "002"],
        ),
        (Query { limit: Some(2), skip: 1, ..any() }, vec!["001", "002"]),
        (Query { limit: Some(0), ..any() }, vec![]),
        (Query { skip: 5, ..any() }, vec!["005"]),
        (Query { skip: 9, ..any() }, vec![]),
        (
            Query { keys: Some(vec![json!("d"), json!("x"), json!("b")]), ..any() },
            vec!["004", "001", "002"],
        ),
        (Query { start_key: Some(json!([])), ..any() }, vec!["005"]),
        (Query { start_key: Some(json!(null)), end_key: Some(json!(5)), ..any() }, vec![]),
    ] {
        let rows = bed.rows(&db, &query).await;
        let found: Vec<&str> = rows.iter().filter_map(|row| row[0].as_str()).collect();
        assert_eq!(found, ids, "{query:?}");
    }
}

pub async fn reduces_by_group(bed: Arc<Bed>) {
    let row = |k: Value, v: Value| json!({"k": k, "v": v});
    let db = bed
        .database(&[
            row(json!(["AU", "Sydney", 1]), json!([1, 4, 10])),
            row(json!(["AU", "Melbourne", 1]), json!([1, 2, 5])),
            row(json!(["AU", "Melbourne", 2]), json!([1, 3, 7])),
            row(json!(["NZ", null]), json!([1, 0, 0])),
            row(json!("text"), json!([1, 1, 1])),
            row(json!(["AU"]), json!([1, 9, 9])),
        ])
        .await;
    bed.deploy(&db, &design(BY_KEY, Some("_sum"))).await.unwrap();
    let any = Query::default;
    let level = |level| Query { group: Group::Level(level), ..Query::default() };
    let start = |key: Value, query: Query| Query { start_key: Some(key), ..query };
    for (query, rows) in [
        (any(), json!([[null, [6, 19, 32]]])),
        (level(0), json!([[null, [6, 19, 32]]])),
        (level(1), json!([["text", [1, 1, 1]], [["AU"], [4, 18, 31]], [["NZ"], [1, 0, 0]]])),
        (
            level(2),
            json!([
                ["text", [1, 1, 1]],
                [["AU"], [1, 9, 9]],
                [["AU", "Melbourne"], [2, 5, 12]],
                [["AU", "Sydney"], [1, 4, 10]],
                [["NZ", null], [1, 0, 0]],
            ]),
        ),
        (
            start(json!(["AU", "Melbourne", 2]), Query::grouped()),
            json!([
                [["AU", "Melbourne", 2], [1, 3, 7]],
                [["AU", "Sydney", 1], [1, 4, 10]],
                [["NZ", null], [1, 0, 0]],
            ]),
        ),
        (
            Query { limit: Some(1), skip: 1, descending: true, ..level(1) },
            json!([[["AU"], [4, 18, 31]]]),
        ),
        (
            Query {
                keys: Some(vec![json!("text"), json!("none"), json!(["AU"])]),
                ..Query::grouped()
            },
            json!([["text", [1, 1, 1]], [["AU"], [1, 9, 9]]]),
        ),
        (Query { key: Some(json!("none")), ..any() }, json!([])),
        (start(json!({}), any()), json!([])),
        (
            Query { key: Some(json!(["AU"])), reduce: Some(false), ..any() },
            json!([["005", ["AU"], [1, 9, 9]]]),
        ),
    ] {
        assert_eq!(bed.rows(&db, &query).await, expected(rows), "{query:?}");
    }
}

pub async fn sums_counts_and_describes(bed: Arc<Bed>) {
    let values = [json!(1), json!(2.5), json!(-4), json!(0)];
    let bodies: Vec<Value> = values.iter().map(|value| json!({"k": "a", "v": value})).collect();
    let db = bed.database(&bodies).await;
    let stats = json!({"sum": -0.5, "count": 4, "min": -4, "max": 2.5, "sumsqr": 23.25});
    for (reduce, value) in [("_sum", json!(-0.5)), ("_count", json!(4)), ("_stats", stats)] {
        bed.deploy(&db, &design(BY_KEY, Some(reduce))).await.unwrap();
        let rows = bed.rows(&db, &Query::grouped()).await;
        assert_eq!(rows, expected(json!([["a", value]])), "{reduce}");
    }
}

pub async fn runs_functions_of_our_own(bed: Arc<Bed>) {
    let bodies: Vec<Value> =
        (0..250).map(|n| json!({"k": n % 2, "words": format!("w{n} 'ö' {n}")})).collect();
    let db = bed.database(&bodies).await;
    let map = "function (doc) {
        var seen = {};
        doc.words.split(' ').forEach(function (word) { if (!seen[word]) emit([doc.k, word.length], word); seen[word] = true; });
    }";
    let longest = "function (keys, values, rereduce) {
        return values.reduce(function (a, b) { return b.length > a.length || (b.length === a.length && b > a) ? b : a; });
    }";
    bed.deploy(&db, &design(map, Some(longest))).await.unwrap();
    let by_first = Query { group: Group::Level(1), ..Query::default() };
    let rows = expected(json!([[[0], "w248"], [[1], "w249"]]));
    assert_eq!(bed.rows(&db, &by_first).await, rows);
    let one = Query { key: Some(json!([1, 3])), ..Query::grouped() };
    assert_eq!(bed.rows(&db, &one).await, expected(json!([[[1, 3], "w99"]])));
    let plain = Query { reduce: Some(false), limit: Some(2), ..Query::default() };
    assert_eq!(
        bed.rows(&db, &plain).await,
        expected(json!([["000", [0, 1], "0"], ["002", [0, 1], "2"]]))
    );
}

pub async fn leaves_out_what_a_map_fails_on(bed: Arc<Bed>) {
    let db = bed.database(&[json!({"k": {"x": 1}}), json!({}), json!({"k": {"x": 3}})]).await;
    let map = "function (doc) { emit('before', 0); emit(doc.k.x, null); }";
    bed.deploy(&db, &design(map, Some("_count"))).await.unwrap();
    let rows = expected(json!([[1, 1], [3, 1], ["before", 2]]));
    assert_eq!(bed.rows(&db, &Query::grouped()).await, rows);
}

pub async fn refuses_what_makes_no_sense(bed: Arc<Bed>) {
    let db = bed.database(&keyed(&[json!(1)])).await;
    bed.deploy(&db, &design(BY_KEY, None)).await.unwrap();
    for query in [
        Query { reduce: Some(true), ..Query::default() },
        Query::grouped(),
        Query { start_key: Some(json!(2)), end_key: Some(json!(1)), ..Query::default() },
        Query { keys: Some(vec![json!(1)]), key: Some(json!(1)), ..Query::default() },
    ] {
        let error = bed.views.query(&db, "d", "v", &query).await.unwrap_err();
        assert!(matches!(error, ViewError::Query(_)), "{query:?}: {error}");
    }
}
