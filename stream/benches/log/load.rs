//! Events such as the harvest publishes.

use std::collections::BTreeMap;

use bowerbird_stream::{Event, EventType, Outgoing};
use bytes::Bytes;
use jiff::Timestamp;

const WORDS: [&str; 24] = [
    "rain",
    "melbourne",
    "tram",
    "the",
    "of",
    "a",
    "game",
    "today",
    "sydney",
    "beach",
    "is",
    "was",
    "and",
    "coffee",
    "train",
    "late",
    "again",
    "love",
    "this",
    "city",
    "footy",
    "heat",
    "to",
    "my",
];

/// A post's event; about 1 KB, of text that compresses as posts do.
pub fn make(count: usize) -> Vec<Outgoing> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let time: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    (0..count)
        .map(|i| {
            let id = 1_500_000_000_000_000_000 + (i as u64) * 4_194_304 + next() % 4_194_304;
            let author = next() % 10_000_000_000;
            let words: Vec<_> =
                (0..30).map(|_| WORDS[(next() % WORDS.len() as u64) as usize]).collect();
            let text = words.join(" ");
            let value = format!(
                r#"{{"data":{{"id":"{id}","text":"{text}","author_id":"{author}","created_at":"2026-01-01T00:00:00.000Z","edit_history_tweet_ids":["{id}"],"lang":"en","conversation_id":"{id}","geo":{{"place_id":"01864a8a64df9dc4"}},"public_metrics":{{"retweet_count":{a},"reply_count":0,"like_count":{b},"quote_count":0,"impression_count":{c}}},"source":"Twitter for iPhone","possibly_sensitive":false,"reply_settings":"everyone"}},"includes":{{"users":[{{"id":"{author}","name":"name {author}","username":"user{author}","created_at":"2015-04-03T09:23:11.000Z"}}],"places":[{{"id":"01864a8a64df9dc4","full_name":"Melbourne, Victoria","name":"Melbourne","country_code":"AU","place_type":"city","geo":{{"type":"Feature","bbox":[144.593742,-38.433859,145.512529,-37.511274],"properties":{{}}}}}}]}},"matching_rules":[{{"id":"1166916266197536768","tag":"australia"}}]}}"#,
                a = next() % 30, b = next() % 300, c = next() % 9000,
            );
            Outgoing::event(
                "bench",
                Event {
                    id: format!("{id}:{:016x}", next()),
                    source: "x:stream".to_owned(),
                    kind: EventType::PostReceived,
                    time,
                    key: id.to_string(),
                    value: Some(Bytes::from(value)),
                    extensions: BTreeMap::from([("connection".to_owned(), "7".to_owned())]),
                },
            )
        })
        .collect()
}

/// The load for a topic, in the calls in which it is published. The bytes are shared.
pub fn calls(load: &[Outgoing], topic: &str, size: usize) -> Vec<Vec<Outgoing>> {
    let topic: std::sync::Arc<str> = topic.into();
    let to = |record: &Outgoing| Outgoing { topic: topic.clone(), ..record.clone() };
    load.chunks(size).map(|chunk| chunk.iter().map(to).collect()).collect()
}
