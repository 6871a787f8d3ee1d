//! How fast events become documents, without log and store: `cargo bench -p bowerbird-sink`.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench may panic, and prints")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use bowerbird_sink::merge::State;
use bowerbird_sink::{document, mapping};
use bowerbird_stream::{Event, EventType, Position};
use bytes::Bytes;
use serde_json::json;

fn event(n: u64) -> Event {
    let id = (1_534_000_000_000_000_000 + n).to_string();
    let payload = json!({
        "data": {
            "id": id, "text": format!("Number {n}: a post about the weather in Melbourne, \u{1f326} again. https://t.co/abcdef"),
            "lang": "en", "author_id": "337119125", "created_at": "2022-06-08T01:02:03.000Z",
            "conversation_id": id, "edit_history_tweet_ids": [id], "possibly_sensitive": false,
            "public_metrics": {"retweet_count": 1, "reply_count": 2, "like_count": 3, "quote_count": 4},
            "entities": {"urls": [{"start": 50, "end": 73, "url": "https://t.co/abcdef",
                "expanded_url": "https://example.org/a/long/path?with=query", "display_url": "example.org/a/long"}]},
            "geo": {"place_id": "01864a8a64df9dc4"}
        },
        "includes": {
            "users": [{"id": "337119125", "username": "kim", "name": "Kim", "created_at": "2011-07-17T13:48:53.000Z",
                "description": "somebody who writes about the weather", "public_metrics": {"followers_count": 5}}],
            "places": [{"id": "01864a8a64df9dc4", "full_name": "Melbourne, Victoria", "name": "Melbourne",
                "country": "Australia", "country_code": "AU", "place_type": "city",
                "geo": {"type": "Feature", "bbox": [144.593742, -38.433859, 145.512529, -37.511274], "properties": {}}}]
        },
        "matching_rules": [{"id": "1534", "tag": "australia"}]
    });
    Event {
        id: format!("{id}-0"),
        source: "x:stream".to_owned(),
        kind: EventType::PostReceived,
        time: jiff::Timestamp::UNIX_EPOCH,
        key: id,
        value: Some(Bytes::from(payload.to_string())),
        extensions: BTreeMap::new(),
    }
}

fn measure(name: &str, bytes: usize, mut work: impl FnMut(usize)) {
    let (begun, mut rounds) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(2) {
        for _ in 0..1_000 {
            work(rounds);
            rounds += 1;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = rounds as f64 / begun.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let megabytes = rate * bytes as f64 / 1e6;
    println!("{name:<28}{rate:>12.0} events/s {megabytes:>8.0} MB/s");
}

fn main() {
    let events: Vec<Event> = (0..1_000).map(event).collect();
    let bytes = events[0].value.as_ref().unwrap().len();
    let position = Position { topic: "posts".into(), partition: 0, offset: 7 };
    println!("payloads of {bytes} bytes");
    measure("map", bytes, |n| {
        black_box(mapping::map(&events[n % 1_000].view(), &position).unwrap());
    });
    measure("map and render", bytes, |n| {
        let mapped = mapping::map(&events[n % 1_000].view(), &position).unwrap();
        black_box(document::render(&mapped.id, &mapped.state).unwrap());
    });
    let mapped = mapping::map(&events[0].view(), &position).unwrap();
    let stored = document::render(&mapped.id, &mapped.state).unwrap();
    measure("read and merge", bytes, |_| {
        let there: State = document::read(&stored).unwrap();
        black_box(there.merge(mapped.state.clone()));
    });
}
