//! Reads lines and items of one source.

use std::fmt::Write as _;
use std::sync::Arc;

use bowerbird_stream::{Envelope, EventType, topic};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_128;

use super::carve::Response;
use super::notice::{self, About, Notice};
use super::problem;
use super::scalar::Scalar;
use super::shape::{Data, Head, Object, Top, TwarcNote};
use super::{Control, Found, Place, Refusal, reason, time};

/// 20 digits, a dash, 128 bits in hexadecimal.
const MAX_NAME_BYTES: usize = 20 + 1 + 32;

/// How far the clock of whoever wrote a file may be ahead of ours.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_hours(24);

/// Reads the lines of one archive, or the items of a stream.
#[derive(Clone, Debug)]
pub struct Reader {
    source: String,
    file: Option<String>,
    written: Option<Timestamp>,
    started: Timestamp,
    results: Option<About>,
    posts: Arc<str>,
    notices: Arc<str>,
}

/// What a line says of where it came from.
#[derive(Default)]
struct Provenance {
    retrieved: Option<Timestamp>,
    query: Option<String>,
}

impl Reader {
    /// For the archive `file`, whose events name `source`.
    ///
    /// A notice without a time of its own was given at the latest when the file was `written`;
    /// that is the same at every import. Where it can't be true (before the post that the notice
    /// is about), or is not known, it is taken for as old as this import, which `started` then.
    pub fn archive(
        source: String,
        file: String,
        written: Option<Timestamp>,
        started: Timestamp,
    ) -> Self {
        let file = Some(file);
        Self { file, written, ..Self::stream(source, started) }
    }

    /// For a stream, whose events name `source`.
    pub fn stream(source: String, started: Timestamp) -> Self {
        Self {
            source,
            file: None,
            written: None,
            started,
            results: None,
            posts: topic::POSTS.into(),
            notices: topic::NOTICES.into(),
        }
    }

    /// Takes the lines of batch compliance results for notices about these.
    #[must_use]
    pub fn with_results(self, about: About) -> Self {
        Self { results: Some(about), ..self }
    }

    /// Reads one line or item, and hands out what it holds, one by one.
    pub fn read(&self, bytes: &Bytes, place: Place, emit: &mut impl FnMut(Found)) {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => return emit(refused(bytes, reason::NOT_UTF8, error.to_string())),
        };
        if text.bytes().all(|byte| byte.is_ascii_whitespace()) {
            return emit(Found::Blank);
        }
        if !text.trim_start_matches(is_between).starts_with('{') {
            let error = "a line must hold one JSON object, this one does not begin with \"{\"";
            return emit(refused(bytes, reason::NOT_JSON, error.to_owned()));
        }
        match serde_json::from_str::<Top<'_>>(text) {
            Ok(top) => match notice::may_be_item(&top).then(|| notice::of_item(text)).flatten() {
                Some(Ok(notice)) => emit(self.notice(&notice, bytes, place)),
                Some(Err(error)) => {
                    emit(refused(bytes, reason::NO_POST, format!("a notice, but {error}")));
                }
                None => self.found(bytes, &top, place, emit),
            },
            Err(error) => match objects(text) {
                Some(objects) => objects.into_iter().for_each(|one| {
                    self.read(&bytes.slice_ref(one.as_bytes()), place, emit);
                }),
                None => emit(refused(bytes, reason::NOT_JSON, error.to_string())),
            },
        }
    }

    fn found(&self, bytes: &Bytes, top: &Top<'_>, place: Place, emit: &mut impl FnMut(Found)) {
        match &top.data {
            Data::Absent => {
                let found = self.without_data(bytes, top, place);
                let carries = matches!(found, Found::Problems { .. }) && includes_something(top);
                emit(found);
                // The journal keeps what is said, and not what came with it.
                if carries && matches!(place, Place::Arrival(_)) {
                    let error = "it has errors, and objects beside them, but no post";
                    emit(refused(bytes, reason::ERRORS, error.to_owned()));
                }
            }
            Data::One(head) => {
                emit(self.post(head, bytes.clone(), &provenance(top), place, bytes));
            }
            Data::Many(posts) if posts.is_empty() => match top.errors {
                Some(errors) => emit(problems(bytes, errors)),
                None if includes_something(top) => {
                    let error = "it includes objects, but has no post that refers to them";
                    emit(refused(bytes, reason::NO_POST, error.to_owned()));
                }
                None => emit(Found::Control(Control::Empty)),
            },
            Data::Many(posts) => self.many(bytes, top, posts, place, emit),
            Data::Other => {
                let error = "its \"data\" is neither an object nor a list";
                emit(refused(bytes, reason::NO_POST, error.to_owned()));
            }
        }
    }

    fn many(
        &self,
        bytes: &Bytes,
        top: &Top<'_>,
        posts: &[&RawValue],
        place: Place,
        emit: &mut impl FnMut(Found),
    ) {
        let provenance = provenance(top);
        let response = (posts.len() > 1).then(|| Response::new(top));
        for raw in posts {
            let part = bytes.slice_ref(raw.get().as_bytes());
            let head: Head<'_> = match serde_json::from_str(raw.get()) {
                Ok(Object(head)) => head,
                Err(error) => {
                    emit(refused(&part, reason::NO_POST, error.to_string()));
                    continue;
                }
            };
            let payload = match (&response, head.id.id()) {
                (Some(response), Some(id)) => Bytes::from(response.payload(id, raw)),
                // The only post of a response has the response's bytes for its own.
                _ => bytes.clone(),
            };
            emit(self.post(&head, payload, &provenance, place, &part));
        }
    }

    /// A line that is no v2 response.
    fn without_data(&self, bytes: &Bytes, top: &Top<'_>, place: Place) -> Found {
        let id = top.id_str.id().or_else(|| top.id.id());
        let has_text = top.text.or(top.full_text).is_some();
        if let Some(notice) = notice::of(top)
            && !has_text
        {
            return match notice {
                Ok(notice) => self.notice(&notice, bytes, place),
                Err(error) => refused(bytes, reason::NO_POST, format!("a notice, but {error}")),
            };
        }
        if let Some(errors) = top.errors
            && id.is_none()
        {
            return problems(bytes, errors);
        }
        if id.is_some() && !has_text && top.action.is_present() {
            if let Some(about) = self.results {
                return match notice::of_result(top, about) {
                    Ok(notice) => self.notice(&notice, bytes, place),
                    Err(error) => {
                        refused(bytes, reason::COMPLIANCE, format!("a notice, but {error}"))
                    }
                };
            }
            let error = "a line of a compliance result, not a post: import this file with \
                         `bowerbird ingest compliance`";
            return refused(bytes, reason::COMPLIANCE, error.to_owned());
        }
        let control = [
            (top.limit, Control::Limit),
            (top.warning, Control::Warning),
            (top.disconnect, Control::Disconnect),
            (top.friends, Control::Friends),
            (top.meta, Control::Empty),
        ];
        let control = control.into_iter().find(|(field, _)| field.is_some());
        if let Some((_, control)) = control
            && !top.id.is_present()
            && !includes_something(top)
        {
            return Found::Control(control);
        }
        if id.is_none()
            && !has_text
            && let Ok(text) = std::str::from_utf8(bytes)
            && let Some(problem) = problem::by_itself(text)
        {
            return Found::Problems { problems: vec![problem], bytes: bytes.clone() };
        }
        let head = Head {
            id: id.map_or_else(|| top.id.clone(), Scalar::Number),
            created_at: top.created_at.clone(),
            text: top.text.or(top.full_text),
            author_id: top.author_id.or(top.user),
        };
        self.post(&head, bytes.clone(), &provenance(top), place, bytes)
    }

    fn post(
        &self,
        head: &Head<'_>,
        payload: Bytes,
        provenance: &Provenance,
        place: Place,
        part: &Bytes,
    ) -> Found {
        let Some(id) = head.id.id() else {
            let what = if head.id.is_present() { "no post id that X gives" } else { "no post id" };
            return refused(part, reason::NO_POST, format!("it has {what}"));
        };
        if head.text.or(head.author_id).is_none() {
            let error = "it has an id, but neither a text nor an author: not a post";
            return refused(part, reason::NO_POST, error.to_owned());
        }
        let created = time::of_snowflake(id);
        let observed = match place {
            Place::Arrival(arrival) => arrival,
            Place::Line(_) => {
                // A time that is still to come would keep out all that is observed until then.
                let latest = self.started + CLOCK_TOLERANCE;
                let told = head.created_at.text().and_then(time::parse);
                let passed = |time: &Timestamp| *time <= latest;
                let times = [provenance.retrieved, told, Some(created), self.written];
                times.into_iter().flatten().find(passed).unwrap_or(self.started)
            }
        };
        let name = Name::new(id, &payload);
        let kind = EventType::PostReceived;
        let mut envelope = self.envelope(&name, &kind, observed, place);
        if let Some(query) = &provenance.query {
            envelope.put("query", query);
        }
        if let Some(retrieved) = provenance.retrieved {
            envelope.put("retrieved", &retrieved.to_string());
        }
        let record = envelope.record(Arc::clone(&self.posts), name.key(), Some(payload));
        Found::Post { record, created }
    }

    fn notice(&self, notice: &Notice, bytes: &Bytes, place: Place) -> Found {
        let earliest = time::of_snowflake(notice.id);
        let observed = notice.time.unwrap_or(match place {
            Place::Arrival(arrival) => arrival,
            Place::Line(_) => {
                self.written.filter(|written| *written >= earliest).unwrap_or(self.started)
            }
        });
        let name = Name::new(notice.id, bytes);
        let kind = EventType::NoticeReceived;
        let mut envelope = self.envelope(&name, &kind, observed, place);
        envelope.put("action", notice.action);
        envelope.put("subject", notice.subject);
        let topic = Arc::clone(&self.notices);
        Found::Notice { record: envelope.record(topic, name.key(), Some(bytes.clone())) }
    }

    fn envelope(&self, name: &Name, kind: &EventType, time: Timestamp, place: Place) -> Envelope {
        let mut envelope = Envelope::new(&name.id, &self.source, kind, time);
        if let Some(file) = &self.file {
            envelope.put("file", file);
        }
        if let Place::Line(line) = place {
            envelope.put("line", &line.to_string());
        }
        envelope
    }
}

/// What an event is called: the id of the entity, and the hash of what was said of it.
struct Name {
    id: String,
    key: usize,
}

impl Name {
    fn new(entity: u64, payload: &[u8]) -> Self {
        let mut id = String::with_capacity(MAX_NAME_BYTES);
        // A string takes all that is written to it.
        write!(id, "{entity}").ok();
        let key = id.len();
        write!(id, "-{:032x}", xxh3_128(payload)).ok();
        Self { id, key }
    }

    fn key(&self) -> &str {
        &self.id[..self.key]
    }
}

/// What may stand between the objects of a line.
fn is_between(character: char) -> bool {
    character.is_ascii_whitespace() || character == ','
}

/// The objects in a line that has several, or commas around one: some tools write nothing between
/// them, and others the commas of a list. Nothing where they are not all it has.
fn objects(line: &str) -> Option<Vec<&str>> {
    let (mut objects, mut rest) = (Vec::new(), line.trim_matches(is_between));
    while rest.starts_with('{') {
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
        objects.push(values.next()?.ok()?.get());
        rest = rest[values.byte_offset()..].trim_start_matches(is_between);
    }
    // What is an object by itself has been read as that.
    (rest.is_empty() && objects.iter().all(|one| one.len() < line.len())).then_some(objects)
}

/// Whether a response has objects beside its posts: then it is not empty, even without one.
fn includes_something(top: &Top<'_>) -> bool {
    let is_empty = |raw: &RawValue| matches!(raw.get(), "{}" | "[]" | "null");
    top.includes.is_some_and(|raw| !is_empty(raw))
}

fn refused(bytes: &Bytes, reason: &'static str, error: String) -> Found {
    Found::Refused { refusal: Refusal { reason, error }, bytes: bytes.clone() }
}

fn problems(bytes: &Bytes, errors: &RawValue) -> Found {
    Found::Problems { problems: problem::of_list(errors.get()), bytes: bytes.clone() }
}

fn provenance(top: &Top<'_>) -> Provenance {
    let Some(note) = top.twarc else { return Provenance::default() };
    let Object(note): Object<TwarcNote<'_>> = serde_json::from_str(note.get()).unwrap_or_default();
    Provenance {
        retrieved: note.retrieved_at.text().and_then(time::parse),
        query: note.url.text().and_then(query_of),
    }
}

/// The search query in the address that twarc asked, if it was a search.
fn query_of(url: &str) -> Option<String> {
    let (_, pairs) = url.split_once('?')?;
    url::form_urlencoded::parse(pairs.as_bytes())
        .find_map(|(name, value)| (name == "query").then(|| value.into_owned()))
}
