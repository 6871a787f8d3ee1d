//! Posts, made from a seed.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::place::PLACES;
use super::rules::Rule;
use super::text::{NAMES, TEXTS};

/// 2010-11-04T01:42:54.657Z: what snowflakes count from.
const EPOCH_MS: i64 = 1_288_834_974_657;
const USERS: u64 = 400;

/// Gives ids: always greater than the ones before, also over restarts.
#[derive(Default)]
pub struct Snowflakes(AtomicU64);

impl Snowflakes {
    /// The next id at this time.
    pub fn next(&self, now: Timestamp) -> u64 {
        let of_now = snowflake(now);
        let step = |last: u64| Some(of_now.max(last + 1));
        let last = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
        of_now.max(last.unwrap_or_default() + 1)
    }
}

/// The first id of this millisecond.
pub fn snowflake(time: Timestamp) -> u64 {
    u64::try_from(time.as_millisecond() - EPOCH_MS).unwrap_or_default() << 22
}

/// The item that is the `number`-th of this seed, with its id and time.
pub fn item(seed: u64, number: u64, id: u64, now: Timestamp, rules: &[Rule]) -> Value {
    let mut rng = ChaCha8Rng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number);
    let author = rng.random_range(0..USERS);
    let place = &PLACES[rng.random_range(0..PLACES.len())];
    // Four of five in English: the first twenty texts are.
    let text = if rng.random_bool(0.8) {
        rng.random_range(0..20)
    } else {
        rng.random_range(20..TEXTS.len())
    };
    let (lang, template) = TEXTS[text];
    let mut users = BTreeSet::from([author]);
    let mut data = json!({
        "id": id.to_string(),
        "lang": lang,
        "author_id": user_id(author),
        "created_at": format!("{now:.3}"),
        "conversation_id": id.to_string(),
        "edit_history_tweet_ids": [id.to_string()],
        "public_metrics": {"retweet_count": 0, "reply_count": 0, "like_count": 0, "quote_count": 0},
        "geo": {"place_id": place.id},
    });
    let mentioned = rng.random_range(0..USERS);
    let name = username(mentioned);
    if template.contains("{user}") {
        users.insert(mentioned);
        data["entities"]["mentions"] = json!([{"username": name, "id": user_id(mentioned)}]);
    }
    let url = format!("https://t.co/{:010x}", rng.random_range(0..1_u64 << 40));
    if template.contains("{url}") {
        let expanded = format!("https://example.org/{number}?a=1&b=%20");
        data["entities"]["urls"] = json!([{"url": url, "expanded_url": expanded}]);
    }
    let full_text =
        template.replace("{place}", place.name).replace("{user}", &name).replace("{url}", &url);
    data["text"] = Value::from(full_text);
    if rng.random_bool(0.3) {
        let point = place.point(rng.random(), rng.random());
        data["geo"]["coordinates"] = json!({"type": "Point", "coordinates": point});
    }
    let mut includes = json!({"places": [place.json()]});
    if rng.random_bool(0.15) {
        let (kind, other) = if rng.random() { ("quoted", 7) } else { ("replied_to", 11) };
        // Some minutes earlier.
        let referenced = id - ((rng.random_range(1..60_u64) * other * 1000) << 22);
        let by = rng.random_range(0..USERS);
        users.insert(by);
        data["referenced_tweets"] = json!([{"type": kind, "id": referenced.to_string()}]);
        includes["tweets"] = json!([{
            "id": referenced.to_string(), "author_id": user_id(by), "lang": "en",
            "text": "That’s the one I meant", "edit_history_tweet_ids": [referenced.to_string()],
        }]);
    }
    includes["users"] = users.into_iter().map(user).collect();
    // The first rule takes everything, the others some.
    let matching: Vec<Value> = rules
        .iter()
        .enumerate()
        .filter(|(index, _)| *index == 0 || rng.random_bool(0.4))
        .map(|(_, rule)| json!({"id": rule.id, "tag": rule.tag}))
        .collect();
    json!({"data": data, "includes": includes, "matching_rules": matching})
}

fn user_id(number: u64) -> String {
    (900_000_000_000_000_000 + number * 7_919).to_string()
}

fn username(number: u64) -> String {
    format!("sim_bird_{number}")
}

fn user(number: u64) -> Value {
    let pick = |factor| usize::try_from(number / factor).unwrap_or_default() % NAMES.len();
    let (first, last) = (NAMES[pick(1)].0, NAMES[pick(16)].1);
    json!({
        "id": user_id(number),
        "name": format!("{first} {last}"),
        "username": username(number),
        "location": PLACES[usize::try_from(number).unwrap_or_default() % PLACES.len()].full_name,
        "created_at": "2019-02-03T04:05:06.000Z",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_only_grow_and_carry_the_time() {
        let snowflakes = Snowflakes::default();
        let now: Timestamp = "2026-01-02T03:04:05.678Z".parse().unwrap();
        let ids: Vec<u64> = (0..10_000).map(|_| snowflakes.next(now)).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
        assert_eq!((ids[0] >> 22) as i64 + EPOCH_MS, now.as_millisecond());
    }

    #[test]
    fn the_same_seed_makes_the_same_posts() {
        let now = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(24 * 365 * 50);
        let id = Snowflakes::default().next(now);
        let make = |seed| (0..50).map(|n| item(seed, n, id, now, &[])).collect::<Vec<_>>();
        assert_eq!(make(3), make(3));
        assert_ne!(make(3), make(4));
        let texts: BTreeSet<_> =
            make(3).iter().map(|item| item["data"]["text"].to_string()).collect();
        assert!(texts.len() > 20);
    }
}
