//! How pages are asked for: what a server refuses on the first is asked for otherwise.

use super::axes;
use super::fault::Fault;

/// How pages are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Which of the names of the reference system.
    srs: usize,
    /// Sorted by the key. Without it the order is the server's own, and only the distinct ids tell
    /// whether the pages were all.
    pub sorted: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self { srs: 0, sorted: true }
    }
}

impl Shape {
    /// The reference system's name.
    pub fn srs_name(self) -> &'static str {
        axes::NAMES[self.srs]
    }

    /// What to ask for instead, after this fault of the first page; nothing when it would not help.
    pub fn instead(self, fault: &Fault) -> Option<Self> {
        let other_srs =
            || (self.srs + 1 < axes::NAMES.len()).then_some(Self { srs: self.srs + 1, ..self });
        let unsorted = || self.sorted.then_some(Self { sorted: false, ..self });
        let said = match fault {
            Fault::Axes(_) => return other_srs(),
            Fault::Refused { status: 400..500, said } => said,
            Fault::Exception { text, .. } => text,
            Fault::Forbidden | Fault::Http(400 | 403) => return unsorted(),
            _ => return None,
        };
        let said = said.to_lowercase();
        let is_of = |words: &[&str]| words.iter().any(|word| said.contains(word));
        match (is_of(&["sort"]), is_of(&["srs", "crs"])) {
            (true, _) => unsorted(),
            (false, true) => other_srs(),
            // Not every server says what it is that it refuses.
            (false, false) if matches!(fault, Fault::Refused { .. }) => unsorted(),
            (false, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_asked_for_otherwise() {
        let refused = |said: &str| Fault::Refused { status: 403, said: said.into() };
        let exception = |text: &str| Fault::Exception { code: "A".into(), text: text.into() };
        let (first, last) = (Shape::default(), Shape { srs: 2, sorted: true });
        let unsorted = Some(Shape { srs: 0, sorted: false });
        let next_srs = Some(Shape { srs: 1, sorted: true });
        for (shape, fault, expected) in [
            (first, refused("Layer x does not support sorting"), unsorted),
            (first, exception("msWFSGetFeature(): Invalid SORTBY clause"), unsorted),
            (first, refused("Invalid SRS"), next_srs),
            (first, Fault::Axes("latitude before longitude".into()), next_srs),
            (first, refused("no"), unsorted),
            (first, Fault::Forbidden, unsorted),
            (first, Fault::Http(400), unsorted),
            (first, Fault::Unauthorised, None),
            (first, Fault::Http(503), None),
            (first, exception("database down"), None),
            (last, Fault::Axes("no degrees".into()), None),
            (Shape { srs: 0, sorted: false }, refused("sorting"), None),
        ] {
            assert_eq!(shape.instead(&fault), expected, "{fault}");
        }
        // It comes to an end.
        let mut shape = first;
        for _ in 0..4 {
            shape =
                shape.instead(&refused("no srs")).or(shape.instead(&refused("a"))).unwrap_or(shape);
        }
        assert_eq!(shape, Shape { srs: 2, sorted: false });
    }
}
