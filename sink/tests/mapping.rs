//! Mapping: each form of payload to its document, and no payload that makes it panic.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use bowerbird_sink::mapping::{self, Mapped, Unmappable};
use bowerbird_sink::merge::NoticeKind;
use bowerbird_stream::{Event, EventType, Position};
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

fn event(kind: EventType, key: &str, value: Option<Value>) -> Event {
    Event {
        id: "e1".to_owned(),
        source: "archive:posts.jsonl".to_owned(),
        kind,
        time: "2024-05-01T10:00:00Z".parse().unwrap(),
        key: key.to_owned(),
        value: value.map(|value| Bytes::from(value.to_string())),
        extensions: BTreeMap::new(),
    }
}

fn position() -> Position {
    Position { topic: "posts".into(), partition: 0, offset: 7 }
}

fn map(event: &Event) -> Result<Mapped, Unmappable> {
    mapping::map(&event.view(), &position())
}

fn fields(event: &Event) -> Value {
    let mapped = map(event).unwrap();
    serde_json::from_str(&mapped.state.observed.unwrap().content.0).unwrap()
}

fn post(id: &str, payload: Value) -> Value {
    fields(&event(EventType::PostReceived, id, Some(payload)))
}

#[test]
fn a_stream_item() {
    let document = post(
        "1534",
        json!({
            "data": {
                "id": "1534", "text": "G'day \"all\" \u{1f600}", "lang": "en", "author_id": "9",
                "created_at": "2022-06-08T01:02:03.000Z", "geo": {"place_id": "p1"},
                "referenced_tweets": [{"type": "quoted", "id": "12"}],
                "edit_history_post_ids": ["1534"], "unheard_of": {"a": [1, 2]}
            },
            "includes": {
                "users": [{"id": "8", "username": "no"}, {"id": "9", "username": "kim", "name": "K"}],
                "places": [{"id": "p1", "full_name": "Melbourne, Victoria", "name": "Melbourne",
                    "country": "Australia", "country_code": "AU",
                    "geo": {"type": "Feature", "bbox": [144.0, -38.0, 146.0, -37.0], "properties": {}}}]
            },
            "matching_rules": [{"id": "77", "tag": "australia"}, {"id": 78, "tag": null}]
        }),
    );
    assert_eq!(
        document,
        json!({
            "type": "post", "text": "G'day \"all\" \u{1f600}", "lang": "en",
            "created_at": "2022-06-08T01:02:03.000Z",
            "author": {"id": "9", "username": "kim", "name": "K"},
            "place": {"id": "p1", "name": "Melbourne, Victoria", "country": "AU",
                "centroid": [145.0, -37.5], "precision": "place"},
            "references": [{"type": "quoted", "id": "12"}],
            "source": {"system": "x", "uri": "archive:posts.jsonl", "rules": ["australia", "78"],
                "retrieved_at": "2024-05-01T10:00:00Z"}
        })
    );
}

#[test]
fn a_flattened_post_holds_its_place_and_author() {
    let document = post(
        "5",
        json!({
            "id": "5", "text": "t", "author_id": "9", "author": {"id": "9", "username": "kim"},
            "geo": {"place_id": "p1", "id": "p1", "full_name": "Perth", "country_code": "AU",
                "coordinates": {"type": "Point", "coordinates": [115.8, -31.9]}}
        }),
    );
    assert_eq!(document["author"], json!({"id": "9", "username": "kim"}));
    let place = json!({"id": "p1", "name": "Perth", "country": "AU",
        "centroid": [115.8, -31.9], "precision": "point"});
    assert_eq!(document["place"], place);
}

#[test]
fn a_v1_post() {
    let document = post(
        "1050118621198921728",
        json!({
            "created_at": "Wed Oct 10 20:19:24 +0000 2018", "id": 1050118621198921728u64,
            "id_str": "1050118621198921728", "text": "cut short\u{2026}", "truncated": true,
            "extended_tweet": {"full_text": "the whole text"},
            "user": {"id": 6253282, "id_str": "6253282", "screen_name": "kim", "name": "K"},
            "geo": {"type": "Point", "coordinates": [-37.8, 144.9]},
            "coordinates": {"type": "Point", "coordinates": [144.9, -37.8]},
            "place": {"id": "p", "full_name": "Melbourne", "country_code": "AU", "country": "Australia",
                "bounding_box": {"type": "Polygon",
                    "coordinates": [[[144.0, -38.0], [144.0, -37.0], [146.0, -37.0], [146.0, -38.0]]]}},
            "in_reply_to_status_id_str": "44", "lang": "en"
        }),
    );
    assert_eq!(document["text"], "the whole text");
    assert_eq!(document["created_at"], "2018-10-10T20:19:24.000Z");
    assert_eq!(document["author"]["id"], "6253282");
    assert_eq!(document["place"]["centroid"], json!([144.9, -37.8]));
    assert_eq!(document["references"], json!([{"type": "replied_to", "id": "44"}]));
}

#[test]
fn a_response_may_hold_its_post_in_a_list() {
    let payload = json!({"data": [{"id": "4", "text": "no"}, {"id": "5", "text": "this one"}],
        "includes": {"users": []}});
    assert_eq!(post("5", payload.clone())["text"], "this one");
    assert!(map(&event(EventType::PostReceived, "6", Some(payload))).is_err());
}

#[test]
fn what_lacks_a_time_takes_that_of_its_snowflake() {
    let document = post("1050118621198921728", json!({"id": "1050118621198921728", "text": ""}));
    assert_eq!(document["created_at"], "2018-10-10T20:19:24.211Z");
    assert!(post("20", json!({"id": 20, "text": "early"})).get("created_at").is_none());
}

#[test]
fn a_box_across_the_180th_meridian_has_its_middle_there() {
    let document = post(
        "5",
        json!({"data": {"id": "5", "text": "t", "geo": {"place_id": "fj"}},
            "includes": {"places": [{"id": "fj", "geo": {"bbox": [177.0, -20.0, -179.0, -12.0]}}]}}),
    );
    assert_eq!(document["place"]["centroid"], json!([179.0, -16.0]));
}

#[test]
fn a_text_cut_inside_a_surrogate_pair_is_kept() {
    let mut cut = event(EventType::PostReceived, "5", None);
    cut.value = Some(Bytes::from_static(br#"{"id":"5","text":"caf\u00e9 \ud83d"}"#));
    assert_eq!(fields(&cut)["text"], "caf\u{e9} \u{fffd}");
}

#[test]
fn a_feature_carries_licence_and_attribution() {
    let mut observed = event(
        EventType::FeatureObserved,
        "aurin:lga:sa2.7",
        Some(
            json!({"type": "Feature", "id": "sa2.7", "geometry": {"type": "Point", "coordinates": [1, 2]},
            "properties": {"_odd": 1}}),
        ),
    );
    observed.extensions = [("dataset", "aurin:lga"), ("licence", "CC-BY"), ("attribution", "ABS")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let document = fields(&observed);
    assert_eq!(document["dataset"], "aurin:lga");
    assert_eq!(document["feature"], "sa2.7");
    assert_eq!(document["source"]["attribution"], "ABS");
    let escaped = Bytes::from_static(br#"{"t\u0079pe":"Fe\u0061ture","properties":{"_odd":1}}"#);
    let escaped = Event { value: Some(escaped), ..observed.clone() };
    assert_eq!(fields(&escaped)["properties"], document["properties"]);
    let vanished = Event { kind: EventType::FeatureVanished, value: None, ..observed };
    assert_eq!(fields(&vanished)["type"], "vanished");
}

#[test]
fn notices_in_each_of_their_forms() {
    use NoticeKind::{Drop, GeoScrub, Protection, Removal, Restoration, Unsuspension, Withheld};
    for (key, payload, id, kind) in [
        ("5", json!({"delete": {"status": {"id": 5, "id_str": "5", "user_id": 9}}}), "5", Removal),
        (
            "9",
            json!({"scrub_geo": {"user_id": 9, "up_to_status_id_str": "77"}}),
            "user:9",
            GeoScrub,
        ),
        (
            "5",
            json!({"status_withheld": {"id": 5, "withheld_in_countries": ["DE"]}}),
            "5",
            Withheld,
        ),
        ("9", json!({"user_withheld": {"id": 9}}), "user:9", Withheld),
        ("9", json!({"user_protect": {"id": 9}}), "user:9", Protection),
        ("9", json!({"data": {"user_unsuspend": {"user": {"id": "9"}}}}), "user:9", Unsuspension),
        ("5", json!({"drop": {"status": {"id": 5}}}), "5", Drop),
        ("5", json!({"id": "5", "action": "delete", "reason": "protected"}), "5", Removal),
        ("5", json!({"id": "5", "action": "delete", "reason": "scrub_geo"}), "5", GeoScrub),
        (
            "5",
            json!({"data": {"undelete": {"tweet": {"id": "5", "author_id": "9"}}}}),
            "5",
            Restoration,
        ),
        (
            "9",
            json!({"data": {"scrub_geo": {"user": {"id": "9"}, "up_to_tweet_id": "77"}}}),
            "user:9",
            GeoScrub,
        ),
    ] {
        let mapped = map(&event(EventType::NoticeReceived, key, Some(payload.clone()))).unwrap();
        assert_eq!(mapped.id, id, "{payload}");
        let (found, notice) = mapped.state.notices.first_key_value().unwrap();
        assert_eq!(*found, kind, "{payload}");
        let up_to = (kind == GeoScrub && id.starts_with("user:")).then_some("77");
        assert_eq!(notice.up_to.as_deref(), up_to, "{payload}");
    }
    let erased = map(&event(EventType::PostErased, "5", None)).unwrap();
    assert!(erased.state.removal().is_some());
}

#[test]
fn what_can_not_be_a_document_says_why() {
    let received = |key: &str, payload| map(&event(EventType::PostReceived, key, payload));
    let fact = || EventType::Journal("x.y".to_owned());
    let in_journal = Position { topic: "journal".into(), ..position() };
    for (outcome, name) in [
        (received("5", None), "payload"),
        (received("5", Some(json!({"id": "5"}))), "payload"),
        (received("5", Some(json!([]))), "payload"),
        (received("5", Some(json!({"id": "6", "text": "t"}))), "key"),
        (received("_x", Some(json!({"id": "_x", "text": "t"}))), "id"),
        (received("", Some(json!({"id": "", "text": "t"}))), "id"),
        (map(&event(EventType::FeatureObserved, "a:b", Some(json!({"type": "Point"})))), "payload"),
        (map(&event(EventType::NoticeReceived, "5", Some(json!({"limit": {}})))), "notice"),
        // What no version knows is a fact in the journal and nothing elsewhere.
        (map(&event(fact(), "x", Some(json!({})))), "type"),
        (mapping::map(&event(fact(), "x", None).view(), &in_journal), "payload"),
    ] {
        assert_eq!(outcome.unwrap_err().name(), name);
    }
}

/// Any JSON, with the names that the mappings look for made likely.
fn any_json() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "data",
        "id",
        "id_str",
        "text",
        "includes",
        "users",
        "places",
        "geo",
        "place",
        "bbox",
        "coordinates",
        "bounding_box",
        "created_at",
        "matching_rules",
        "tag",
        "type",
        "geometry",
        "properties",
        "delete",
        "status",
        "action",
        "author",
        "user",
        "other",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        prop::sample::select(vec!["5", "Feature", "delete"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_kind() -> impl Strategy<Value = EventType> {
    prop::sample::select(vec![
        "post.received",
        "post.erased",
        "notice.received",
        "feature.observed",
        "feature.vanished",
        "stream.gap",
    ])
    .prop_map(EventType::from)
}

#[test]
fn what_is_of_an_odd_type_costs_no_post() {
    let user = json!({"id": 7, "id_str": "7", "screen_name": "a", "name": "A"});
    let plain = post("5", json!({"id": 5, "id_str": "5", "text": "t", "user": user}));
    // As pandas and MongoDB write it, and as other tools write what is not there.
    for payload in [
        json!({"id": 5.0, "id_str": "5", "text": "t", "created_at": 1_577_836_800_000_u64,
            "geo": "", "place": "", "coordinates": "", "user": user}),
        json!({"_id": {"$oid": "1"}, "id": {"$numberLong": "5"}, "id_str": "5", "text": "t",
            "created_at": {"$date": {"$numberLong": "1577836800000"}}, "lang": ["en"],
            "user": {"id": {"$numberLong": "7"}, "id_str": "7", "screen_name": "a", "name": "A"}}),
        json!({"id": 5, "id_str": "", "text": "t", "user": user}),
        json!({"id": 5, "text": "t", "user": user, "includes": 3, "matching_rules": {}}),
    ] {
        assert_eq!(post("5", payload.clone()), plain, "{payload}");
    }
    let payload = json!({
        "data": [{"id": "5", "text": "t", "author_id": 7, "geo": {"place_id": "p"},
            "referenced_tweets": [{"type": "quoted", "id": 4}, {"type": 1, "id": {}}, 9]}],
        "includes": {"users": [{"id": 7, "username": "a", "name": {}}, 3],
            "places": [{"id": "p", "full_name": "P", "geo": {"bbox": [null, 1, 2, 3]}}]},
    });
    let found = post("5", payload);
    assert_eq!(found["author"], json!({"id": "7", "username": "a"}));
    assert_eq!(found["references"][0], json!({"type": "quoted", "id": "4"}));
    assert_eq!(found["place"], json!({"id": "p", "name": "P", "precision": "place"}));
    // What can't be spared is told as it was.
    for payload in [json!({"id": "5", "text": {}}), json!({"id": "5", "text": [], "lang": 3})] {
        let error = map(&event(EventType::PostReceived, "5", Some(payload))).unwrap_err();
        assert!(error.to_string().contains("invalid type"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_json_makes_it_panic(kind in any_kind(), key in "[5a:_]{0,3}", payload in any_json()) {
        if let Ok(mapped) = map(&event(kind, &key, Some(payload))) {
            // What was mapped can be written, and is read back as it was.
            let document = bowerbird_sink::document::render(&mapped.id, &mapped.state).unwrap();
            prop_assert_eq!(bowerbird_sink::document::read(&document).unwrap(), mapped.state);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(kind in any_kind(), payload in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut broken = event(kind, "5", None);
        broken.value = Some(Bytes::from(payload));
        let _ = map(&broken);
    }
}
