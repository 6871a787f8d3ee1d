//! What is measured on: posts of about 1.1 KB, as the v2 stream sends them.

use std::fmt::Write as _;
use std::sync::Arc;

use bowerbird_stream::log::Outgoing;
use bowerbird_stream::{Event, EventType};
use bytes::{Bytes, BytesMut};
use jiff::Timestamp;

/// The id of the post of number 0; the others follow it.
const FIRST: u64 = 1_534_000_000_000_000_000;
/// How many posts differ by more than their id.
const KINDS: u64 = 12;

/// The id of the post of a number.
pub fn id(n: u64) -> String {
    (FIRST + n).to_string()
}

/// The number of the post with an id.
pub fn number(id: &str) -> u64 {
    id.parse::<u64>().unwrap() - FIRST
}

/// A stream item; the same number gives the same bytes.
pub fn item(n: u64) -> String {
    let id = id(n);
    let mut text = format!("Number {n}: the weather in Melbourne \u{1f326} again, ");
    for word in 0..(n % KINDS) {
        let _ = write!(text, "and more of it {word} ");
    }
    format!(
        r#"{{"data":{{"id":"{id}","text":"{text} https://t.co/abcdef","lang":"en","author_id":"337119125","created_at":"2022-06-08T01:02:03.000Z","conversation_id":"{id}","edit_history_tweet_ids":["{id}"],"possibly_sensitive":false,"public_metrics":{{"retweet_count":1,"reply_count":2,"like_count":3,"quote_count":4}},"entities":{{"urls":[{{"start":50,"end":73,"url":"https://t.co/abcdef","expanded_url":"https://example.org/a/long/path?with=query","display_url":"example.org/a/long"}}]}},"geo":{{"place_id":"01864a8a64df9dc4"}}}},"includes":{{"users":[{{"id":"337119125","username":"kim","name":"Kim","created_at":"2011-07-17T13:48:53.000Z","description":"somebody who writes about the weather"}}],"places":[{{"id":"01864a8a64df9dc4","full_name":"Melbourne, Victoria","name":"Melbourne","country":"Australia","country_code":"AU","place_type":"city","geo":{{"type":"Feature","bbox":[144.593742,-38.433859,145.512529,-37.511274],"properties":{{}}}}}}]}},"matching_rules":[{{"id":"1534","tag":"australia"}}]}}"#
    )
}

/// A file of `count` items, one a line.
pub fn file(folder: &std::path::Path, count: u64) -> std::path::PathBuf {
    use std::io::Write as _;
    let path = folder.join(format!("{count}.jsonl"));
    let mut out = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    for n in 0..count {
        writeln!(out, "{}", item(n)).unwrap();
    }
    out.flush().unwrap();
    path
}

/// Posts as records of a topic, made by writing their ids over those of a few: whoever measures
/// under load must not spend much on making it.
pub struct Posts {
    topic: Arc<str>,
    /// A post of each kind, and where its id stands.
    kinds: Vec<(String, Vec<usize>)>,
}

impl Posts {
    /// Records of this topic.
    pub fn new(topic: &Arc<str>) -> Self {
        let kind = |n| {
            let (item, id) = (item(n), id(n));
            let places = item.match_indices(&id).map(|(place, _)| place).collect();
            (item, places)
        };
        Self { topic: Arc::clone(topic), kinds: (0..KINDS).map(kind).collect() }
    }

    /// The post of this number.
    pub fn record(&self, n: u64) -> Outgoing {
        let (item, places) = &self.kinds[usize::try_from(n % KINDS).unwrap()];
        let id = id(n);
        let mut value = BytesMut::from(item.as_bytes());
        for &place in places {
            value[place..place + id.len()].copy_from_slice(id.as_bytes());
        }
        let event = Event {
            id: format!("{id}-0"),
            source: "x:stream".to_owned(),
            kind: EventType::PostReceived,
            time: Timestamp::UNIX_EPOCH,
            key: id,
            value: Some(Bytes::from(value)),
            extensions: std::collections::BTreeMap::new(),
        };
        Outgoing::event(Arc::clone(&self.topic), event)
    }
}
