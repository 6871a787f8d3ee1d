//! The design documents of this project give the same answers everywhere.

use std::sync::Arc;

use bowerbird_mapreduce::{Group, Query, Views, design};
use serde_json::{Value, json};

use crate::bed::{Bed, expected, plain};

/// Deploys an embedded design document on these documents, and asks one of its views.
async fn ask(bed: &Bed, path: [&str; 3], bodies: &[Value], query: &Query) -> Vec<Value> {
    let [database, name, view] = path;
    let design = design::embedded()
        .unwrap()
        .into_iter()
        .find(|design| design.database == database && design.name == name)
        .unwrap();
    let db = bed.database(bodies).await;
    bed.deploy(&db, &design).await.unwrap();
    let rows = bed.views.query(&db, name, view, query).await.unwrap();
    rows.into_iter().map(|row| json!([plain(row.key), plain(row.value)])).collect()
}

pub async fn places_are_counted(bed: Arc<Bed>) {
    let texts = [
        ("", 0, 0),
        ("Hello world", 2, 10),
        ("don't stop", 2, 8),
        ("it’s o'", 2, 4),
        ("well-known 'quoted'", 3, 15),
        ("https://t.co/abc café HTTP://X.y/z!", 1, 4),
        ("e\u{301}te\u{301}", 1, 3),
        ("日本語 テスト", 2, 6),
        ("#hash @name_1", 2, 8),
        ("❤\u{fe0f}🐦 1234 !! ½ ②", 0, 0),
        ("नमस्ते Привет", 2, 10),
        ("line\nbreak\u{2028}end", 3, 12),
        ("\u{1d4b3}\u{10437} x", 2, 3),
    ];
    let mut bodies = Vec::new();
    let mut rows = Vec::new();
    for (number, (text, words, letters)) in texts.iter().enumerate() {
        let name = format!("{number:02}");
        let place = json!({"name": name, "country": "AU"});
        bodies.push(json!({"type": "post", "text": text, "place": place}));
        rows.push(json!([["AU", name], [1, words, letters]]));
    }
    let hobart = json!({"name": "Hobart", "country": "AU"});
    bodies.extend([
        json!({"type": "post", "text": "a b", "place": hobart}),
        json!({"type": "post", "text": "cd", "place": hobart}),
        json!({"type": "post", "text": "nowhere"}),
        json!({"type": "removed", "place": hobart}),
        json!({"type": "feature", "text": "x", "place": hobart}),
    ]);
    rows.push(json!([["AU", "Hobart"], [2, 3, 4]]));
    bodies.push(json!({"type": "post", "text": "at sea", "place": {"centroid": [1, 2]}}));
    rows.insert(0, json!([[null, null], [1, 2, 5]]));
    let path = ["posts", "places", "by_place"];
    let found = ask(&bed, path, &bodies, &Query::grouped()).await;
    assert_eq!(found, expected(Value::from(rows)));
}

pub async fn hours_are_counted(bed: Arc<Bed>) {
    let post = |time: &str| json!({"type": "post", "text": "", "created_at": time});
    let bodies = [
        post("2024-02-29T23:59:59.999Z"),
        post("2024-02-29T23:00:00Z"),
        post("2024-03-01T00:00:00.000Z"),
        post("2006-07-15T01:02:03.000Z"),
        post("not a time"),
        json!({"type": "post", "text": "when?"}),
        json!({"type": "removed", "created_at": "2024-03-01T00:00:00.000Z"}),
    ];
    let path = ["posts", "time", "by_hour"];
    let found = ask(&bed, path, &bodies, &Query::grouped()).await;
    let rows = json!([[[2006, 7, 15, 1], 1], [[2024, 2, 29, 23], 2], [[2024, 3, 1, 0], 1]]);
    assert_eq!(found, expected(rows));
}

pub async fn features_are_counted(bed: Arc<Bed>) {
    let bodies = [
        json!({"type": "feature", "dataset": "b:roads", "properties": {}}),
        json!({"type": "feature", "dataset": "a:parks", "properties": {}}),
        json!({"type": "feature", "dataset": "b:roads", "properties": {}}),
        json!({"type": "vanished", "dataset": "b:roads"}),
    ];
    let path = ["features", "datasets", "by_dataset"];
    let found = ask(&bed, path, &bodies, &Query::grouped()).await;
    assert_eq!(found, expected(json!([["a:parks", 1], ["b:roads", 2]])));
}

pub async fn events_are_listed(bed: Arc<Bed>) {
    let entry = |kind: &str, time: &str| json!({"type": "journal", "kind": kind, "time": time});
    let bodies = [
        entry("stream.gap", "2024-05-01T12:00:00Z"),
        entry("poll.finished", "2024-05-01T11:00:00Z"),
        entry("stream.gap", "2024-04-01T12:00:00Z"),
    ];
    let path = ["journal", "events", "by_kind_and_time"];
    let by_kind = Query { group: Group::Level(1), ..Query::default() };
    let found = ask(&bed, path, &bodies, &by_kind).await;
    assert_eq!(found, expected(json!([[["poll.finished"], 1], [["stream.gap"], 2]])));
    let gaps = Query {
        start_key: Some(json!(["stream.gap"])),
        end_key: Some(json!(["stream.gap", {}])),
        reduce: Some(false),
        limit: Some(1),
        ..Query::default()
    };
    let found = ask(&bed, path, &bodies, &gaps).await;
    assert_eq!(found, expected(json!([[["stream.gap", "2024-04-01T12:00:00Z"], null]])));
}
