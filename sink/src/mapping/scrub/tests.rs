use bowerbird_stream::{Event, EventType, Position};
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::document;
use crate::mapping::{Mapped, Mapping, Unmappable};
use crate::merge::Content;

const ID: &str = "1050118621198921728";

fn scrubbed(payload: &str) -> Option<String> {
    without_place(ID, payload.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())
}

/// `{ID}` stands for the id of the post, and what stands between `<` and `>` must go.
#[test]
fn what_tells_the_place_goes_and_all_else_stays_as_it_is_written() {
    for template in [
        // v2
        r#"{"data":{"id":"{ID}","text":"a",<"geo":{"place_id":"p","coordinates":{"coordinates":[1.0,2]}},>"n":1.50e3},"includes":{"users":[{"id":"p"}],"places":[<{"id":"p","geo":{}},>{"id":"q"}]}}"#,
        r#"{"includes":{"places":[<{"id":"p"}>]},"data":[{"id":"2","geo":{"place_id":"q"}},{"id":"{ID}"<,"geo":{"place_id":"p"}>}]}"#,
        // flattened
        r#"{"id":"{ID}",<"geo":{"place_id":"p","id":"p","full_name":"Perth"},>"text":"\ud83d"}"#,
        r#"{"id":"{ID}",<"g\u0065o":{"place_id":"p"},>"\u0074ext":"b","\ud83d":{ }}"#,
        // v1.1
        r#"{"id":{ID},"id_str":"{ID}",<"geo":{"type":"Point","coordinates":[-37.8,144.9]},><"coordinates":{"type":"Point","coordinates":[144.9,-37.8]},><"place":{"id":"p"},>"user":{"id":{ID},"location":"Perth"},"counts":[1,18446744073709551615]}"#,
        r#"{"id_str":"{ID}","geo":null,"coordinates":null,<"place":{"full_name":"x"},>"a":{}}"#,
        // Others keep theirs; itself, where it stands once more, does not.
        r#"{"id_str":"{ID}",<"place":{"id":"p"},>"quoted_status":{"id_str":"7","place":{"id":"p"}}}"#,
        r#"{"data":{"id":"{ID}"<,"geo":{"place_id":"p"}>},"includes":{"tweets":[{"id":"7","geo":{"place_id":"q"}},{"id":"{ID}"<,"geo":{"place_id":"r"}>}],"places":[<{"id":"p"},>{"id":"q"}<,{"id":"r"}>]}}"#,
    ] {
        let template = template.replace("{ID}", ID);
        let payload = template.replace(['<', '>'], "");
        let mut expected = String::new();
        let mut goes = false;
        for part in template.split_inclusive(['<', '>']) {
            if !goes {
                expected.push_str(part.trim_end_matches('<'));
            }
            goes = part.ends_with('<');
        }
        assert_eq!(scrubbed(&payload), Some(expected.clone()), "{payload}");
        assert_eq!(scrubbed(&expected), None, "{expected}");
    }
}

#[test]
fn what_tells_no_place_of_this_post_stays() {
    for payload in [
        r#"{"data":{"id":"{ID}","text":"a","geo":{}}}"#,
        r#"{"id_str":"{ID}","geo":null,"coordinates":null,"place":null}"#,
        r#"{"data":{"id":"{ID}"},"includes":{"places":[{"id":"p"}]}}"#,
        r#"{"id_str":"8","place":{"id":"p"},"user":{"id_str":"{ID}","place":1}}"#,
        "no JSON",
        "[1]",
        "",
    ] {
        assert_eq!(scrubbed(&payload.replace("{ID}", ID)), None, "{payload}");
    }
    assert_eq!(without_place(ID, &[0xff, b'{']), None);
}

#[test]
fn however_deep_it_is_there_is_an_end() {
    let deep = 100_000;
    let nested = format!("{}1{}", r#"{"quoted_status":"#.repeat(deep), "}".repeat(deep));
    let payload = |place: &str| format!(r#"{{"id_str":"{ID}"{place},"quoted_status":{nested}}}"#);
    assert_eq!(scrubbed(&payload(r#","place":{"id":"p"}"#)), Some(payload("")));
}

#[test]
fn bytes_that_are_no_text_do_not_keep_it() {
    let payload = format!(r#"{{"id_str":"{ID}","place":{{"id":"p"}},"x":"?"}}"#);
    let payload: Vec<u8> =
        payload.bytes().map(|byte| if byte == b'?' { 0xff } else { byte }).collect();
    let left = without_place(ID, &payload).unwrap();
    assert!(!String::from_utf8_lossy(&left).contains("place"));
}

fn second(version: u32, event: &EventView<'_>, at: &Position) -> Result<Mapped, Unmappable> {
    let mut mapped = Mapping::CURRENT.map(event, at)?;
    if let Some(seen) = &mut mapped.state.observed {
        let mut content: Value = serde_json::from_str(&seen.content.0).unwrap();
        content["letters"] = content["text"].as_str().unwrap().len().into();
        seen.content = Content(content.to_string());
        seen.stamp.mapping = version;
    }
    Ok(mapped)
}

fn observed(payload: Vec<u8>, scrubbed: Option<PayloadHash>) -> Event {
    let extension = scrubbed.map(|hash| (SCRUBBED.to_owned(), hash.into()));
    Event {
        id: "e1".to_owned(),
        source: "archive:posts.jsonl".to_owned(),
        kind: EventType::PostReceived,
        time: "2024-05-01T10:00:00Z".parse().unwrap(),
        key: ID.to_owned(),
        value: Some(Bytes::from(payload)),
        extensions: extension.into_iter().collect(),
    }
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![any::<i32>().prop_map(Value::from), (-180.0..180.0).prop_map(Value::from)]
}

fn place_id() -> impl Strategy<Value = Value> {
    prop::sample::select(vec!["p", "q", "\"\u{e9}"]).prop_map(Value::from)
}

fn point() -> impl Strategy<Value = Value> {
    let point = |(x, y)| json!({"type": "Point", "coordinates": [x, y]});
    prop_oneof![Just(Value::Null), (number(), number()).prop_map(point)]
}

/// A place in the words of both versions.
fn place() -> impl Strategy<Value = Value> {
    (place_id(), prop::option::of("\\PC{0,4}"), prop::option::of(number())).prop_map(
        |(id, name, west)| {
            let mut place = json!({"id": id, "full_name": name, "country_code": "AU"});
            if let Some(west) = west {
                place["geo"] = json!({"bbox": [west, -38.0, 146.0, -37.0]});
                place["bounding_box"] = json!({"coordinates": [[[west, 1.5], [2, 3]]]});
            }
            place
        },
    )
}

fn geo() -> impl Strategy<Value = Value> {
    let v2 = |(id, point, flat): (Option<Value>, Value, Option<Value>)| {
        let mut geo = flat.unwrap_or_else(|| json!({}));
        if let Some(id) = id {
            geo["place_id"] = id;
        }
        geo["coordinates"] = point;
        geo
    };
    prop_oneof![
        Just(Value::Null),
        Just(json!({})),
        (prop::option::of(place_id()), point(), prop::option::of(place())).prop_map(v2),
        Just(json!({"type": "Point", "coordinates": [-37.8, 144.9]})),
    ]
}

/// A post in any of the forms, with what stands in them besides.
fn post_json(id: &'static str) -> impl Strategy<Value = Value> {
    let options = (prop::option::of(geo()), prop::option::of(place()), prop::option::of(point()));
    (options, any::<[bool; 3]>(), "\\PC{0,8}").prop_map(
        move |((geo, place, point), [as_number, both, nothing], text)| {
            let mut post = json!({"text": text, "author_id": "9", "n": 1.5, "lang": "en"});
            if as_number {
                post["id"] = json!(id.parse::<u64>().unwrap());
            } else {
                post["id"] = json!(id);
            }
            if both {
                post["id_str"] = json!(id);
            }
            for (name, value) in [("geo", geo), ("place", place), ("coordinates", point)] {
                if let Some(value) = value.or_else(|| nothing.then_some(Value::Null)) {
                    post[name] = value;
                }
            }
            post
        },
    )
}

fn payload() -> impl Strategy<Value = Value> {
    let places = prop::collection::vec(place(), 0..3);
    let parts = (post_json(ID), post_json("7"), places, 0..6_usize);
    parts.prop_map(|(post, other, places, form)| {
        let includes = json!({"users": [{"id": "9", "username": "kim"}], "places": places,
            "tweets": [other]});
        match form {
            0 => post,
            1 => json!({"data": post, "includes": includes}),
            2 => json!({"data": post, "matching_rules": [{"id": "1", "tag": "rain"}]}),
            3 => json!({"includes": includes, "data": [other, post]}),
            4 => {
                let mut post = post;
                post["quoted_status"] = other.clone();
                post["retweeted_status"] = other;
                post
            }
            _ => json!({"data": post, "includes": {"places": places}, "__twarc": {"a": [1.0]}}),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn it_maps_as_the_received_payload_does_without_the_place(
        payload in payload(), pretty in any::<bool>(), cut in any::<bool>(),
    ) {
        let mut text = if pretty { format!("{payload:#}") } else { payload.to_string() };
        if cut {
            text = text.replacen("\"text\":", "\"cut\":\"\\ud83d\",\"text\":", 1);
        }
        let at = |offset| Position { topic: "posts".into(), partition: 0, offset };
        let received = observed(text.into_bytes(), None);
        let hash = hash_of(&received.view());
        let left = without_place(ID, received.value.as_ref().unwrap());
        for mapping in [Mapping::CURRENT, Mapping::new(2, second)] {
            let mapped = mapping.map(&received.view(), &at(1)).unwrap().state.observed.unwrap();
            let without = document::without_place(mapped.content.clone());
            let Some(left) = left.clone() else {
                prop_assert_eq!(without, mapped.content);
                continue;
            };
            prop_assert_eq!(without_place(ID, &left), None);
            let copy = observed(left, Some(hash));
            let copied = mapping.map(&copy.view(), &at(1)).unwrap().state.observed.unwrap();
            prop_assert_eq!(&copied.stamp, &mapped.stamp);
            prop_assert_eq!(copied.content, without);
        }
    }
}
