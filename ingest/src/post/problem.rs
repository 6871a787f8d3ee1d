//! Problems as X reports them: under an HTTP status, or among the items of a stream.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::scalar::Scalar;
use super::shape::{Object, ProblemNote};

/// The most that is kept of what is said of a problem, in characters.
const MAX_TEXT: usize = 500;
/// The most problems of one answer that are kept.
const MAX_PROBLEMS: usize = 10;

/// One problem.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// `title`, or the `message` of older answers.
    pub title: String,
    /// `detail`, if any.
    pub detail: String,
    /// The last part of `type`: the hosts before it have changed over the years.
    pub kind: String,
    /// `disconnect_type` or `connection_issue`, if any.
    pub issue: String,
}

impl Problem {
    /// Puts other words in the place of its own.
    pub fn reword(&mut self, words: impl Fn(&str) -> String) {
        for text in [&mut self.title, &mut self.detail, &mut self.kind, &mut self.issue] {
            *text = words(text);
        }
    }

    /// For people: title and detail.
    pub fn text(&self) -> String {
        match (self.title.is_empty(), self.detail.is_empty()) {
            (false, false) => format!("{}: {}", self.title, self.detail),
            (true, false) => self.detail.clone(),
            _ => self.title.clone(),
        }
    }
}

/// Reads the problems in the body of an answer: `{"errors":[…]}`, or one problem by itself.
/// Empty when there are none.
pub fn of_body(body: &[u8]) -> Vec<Problem> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Body<'a> {
        #[serde(borrow)]
        errors: Vec<ProblemNote<'a>>,
        #[serde(flatten, borrow)]
        own: ProblemNote<'a>,
    }
    let Ok(body) = serde_json::from_slice::<Body<'_>>(body) else { return Vec::new() };
    if body.errors.is_empty() {
        let own = of_note(&body.own);
        return if own == Problem::default() { Vec::new() } else { vec![own] };
    }
    body.errors.iter().take(MAX_PROBLEMS).map(of_note).collect()
}

/// The problems of an `errors` list, or of what stands in the place of one; what is no object is a
/// problem in its own words.
pub(super) fn of_list(errors: &str) -> Vec<Problem> {
    let of_one = |raw: &RawValue| match serde_json::from_str(raw.get()) {
        Ok(Object(note)) => of_note(&note),
        Err(_) => {
            let text = serde_json::from_str(raw.get()).unwrap_or_else(|_| raw.get().to_owned());
            Problem { title: bounded(&text), ..Problem::default() }
        }
    };
    match serde_json::from_str::<Vec<&RawValue>>(errors) {
        Ok(list) => list.into_iter().take(MAX_PROBLEMS).map(of_one).collect(),
        Err(_) => serde_json::from_str(errors).ok().map(of_one).into_iter().collect(),
    }
}

/// A problem that is an item by itself: X's documentation lists some so, without `errors` around.
pub(super) fn by_itself(item: &str) -> Option<Problem> {
    let Ok(Object(note)) = serde_json::from_str::<Object<ProblemNote<'_>>>(item) else {
        return None;
    };
    let is_one = note.kind.text().is_some_and(|kind| kind.contains("/problems/"))
        || note.disconnect_type.is_present()
        || note.connection_issue.is_present();
    is_one.then(|| of_note(&note))
}

fn bounded(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

fn of_note(note: &ProblemNote<'_>) -> Problem {
    let first = |candidates: [&Scalar<'_>; 2]| {
        bounded(candidates.iter().find_map(|scalar| scalar.text()).unwrap_or_default())
    };
    let kind = note.kind.text().unwrap_or_default();
    Problem {
        title: first([&note.title, &note.message]),
        detail: bounded(note.detail.text().unwrap_or_default().trim()),
        kind: bounded(kind.rsplit('/').next().unwrap_or_default()),
        issue: first([&note.disconnect_type, &note.connection_issue]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_forms() {
        let one = br#"{"title":"ConnectionException","detail":"at the limit",
            "connection_issue":"TooManyConnections",
            "type":"https://api.x.com/2/problems/streaming-connection"}"#;
        let problems = of_body(one);
        assert_eq!(problems[0].issue, "TooManyConnections");
        assert_eq!(problems[0].kind, "streaming-connection");
        assert_eq!(problems[0].text(), "ConnectionException: at the limit");

        let many = br#"{"errors":[{"title":"operational-disconnect",
            "disconnect_type":"UpstreamOperationalDisconnect"},{"message":"old","code":88}]}"#;
        let problems = of_body(many);
        assert_eq!(problems[0].issue, "UpstreamOperationalDisconnect");
        assert_eq!(problems[1].text(), "old");

        assert_eq!(by_itself(std::str::from_utf8(one).unwrap()).as_ref(), Some(&of_body(one)[0]));
        for other in [r#"{"title":"mine","type":"photo"}"#, "{}", "[]", "7"] {
            assert_eq!(by_itself(other), None, "{other}");
        }

        for (odd, titles) in [
            (r#""oops""#, vec!["oops"]),
            (r#"["oops",{"title":"real"},7]"#, vec!["oops", "real", "7"]),
            (r#"{"title":"alone"}"#, vec!["alone"]),
            ("[]", vec![]),
        ] {
            let problems = of_list(odd);
            assert_eq!(problems.iter().map(|one| &one.title).collect::<Vec<_>>(), titles, "{odd}");
        }
        let long = format!("[{{}},{{\"detail\":\" {}\"}}]", "x".repeat(5_000));
        assert_eq!(of_list(&long)[1].detail.len(), MAX_TEXT);
        assert_eq!(of_list(&format!("[{}{{}}]", "{},".repeat(50))).len(), MAX_PROBLEMS);
        for none in ["", "<html>", "{}", "[]", "{\"errors\":3}"] {
            assert_eq!(of_body(none.as_bytes()), Vec::new(), "{none}");
        }
    }
}
