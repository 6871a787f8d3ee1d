//! What a notice about a user asks of that user's posts: pure.

use bowerbird_stream::{Event, EventType};
use serde::{Deserialize, Serialize};

use crate::error::SinkError;
use crate::merge::{Content, Notice, NoticeKind, State};

/// The extension that names the user for whose sake a post is told of.
const USER: &str = "user";

/// What holds of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// All posts up to it must go.
    removal: Option<Notice>,
    /// Place and coordinates must go.
    scrub: Option<Notice>,
}

impl Asked {
    /// What the notices about a user ask; nothing when they ask nothing of posts.
    pub fn of(user: &State) -> Option<Self> {
        let removal = user.removal().cloned();
        let scrub = user.notices.get(&NoticeKind::GeoScrub).cloned();
        (removal.is_some() || scrub.is_some()).then_some(Self { removal, scrub })
    }

    /// What must be told of a post of that user, which `state` stands for. What was observed after
    /// a notice has been served by the platform since.
    pub fn of_post(&self, id: &str, state: &State, has_place: bool) -> Option<(Kind, &Notice)> {
        let observed = state.observed.as_ref()?.stamp.time;
        let reaches = |notice: &&Notice| observed <= notice.time;
        if let Some(removal) = self.removal.as_ref().filter(reaches) {
            return Some((Kind::Removal, removal));
        }
        let scrub = self.scrub.as_ref().filter(reaches).filter(|_| has_place)?;
        scrub.reaches(id).then_some((Kind::GeoScrub, scrub))
    }
}

/// What is told of a post for its author's sake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It must go.
    Removal,
    /// Its place must go.
    GeoScrub,
}

/// The value of the notice about a post.
#[derive(Serialize)]
struct Told<'a> {
    action: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    user: &'a str,
    notice: &'a str,
}

/// The notice about `post` that follows from one about its author. Told twice it is the same.
///
/// # Errors
/// When it can't be written as JSON.
pub fn tell(user: &str, post: &str, notice: &Notice) -> Result<Event, SinkError> {
    let Notice { time, event, action, reason, .. } = notice;
    let reason = reason.as_deref();
    let value = serde_json::to_vec(&Told { action, id: post, reason, user, notice: event })
        .map_err(|error| SinkError::Render { id: post.to_owned(), error: error.to_string() })?;
    let extensions = [("action", action.as_str()), ("subject", "post"), (USER, user)];
    Ok(Event {
        id: format!("{event}-{post}"),
        source: "sink:posts".to_owned(),
        kind: EventType::NoticeReceived,
        time: *time,
        key: post.to_owned(),
        value: Some(value.into()),
        extensions: extensions.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
    })
}

/// What a post's content says that matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Authored {
    author: Author,
    place: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Author {
    id: Option<String>,
}

impl Authored {
    /// What this content says; nothing of what is no post.
    pub fn of(content: &Content) -> Self {
        serde_json::from_str(&content.0).unwrap_or_default()
    }

    /// The author's id.
    pub fn by(&self) -> Option<&str> {
        self.author.id.as_deref()
    }

    /// Whether it tells where it was posted.
    pub fn has_place(&self) -> bool {
        self.place.is_some()
    }
}

#[cfg(test)]
mod tests {
    use bowerbird_stream::Position;
    use jiff::Timestamp;

    use super::*;
    use crate::merge::{PayloadHash, Stamp};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn notice(second: i64, up_to: Option<&str>) -> Notice {
        let (event, action) = (format!("e{second}"), "a".to_owned());
        Notice { time: at(second), event, action, reason: None, up_to: up_to.map(str::to_owned) }
    }

    fn seen(second: i64) -> State {
        let position = Position { topic: "posts".into(), partition: 0, offset: 0 };
        let stamp = Stamp { time: at(second), hash: PayloadHash::of(b""), mapping: 1, position };
        State::observation(stamp, Content("{}".to_owned()))
    }

    #[test]
    fn a_notice_about_a_user_reaches_what_was_observed_before_it() {
        use NoticeKind::{GeoScrub, Removal, Restoration, Withheld};
        let (gone, scrubbed) = (Some(Kind::Removal), Some(Kind::GeoScrub));
        for (notices, id, observed, has_place, expected) in [
            (vec![(Removal, notice(5, None))], "1", 4, false, gone),
            (vec![(Removal, notice(5, None))], "1", 5, false, gone),
            (vec![(Removal, notice(5, None))], "1", 6, false, None),
            // The user is back: what is still there stays.
            (vec![(Removal, notice(5, None)), (Restoration, notice(7, None))], "1", 4, true, None),
            (vec![(Removal, notice(9, None)), (Restoration, notice(7, None))], "1", 4, true, gone),
            (vec![(GeoScrub, notice(5, None))], "1", 4, true, scrubbed),
            (vec![(GeoScrub, notice(5, None))], "1", 4, false, None),
            (vec![(GeoScrub, notice(5, None))], "1", 6, true, None),
            (vec![(GeoScrub, notice(5, Some("20")))], "20", 4, true, scrubbed),
            (vec![(GeoScrub, notice(5, Some("20")))], "9", 4, true, scrubbed),
            (vec![(GeoScrub, notice(5, Some("20")))], "21", 4, true, None),
            (vec![(Removal, notice(5, None)), (GeoScrub, notice(8, None))], "1", 7, true, scrubbed),
            (vec![(Withheld, notice(5, None))], "1", 4, true, None),
        ] {
            let told = format!("{notices:?} of {id} at {observed}");
            let user = State { observed: None, notices: notices.into_iter().collect() };
            let state = seen(observed);
            let found = Asked::of(&user)
                .and_then(|asked| asked.of_post(id, &state, has_place).map(|(kind, _)| kind));
            assert_eq!(found, expected, "{told}");
        }
        assert_eq!(
            Asked::of(&State::notice(Removal, notice(5, None))).unwrap().of_post(
                "1",
                &State::default(),
                true
            ),
            None
        );
    }
}
