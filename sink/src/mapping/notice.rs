//! Compliance notices, in each of the forms that X gives them.
//!
//! v1.1 archives: `{"delete":{"status":{…}}}`, `{"scrub_geo":{…}}`, `{"status_withheld":{…}}`,
//! `{"user_withheld":{…}}`, `{"user_delete":{…}}` and its like. The v2 compliance stream wraps
//! the same words in `data`. Batch compliance results have `action` and `reason`.

use bowerbird_stream::EventView;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Mapped, Unmappable, malformed, value};
use crate::document::user_id;
use crate::merge::{Notice, NoticeKind, State};

/// Extensions of a tombstone: the event of the notice, and what that said.
pub(crate) const NOTICE: &str = "notice";
pub(crate) const ACTION: &str = "action";
pub(crate) const REASON: &str = "reason";

/// What the tombstone of a post still says after compaction has erased its notice's post.
pub(super) fn erased(event: &EventView<'_>) -> Mapped {
    let extension = |name: &str| event.extension(name).map(str::to_owned);
    let notice = Notice {
        time: event.time,
        event: extension(NOTICE).unwrap_or_else(|| event.id.to_owned()),
        action: extension(ACTION).unwrap_or_else(|| "delete".to_owned()),
        reason: extension(REASON),
        up_to: None,
    };
    // Whatever it says: the post was to go.
    let kind = kind_of(&notice.action).filter(|kind| kind.is_removal());
    let state = State::notice(kind.unwrap_or(NoticeKind::Removal), notice);
    Mapped { id: event.key.to_owned(), state }
}

#[derive(Deserialize)]
struct Line {
    data: Option<Map<String, Value>>,
    action: Option<String>,
    reason: Option<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

pub(super) fn received(event: &EventView<'_>) -> Result<Mapped, Unmappable> {
    let failed = malformed("compliance notice");
    let line: Line = serde_json::from_slice(value(event)?).map_err(failed)?;
    let (action, body) = match line.action {
        Some(action) => (action, Value::Null),
        None => line
            .data
            .unwrap_or(line.rest)
            .into_iter()
            .find(|(name, _)| kind_of(name).is_some())
            .ok_or_else(|| Unmappable::Notice("none of the known words".to_owned()))?,
    };
    // A batch compliance result says `delete` also where only the place must go.
    let kind = match line.reason.as_deref() {
        Some("scrub_geo") => NoticeKind::GeoScrub,
        _ => kind_of(&action).ok_or_else(|| Unmappable::Notice(action.clone()))?,
    };
    let subject = event.extension("subject");
    let about_user = match subject {
        Some("user") => true,
        Some("post") => false,
        _ => action.starts_with("user_") || action == "scrub_geo" || body.get("user").is_some(),
    };
    let notice = Notice {
        time: event.time,
        event: event.id.to_owned(),
        reason: line.reason,
        up_to: ["up_to_status_id_str", "up_to_status_id", "up_to_tweet_id", "up_to_post_id"]
            .iter()
            .find_map(|name| body.get(name))
            .map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned)),
        action,
    };
    let id = if about_user { user_id(event.key) } else { event.key.to_owned() };
    Ok(Mapped { id, state: State::notice(kind, notice) })
}

fn kind_of(word: &str) -> Option<NoticeKind> {
    Some(match word {
        "delete" | "user_delete" => NoticeKind::Removal,
        "undelete" | "user_undelete" => NoticeKind::Restoration,
        "user_protect" => NoticeKind::Protection,
        "user_unprotect" => NoticeKind::Unprotection,
        "user_suspend" => NoticeKind::Suspension,
        "user_unsuspend" => NoticeKind::Unsuspension,
        "drop" => NoticeKind::Drop,
        "undrop" => NoticeKind::Undrop,
        "scrub_geo" => NoticeKind::GeoScrub,
        "status_withheld" | "user_withheld" | "withheld" | "tweet_withheld" => NoticeKind::Withheld,
        _ => return None,
    })
}
