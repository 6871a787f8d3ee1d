//! Record headers, kept as one run of bytes.
//!
//! A record has half a dozen headers, and most records are read for two of them. A list of owned
//! names and values would cost a dozen allocations a record; this is one, and a slice of the
//! record's own buffer where the log can give it.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

/// Record headers in their order; a name may occur more than once, and a value may be absent.
///
/// Encoded as (length, name, length + 1 or 0 for an absent value, value) with LEB128 lengths: the
/// layout in which the embedded log stores them.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Headers(Bytes);

impl Headers {
    /// No headers.
    pub const fn new() -> Self {
        Self(Bytes::new())
    }

    /// Takes headers in their encoded form; nothing when that is broken.
    pub fn from_encoded(encoded: Bytes) -> Option<Self> {
        let mut rest: &[u8] = &encoded;
        while !rest.is_empty() {
            let (name, _, tail) = split_header(rest)?;
            std::str::from_utf8(name).ok()?;
            rest = tail;
        }
        Some(Self(encoded))
    }

    /// Headers that were encoded a moment ago, by [`put_header`].
    pub(crate) const fn just_encoded(encoded: Bytes) -> Self {
        Self(encoded)
    }

    /// The encoded form.
    pub fn encoded(&self) -> &Bytes {
        &self.0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        let mut rest: &[u8] = &self.0;
        std::iter::from_fn(|| {
            let (_, _, tail) = split_header(rest)?;
            rest = tail;
            Some(())
        })
        .count()
    }

    /// Their size in bytes, as queues and batches count it.
    pub fn size(&self) -> usize {
        self.0.len()
    }

    /// Names and values in their order; an absent value reads as an empty one.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.entries().map(|(name, value)| (name, value.unwrap_or_default()))
    }

    /// Names and values in their order, telling an absent value from an empty one.
    pub fn entries(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        let mut rest: &[u8] = &self.0;
        std::iter::from_fn(move || {
            let (name, value, tail) = split_header(rest)?;
            rest = tail;
            Some((std::str::from_utf8(name).unwrap_or_default(), value))
        })
    }

    /// The value of the last header of this name, which is the one that counts.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().filter(|(header, _)| *header == name).map(|(_, value)| value).last()
    }

    /// As [`get`](Self::get), where the value is UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Appends a header.
    pub fn push(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.push_entry(name, Some(value.as_ref()));
    }

    /// Appends a header whose value may be absent.
    pub fn push_entry(&mut self, name: &str, value: Option<&[u8]>) {
        let mut buffer = BytesMut::from(std::mem::take(&mut self.0));
        put_header(&mut buffer, name, value);
        self.0 = buffer.freeze();
    }

    /// Makes this the only header of its name, behind all others.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.retain(|known| known != name);
        self.push(name, value);
    }

    /// Keeps only the headers whose name passes.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        let kept = self.entries().filter(|(name, _)| keep(name));
        let mut buffer = BytesMut::with_capacity(self.0.len());
        kept.for_each(|(name, value)| put_header(&mut buffer, name, value));
        self.0 = buffer.freeze();
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(headers: I) -> Self {
        let mut buffer = BytesMut::with_capacity(192);
        for (name, value) in headers {
            put_header(&mut buffer, name.as_ref(), Some(value.as_ref()));
        }
        Self(buffer.freeze())
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        f.debug_list().entries(self.entries().map(|(name, value)| (name, value.map(text)))).finish()
    }
}

/// Appends one header in the encoded form.
pub(crate) fn put_header(buffer: &mut impl BufMut, name: &str, value: Option<&[u8]>) {
    put_name(buffer, &[name]);
    put_value(buffer, value);
}

/// Appends a name, whose parts are given; its value must follow.
pub(crate) fn put_name(buffer: &mut impl BufMut, parts: &[&str]) {
    put_length(buffer, parts.iter().map(|part| part.len()).sum());
    parts.iter().for_each(|part| buffer.put_slice(part.as_bytes()));
}

/// Appends a value to the name before it.
pub(crate) fn put_value(buffer: &mut impl BufMut, value: Option<&[u8]>) {
    match value {
        None => put_length(buffer, 0),
        Some(value) => {
            put_length(buffer, value.len() + 1);
            buffer.put_slice(value);
        }
    }
}

fn put_length(buffer: &mut impl BufMut, mut length: usize) {
    while length >= 0x80 {
        buffer.put_u8((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    buffer.put_u8(length as u8);
}

type Split<'a> = (&'a [u8], Option<&'a [u8]>, &'a [u8]);

/// Name, value and what follows.
fn split_header(bytes: &[u8]) -> Option<Split<'_>> {
    let (length, rest) = split_length(bytes)?;
    let (name, rest) = rest.split_at_checked(length)?;
    let (length, rest) = split_length(rest)?;
    match length.checked_sub(1) {
        None => Some((name, None, rest)),
        Some(length) => {
            let (value, rest) = rest.split_at_checked(length)?;
            Some((name, Some(value), rest))
        }
    }
}

fn split_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut length = 0_usize;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((length, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keeps_order_repetition_and_absence() {
        let mut headers = Headers::new();
        assert!(headers.is_empty());
        headers.push("a", "1");
        headers.push_entry("b", None);
        headers.push("a", "");
        assert_eq!(headers.len(), 3);
        let entries: Vec<_> = headers.entries().collect();
        assert_eq!(entries, [("a", Some(&b"1"[..])), ("b", None), ("a", Some(&b""[..]))]);
        assert_eq!(headers.get("a"), Some(&b""[..]));
        assert_eq!(headers.get("b"), Some(&b""[..]));
        assert_eq!(headers.get("c"), None);
        headers.set("a", "2");
        assert_eq!(headers.entries().collect::<Vec<_>>(), [("b", None), ("a", Some(&b"2"[..]))]);
        headers.retain(|name| name == "b");
        assert_eq!(headers.entries().collect::<Vec<_>>(), [("b", None)]);
    }

    proptest! {
        #[test]
        fn any_headers_come_back(
            pairs in proptest::collection::vec((any::<String>(), any::<Vec<u8>>()), 0..8),
        ) {
            let headers: Headers = pairs.iter().map(|(n, v)| (n, v)).collect();
            let back = Headers::from_encoded(headers.encoded().clone()).unwrap();
            let read: Vec<_> = back.iter().map(|(n, v)| (n.to_owned(), v.to_vec())).collect();
            prop_assert_eq!(read, pairs);
        }

        #[test]
        fn broken_bytes_are_refused_or_read_whole(bytes in any::<Vec<u8>>()) {
            if let Some(headers) = Headers::from_encoded(Bytes::from(bytes)) {
                let mut again = Headers::new();
                headers.entries().for_each(|(name, value)| again.push_entry(name, value));
                prop_assert_eq!(again.iter().count(), headers.iter().count());
            }
        }
    }
}
