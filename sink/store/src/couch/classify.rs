//! From an answer that is not a success to a typed error. Pure: the tests are tables.
//!
//! What will never succeed must be `CouchDB`'s own word (a JSON `error`): a proxy that answers
//! 400 or 404 in HTML while the database restarts must not make anybody give a document up.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::error::StoreError;

/// A wait longer than this is not believed.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// How much of somebody else's text goes into a message, in characters.
const QUOTED: usize = 200;

/// What a request was about, for the message.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Which store.
    pub address: &'a str,
    /// The database that it names, if any.
    pub database: Option<&'a str>,
    /// Its size, in bytes.
    pub bytes: usize,
}

/// The error of an answer with a status other than 2xx.
pub fn classify(
    asked: Asked<'_>,
    status: u16,
    retry_after: Option<Duration>,
    body: &[u8],
) -> StoreError {
    let address = asked.address.to_owned();
    let said = Said::read(body);
    let from_couchdb = said.error.is_some();
    let reason = said.text(status);
    let busy = |reason| StoreError::Busy { address: asked.address.to_owned(), reason, retry_after };
    if status == 507 || said.tells_of_a_full_disk() {
        return StoreError::Full { address, reason };
    }
    match (status, asked.database) {
        (401 | 403, _) => StoreError::Unauthorised { address, reason },
        (404, Some(database)) if said.error.as_deref() == Some("not_found") => {
            StoreError::MissingDatabase { address, database: database.to_owned() }
        }
        (413, _) => StoreError::TooLarge { address, bytes: asked.bytes, reason },
        (408 | 429, _) => busy(reason),
        (300..=399, _) => StoreError::Fatal {
            address,
            reason: format!("{reason}: it redirects; set store.url to where CouchDB itself is"),
        },
        (400..=499, _) if from_couchdb => StoreError::Rejected { address, reason },
        (400..=499, _) => busy(format!("{reason}: this is not CouchDB's answer; is it there?")),
        _ => busy(reason),
    }
}

/// A `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3).
pub(super) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    let wait = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
            // A date that has passed means now.
            Duration::try_from(at.duration_since(now)).unwrap_or_default()
        }
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

/// `CouchDB`'s error body. The members are text there, anything elsewhere.
#[derive(Deserialize)]
struct ErrorBody {
    error: Value,
    #[serde(default)]
    reason: Value,
}

struct Said {
    error: Option<String>,
    reason: String,
}

impl Said {
    fn read(body: &[u8]) -> Self {
        match serde_json::from_slice::<ErrorBody>(body) {
            Ok(ErrorBody { error, reason }) => {
                Self { error: Some(plain(&error)), reason: quote(&plain(&reason)) }
            }
            Err(_) => Self { error: None, reason: quote(&String::from_utf8_lossy(body)) },
        }
    }

    fn text(&self, status: u16) -> String {
        match (&self.error, self.reason.as_str()) {
            (Some(error), "") => format!("{status} {error}"),
            (Some(error), reason) => format!("{status} {error}: {reason}"),
            (None, "") => format!("{status}"),
            (None, reason) => format!("{status} {reason}"),
        }
    }

    fn tells_of_a_full_disk(&self) -> bool {
        let error = self.error.as_deref().unwrap_or_default();
        [error, &self.reason]
            .iter()
            .any(|text| text.contains("enospc") || text.contains("insufficient_storage"))
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The beginning of a text on one line.
fn quote(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.chars().count() <= QUOTED {
        return words;
    }
    words.chars().take(QUOTED).chain(std::iter::once('…')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kind(status: u16, body: &str) -> &'static str {
        let asked = Asked { address: "http://db", database: Some("posts"), bytes: 9 };
        match classify(asked, status, None, body.as_bytes()) {
            StoreError::Unauthorised { .. } => "unauthorised",
            StoreError::MissingDatabase { .. } => "missing",
            StoreError::TooLarge { .. } => "too large",
            StoreError::Rejected { .. } => "rejected",
            StoreError::Busy { .. } => "busy",
            StoreError::Full { .. } => "full",
            StoreError::Fatal { .. } => "fatal",
            _ => "other",
        }
    }

    #[test]
    fn statuses_are_classified() {
        let page = "<html><body>nginx</body></html>";
        for (status, body, expected) in [
            (
                401,
                r#"{"error":"unauthorized","reason":"Name or password is incorrect."}"#,
                "unauthorised",
            ),
            (
                403,
                r#"{"error":"forbidden","reason":"You are not allowed to access this db."}"#,
                "unauthorised",
            ),
            (401, page, "unauthorised"),
            (404, r#"{"error":"not_found","reason":"Database does not exist."}"#, "missing"),
            (404, r#"{"error":"not_found","reason":"no_db_file"}"#, "missing"),
            (404, page, "busy"),
            (400, r#"{"error":"illegal_docid","reason":"…"}"#, "rejected"),
            (400, page, "busy"),
            (415, r#"{"error":"bad_content_type","reason":"…"}"#, "rejected"),
            (413, r#"{"error":"document_too_large","reason":"x"}"#, "too large"),
            (413, page, "too large"),
            (408, "", "busy"),
            (429, "", "busy"),
            (500, r#"{"error":"unknown_error","reason":"badmatch"}"#, "busy"),
            (500, r#"{"error":"error","reason":"{badmatch,{error,enospc}}"}"#, "full"),
            (507, r#"{"error":"insufficient_storage","reason":"…"}"#, "full"),
            (502, page, "busy"),
            (503, "", "busy"),
            (504, "", "busy"),
            (301, "", "fatal"),
        ] {
            assert_eq!(kind(status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "2024-05-01T12:00:00Z".parse().unwrap();
        for (value, seconds) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("Wed, 01 May 2024 12:00:30 GMT", Some(30)),
            ("Wed, 01 May 2024 11:00:00 GMT", Some(0)),
            ("999999999", Some(3600)),
            ("soon", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(retry_after(value, now), seconds.map(Duration::from_secs), "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(status in 100_u16..1000, body in prop::collection::vec(any::<u8>(), 0..64)) {
            let asked = Asked { address: "http://db", database: None, bytes: 0 };
            let error = classify(asked, status, None, &body);
            prop_assert!(error.to_string().chars().count() < 600);
        }

        #[test]
        fn no_retry_after_panics(value in ".*") {
            let _ = retry_after(&value, Timestamp::UNIX_EPOCH);
        }
    }
}
