//! What befalls connections by chance: the same seed brings the same to the same attempt.

use std::time::Duration;

use jiff::Timestamp;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use super::config::{Ending, Faults, Step};

const ENDINGS: [Ending; 8] = [
    Ending::Close,
    Ending::CutItem,
    Ending::Reset,
    Ending::Stall,
    Ending::Trickle,
    Ending::OperationalDisconnect,
    Ending::ForceDisconnect,
    Ending::Reset,
];
/// The longest time until a rate limit is over, in seconds.
const LONGEST_LIMIT: i64 = 300;

/// What happens to the `attempt`-th attempt to connect.
pub fn step(faults: &Faults, seed: u64, attempt: u64, now: Timestamp) -> Step {
    let mut rng = ChaCha8Rng::seed_from_u64(seed.rotate_left(32) ^ attempt);
    if rng.random_range(0..100) < faults.refusals_percent {
        return refusal(&mut rng, now);
    }
    let lasts = faults.every.mul_f64(rng.random_range(0.0..2.0)).max(Duration::from_millis(1));
    Step::Last { lasts, ending: ENDINGS[rng.random_range(0..ENDINGS.len())] }
}

fn refusal(rng: &mut ChaCha8Rng, now: Timestamp) -> Step {
    let refuse = |status: u16, title: &str, headers: Vec<(String, String)>| Step::Refuse {
        status,
        headers,
        body: json!({"title": title, "type": "about:blank", "status": status}).to_string(),
    };
    match rng.random_range(0..10) {
        0..5 => refuse(503, "Service Unavailable", Vec::new()),
        5 => refuse(500, "Internal Server Error", Vec::new()),
        6 => refuse(502, "Bad Gateway", Vec::new()),
        7 => refuse(429, "Too Many Requests", Vec::new()),
        _ => {
            let reset = now.as_second() + rng.random_range(1..LONGEST_LIMIT);
            let headers = [("limit", 50), ("remaining", 0), ("reset", reset)];
            let header = |(name, value)| (format!("x-rate-limit-{name}"), format!("{value}"));
            refuse(429, "Too Many Requests", headers.map(header).into())
        }
    }
}
