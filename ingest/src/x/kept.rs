//! What is kept of an answer's headers: rate limits, and what X's support asks for.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::HeaderMap;
use secrecy::SecretString;
use serde::Serialize;

use super::hide::hidden;

/// Kept with their values. Cookies are not: they are credentials of a kind.
const NAMES: [&str; 3] = ["date", "retry-after", "x-transaction-id"];
/// And all that begin with this.
const RATE_LIMITS: &str = "x-rate-limit-";
/// The most that is kept of a value, in characters.
const MAX_VALUE: usize = 100;
/// The most that are kept.
const MOST: usize = 16;
/// HTTP dates are written in this way, with a zone that RFC 2822 calls obsolete and defines.
const DATES: DateTimeParser = DateTimeParser::new();

/// Some of an answer's headers, by name in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Kept(BTreeMap<String, String>);

impl Kept {
    /// Those of these headers that are kept, without the token.
    pub fn of(headers: &HeaderMap, token: &SecretString) -> Self {
        let pairs = headers.iter().filter_map(|(name, value)| {
            let name = name.as_str();
            let kept = name.starts_with(RATE_LIMITS) || NAMES.contains(&name);
            let value = value.to_str().ok().filter(|_| kept)?;
            Some((name.to_owned(), hidden(value, token).chars().take(MAX_VALUE).collect()))
        });
        Self(pairs.take(MOST).collect())
    }

    /// By how much time after `now` the rate limit is over, in whole seconds; nothing where it is
    /// not used up, over already, or not told. Measured by the server's own clock, if it gives its
    /// time: that it is another than ours must not matter.
    pub fn rate_limited_for(&self, now: Timestamp) -> Option<u64> {
        if self.number("remaining").is_some_and(|remaining| remaining > 0) {
            return None;
        }
        let now = self.date().unwrap_or(now);
        u64::try_from(self.number("reset")?.checked_sub(now.as_second())?).ok().filter(|s| *s > 0)
    }

    fn number(&self, of: &str) -> Option<i64> {
        self.0.get(&format!("{RATE_LIMITS}{of}"))?.trim().parse().ok()
    }

    fn date(&self) -> Option<Timestamp> {
        DATES.parse_timestamp(self.0.get("date")?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(pairs: &[(&'static str, &'static str)]) -> Kept {
        let parse = |(name, value): &(&'static str, &'static str)| {
            (name.parse().unwrap(), value.parse().unwrap())
        };
        Kept::of(&pairs.iter().map(parse).collect(), &String::new().into())
    }

    #[test]
    fn a_rate_limit_ends_by_the_servers_clock() {
        let now = Timestamp::from_second(1_000).unwrap();
        for (pairs, expected) in [
            (vec![], None),
            (vec![("x-rate-limit-reset", "1090")], Some(90)),
            (vec![("x-rate-limit-reset", "1090"), ("x-rate-limit-remaining", "0")], Some(90)),
            // It is another limit that is used up.
            (vec![("x-rate-limit-reset", "1090"), ("x-rate-limit-remaining", "3")], None),
            (vec![("x-rate-limit-reset", "1000")], None),
            (vec![("x-rate-limit-reset", "999")], None),
            (vec![("x-rate-limit-reset", "soon")], None),
            (vec![("x-rate-limit-reset", "-9223372036854775808")], None),
            // Ours is ten minutes fast, or its.
            (
                vec![("x-rate-limit-reset", "460"), ("date", "Thu, 01 Jan 1970 00:06:40 GMT")],
                Some(60),
            ),
            (vec![("x-rate-limit-reset", "460"), ("date", "yesterday")], None),
        ] {
            assert_eq!(kept(&pairs).rate_limited_for(now), expected, "{pairs:?}");
        }
    }

    #[test]
    fn no_credentials_are_kept_and_nothing_without_bound() {
        let long = "x".repeat(5_000);
        let mut headers = HeaderMap::new();
        headers.insert("set-cookie", "guest_id=secret".parse().unwrap());
        headers.insert("x-transaction-id", long.parse().unwrap());
        headers.insert("retry-after", "for sesame-sesame".parse().unwrap());
        let kept = Kept::of(&headers, &"sesame-sesame".to_owned().into());
        let kept = serde_json::to_value(kept).unwrap();
        let expected = serde_json::json!({
            "retry-after": "for [x.bearer_token]", "x-transaction-id": long[..MAX_VALUE],
        });
        assert_eq!(kept, expected);
    }
}
