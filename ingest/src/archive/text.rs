//! How the posts stand in a text, told by its beginning.

use super::format::HEAD_BYTES;
use crate::BYTE_ORDER_MARK;

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// A line for each object, or nothing that is known here.
    Lines,
    /// Objects that are spread over lines, or in a list.
    Values {
        /// They are in a list.
        listed: bool,
    },
    /// It does not hold JSON that can be read here; what to do.
    Unread {
        /// What it is, and what to do.
        why: &'static str,
        /// It may well be posts, so that it is told also where nobody has named it.
        posts: bool,
    },
}

const UTF_16: &str = "it is UTF-16, as PowerShell writes it; make it UTF-8 first: iconv -f UTF-16 \
                      -t UTF-8, and import what comes out";
const TABLE: &str = "it is a table (CSV), which lacks most of a post; import the JSON that it was \
                     made from";
const IDS: &str = "it is a list of ids without posts; fetch them first, by `twarc2 hydrate`, and \
                   import what comes out";
const DOWNLOAD: &str = "it is a part of what X gives a user to download of an account, which is \
                        not read: its posts lack their author";

impl Text {
    /// The shape of a text that begins so, or is so; nothing where more must be seen of it.
    pub fn of(head: &[u8], is_all: bool) -> Option<Self> {
        // What goes on after an interruption must be told by the same bytes.
        let is_all = is_all || head.len() >= HEAD_BYTES;
        let head = &head[..head.len().min(HEAD_BYTES)];
        if let [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [b'{' | b'[', 0, ..] | [0, b'{' | b'[', ..] =
            head
        {
            let first = head.iter().find(|byte| byte.is_ascii() && **byte > b' ');
            let posts = matches!(first, Some(b'{' | b'['));
            return (first.is_some() || is_all).then_some(Self::Unread { why: UTF_16, posts });
        }
        let text = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(head).trim_ascii_start();
        let shape = match text {
            [b'{', rest @ ..] => of_object(rest),
            [b'[', rest @ ..] => match rest.trim_ascii_start() {
                [] => None,
                [b'{' | b']', ..] => Some(Self::Values { listed: true }),
                _ => Some(Self::Lines),
            },
            _ => of_no_json(text, is_all),
        };
        if is_all { Some(shape.unwrap_or(Self::Lines)) } else { shape }
    }
}

/// Printed by people's tools, an object begins with a line of its own.
fn of_object(rest: &[u8]) -> Option<Text> {
    let line = rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\r'))?;
    if rest[line] != b'\n' {
        return Some(Text::Lines);
    }
    match rest[line..].trim_ascii_start() {
        [] => None,
        [b'"' | b'}', ..] => Some(Text::Values { listed: false }),
        _ => Some(Text::Lines),
    }
}

fn of_no_json(text: &[u8], is_all: bool) -> Option<Text> {
    if text.starts_with(b"window.YTD.") {
        return Some(Text::Unread { why: DOWNLOAD, posts: true });
    }
    let end = text.iter().position(|byte| *byte == b'\n');
    let line = match end {
        Some(end) => &text[..end],
        None if is_all => text,
        None => return None,
    };
    let words = |line: &[u8]| -> Vec<Vec<u8>> {
        let fields = line.split(|byte| matches!(byte, b',' | b';' | b'\t'));
        let plain = |byte: &u8| !matches!(byte, b'"' | b' ' | b'\r');
        fields.map(|field| field.iter().copied().filter(plain).collect()).collect()
    };
    let columns = words(line);
    let has = |names: &[&str]| {
        names.iter().any(|name| columns.iter().any(|column| column == name.as_bytes()))
    };
    let why = if has(&["id", "id_str", "tweet_id", "status_id"])
        && has(&["text", "full_text", "created_at"])
    {
        TABLE
    } else if columns.len() == 1
        && (5..=20).contains(&columns[0].len())
        && columns[0].iter().all(u8::is_ascii_digit)
    {
        IDS
    } else {
        return Some(Text::Lines);
    };
    Some(Text::Unread { why, posts: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_told_by_its_beginning() {
        let (list, spread) = (Text::Values { listed: true }, Text::Values { listed: false });
        let unread = |why, posts| Text::Unread { why, posts };
        let long = format!("{{\"id\":\"{}", "1".repeat(600));
        for (head, expected) in [
            (&b"{\"id\":1}\n"[..], Text::Lines),
            (b"\xef\xbb\xbf \n{\"id\":1}\n", Text::Lines),
            (b"{ \"id\":1}", Text::Lines),
            (long.as_bytes(), Text::Lines),
            (b"{\r\n  \"id\": 1,\r\n", spread),
            (b"{ \n\n\t\"id\": 1}", spread),
            (b"{\n}\n", spread),
            // A broken line among lines.
            (b"{\n{\"id\":1}\n", Text::Lines),
            (b"[{\"id\":1}]", list),
            (b"\xef\xbb\xbf\n[\n  {\n", list),
            (b"[]", list),
            (b"[section]\na=1\n", Text::Lines),
            (b"[[1]]", Text::Lines),
            (b"[", Text::Lines),
            (b"", Text::Lines),
            (b"\xff\xfe{\0\"\0", unread(UTF_16, true)),
            (b"\xfe\xff\0[\0\n", unread(UTF_16, true)),
            (b"{\0\"\0i\0", unread(UTF_16, true)),
            (b"\xff\xfea\0b\0", unread(UTF_16, false)),
            (b"id,conversation_id,created_at,text\r\n1,1,2021,a\r\n", unread(TABLE, false)),
            (b"\xef\xbb\xbf\"id\";\"text\"\n", unread(TABLE, false)),
            (b"id\ttweet_url\tcreated_at", unread(TABLE, false)),
            (b"a note, with text\n", Text::Lines),
            (b"1212092628029698048\r\n1212092627178287104\r\n", unread(IDS, false)),
            (b"window.YTD.tweets.part0 = [\n  {\n", unread(DOWNLOAD, true)),
            (b"not json\n", Text::Lines),
        ] {
            let shown = String::from_utf8_lossy(head);
            assert_eq!(Text::of(head, true), Some(expected), "{shown}");
            // What was decided by less stays so.
            for length in 0..head.len() {
                let found = Text::of(&head[..length], false);
                assert!(found.is_none_or(|found| found == expected), "{shown}, {length}");
            }
        }
        assert_eq!(Text::of(b"{\n", false), None);
    }
}
