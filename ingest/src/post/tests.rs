//! What lines of every shape become.

mod notices;

use std::collections::BTreeMap;

use bowerbird_stream::Event;
use bowerbird_stream::log::Outgoing;
use bytes::Bytes;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Control, Found, Place, Reader, reason};

const STARTED: &str = "2026-01-02T03:04:05Z";
const WRITTEN: &str = "2024-05-06T07:08:09Z";

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn reader() -> Reader {
    let written = Some(time(WRITTEN));
    Reader::archive("archive:a.jsonl".into(), "a.jsonl".into(), written, time(STARTED))
}

fn read(line: impl Into<Bytes>) -> Vec<Found> {
    let mut found = Vec::new();
    reader().read(&line.into(), Place::Line(7), &mut |one| found.push(one));
    found
}

fn event(record: &Outgoing) -> Event {
    Event::from_parts(record.key.as_ref(), record.value.clone(), &record.headers).unwrap()
}

fn events(found: &[Found]) -> Vec<Event> {
    found
        .iter()
        .filter_map(|found| match found {
            Found::Post { record, .. } | Found::Notice { record } => Some(event(record)),
            _ => None,
        })
        .collect()
}

/// The reasons of what was refused.
fn refusals(found: &[Found]) -> Vec<&'static str> {
    found
        .iter()
        .filter_map(|found| match found {
            Found::Refused { refusal, .. } => Some(refusal.reason),
            _ => None,
        })
        .collect()
}

#[test]
fn a_single_post_keeps_its_bytes() {
    for (line, key, observed) in [
        // v2 response with one object; retrieval time from twarc.
        (
            r#" {"data": {"id": "1600000000000000000", "text": "x"}, "includes": {"users": []},
              "__twarc": {"retrieved_at": "2022-10-03T18:01:17+00:00"}}"#,
            "1600000000000000000",
            "2022-10-03T18:01:17Z",
        ),
        // An id that says a time still to come.
        (r#"{"data":{"id":"9000000000000000001","text":"x"}}"#, "9000000000000000001", WRITTEN),
        // A list of one.
        (
            r#"{"data":[{"created_at":"2022-10-03T17:57:11.000Z","id":"1600000000000000000",
              "text":"x"}]}"#,
            "1600000000000000000",
            "2022-10-03T17:57:11Z",
        ),
        // v2 flattened, without any time: the snowflake's.
        (
            r#"{"text":"","id":"1600000000000000000"}"#,
            "1600000000000000000",
            "2022-12-06T05:31:41.219Z",
        ),
        // v1.1; the number is above 2^53.
        (
            r#"{"created_at":"Wed Aug 27 13:08:45 +0000 2008","id":1600000000000000001,
              "user":{"id":1},"full_text":"y"}"#,
            "1600000000000000001",
            "2008-08-27T13:08:45Z",
        ),
        // v1.1; a number that lost its last digits beside the id_str that did not.
        (
            r#"{"id":1.6e18,"id_str":"1600000000000000001","text":"y","lang":null}"#,
            "1600000000000000001",
            "2022-12-06T05:31:41.219Z",
        ),
        // New names, unknown fields, fields of odd types.
        (
            r#"{"data":{"id":"77","text":"x","edit_history_post_ids":["77"],"created_at":{},
              "new":[[[]]]},"includes":{"posts":3},"errors":{},"__twarc":7,"later":null}"#,
            "77",
            "2010-11-04T01:42:54.657Z",
        ),
        // A clock that is ahead by years tells nothing.
        (
            r#"{"data":{"id":"1600000000000000000","text":"x","created_at":"2022-12-06T05:31:40Z"},
              "__twarc":{"retrieved_at":"2062-10-03T18:01:17Z"}}"#,
            "1600000000000000000",
            "2022-12-06T05:31:40Z",
        ),
        (
            r#"{"id_str":"1600000000000000000","text":"x","created_at":"2062-12-06T05:31:40Z"}"#,
            "1600000000000000000",
            "2022-12-06T05:31:41.219Z",
        ),
    ] {
        let found = read(line);
        let [event] = &events(&found)[..] else { panic!("{line}: {found:?}") };
        assert_eq!(event.value.as_ref().unwrap(), line.as_bytes());
        assert_eq!((event.key.as_str(), event.time), (key, time(observed)), "{line}");
        assert_eq!(event.extensions["line"], "7");
        assert_eq!(event.extensions["file"], "a.jsonl");
        assert_eq!(event.source, "archive:a.jsonl");
        // The same observation has the same id again, another one does not.
        assert_eq!(events(&read(line))[0].id, event.id);
        assert!(event.id.starts_with(&format!("{key}-")));
        assert_ne!(events(&read(format!("{line} ")))[0].id, event.id);
    }
}

#[test]
fn the_query_and_retrieval_of_twarc_are_kept() {
    let line = r#"{"data":{"id":"12","text":"x"},"__twarc":{"version":"2.12.0",
        "url":"https://api.twitter.com/2/tweets/search/all?max_results=100&query=%22wattle+day%22%20lang%3Aen",
        "retrieved_at":"2022-10-03T18:01:17+00:00"}}"#;
    let event = &events(&read(line))[0];
    assert_eq!(event.extensions["query"], "\"wattle day\" lang:en");
    assert_eq!(event.extensions["retrieved"], "2022-10-03T18:01:17Z");
}

#[test]
fn a_response_that_includes_something_is_not_empty() {
    let read = |line: &str| read(line.to_owned());
    for empty in [
        r#"{"meta":{"result_count":0}}"#,
        r#"{"meta":{},"includes":{}}"#,
        r#"{"data":[]}"#,
        r#"{"data":[],"includes":{}}"#,
    ] {
        assert!(matches!(read(empty)[..], [Found::Control(Control::Empty)]), "{empty}");
    }
    for included in [
        r#"{"meta":{},"includes":{"tweets":[{"id":"12","text":"x"}]}}"#,
        r#"{"data":[],"includes":{"tweets":[{"id":"12","text":"x"}]}}"#,
    ] {
        assert_eq!(refusals(&read(included)), [reason::NO_POST], "{included}");
    }
}

#[test]
fn an_arrival_is_the_time_of_a_stream_item() {
    let mut found = Vec::new();
    let arrival = time("2026-01-02T03:04:06Z");
    let line = Bytes::from_static(br#"{"data":{"id":"12","text":"x"},"matching_rules":[]}"#);
    let reader = Reader::stream("x:stream".into(), time(STARTED));
    reader.read(&line, Place::Arrival(arrival), &mut |one| found.push(one));
    let event = &events(&found)[0];
    assert_eq!((event.time, event.source.as_str()), (arrival, "x:stream"));
    assert!(event.extensions.is_empty());
}

#[test]
fn many_posts_are_carved_with_what_they_refer_to() {
    let line = json!({
        "data": [
            {"id": "11", "text": "a", "author_id": "1", "geo": {"place_id": "p1"},
             "attachments": {"media_keys": ["3_1"], "poll_ids": ["9"]},
             "entities": {"mentions": [{"username": "cockatoo"}]}},
            {"id": "12", "text": "b", "author_id": "2",
             "referenced_tweets": [{"type": "quoted", "id": "10"}]},
            {"id": "13", "text": "c"},
            {"text": "without an id"},
        ],
        "includes": {
            "users": [{"id": "1", "username": "a"}, {"id": "2", "username": "b"},
                      {"id": "3", "username": "c"}, {"id": "4", "username": "cockatoo"}],
            "places": [{"id": "p1"}, {"id": "p2"}],
            "tweets": [{"id": "10", "author_id": "3", "geo": {"place_id": "p2"}}],
            "media": [{"media_key": "3_1"}, {"media_key": "3_2"}],
            "polls": [{"id": "9"}],
        },
        "errors": [{"resource_id": "12", "title": "Not Found Error"}, {"resource_id": "99"},
                   {"value": "10", "title": "about the quoted one"}],
        "meta": {"result_count": 4},
        "__twarc": {"retrieved_at": "2022-10-03T18:01:17+00:00"},
    })
    .to_string();
    let found = read(line);
    assert_eq!(refusals(&found), [reason::NO_POST]);
    let events = events(&found);
    let ids = |value: &Value, kind: &str, name: &str| -> Vec<String> {
        let list = value["includes"][kind].as_array().cloned().unwrap_or_default();
        list.iter().map(|one| one[name].as_str().unwrap().to_owned()).collect()
    };
    let values: Vec<Value> = events
        .iter()
        .map(|event| serde_json::from_slice(event.value.as_ref().unwrap()).unwrap())
        .collect();
    assert_eq!(events.iter().map(|e| e.key.as_str()).collect::<Vec<_>>(), ["11", "12", "13"]);
    assert_eq!(ids(&values[0], "users", "id"), ["1", "4"]);
    assert_eq!(ids(&values[0], "places", "id"), ["p1"]);
    assert_eq!(ids(&values[0], "media", "media_key"), ["3_1"]);
    assert_eq!(ids(&values[0], "polls", "id"), ["9"]);
    assert_eq!(values[0].get("errors"), None);
    // What the quoted post refers to comes with it.
    assert_eq!(ids(&values[1], "users", "id"), ["2", "3"]);
    assert_eq!(ids(&values[1], "places", "id"), ["p2"]);
    assert_eq!(ids(&values[1], "tweets", "id"), ["10"]);
    assert_eq!(values[1]["errors"].as_array().unwrap().len(), 2);
    assert_eq!(values[2].get("includes"), None);
    assert!(values.iter().all(|value| value["__twarc"]["retrieved_at"].is_string()));
    assert!(values.iter().all(|value| value.get("meta").is_none()));
}

#[test]
fn notices_are_notices() {
    for (line, key, at, subject, action) in [
        (
            r#"{"delete":{"status":{"id":1600000000000000000,"id_str":"1600000000000000000",
              "user_id":3},"timestamp_ms":"1700000000123"}}"#,
            "1600000000000000000",
            "2023-11-14T22:13:20.123Z",
            "post",
            "delete",
        ),
        // Without a time: the file's own.
        (
            r#"{"delete":{"status":{"id":1600000000000000000}}}"#,
            "1600000000000000000",
            WRITTEN,
            "post",
            "delete",
        ),
        // The file's time can't be true here.
        (
            r#"{"delete":{"status":{"id":1999999999999999999}}}"#,
            "1999999999999999999",
            STARTED,
            "post",
            "delete",
        ),
        (
            r#"{"scrub_geo":{"user_id":14,"up_to_status_id":23}}"#,
            "14",
            WRITTEN,
            "user",
            "scrub_geo",
        ),
    ] {
        let event = &events(&read(line))[0];
        assert_eq!(event.kind.as_str(), "notice.received");
        assert_eq!((event.key.as_str(), event.time), (key, time(at)), "{line}");
        assert_eq!(event.extensions["subject"], subject);
        assert_eq!(event.extensions["action"], action);
        assert_eq!(event.value.as_ref().unwrap(), line.as_bytes());
    }
}

#[test]
fn a_line_of_several_objects_holds_each_of_them() {
    let (one, two) = ("{\"id\":11,\"text\":\"}{,\"}", "{\"id\":\"12\",\"text\":\"\"}");
    for (line, values) in [
        (format!("{one}{two}"), vec![one, two]),
        (format!(" {one} , {two},\r"), vec![one, two]),
        (format!("{one},"), vec![one]),
        (format!(",{one}"), vec![one]),
    ] {
        let found: Vec<_> = events(&read(line)).into_iter().map(|one| one.value.unwrap()).collect();
        assert_eq!(found, values);
    }
    let found = read("{\"id\":1,\"text\":\"\"} {}");
    assert_eq!((found.len(), refusals(&found[1..])), (2, vec![reason::NO_POST]));
}

#[test]
fn what_is_no_post_is_told_apart() {
    for (line, reason) in [
        ("{\"data\":", reason::NOT_JSON),
        ("hello", reason::NOT_JSON),
        ("[{\"id\":1,\"text\":\"\"}]", reason::NOT_JSON),
        ("{\"id\":1,\"text\":\"\"} 7", reason::NOT_JSON),
        ("{\"id\":1,\"text\":\"\"} {", reason::NOT_JSON),
        ("{\"id\":1,\"id\":2,\"text\":\"\"}", reason::NOT_JSON),
        ("{}", reason::NO_POST),
        ("{\"id\":\"12\",\"username\":\"someone\"}", reason::NO_POST),
        ("{\"data\":{\"id\":\"12\",\"username\":\"someone\"}}", reason::NO_POST),
        ("{\"data\":{\"scrub_geo\":{}}}", reason::NO_POST),
        ("{\"data\":3}", reason::NO_POST),
        ("{\"data\":[[\"12\",null,\"text\"]]}", reason::NO_POST),
        ("{\"id\":-4,\"text\":\"\"}", reason::NO_POST),
        ("{\"id\":\"12e\",\"text\":\"\"}", reason::NO_POST),
        ("{\"delete\":{\"favorite\":{}}}", reason::NO_POST),
        (
            r#"{"id":"1170000000000000001","action":"delete","created_at":"2019-09-06T17:25:54.667Z",
              "reason":"protected"}"#,
            reason::COMPLIANCE,
        ),
    ] {
        assert_eq!(refusals(&read(line)), [reason], "{line}");
    }
    assert_eq!(refusals(&read(&b"{\"id\":1,\"text\":\"\xff\"}"[..])), [reason::NOT_UTF8]);
    for (line, control) in [
        ("{\"limit\":{\"track\":5}}", Control::Limit),
        ("{\"warning\":{\"code\":\"FALLING_BEHIND\"}}", Control::Warning),
        ("{\"disconnect\":{\"code\":4}}", Control::Disconnect),
        ("{\"meta\":{\"result_count\":0},\"__twarc\":{}}", Control::Empty),
        ("{\"data\":[]}", Control::Empty),
    ] {
        assert_eq!(read(line), [Found::Control(control)], "{line}");
    }
    for blank in ["", " ", "\r", "\t \r"] {
        assert_eq!(read(blank), [Found::Blank]);
    }
    let errors = r#"{"errors":[{"title":"operational-disconnect","disconnect_type":"Upstream"}]}"#;
    let [Found::Problems { problems, .. }] = &read(errors)[..] else { panic!() };
    assert_eq!(problems[0].issue, "Upstream");
}

#[test]
fn the_samples_hold_what_they_say() {
    let samples: [(&str, &[u8], [usize; 4]); 5] = [
        ("v2-responses", include_bytes!("../../samples/v2-responses.jsonl"), [25, 0, 0, 1]),
        ("v2-stream", include_bytes!("../../samples/v2-stream.jsonl"), [12, 0, 1, 0]),
        ("v2-flat", include_bytes!("../../samples/v2-flat.jsonl"), [20, 0, 0, 0]),
        ("v1.1", include_bytes!("../../samples/v1.1.jsonl"), [20, 6, 0, 2]),
        ("compliance", include_bytes!("../../samples/compliance.jsonl"), [0, 0, 4, 0]),
    ];
    for (name, bytes, expected) in samples {
        let mut counts = BTreeMap::<_, usize>::new();
        for line in bytes.split(|byte| *byte == b'\n') {
            for found in read(Bytes::copy_from_slice(line)) {
                let kind = match found {
                    Found::Post { .. } => "post",
                    Found::Notice { .. } => "notice",
                    Found::Refused { .. } => "refused",
                    Found::Control(_) => "control",
                    Found::Problems { .. } => panic!("{name} has no problems"),
                    Found::Blank => "blank",
                };
                *counts.entry(kind).or_default() += 1;
            }
        }
        let counted = ["post", "notice", "refused", "control"];
        let counted = counted.map(|kind| counts.get(kind).copied().unwrap_or_default());
        assert_eq!(counted, expected, "{name}");
    }
}

/// Any JSON, with the names that matter more often than by chance.
fn any_json() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec![
        "data",
        "id",
        "id_str",
        "text",
        "includes",
        "users",
        "tweets",
        "errors",
        "__twarc",
        "url",
        "delete",
        "status",
        "scrub_geo",
        "limit",
        "action",
        "created_at",
        "retrieved_at",
        "other",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        (1_u64..100).prop_map(|id| Value::from(id.to_string())),
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(names.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_accounted_for(bytes in any::<Vec<u8>>()) {
        prop_assert_eq!(read(bytes).len(), 1);
    }

    #[test]
    fn any_text_after_a_brace_is_accounted_for(text in "\\PC*") {
        prop_assert_eq!(read(format!("{{{text}")).len(), 1);
    }

    #[test]
    fn any_json_is_accounted_for(value in any_json()) {
        let found = read(value.to_string());
        let posts = value["data"].as_array().map_or(1, |posts| posts.len().max(1));
        prop_assert_eq!(found.len(), posts);
        for event in events(&found).iter().filter(|event| event.kind.as_str() == "post.received") {
            // A carved payload reads as the same single post again.
            let again = read(event.value.clone().unwrap());
            let [again] = &events(&again)[..] else { panic!("{again:?}") };
            prop_assert_eq!(&again.key, &event.key);
            prop_assert_eq!(again.time, event.time);
            prop_assert_eq!(&again.value, &event.value);
        }
    }

    #[test]
    fn carved_posts_are_the_same_posts(
        texts in prop::collection::vec(any::<String>(), 2..8),
        authors in prop::collection::vec(0_usize..4, 8),
    ) {
        let posts: Vec<Value> = texts
            .iter()
            .zip(&authors)
            .enumerate()
            .map(|(n, (text, author))| {
                json!({"id": (n + 100).to_string(), "text": text, "author_id": author.to_string()})
            })
            .collect();
        let users: Vec<Value> =
            (0..4).map(|id| json!({"id": id.to_string(), "name": texts[0]})).collect();
        let line = json!({"data": posts, "includes": {"users": users}}).to_string();
        let events = events(&read(line));
        prop_assert_eq!(events.len(), posts.len());
        for ((event, post), author) in events.iter().zip(&posts).zip(&authors) {
            let value: Value = serde_json::from_slice(event.value.as_ref().unwrap()).unwrap();
            prop_assert_eq!(&value["data"], post);
            let included = value["includes"]["users"].as_array().unwrap();
            prop_assert!(included.contains(&users[*author]));
        }
    }
}
