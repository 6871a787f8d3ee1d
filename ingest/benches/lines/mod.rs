//! Lines to measure on.

#![allow(dead_code, reason = "each bench uses some of them")]

use serde_json::{Value, json};

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

pub fn stream_item(number: u64) -> Value {
    json!({"data": post(number), "includes": includes(),
        "matching_rules": [{"id": "1500000000000000001", "tag": "australia"}]})
}

pub fn flattened() -> Value {
    let mut post = post(0);
    post["author"] = includes()["users"][0].clone();
    post["__twarc"] = json!({"version": "2.14.0", "retrieved_at": "2023-03-06T02:00:00+00:00",
        "url": "https://api.twitter.com/2/tweets/search/all?max_results=100&query=magpie"});
    post
}

pub fn v11() -> Value {
    let user =
        json!({"id": 9_u64, "id_str": "9", "screen_name": "sim", "description": "x".repeat(160)});
    json!({"id": 1_600_000_000_000_000_001_u64, "id_str": "1600000000000000001", "user": user,
        "created_at": "Wed Aug 27 13:08:45 +0000 2008", "full_text": "A longer text ".repeat(12),
        "entities": {"hashtags": [], "urls": [], "user_mentions": []}, "place": null})
}

pub fn response(count: u64) -> Value {
    let posts: Vec<Value> = (0..count).map(post).collect();
    json!({"data": posts, "includes": includes(), "meta": {"result_count": count},
        "__twarc": flattened()["__twarc"]})
}
