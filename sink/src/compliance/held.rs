//! What a dead letter holds of a post, and whether that or its place must go: pure.

use bowerbird_stream::dead_letter::Letter;
use bowerbird_stream::log::Outgoing;
use bowerbird_stream::{EventType, Position, Record, topic};
use jiff::Timestamp;

use super::users::{Asked, Authored, Kind};
use crate::mapping::{self, Mapping, SCRUBBED_HEADER, hash_of, without_place};
use crate::merge::{Content, Notice, NoticeKind, PayloadHash, Stamp, State};

/// What a letter holds of a post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Post {
    pub id: String,
    /// Who wrote it, where that can be read.
    pub author: Option<String>,
    /// What the letter says of it.
    seen: State,
    /// Where its record stands in the log, if that came from there.
    origin: Option<Position>,
}

impl Post {
    /// What this record of the topic holds; nothing where it is no letter about a post, or has lost
    /// its content.
    pub fn of(record: &Record) -> Option<Self> {
        let letter = Letter::of(record.clone())?;
        let (kind, origin) = (letter.kind(), letter.story.origin.clone());
        let origin = origin.filter(|origin| &*origin.topic == topic::POSTS);
        let is_post = kind == Some(EventType::PostReceived.as_str());
        let is_tombstone = kind == Some(EventType::PostErased.as_str());
        if letter.is_erased() || is_tombstone || !(is_post || origin.is_some()) {
            return None;
        }
        let id = std::str::from_utf8(record.key.as_deref()?).ok()?.to_owned();
        if !mapping::is_id(&id) {
            return None;
        }
        let event = record.view().ok();
        let mapped = event
            .as_ref()
            .and_then(|event| Mapping::CURRENT.map(event, &record.position).ok())
            .filter(|mapped| mapped.id == id);
        let seen = mapped.map(|mapped| mapped.state).unwrap_or_else(|| {
            // What does not say when it was observed may be older than any notice.
            let time = event.map_or(Timestamp::MIN, |event| event.time);
            let (hash, position) = (PayloadHash::of(b""), record.position.clone());
            let stamp = Stamp { time, hash, mapping: mapping::VERSION, position };
            State::observation(stamp, Content("{}".to_owned()))
        });
        let content = seen.observed.as_ref().map(|seen| Authored::of(&seen.content));
        let author = content.and_then(|content| content.by().map(str::to_owned));
        Some(Self { id, author, seen, origin })
    }

    /// The notice for which it, or its place if it tells one, must go, by what the store has of
    /// the post and of its author: what was observed since is no matter of what the letter holds.
    pub fn asked(&self, post: Option<&State>, author: Option<&State>) -> Option<(Kind, Notice)> {
        let notices = post.map(|post| post.notices.clone()).unwrap_or_default();
        let known = self.seen.clone().merge(State { observed: None, notices });
        if let Some(removal) = known.removal() {
            return Some((Kind::Removal, removal.clone()));
        }
        let of_author = author.and_then(Asked::of);
        let of_author =
            of_author.as_ref().and_then(|asked| asked.of_post(&self.id, &self.seen, true));
        if let Some((Kind::Removal, removal)) = of_author {
            return Some((Kind::Removal, removal.clone()));
        }
        let scrub = known.notices.get(&NoticeKind::GeoScrub).filter(|_| known.is_scrubbed());
        let scrub = scrub.or(of_author.map(|(_, scrub)| scrub))?;
        Some((Kind::GeoScrub, scrub.clone()))
    }

    /// Whether the log must be told to erase its record, by what the store has of the post: behind
    /// that, what the platform has shown since may stand, and compaction takes the record for it.
    pub fn needs_tombstone(&self, post: Option<&State>) -> bool {
        let Some(origin) = &self.origin else { return false };
        let seen = post.and_then(|post| post.observed.as_ref()).map(|seen| &seen.stamp.position);
        let stands_behind =
            |at: &Position| at.in_partition() == origin.in_partition() && at.offset > origin.offset;
        !seen.is_some_and(stands_behind)
    }
}

/// What a letter holds, on its way again without what tells where its post was made; nothing when
/// it tells nothing of that. To the posts, whatever topic it came from: that may be gone by now.
pub(super) fn sent_on_without_place(record: &Record) -> Option<Outgoing> {
    let (letter, event) = (Letter::of(record.clone())?, record.view().ok()?);
    let value = without_place(event.key, event.value?)?;
    let mut copy = letter.restored(topic::POSTS, record);
    copy.headers.set(SCRUBBED_HEADER, String::from(hash_of(&event)));
    Some(Outgoing { value: Some(value.into()), ..copy })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bowerbird_stream::dead_letter::{REDRIVE, Reason, of_record, of_source};
    use bowerbird_stream::{Event, Headers};
    use bytes::Bytes;

    use super::*;
    use crate::merge::NoticeKind;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn why() -> Reason {
        let text = |text: &str| text.to_owned();
        Reason { reason: text("r"), error: text("e"), group: text("g"), attempts: 1 }
    }

    /// A record of `from`, which was observed at second 5.
    fn record(from: &str, kind: EventType, key: &str, value: &'static str) -> Record {
        let event = Event {
            id: "e".to_owned(),
            source: "s".to_owned(),
            kind,
            time: at(5),
            key: key.to_owned(),
            value: None,
            extensions: BTreeMap::new(),
        };
        Record {
            position: Position { topic: from.into(), partition: 0, offset: 7 },
            appended: at(6),
            key: Some(Bytes::copy_from_slice(key.as_bytes())),
            value: Some(Bytes::from_static(value.as_bytes())),
            headers: event.headers(),
        }
    }

    fn stands(letter: Outgoing) -> Record {
        let Outgoing { key, value, headers, topic } = letter;
        let position = Position { topic, partition: 2, offset: 9 };
        Record { position, appended: at(8), key, value, headers }
    }

    fn letter(from: &str, kind: EventType, key: &str, value: &'static str) -> Record {
        stands(of_record(record(from, kind, key, value), &why(), at(8)))
    }

    #[test]
    fn only_letters_about_posts_hold_something_of_a_post() {
        let post = r#"{"data":{"id":"1","text":"a","author_id":"7"}}"#;
        let of = |record: &Record| {
            Post::of(record).map(|post| (post.id, post.author, post.origin.is_some()))
        };
        let (id, user) = ("1".to_owned(), Some("7".to_owned()));
        let received = || EventType::PostReceived;
        let from_posts = letter(topic::POSTS, received(), "1", post);
        assert_eq!(of(&from_posts), Some((id.clone(), user.clone(), true)));
        assert_eq!(
            of(&letter(topic::POSTS, received(), "1", "{")),
            Some((id.clone(), None, true)),
            "who wrote it can't be read"
        );
        let other = letter(topic::POSTS, received(), "2", post);
        assert_eq!(of(&other), Some(("2".to_owned(), None, true)), "the payload is about another");
        let Record { key, value, headers, .. } = record(topic::POSTS, received(), "1", post);
        let never = Outgoing { topic: topic::POSTS.into(), key, value, headers };
        assert_eq!(of(&stands(of_source(never, &why(), at(8)))), Some((id.clone(), user, false)));
        let mut bare = record(topic::POSTS, received(), "1", "x");
        bare.headers = Headers::new();
        let bare = stands(of_record(bare, &why(), at(8)));
        assert_eq!(of(&bare), Some((id, None, true)));
        assert_eq!(Post::of(&bare).unwrap().seen.observed.unwrap().stamp.time, Timestamp::MIN);

        let line = EventType::Journal("line.refused".to_owned());
        let mut keyless = from_posts.clone();
        keyless.key = None;
        for other in [
            letter(topic::NOTICES, EventType::NoticeReceived, "1", post),
            letter(topic::FEATURES, EventType::FeatureObserved, "1", post),
            letter(topic::POSTS, EventType::PostErased, "1", post),
            letter(topic::POSTS, received(), "_design/a", post),
            stands(of_source(Outgoing { topic: "t".into(), ..copy(line) }, &why(), at(8))),
            record(topic::DEAD_LETTERS, received(), "1", post),
            keyless,
        ] {
            assert_eq!(of(&other), None, "{other:?}");
        }
        let mut erased = from_posts;
        erased.headers.push(bowerbird_stream::dead_letter::ERASED, "gone");
        assert_eq!(of(&erased), None);
    }

    fn copy(kind: EventType) -> Outgoing {
        let Record { key, value, headers, position, .. } = record("t", kind, "1", "{broken");
        Outgoing { topic: position.topic, key, value, headers }
    }

    #[test]
    fn a_notice_reaches_what_was_observed_before_it() {
        use NoticeKind::{GeoScrub, Removal, Restoration, Withheld};
        let post = r#"{"data":{"id":"1","text":"a","author_id":"7"}}"#;
        let letter = letter(topic::POSTS, EventType::PostReceived, "1", post);
        let notice = |second: i64| Notice {
            time: at(second),
            event: format!("e{second}"),
            action: "a".to_owned(),
            reason: None,
            up_to: None,
        };
        let of = |notices: &[(NoticeKind, i64)]| State {
            observed: None,
            notices: notices.iter().map(|(kind, second)| (*kind, notice(*second))).collect(),
        };
        let (gone, scrubbed) =
            (|by: i64| Some((Kind::Removal, by)), |by: i64| Some((Kind::GeoScrub, by)));
        for (post, user, expected) in [
            (vec![], vec![], None),
            (vec![(Removal, 5)], vec![], gone(5)),
            (vec![(Removal, 9)], vec![], gone(9)),
            (vec![(Removal, 4)], vec![], None),
            (vec![(Removal, 9), (Restoration, 8)], vec![], gone(9)),
            (vec![(Removal, 6), (Restoration, 8)], vec![], None),
            (vec![(GeoScrub, 4), (Withheld, 9)], vec![], None),
            (vec![(GeoScrub, 5), (Withheld, 9)], vec![], scrubbed(5)),
            (vec![(GeoScrub, 9), (Removal, 8)], vec![], gone(8)),
            (vec![], vec![(Removal, 6)], gone(6)),
            (vec![], vec![(Removal, 4)], None),
            (vec![], vec![(Removal, 6), (Restoration, 7)], None),
            (vec![], vec![(GeoScrub, 6)], scrubbed(6)),
            (vec![], vec![(GeoScrub, 4)], None),
            (vec![(GeoScrub, 6)], vec![(GeoScrub, 9)], scrubbed(6)),
            (vec![(GeoScrub, 6)], vec![(Removal, 9)], gone(9)),
            (vec![(Removal, 6), (Restoration, 8)], vec![(Removal, 9)], gone(9)),
        ] {
            let told = format!("{post:?} {user:?}");
            let (post, user) = (of(&post), of(&user));
            let held = Post::of(&letter).unwrap();
            let expected = expected.map(|(kind, at)| (kind, format!("e{at}")));
            let asked = |post: &State| {
                held.asked(Some(post), Some(&user)).map(|(kind, by)| (kind, by.event))
            };
            assert_eq!(asked(&post), expected, "{told}");
            // What was observed since is no matter of what the letter holds.
            let since = State::observation(
                Stamp { time: at(99), ..held.seen.observed.clone().unwrap().stamp },
                Content("{}".to_owned()),
            );
            assert_eq!(asked(&since.merge(post)), expected, "{told}");
        }
        assert_eq!(Post::of(&letter).unwrap().asked(None, None), None);
    }

    #[test]
    fn what_is_sent_on_without_its_place_is_the_same_observation() {
        let located = r#"{"data":{"id":"1","text":"a","geo":{"place_id":"p"}},"includes":{"places":[{"id":"p"}]}}"#;
        let from = letter(topic::POSTS, EventType::PostReceived, "1", located);
        let sent = sent_on_without_place(&from).unwrap();
        assert_eq!((&*sent.topic, sent.key.as_deref()), (topic::POSTS, Some(&b"1"[..])));
        let elsewhere = letter("a copy", EventType::PostReceived, "1", located);
        assert_eq!(&*sent_on_without_place(&elsewhere).unwrap().topic, topic::POSTS);
        let bare: &[u8] = br#"{"data":{"id":"1","text":"a"},"includes":{"places":[]}}"#;
        assert_eq!(sent.value.as_deref(), Some(bare));
        assert_eq!(sent.headers.text(REDRIVE), Some("2@9"));
        assert!(!sent.headers.iter().any(|(name, _)| name.starts_with("dl_")));
        let stood = Record {
            position: from.position.clone(),
            ..record("", EventType::PostReceived, "1", located)
        };
        let again = Record { value: sent.value, headers: sent.headers, ..stood.clone() };
        let hash = |record: &Record| hash_of(&record.view().unwrap());
        assert_eq!((hash(&again), again.view().unwrap().time), (hash(&stood), at(5)));
        // It has no place to lose once more, if it fails again.
        let failed = stands(of_record(again, &why(), at(9)));
        assert!(sent_on_without_place(&failed).is_none());
        assert!(
            sent_on_without_place(&letter(topic::POSTS, EventType::PostReceived, "1", "{"))
                .is_none()
        );
    }

    #[test]
    fn the_log_is_told_to_erase_what_no_newer_observation_stands_behind() {
        let Record { key, value, headers, .. } =
            record(topic::POSTS, EventType::PostReceived, "1", "{}");
        let never = Outgoing { topic: topic::POSTS.into(), key, value, headers };
        let never = Post::of(&stands(of_source(never, &why(), at(8)))).unwrap();
        let stood = Post::of(&letter(topic::POSTS, EventType::PostReceived, "1", "{}")).unwrap();
        let seen = |partition, offset| {
            let position = Position { topic: topic::POSTS.into(), partition, offset };
            let (time, hash) = (at(99), PayloadHash::of(b""));
            let stamp = Stamp { time, hash, mapping: 1, position };
            State::observation(stamp, Content("{}".to_owned()))
        };
        for (post, needed) in [
            (None, true),
            (Some(State::default()), true),
            (Some(seen(0, 6)), true),
            (Some(seen(0, 8)), false),
            (Some(seen(1, 8)), true),
        ] {
            assert_eq!(stood.needs_tombstone(post.as_ref()), needed, "{post:?}");
            assert!(!never.needs_tombstone(post.as_ref()));
        }
    }
}
