//! Cutting a GeoJSON feature collection into its features while it arrives, so that memory holds
//! one feature and not one page, and noticing when the body is something else.

use bytes::{Bytes, BytesMut};

use super::fault::Fault;
use crate::BYTE_ORDER_MARK;

/// The most that is kept of markup, to say what it was.
const MAX_MARKUP_BYTES: usize = 16 << 10;
const MAX_NAME_BYTES: usize = 64;

/// How much is kept of a feature that is too large.
const KEPT_BYTES: usize = 64 << 10;

/// What is cut out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// A feature, its bytes untouched.
    Feature(Bytes),
    /// One over the bound.
    TooLarge {
        /// Its first bytes.
        head: Bytes,
        /// How many it has.
        length: u64,
    },
}

/// The feature under way.
#[derive(Debug, Default)]
struct Kept {
    bytes: BytesMut,
    length: u64,
}

/// Takes a body piece by piece.
#[derive(Debug)]
pub struct Scanner {
    max_feature_bytes: usize,
    /// How much of a byte order mark the body has begun with.
    mark: usize,
    /// Objects and lists that are open.
    depth: u32,
    string: InString,
    /// The last name or text at the depth of the collection's own members.
    name: Vec<u8>,
    /// Inside the list of features.
    in_features: bool,
    /// There was such a list.
    had_features: bool,
    /// The feature under way.
    feature: Option<Kept>,
    features: u64,
    /// How many features the collection says that there are, over all pages.
    matched: Option<u64>,
    /// A digit of that number was the last that came.
    counting: bool,
    ended: bool,
    markup: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InString {
    No,
    Yes,
    Escaped,
}

impl Scanner {
    /// A scanner that keeps features up to this size whole.
    pub fn new(max_feature_bytes: usize) -> Self {
        Self {
            max_feature_bytes,
            mark: 0,
            depth: 0,
            string: InString::No,
            name: Vec::new(),
            in_features: false,
            had_features: false,
            feature: None,
            features: 0,
            matched: None,
            counting: false,
            ended: false,
            markup: Vec::new(),
        }
    }

    /// Takes the next piece, and hands out the features that end in it.
    ///
    /// # Errors
    /// When it can't be a feature collection any more.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<Cut>) -> Result<(), Fault> {
        if !self.markup.is_empty() {
            self.keep_markup(piece);
            return Ok(());
        }
        let mut kept_from = 0;
        let mut at = 0;
        while at < piece.len() {
            if self.string == InString::Yes {
                // Most bytes of a body stand in strings and numbers: pass over them quickly.
                let end = memchr::memchr2(b'"', b'\\', &piece[at..]);
                let end = end.map_or(piece.len(), |end| at + end);
                self.keep_name(&piece[at..end]);
                at = end;
                if at == piece.len() {
                    break;
                }
            }
            let byte = piece[at];
            match self.string {
                InString::Escaped => self.string = InString::Yes,
                InString::Yes => {
                    self.string = if byte == b'"' { InString::No } else { InString::Escaped };
                }
                InString::No => match byte {
                    // No JSON has this outside of a string.
                    b'<' => {
                        self.keep_begun(&piece[kept_from..at]);
                        self.keep_markup(&piece[at..]);
                        return Ok(());
                    }
                    _ if self.ended && !byte.is_ascii_whitespace() => {
                        return Err(Fault::Malformed("there is more after its end".to_owned()));
                    }
                    // Whatever else stands among the features would go by unseen.
                    _ if self.in_features
                        && self.depth == 2
                        && !matches!(byte, b'{' | b']' | b',')
                        && !byte.is_ascii_whitespace() =>
                    {
                        return Err(Fault::Malformed(
                            "its list of features holds something else".to_owned(),
                        ));
                    }
                    b'"' => {
                        self.string = InString::Yes;
                        self.name.clear();
                    }
                    b'{' | b'[' => {
                        let begins = self.open(byte)?;
                        if begins {
                            kept_from = at;
                        }
                    }
                    b'}' | b']' => {
                        let ends = self.close()?;
                        if ends {
                            let mut feature = self.feature.take().unwrap_or_default();
                            self.keep(&mut feature, &piece[kept_from..=at]);
                            self.features += 1;
                            out.push(self.cut(feature));
                        }
                    }
                    _ if self.depth == 0 && BYTE_ORDER_MARK.get(self.mark) == Some(&byte) => {
                        self.mark += 1;
                    }
                    _ if self.depth == 0 && !byte.is_ascii_whitespace() => {
                        return Err(Fault::Malformed("it does not begin with {".to_owned()));
                    }
                    b'0'..=b'9' if self.depth == 1 => self.count(byte - b'0'),
                    _ => self.counting = false,
                },
            }
            at += 1;
        }
        self.keep_begun(&piece[kept_from..]);
        Ok(())
    }

    /// How many features there are over all pages, as far as this one has said so: WFS 2.0 calls it
    /// `numberMatched`, older GeoServers `totalFeatures`.
    pub fn matched(&self) -> Option<u64> {
        self.matched
    }

    /// The body has ended: how many features it had.
    ///
    /// # Errors
    /// When it is not whole, or was no feature collection.
    pub fn finish(self) -> Result<u64, Fault> {
        // In the middle of a text its first < goes unnoticed, and its quotes end that text anywhere.
        let broken = self.feature.map(|feature| feature.bytes).unwrap_or_default();
        if !self.ended
            && let Some(exception) = report_in(&[&broken, &*self.markup].concat())
        {
            return Err(exception);
        }
        if !self.markup.is_empty() {
            let markup = String::from_utf8_lossy(&self.markup);
            let other = || Fault::NotData("markup (HTML or XML)".to_owned());
            return Err(super::xml::exception(&markup).unwrap_or_else(other));
        }
        match (self.ended, self.had_features) {
            (false, _) => Err(Fault::Truncated(self.features)),
            (true, false) => Err(Fault::Malformed("it has no list of features".to_owned())),
            (true, true) => Ok(self.features),
        }
    }

    /// Opens an object or list; `true` when a feature begins.
    fn open(&mut self, byte: u8) -> Result<bool, Fault> {
        if self.depth == 0 && byte != b'{' {
            return Err(Fault::Malformed("it does not begin with {".to_owned()));
        }
        self.depth += 1;
        if self.depth == 2 && byte == b'[' && self.name == b"features" {
            self.in_features = true;
            self.had_features = true;
        }
        let begins = self.in_features && self.depth == 3 && byte == b'{';
        if begins {
            self.feature = Some(Kept::default());
        }
        Ok(begins)
    }

    /// Closes an object or list; `true` when a feature ends.
    fn close(&mut self) -> Result<bool, Fault> {
        let Some(depth) = self.depth.checked_sub(1) else {
            return Err(Fault::Malformed("it closes what was not open".to_owned()));
        };
        self.depth = depth;
        match depth {
            0 => self.ended = true,
            1 => {
                self.in_features = false;
                self.name.clear();
            }
            2 if self.in_features => return Ok(self.feature.is_some()),
            _ => {}
        }
        Ok(false)
    }

    /// Takes a digit of a number of the collection's own.
    fn count(&mut self, digit: u8) {
        if self.name != b"numberMatched" && self.name != b"totalFeatures" {
            return;
        }
        let before = if self.counting { self.matched.unwrap_or(0) } else { 0 };
        self.matched = Some(before.saturating_mul(10).saturating_add(u64::from(digit)));
        self.counting = true;
    }

    /// Keeps what came of the feature under way, if one is.
    fn keep_begun(&mut self, part: &[u8]) {
        if let Some(mut feature) = self.feature.take() {
            self.keep(&mut feature, part);
            self.feature = Some(feature);
        }
    }

    fn keep(&self, feature: &mut Kept, part: &[u8]) {
        feature.length += part.len() as u64;
        let Kept { bytes, length } = feature;
        if *length <= self.max_feature_bytes as u64 {
            return bytes.extend_from_slice(part);
        }
        // In a buffer of its own: that of the whole was large.
        let mut head = BytesMut::from(&bytes[..bytes.len().min(KEPT_BYTES)]);
        let room = KEPT_BYTES.min(self.max_feature_bytes).saturating_sub(head.len());
        head.extend_from_slice(&part[..room.min(part.len())]);
        *bytes = head;
    }

    fn cut(&self, feature: Kept) -> Cut {
        let Kept { bytes, length } = feature;
        match length <= self.max_feature_bytes as u64 {
            true => Cut::Feature(bytes.freeze()),
            false => Cut::TooLarge { head: bytes.freeze(), length },
        }
    }

    fn keep_name(&mut self, part: &[u8]) {
        if self.depth == 1 {
            let room = MAX_NAME_BYTES.saturating_sub(self.name.len());
            self.name.extend_from_slice(&part[..room.min(part.len())]);
        }
    }

    fn keep_markup(&mut self, part: &[u8]) {
        let room = MAX_MARKUP_BYTES.saturating_sub(self.markup.len());
        self.markup.extend_from_slice(&part[..room.min(part.len())]);
    }
}

/// The exception that a feature breaks off with.
fn report_in(broken: &[u8]) -> Option<Fault> {
    let name = memchr::memmem::rfind(broken, b"<ows:ExceptionReport")
        .or_else(|| memchr::memmem::rfind(broken, b"<ServiceExceptionReport"))
        .or_else(|| memchr::memmem::rfind(broken, b"<ExceptionReport"))?;
    super::xml::exception(&String::from_utf8_lossy(&broken[name..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn scan(body: &[u8], cut: usize) -> Result<Vec<Cut>, Fault> {
        let (mut scanner, mut out) = (Scanner::new(1_000), Vec::new());
        for piece in body.chunks(cut.max(1)) {
            scanner.push(piece, &mut out)?;
        }
        let features = scanner.finish()?;
        assert_eq!(features, out.len() as u64);
        Ok(out)
    }

    #[test]
    fn tells_what_is_no_collection() {
        let exception = "<ows:ExceptionReport><ows:Exception exceptionCode=\"A\"><ows:ExceptionText>\
                         lost</ows:ExceptionText></ows:Exception></ows:ExceptionReport>";
        let lost = Fault::Exception { code: "A".into(), text: "lost".into() };
        let quoted = Fault::Exception { code: "A".into(), text: "a \"".into() };
        for (body, expected) in [
            ("", Fault::Truncated(0)),
            ("{\"features\":[{\"a\":1},{\"b\"", Fault::Truncated(1)),
            ("{\"features\":[", Fault::Truncated(0)),
            ("<!DOCTYPE html><html></html>", Fault::NotData("markup (HTML or XML)".into())),
            (exception, lost.clone()),
            (&format!("{{\"features\":[{{\"a\":{exception}"), lost.clone()),
            (&format!("{{\"features\":[]}}{exception}"), lost.clone()),
            // In the middle of a text, out of which its own quotes lead.
            (&format!("{{\"features\":[{{\"a\":1}},{{\"a\":\"b{exception}"), lost.clone()),
            (&format!("{{\"features\":[{{\"a\":\"b<?xml version=\"1.0\"?>{exception}"), lost),
            (&format!("{{\"features\":[{{\"a\":\"b{}", exception.replace("lost", "a \"")), quoted),
            ("[]", Fault::Malformed("it does not begin with {".into())),
            ("oops", Fault::Malformed("it does not begin with {".into())),
            ("{}", Fault::Malformed("it has no list of features".into())),
            (
                "{\"features\":[{},null]}",
                Fault::Malformed("its list of features holds something else".into()),
            ),
            ("{\"features\":[]}{}", Fault::Malformed("there is more after its end".into())),
        ] {
            for cut in [1, 7, 10_000] {
                assert_eq!(scan(body.as_bytes(), cut), Err(expected.clone()), "{body}");
            }
        }
    }

    #[test]
    fn one_that_is_too_large_keeps_the_others_from_nothing() {
        let feature = |length: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8));
        let page =
            format!("{{\"features\":[{},{},{}]}}", feature(1_000), feature(1_001), feature(9));
        for cut in [1, 64, 10_000] {
            let found = scan(page.as_bytes(), cut).unwrap();
            let head = Bytes::from(feature(1_001)[..1_000].to_owned());
            assert_eq!(found[0], Cut::Feature(feature(1_000).into()));
            assert_eq!(found[1], Cut::TooLarge { head, length: 1_001 });
            assert_eq!(found[2], Cut::Feature(feature(9).into()));
        }
        // Of one that never ends little is kept.
        let (mut scanner, mut out) = (Scanner::new(1 << 20), Vec::new());
        scanner.push(b"{\"features\":[{\"a\":\"", &mut out).unwrap();
        for _ in 0..64 {
            scanner.push(&[b'x'; 64 << 10], &mut out).unwrap();
        }
        let kept = scanner.feature.as_ref().unwrap();
        assert_eq!((kept.bytes.len(), kept.length), (KEPT_BYTES, (4 << 20) + 6));
        assert!(kept.bytes.capacity() < 256 << 10);
        scanner.push(b"\"}]}", &mut out).unwrap();
        let [Cut::TooLarge { head, .. }] = &out[..] else { panic!("{out:?}") };
        assert_eq!((head.len(), scanner.finish()), (KEPT_BYTES, Ok(1)));
    }

    #[test]
    fn a_byte_order_mark_is_passed_over_at_the_beginning_alone() {
        let body = b"\xef\xbb\xbf {\"features\":[{\"a\":1}]}";
        for cut in [1, 2, 100] {
            let features = scan(body, cut).unwrap();
            assert_eq!(features, [Cut::Feature(Bytes::from_static(b"{\"a\":1}"))]);
        }
        let malformed = |body: &[u8]| matches!(scan(body, 100), Err(Fault::Malformed(_)));
        assert!(malformed(b"\xef\xbb\xbf\xef{\"features\":[]}"));
        assert!(malformed(b"{\"features\":[]}\xef\xbb\xbf"));
    }

    #[test]
    fn hears_how_many_there_are() {
        for (body, matched) in [
            (r#"{"numberMatched": 237,"features":[{"numberMatched":9}]}"#, Some(237)),
            (r#"{"features":[{}],"totalFeatures":12,"numberReturned":1}"#, Some(12)),
            (r#"{"features":[],"totalFeatures":12,"numberMatched":12}"#, Some(12)),
            (r#"{"features":[],"numberMatched":"unknown","numberReturned":5}"#, None),
            (r#"{"features":[],"a":{"numberMatched":5}}"#, None),
        ] {
            for cut in [1, 7, 10_000] {
                let (mut scanner, mut out) = (Scanner::new(1_000), Vec::new());
                for piece in body.as_bytes().chunks(cut) {
                    scanner.push(piece, &mut out).unwrap();
                }
                assert_eq!(scanner.matched(), matched, "{body}");
            }
        }
    }

    proptest! {
        #[test]
        fn features_come_out_as_they_went_in(
            texts in prop::collection::vec(any::<String>(), 0..6),
            cut in 1_usize..40,
            pretty in any::<bool>(),
        ) {
            let features: Vec<Value> = texts
                .iter()
                .map(|text| json!({"type": "Feature", "features": [{}], "p": {"<t": [text, "\\\""]}}))
                .collect();
            let name = texts.first();
            let page = json!({
                "name": name, "x": {"features": [{"no": 1}]}, "bbox": [1, 2],
                "features": features, "numberMatched": 3, "last": [[{}]],
            });
            let body = if pretty {
                serde_json::to_string_pretty(&page).unwrap()
            } else {
                page.to_string()
            };
            let found = scan(body.as_bytes(), cut).unwrap();
            let found = found.iter().map(|found| match found {
                Cut::Feature(bytes) => serde_json::from_slice(bytes).unwrap(),
                Cut::TooLarge { .. } => panic!("it is small"),
            });
            let found: Vec<Value> = found.collect();
            prop_assert_eq!(found, features);
        }

        #[test]
        fn never_panics(body in prop::collection::vec(
            prop::sample::select(b"{}[]\"\\,:<a features".to_vec()), 0..80), cut in 1_usize..9) {
            scan(&body, cut).ok();
        }
    }
}
