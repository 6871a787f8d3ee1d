//! A time as people write it.

use bowerbird_sink::replay::Bound;
use jiff::Timestamp;

/// Reads 2024-05-01T12:00:00Z, 2024-05-01 or "2h ago".
///
/// # Errors
/// When it is none of these; the text says how to write one.
pub fn instant(text: &str) -> Result<Timestamp, String> {
    match Bound::parse(text, Timestamp::now()) {
        Ok(Bound::Time(time)) => Ok(time),
        _ => Err("write a time (2024-05-01T12:00:00Z, 2024-05-01) or how long ago (\"2h ago\")"
            .to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_people_write_them() {
        assert_eq!(instant("2024-05-01").unwrap().to_string(), "2024-05-01T00:00:00Z");
        let ago = Timestamp::now().duration_since(instant("2h ago").unwrap()).as_secs();
        assert!((7_199..7_260).contains(&ago), "{ago}");
        for text in ["", "soon", "0@17"] {
            assert!(instant(text).is_err(), "{text}");
        }
    }
}
