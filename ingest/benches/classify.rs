//! How fast lines are told apart and become records: one thread, no log.
//!
//! `cargo bench -p bowerbird-ingest --bench classify`

#![expect(clippy::print_stdout, reason = "a bench prints")]

use std::time::{Duration, Instant};

use bowerbird_ingest::post::{Found, Place, Reader};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

const RUNS_FOR: Duration = Duration::from_secs(2);

fn main() {
    println!("{:<28} {:>10} {:>12} {:>10}", "lines", "bytes/line", "posts/s", "MB/s");
    for (name, line) in [
        ("v2 stream item", stream_item().to_string()),
        ("v2 flattened", flattened().to_string()),
        ("v1.1", v11().to_string()),
        ("v2 response of 100", response(100).to_string()),
        ("broken", stream_item().to_string().replacen(':', ";", 1)),
    ] {
        measure(name, &Bytes::from(line));
    }
}

fn measure(name: &str, line: &Bytes) {
    let now = Timestamp::now();
    let reader =
        Reader::archive("archive:bench.jsonl".into(), "bench.jsonl".into(), Some(now), now);
    let (mut lines, mut events, mut size) = (0_u64, 0_u64, 0);
    let begun = Instant::now();
    while begun.elapsed() < RUNS_FOR {
        for _ in 0..100 {
            lines += 1;
            reader.read(line, Place::Line(lines), &mut |found| {
                events += 1;
                if let Found::Post { record, .. } = &found {
                    size += record.size();
                }
            });
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let megabytes = lines as f64 * line.len() as f64 / 1e6;
    std::hint::black_box(size);
    println!(
        "{name:<28} {:>10} {:>12.0} {:>10.0}",
        line.len(),
        events as f64 / seconds,
        megabytes / seconds
    );
}

fn post(number: u64) -> Value {
    let id = (1_600_000_000_000_000_000 + number * 4_194_304).to_string();
    json!({
        "id": id, "author_id": "900000000000007919", "lang": "en", "conversation_id": id,
        "text": "Magpies are swooping again… don't say I didn't warn you https://t.co/abcdefghij",
        "created_at": "2022-12-06T05:31:41.000Z", "edit_history_tweet_ids": [id],
        "public_metrics": {"retweet_count": 1, "reply_count": 2, "like_count": 3, "quote_count": 0},
        "entities": {"mentions": [{"start": 0, "end": 9, "username": "sim_bird", "id": "77"}],
            "urls": [{"start": 56, "end": 79, "url": "https://t.co/abcdefghij",
                "expanded_url": "https://example.org/a/longer/address?with=parameters"}]},
        "geo": {"place_id": "b0000000000000a1"},
    })
}

fn includes() -> Value {
    json!({
        "users": [{"id": "900000000000007919", "name": "José Wattle", "username": "sim_bird_1",
            "location": "Geelong, Victoria", "created_at": "2019-02-03T04:05:06.000Z"}],
        "places": [{"id": "b0000000000000a1", "name": "Melbourne", "country": "Australia",
            "full_name": "Melbourne, Victoria", "country_code": "AU", "place_type": "city",
            "geo": {"type": "Feature", "bbox": [144.594, -38.434, 145.513, -37.511]}}],
    })
}

fn stream_item() -> Value {
    json!({"data": post(0), "includes": includes(),
        "matching_rules": [{"id": "1500000000000000001", "tag": "australia"}]})
}

fn flattened() -> Value {
    let mut post = post(0);
    post["author"] = includes()["users"][0].clone();
    post["__twarc"] = json!({"version": "2.14.0", "retrieved_at": "2023-03-06T02:00:00+00:00",
        "url": "https://api.twitter.com/2/tweets/search/all?max_results=100&query=magpie"});
    post
}

fn v11() -> Value {
    let user =
        json!({"id": 9_u64, "id_str": "9", "screen_name": "sim", "description": "x".repeat(160)});
    json!({"id": 1_600_000_000_000_000_001_u64, "id_str": "1600000000000000001", "user": user,
        "created_at": "Wed Aug 27 13:08:45 +0000 2008", "full_text": "A longer text ".repeat(12),
        "entities": {"hashtags": [], "urls": [], "user_mentions": []}, "place": null})
}

fn response(count: u64) -> Value {
    let posts: Vec<Value> = (0..count).map(post).collect();
    json!({"data": posts, "includes": includes(), "meta": {"result_count": count},
        "__twarc": flattened()["__twarc"]})
}
