//! The mapping, and what is made of it.

use bowerbird_sink::document;
use bowerbird_sink::mapping;
use bowerbird_sink::merge::{Notice, NoticeKind, State};
use bowerbird_stream::{Event, EventType, Position};
use bytes::Bytes;
use serde_json::Value;

use crate::split_number;

const KINDS: [&str; 6] = [
    "post.received",
    "post.erased",
    "notice.received",
    "feature.observed",
    "feature.vanished",
    "stream.gap",
];

/// Any payload under any key is mapped or refused. The first byte chooses the event type, the
/// first line is the key, the second an action of a notice, the rest the payload.
pub fn run(data: &[u8]) {
    let (kind, rest) = split_number(data);
    let mut lines = rest.splitn(3, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let text = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
    let (key, action) = (text(line()), text(line()));
    let subject = if action.len() % 2 == 0 { "post" } else { "user" };
    check(&Event {
        id: "1".to_owned(),
        source: "x:stream".to_owned(),
        kind: EventType::from(KINDS[kind % KINDS.len()]),
        time: jiff::Timestamp::UNIX_EPOCH,
        key,
        value: Some(Bytes::copy_from_slice(line())),
        extensions: [("action".to_owned(), action), ("subject".to_owned(), subject.to_owned())]
            .into(),
    });
}

/// What an event says becomes a document, which says the same.
pub(crate) fn check(event: &Event) {
    let position = Position { topic: "posts".into(), partition: 0, offset: 7 };
    let Ok(mapped) = mapping::map(&event.view(), &position) else { return };
    assert!(!mapped.id.is_empty() && !mapped.id.starts_with('_'));
    let state = mapped.state;
    assert_eq!(state.clone().merge(state.clone()), state);
    assert_eq!(State::default().merge(state.clone()), state);
    let written = document::render(&mapped.id, &state).unwrap();
    let value: Value = serde_json::from_str(written.body.get()).unwrap();
    assert!(value.is_object());
    let there = document::read(&written).unwrap();
    assert!(there.says_as_much_as(&state) && state.says_as_much_as(&there), "{value}");
    scrub(event, &state, &position);
}

/// A payload without its place says what the received one does, without the place.
fn scrub(event: &Event, received: &State, position: &Position) {
    let (EventType::PostReceived, Some(value), Some(seen)) =
        (&event.kind, &event.value, &received.observed)
    else {
        return;
    };
    let (time, name) = (event.time, String::new());
    let notice = Notice { time, event: name.clone(), action: name, reason: None, up_to: None };
    let without = received.clone().merge(State::notice(NoticeKind::GeoScrub, notice)).observed;
    let Some(scrubbed) = mapping::without_place(&event.key, value) else {
        assert_eq!(received.observed, without);
        return;
    };
    assert_eq!(mapping::without_place(&event.key, &scrubbed), None);
    let mut copy = Event { value: Some(scrubbed.into()), ..event.clone() };
    copy.extensions.insert(mapping::SCRUBBED.to_owned(), seen.stamp.hash.into());
    assert_eq!(mapping::map(&copy.view(), position).unwrap().state.observed, without);
}
