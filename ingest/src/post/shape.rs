//! The shapes that a line can have, read in one pass without building a tree.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::scalar::Scalar;

/// A JSON object. By itself a derived struct reads a list as well, as its fields in their order.
#[derive(Debug, Default)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

/// What tells a post from anything else: a v2 `data` object, or an element of its list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Head<'a> {
    #[serde(borrow)]
    pub id: Scalar<'a>,
    #[serde(borrow)]
    pub created_at: Scalar<'a>,
    pub text: Option<IgnoredAny>,
    pub author_id: Option<IgnoredAny>,
}

/// A whole line: a v2 response, a v2 flattened or v1.1 post, a notice, a control line.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Top<'a> {
    // A v2 response or stream item.
    #[serde(borrow)]
    pub data: Data<'a>,
    #[serde(borrow)]
    pub includes: Option<&'a RawValue>,
    #[serde(borrow)]
    pub errors: Option<&'a RawValue>,
    #[serde(borrow)]
    pub matching_rules: Option<&'a RawValue>,
    #[serde(borrow, rename = "__twarc")]
    pub twarc: Option<&'a RawValue>,
    pub meta: Option<IgnoredAny>,
    // A post by itself, v2 flattened or v1.1.
    #[serde(borrow)]
    pub id: Scalar<'a>,
    #[serde(borrow)]
    pub id_str: Scalar<'a>,
    #[serde(borrow)]
    pub created_at: Scalar<'a>,
    pub text: Option<IgnoredAny>,
    pub full_text: Option<IgnoredAny>,
    pub author_id: Option<IgnoredAny>,
    pub user: Option<IgnoredAny>,
    // A line of a batch compliance result.
    #[serde(borrow)]
    pub action: Scalar<'a>,
    pub reason: Option<IgnoredAny>,
    // Notices of v1.1.
    #[serde(borrow)]
    pub delete: Option<&'a RawValue>,
    #[serde(borrow)]
    pub undelete: Option<&'a RawValue>,
    #[serde(borrow)]
    pub drop: Option<&'a RawValue>,
    #[serde(borrow)]
    pub undrop: Option<&'a RawValue>,
    #[serde(borrow)]
    pub scrub_geo: Option<&'a RawValue>,
    #[serde(borrow)]
    pub status_withheld: Option<&'a RawValue>,
    #[serde(borrow)]
    pub user_withheld: Option<&'a RawValue>,
    #[serde(borrow)]
    pub user_delete: Option<&'a RawValue>,
    #[serde(borrow)]
    pub user_undelete: Option<&'a RawValue>,
    #[serde(borrow)]
    pub user_protect: Option<&'a RawValue>,
    #[serde(borrow)]
    pub user_unprotect: Option<&'a RawValue>,
    #[serde(borrow)]
    pub user_suspend: Option<&'a RawValue>,
    #[serde(borrow)]
    pub user_unsuspend: Option<&'a RawValue>,
    // Messages of a v1.1 stream about itself.
    pub limit: Option<IgnoredAny>,
    pub warning: Option<IgnoredAny>,
    pub disconnect: Option<IgnoredAny>,
    pub friends: Option<IgnoredAny>,
}

/// The `data` of a response.
#[derive(Debug, Default)]
pub enum Data<'a> {
    /// Absent or null.
    #[default]
    Absent,
    /// One object.
    One(Head<'a>),
    /// A list; each element as it stands.
    Many(Vec<&'a RawValue>),
    /// Something else, which no response of X has.
    Other,
}

impl<'de: 'a, 'a> Deserialize<'de> for Data<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;

        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Data<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                Head::deserialize(MapAccessDeserializer::new(map)).map(Data::One)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut many = Vec::new();
                while let Some(element) = seq.next_element()? {
                    many.push(element);
                }
                Ok(Data::Many(many))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Data::Absent)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Data::Other)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(Data::Other)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(Data::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Data::Other)
            }

            fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
                Ok(Data::Other)
            }
        }

        deserializer.deserialize_any(OneOrMany)
    }
}

/// What twarc notes of where a line came from.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct TwarcNote<'a> {
    #[serde(borrow)]
    pub url: Scalar<'a>,
    #[serde(borrow)]
    pub retrieved_at: Scalar<'a>,
}

/// The body of a v1.1 notice. A `delete` has its status in a field of its own.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct NoticeBody<'a> {
    #[serde(borrow)]
    pub status: Option<Object<Subject<'a>>>,
    #[serde(borrow)]
    pub id: Scalar<'a>,
    #[serde(borrow)]
    pub id_str: Scalar<'a>,
    #[serde(borrow)]
    pub user_id: Scalar<'a>,
    #[serde(borrow)]
    pub user_id_str: Scalar<'a>,
    #[serde(borrow)]
    pub timestamp_ms: Scalar<'a>,
}

/// What a `delete` names.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Subject<'a> {
    #[serde(borrow)]
    pub id: Scalar<'a>,
    #[serde(borrow)]
    pub id_str: Scalar<'a>,
}

/// One of the `errors` of a v2 response or stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ProblemNote<'a> {
    #[serde(borrow)]
    pub title: Scalar<'a>,
    #[serde(borrow)]
    pub detail: Scalar<'a>,
    #[serde(borrow, rename = "type")]
    pub kind: Scalar<'a>,
    #[serde(borrow)]
    pub disconnect_type: Scalar<'a>,
    #[serde(borrow)]
    pub connection_issue: Scalar<'a>,
    #[serde(borrow)]
    pub message: Scalar<'a>,
}
