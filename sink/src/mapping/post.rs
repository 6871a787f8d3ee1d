//! Posts: v2 stream items and responses, v2 flattened, and v1.1, told apart by content.

use std::borrow::Cow;
use std::fmt;

use bowerbird_stream::EventView;
use jiff::Timestamp;
use jiff::fmt::strtime;
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::odd;
use super::place::{self, Geo, Place, Spot};
use super::text::{Id, Text, mend_surrogates};
use super::{Unmappable, malformed, value};
use crate::json::Object;

/// A post with the fields of all three forms: which of them are there tells the form. Everything
/// else is passed over without being built.
#[derive(Deserialize)]
struct Post<'a> {
    /// v2: the post itself; then `includes` and `matching_rules` stand beside it.
    #[serde(borrow)]
    data: Option<Data<'a>>,
    #[serde(borrow)]
    includes: Option<Includes<'a>>,
    #[serde(borrow)]
    matching_rules: Option<Vec<Rule<'a>>>,
    #[serde(borrow)]
    id: Option<Id<'a>>,
    #[serde(borrow)]
    id_str: Option<Text<'a>>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    full_text: Option<Text<'a>>,
    #[serde(borrow)]
    extended_tweet: Option<Extended<'a>>,
    #[serde(borrow)]
    created_at: Option<Text<'a>>,
    #[serde(borrow)]
    lang: Option<Text<'a>>,
    #[serde(borrow)]
    author_id: Option<Text<'a>>,
    /// Flattened: the author as an object.
    #[serde(borrow)]
    author: Option<User<'a>>,
    /// v1.1: the author as an object.
    #[serde(borrow)]
    user: Option<User<'a>>,
    /// v2: names the place, and may hold the point. v1.1: the point as latitude, longitude.
    #[serde(borrow)]
    geo: Option<Geo<'a>>,
    /// v1.1: the place as an object.
    #[serde(borrow)]
    place: Option<Place<'a>>,
    /// v1.1: the point as longitude, latitude.
    coordinates: Option<Spot>,
    #[serde(borrow, alias = "referenced_posts")]
    referenced_tweets: Option<Vec<Reference<'a>>>,
    #[serde(borrow)]
    in_reply_to_status_id_str: Option<Text<'a>>,
    #[serde(borrow)]
    quoted_status_id_str: Option<Text<'a>>,
    #[serde(borrow)]
    retweeted_status: Option<Retweeted<'a>>,
}

/// The `data` of a v2 response: one post, or a list with one in it.
enum Data<'a> {
    One(Box<Post<'a>>),
    Many(Vec<Post<'a>>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Data<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Data<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a post or a list of posts")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                Deserialize::deserialize(MapAccessDeserializer::new(map)).map(Data::One)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                Deserialize::deserialize(SeqAccessDeserializer::new(seq)).map(Data::Many)
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

impl<'a> Data<'a> {
    /// The post that the event is about.
    fn of(self, key: &str) -> Option<Post<'a>> {
        match self {
            Self::One(post) => Some(*post),
            Self::Many(posts) => posts.into_iter().find(|post| post.id() == Some(key)),
        }
    }
}

impl Post<'_> {
    fn id(&self) -> Option<&str> {
        match (&self.id_str, &self.id) {
            (Some(id), _) if !id.as_str().is_empty() => Some(id.as_str()),
            (_, id) => id.as_ref().map(|id| &*id.0),
        }
    }
}

#[derive(Deserialize)]
struct Extended<'a> {
    #[serde(borrow)]
    full_text: Text<'a>,
}

#[derive(Deserialize)]
struct User<'a> {
    #[serde(borrow)]
    id: Option<Id<'a>>,
    #[serde(borrow)]
    id_str: Option<Text<'a>>,
    #[serde(borrow)]
    username: Option<Text<'a>>,
    #[serde(borrow)]
    screen_name: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Retweeted<'a> {
    #[serde(borrow)]
    id_str: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Includes<'a> {
    #[serde(borrow)]
    users: Option<Vec<User<'a>>>,
    #[serde(borrow)]
    places: Option<Vec<Place<'a>>>,
}

#[derive(Deserialize)]
struct Rule<'a> {
    #[serde(borrow)]
    id: Option<Id<'a>>,
    #[serde(borrow)]
    tag: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
struct Reference<'a> {
    #[serde(borrow)]
    r#type: Text<'a>,
    #[serde(borrow)]
    id: Text<'a>,
}

/// The document's fields. They are written as serde would write them, which a test compares.
#[cfg_attr(test, derive(serde::Serialize))]
struct Fields<'a> {
    r#type: &'static str,
    text: &'a str,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    lang: Option<&'a str>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none", serialize_with = "millis"))]
    created_at: Option<Timestamp>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    author: Option<Author<'a>>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    place: Option<place::Located<'a>>,
    #[cfg_attr(test, serde(skip_serializing_if = "Vec::is_empty"))]
    references: Vec<Reference<'a>>,
    source: Source<'a>,
}

#[cfg_attr(test, derive(serde::Serialize))]
struct Author<'a> {
    id: Cow<'a, str>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    username: Option<Cow<'a, str>>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    name: Option<Cow<'a, str>>,
}

#[cfg_attr(test, derive(serde::Serialize))]
struct Source<'a> {
    system: &'static str,
    uri: &'a str,
    #[cfg_attr(test, serde(skip_serializing_if = "Vec::is_empty"))]
    rules: Vec<Cow<'a, str>>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    query: Option<&'a str>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    file: Option<&'a str>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    line: Option<&'a str>,
    retrieved_at: Timestamp,
}

const WHAT: &str = "post";
/// About as many bytes as the fields have besides the text.
const FIELDS: usize = 640;

pub(super) fn content(event: &EventView<'_>) -> Result<String, Unmappable> {
    let payload = value(event)?;
    // Checked once as a whole, which is faster than string by string.
    let parsed = match std::str::from_utf8(payload) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(payload),
    };
    match parsed {
        Ok(post) => fields(event, post),
        Err(error) => mended(event, payload).unwrap_or_else(|| Err(malformed(WHAT)(error))),
    }
}

/// What a payload says that can't be read as it is; nothing when it can't be mended either.
fn mended(event: &EventView<'_>, payload: &[u8]) -> Option<Result<String, Unmappable>> {
    let mended = mend_surrogates(payload);
    let text = std::str::from_utf8(mended.as_deref().unwrap_or(payload)).ok()?;
    if let Ok(post) = serde_json::from_str(text) {
        return Some(fields(event, post));
    }
    let fits = |text: &str| serde_json::from_str::<Post<'_>>(text).is_ok();
    let fitted = odd::fitted(text.trim_start(), &fits)?;
    // Where that does not help, what was wrong at first says more.
    fields(event, serde_json::from_str(&fitted).ok()?).ok().map(Ok)
}

fn fields(event: &EventView<'_>, mut item: Post<'_>) -> Result<String, Unmappable> {
    let includes = item.includes.take();
    let rules = item.matching_rules.take().unwrap_or_default();
    let lacks =
        |field: &str| Unmappable::Payload { what: WHAT, error: format!("it has no {field}") };
    let post = match item.data.take() {
        Some(data) => data.of(event.key).ok_or_else(|| lacks("post of this id in its data"))?,
        None => item,
    };
    let id = post.id().ok_or_else(|| lacks("id"))?;
    if id != event.key {
        let (key, payload) = (event.key.to_owned(), id.to_owned());
        return Err(Unmappable::KeyDiffers { key, payload });
    }
    // A v1.1 line may hold the text cut short, and the whole of it elsewhere.
    let text = post
        .extended_tweet
        .as_ref()
        .map(|extended| &extended.full_text)
        .or(post.full_text.as_ref())
        .or(post.text.as_ref())
        .ok_or_else(|| lacks("text"))?;
    let (users, places) = match includes {
        Some(Includes { users, places }) => (users.unwrap_or_default(), places.unwrap_or_default()),
        None => (Vec::new(), Vec::new()),
    };
    let author_id = post.author_id;
    let author = match post.author.or(post.user) {
        Some(user) => author(user),
        None => author_id.map(|id| {
            let known = users.into_iter().filter_map(author).find(|user| user.id == id.0);
            known.unwrap_or(Author { id: id.0, username: None, name: None })
        }),
    };
    let mut references = post.referenced_tweets.unwrap_or_default();
    for (r#type, id) in [
        ("replied_to", post.in_reply_to_status_id_str),
        ("quoted", post.quoted_status_id_str),
        ("retweeted", post.retweeted_status.and_then(|post| post.id_str)),
    ] {
        if let Some(id) = id {
            references.push(Reference { r#type: Text(r#type.into()), id });
        }
    }
    let size = text.as_str().len() + FIELDS;
    let fields = Fields {
        r#type: "post",
        text: text.as_str(),
        lang: post.lang.as_ref().map(Text::as_str),
        created_at: post
            .created_at
            .and_then(|text| time(text.as_str()))
            .or_else(|| snowflake_time(event.key)),
        author,
        place: place::locate(post.geo, post.place, post.coordinates, places),
        references,
        source: Source {
            system: "x",
            uri: event.source,
            rules: rules
                .into_iter()
                .filter_map(|rule| match rule.tag {
                    Some(tag) if !tag.0.is_empty() => Some(tag.0),
                    _ => rule.id.map(|id| id.0),
                })
                .collect(),
            query: event.extension("query"),
            file: event.extension("file"),
            line: event.extension("line"),
            retrieved_at: event.time,
        },
    };
    let mut out = Vec::with_capacity(size);
    fields.write(&mut out).map_err(malformed(WHAT))?;
    // Made of texts; it is one.
    String::from_utf8(out).map_err(|error| malformed(WHAT)(serde::ser::Error::custom(error)))
}

impl Fields<'_> {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        let mut object = Object::open(out);
        object.text("type", self.r#type);
        object.text("text", self.text);
        object.maybe_text("lang", self.lang);
        if let Some(time) = self.created_at {
            object.time("created_at", time, true);
        }
        if let Some(Author { id, username, name }) = &self.author {
            let mut author = object.object("author");
            author.text("id", id);
            author.maybe_text("username", username.as_deref());
            author.maybe_text("name", name.as_deref());
            author.close();
        }
        if let Some(place) = &self.place {
            place.write(object.object("place"))?;
        }
        if !self.references.is_empty() {
            let mut list = object.list("references");
            for Reference { r#type, id } in &self.references {
                let mut reference = list.object();
                reference.text("type", r#type.as_str());
                reference.text("id", id.as_str());
                reference.close();
            }
            list.close();
        }
        let mut source = object.object("source");
        source.text("system", self.source.system);
        source.text("uri", self.source.uri);
        if !self.source.rules.is_empty() {
            let mut list = source.list("rules");
            self.source.rules.iter().for_each(|rule| list.text(rule));
            list.close();
        }
        source.maybe_text("query", self.source.query);
        source.maybe_text("file", self.source.file);
        source.maybe_text("line", self.source.line);
        source.time("retrieved_at", self.source.retrieved_at, false);
        source.close();
        object.close();
        Ok(())
    }
}

fn author(user: User<'_>) -> Option<Author<'_>> {
    let id = user.id_str.map(|id| id.0).or(user.id.map(|id| id.0))?;
    let username = user.username.or(user.screen_name).map(|name| name.0);
    Some(Author { id, username, name: user.name.map(|name| name.0) })
}

/// v2 gives RFC 3339; v1.1 gives `Wed Oct 10 20:19:24 +0000 2018`.
fn time(text: &str) -> Option<Timestamp> {
    text.parse()
        .ok()
        .or_else(|| strtime::parse("%a %b %d %H:%M:%S %z %Y", text).ok()?.to_timestamp().ok())
}

/// The time in a snowflake id: `(id >> 22) + 1288834974657` ms. Ids were counted one by one
/// before November 2010 and carry none.
fn snowflake_time(id: &str) -> Option<Timestamp> {
    const EPOCH_MS: i64 = 1_288_834_974_657;
    const FIRST: u64 = 30_000_000_000;
    let id: u64 = id.parse().ok().filter(|id| *id > FIRST)?;
    Timestamp::from_millisecond(i64::try_from(id >> 22).ok()? + EPOCH_MS).ok()
}

/// A time as [`Object::time`] writes it with three digits.
#[cfg(test)]
fn millis<S: serde::Serializer>(time: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => to.collect_str(&format_args!("{time:.3}")),
        None => to.serialize_none(),
    }
}

#[cfg(test)]
mod tests;
