//! Compliance notices as v1.1 streams and archives carry them.
//!
//! Source: X developer documentation, "Compliance firehose" and "Streaming message types":
//! `{"delete":{"status":{"id","id_str","user_id",…},"timestamp_ms"}}`, also `undelete`, `drop` and
//! `undrop`, `{"scrub_geo":{"user_id",
//! "up_to_status_id"}}`, `{"status_withheld":{"id","user_id",…}}`, `{"user_withheld":{"id",…}}`
//! and `{"user_delete":{"id","timestamp_ms"}}` with its like. "Compliance streams" of v2 have
//! `{"data":{"delete":{"tweet":{"id","author_id"},"event_at"}}}` and its like. "Batch compliance":
//! a line of a result is `{"id","action","created_at","redacted_at","reason"}`, of a post or of a
//! user, and does not say which.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::scalar::Scalar;
use super::shape::{Data, NoticeBody, Object, Subject, Top};
use super::time;

/// What the lines of a batch compliance result are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// Posts.
    Posts,
    /// Users.
    Users,
    /// What each line looks like, as far as that tells: the creation of a post is in its id.
    Either,
}

impl About {
    /// As the name of a file says, which X and its tools begin with what was asked for.
    pub fn of_file(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        match ["user", "tweet", "post"].map(|word| name.contains(word)) {
            [true, false, false] => Self::Users,
            [false, true, _] | [false, _, true] => Self::Posts,
            _ => Self::Either,
        }
    }

    /// What a line is about; nothing where it may be either. A post was made when its id says, to
    /// the millisecond. So was a user of the last years, whose creation comes in full seconds.
    fn subject(self, id: u64, created: Option<&str>) -> Option<&'static str> {
        const ROUNDED: SignedDuration = SignedDuration::from_secs(1);
        /// Before them, ids of posts and of users were counted one by one.
        const FIRST_SNOWFLAKE: u64 = 30_000_000_000;
        match self {
            Self::Posts => Some("post"),
            Self::Users => Some("user"),
            Self::Either => {
                let has_fraction = created?.contains('.');
                let off = time::parse(created?)?.duration_since(time::of_snowflake(id)).abs();
                match (has_fraction, off > ROUNDED) {
                    (true, _) if off.is_zero() => Some("post"),
                    (true, true) if id < FIRST_SNOWFLAKE => None,
                    (_, true) => Some("user"),
                    (_, false) => None,
                }
            }
        }
    }
}

/// What batch compliance results say. The action is `delete` also where the reason is that only
/// the place must go.
const RESULTS: [&str; 4] = ["delete", "scrub_geo", "undelete", "withheld"];

/// The words of v2 compliance streams.
const STREAMED: [&str; 14] = [
    "delete",
    "undelete",
    "withheld",
    "drop",
    "undrop",
    "scrub_geo",
    "user_withheld",
    "user_delete",
    "user_undelete",
    "user_protect",
    "user_unprotect",
    "user_suspend",
    "user_unsuspend",
    "tweet_withheld",
];

/// The notice that a line of a batch compliance result is; what is missing if it is none.
///
/// It has no time of its own: `redacted_at` is when the platform acted, but what was observed
/// between that and the result is to be removed as well.
pub fn of_result(top: &Top<'_>, about: About) -> Result<Notice, &'static str> {
    let word = top.action.text().unwrap_or_default();
    let action = RESULTS.into_iter().find(|known| *known == word).ok_or("of an unknown action")?;
    let id = top.id_str.id().or_else(|| top.id.id()).ok_or("it names no id")?;
    let subject = about
        .subject(id, top.created_at.text())
        .ok_or("it may be about a post or about a user: say which by --about")?;
    Ok(Notice { subject, action, id, time: None })
}

/// The notice that an item of a v2 compliance stream is, if it is one. One that nothing here is done
/// about, such as one about likes, is `Err` with why.
pub fn of_item(text: &str) -> Option<Result<Notice, String>> {
    #[derive(Deserialize)]
    struct Item<'a> {
        #[serde(borrow)]
        data: BTreeMap<&'a str, &'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow, alias = "post")]
        tweet: Option<Object<Subject<'a>>>,
        #[serde(borrow)]
        user: Option<Object<Subject<'a>>>,
        #[serde(borrow, default)]
        event_at: Scalar<'a>,
    }
    let Item { data } = serde_json::from_str(text).ok()?;
    let known = STREAMED.into_iter().find_map(|action| Some((action, data.get(action)?)));
    let Some((action, body)) = known else {
        let (word, body) = data.first_key_value().filter(|_| data.len() == 1)?;
        let Object(body): Object<Body<'_>> = serde_json::from_str(body.get()).ok()?;
        // Each notice says when, and nothing else that streams send does.
        return body
            .event_at
            .text()
            .map(|_| Err(format!("of a kind that is not acted on: {word}")));
    };
    let Object(body): Object<Body<'_>> = serde_json::from_str(body.get()).ok()?;
    let named = match (body.tweet, body.user) {
        (Some(Object(post)), _) => post.id.id().map(|id| ("post", id)),
        (None, Some(Object(user))) => user.id.id().map(|id| ("user", id)),
        (None, None) => None,
    };
    let Some((subject, id)) = named else {
        return Some(Err(format!("{action} names no post and no user")));
    };
    Some(Ok(Notice { subject, action, id, time: body.event_at.text().and_then(time::parse) }))
}

/// Whether a line may be an item of a v2 compliance stream.
pub fn may_be_item(top: &Top<'_>) -> bool {
    matches!(&top.data, Data::One(head) if !head.id.is_present() && head.text.is_none())
}

/// What a notice is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// `post` or `user`.
    pub subject: &'static str,
    /// What to do, as the source names it: `delete`, `scrub_geo`, `withheld`, `suspend`, …
    pub action: &'static str,
    /// The id of the post or user.
    pub id: u64,
    /// When, if it says so.
    pub time: Option<Timestamp>,
}

/// The notice that this line is, if it is one. One that can't be read is `Err` with what is
/// missing.
pub fn of(top: &Top<'_>) -> Option<Result<Notice, &'static str>> {
    let kinds: [(Option<&RawValue>, &'static str, &'static str); 13] = [
        (top.delete, "post", "delete"),
        (top.undelete, "post", "undelete"),
        (top.drop, "post", "drop"),
        (top.undrop, "post", "undrop"),
        (top.scrub_geo, "user", "scrub_geo"),
        (top.status_withheld, "post", "withheld"),
        (top.user_withheld, "user", "withheld"),
        (top.user_delete, "user", "delete"),
        (top.user_undelete, "user", "undelete"),
        (top.user_protect, "user", "protect"),
        (top.user_unprotect, "user", "unprotect"),
        (top.user_suspend, "user", "suspend"),
        (top.user_unsuspend, "user", "unsuspend"),
    ];
    let (raw, subject, action) =
        kinds.into_iter().find_map(|(raw, subject, action)| Some((raw?, subject, action)))?;
    Some(read(raw, subject, action))
}

fn read(
    raw: &RawValue,
    subject: &'static str,
    action: &'static str,
) -> Result<Notice, &'static str> {
    let Object(body): Object<NoticeBody<'_>> =
        serde_json::from_str(raw.get()).map_err(|_| "its body is not an object")?;
    let candidates: [&Scalar<'_>; 2] = match (&body.status, action) {
        (Some(Object(status)), _) => [&status.id_str, &status.id],
        // Only a status can be deleted here; favourites and the like are no posts of ours.
        (None, "delete" | "undelete" | "drop" | "undrop") if subject == "post" => {
            return Err("it names no status");
        }
        (None, "scrub_geo") => [&body.user_id_str, &body.user_id],
        (None, _) => [&body.id_str, &body.id],
    };
    let id = candidates.into_iter().find_map(Scalar::id).ok_or("it names no id")?;
    let time = match &body.timestamp_ms {
        Scalar::Text(text) => time::parse_ms(text),
        Scalar::Number(ms) => {
            i64::try_from(*ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok())
        }
        _ => None,
    };
    Ok(Notice { subject, action, id, time })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_each_kind() {
        let ms = Some(Timestamp::from_millisecond(1_420_070_400_123).unwrap());
        for (line, expected) in [
            (
                r#"{"delete":{"status":{"id":1234567890123456789,"user_id":3},
                    "timestamp_ms":"1420070400123"}}"#,
                Some(Ok(("post", "delete", 1_234_567_890_123_456_789, ms))),
            ),
            (
                r#"{"delete":{"status":{"id_str":"12","id":99}}}"#,
                Some(Ok(("post", "delete", 12, None))),
            ),
            (
                r#"{"scrub_geo":{"user_id":14,"user_id_str":"14","up_to_status_id":23}}"#,
                Some(Ok(("user", "scrub_geo", 14, None))),
            ),
            (
                r#"{"status_withheld":{"id":7,"user_id":8,"withheld_in_countries":["DE"]}}"#,
                Some(Ok(("post", "withheld", 7, None))),
            ),
            (
                r#"{"user_withheld":{"id":8,"withheld_in_countries":["DE"]}}"#,
                Some(Ok(("user", "withheld", 8, None))),
            ),
            (
                r#"{"user_suspend":{"id":8,"timestamp_ms":1420070400123}}"#,
                Some(Ok(("user", "suspend", 8, ms))),
            ),
            (r#"{"drop":{"status":{"id":7}}}"#, Some(Ok(("post", "drop", 7, None)))),
            (
                r#"{"undrop":{"status":{"id":7},"timestamp_ms":"1420070400123"}}"#,
                Some(Ok(("post", "undrop", 7, ms))),
            ),
            (r#"{"undelete":{"status":{"id":7}}}"#, Some(Ok(("post", "undelete", 7, None)))),
            (r#"{"delete":{"favorite":{"id":8}}}"#, Some(Err("it names no status"))),
            (r#"{"delete":[]}"#, Some(Err("its body is not an object"))),
            (r#"{"delete":{"status":["12"]}}"#, Some(Err("its body is not an object"))),
            (r#"{"delete":true}"#, Some(Err("its body is not an object"))),
            (r#"{"user_withheld":{}}"#, Some(Err("it names no id"))),
            (r#"{"delete":null}"#, None),
            (r#"{"id":1,"text":""}"#, None),
        ] {
            let top: Top<'_> = serde_json::from_str(line).unwrap();
            let notice = of(&top);
            let short = notice.map(|notice| notice.map(|n| (n.subject, n.action, n.id, n.time)));
            assert_eq!(short, expected, "{line}");
        }
    }
}
