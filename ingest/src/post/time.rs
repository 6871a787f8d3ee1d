//! Times as X writes them, and the one that a snowflake id carries.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// 2010-11-04T01:42:54.657Z in milliseconds: what snowflake ids count from.
///
/// Source: X developer documentation, "X IDs".
pub const SNOWFLAKE_EPOCH_MS: i64 = 1_288_834_974_657;

/// The time in a snowflake id, to the millisecond. Ids older than snowflakes (before November
/// 2010) give the first moment of snowflakes, which is later than the truth and never changes.
pub fn of_snowflake(id: u64) -> Timestamp {
    // 42 bits: it fits, and so does the sum.
    let ms = i64::try_from(id >> 22).unwrap_or(0);
    Timestamp::from_millisecond(SNOWFLAKE_EPOCH_MS + ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Reads a time as v2 (`2022-10-03T17:57:11.000Z`), as v1.1 (`Wed Aug 27 13:08:45 +0000 2008`) or
/// as RFC 3339 without an offset, which is taken for UTC.
pub fn parse(text: &str) -> Option<Timestamp> {
    if text.as_bytes().first().is_some_and(u8::is_ascii_alphabetic) {
        return parse_v11(text);
    }
    text.parse().ok().or_else(|| {
        let civil: DateTime = text.parse().ok()?;
        Offset::UTC.to_timestamp(civil).ok()
    })
}

/// Milliseconds since 1970, as the `timestamp_ms` of v1.1 has them (a string).
pub fn parse_ms(text: &str) -> Option<Timestamp> {
    Timestamp::from_millisecond(text.parse().ok()?).ok()
}

fn parse_v11(text: &str) -> Option<Timestamp> {
    let mut words = text.split_ascii_whitespace();
    let (_weekday, month, day) = (words.next()?, words.next()?, words.next()?);
    let (clock, offset, year) = (words.next()?, words.next()?, words.next()?);
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = i8::try_from(MONTHS.iter().position(|name| *name == month)?).ok()? + 1;
    let mut clock = clock.split(':').map(|part| part.parse::<i8>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let civil =
        DateTime::new(year.parse().ok()?, month, day.parse().ok()?, hour, minute, second, 0)
            .ok()?;
    let (sign, digits) = match offset.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let digits: i32 = digits.parse().ok().filter(|digits| (0..=2359).contains(digits))?;
    let seconds = sign * (digits / 100 * 3600 + digits % 100 * 60);
    Offset::from_seconds(seconds).ok()?.to_timestamp(civil).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_every_form_that_x_writes() {
        for (text, expected) in [
            ("2022-10-03T17:57:11.000Z", Some("2022-10-03T17:57:11Z")),
            ("2022-10-03T18:01:17+00:00", Some("2022-10-03T18:01:17Z")),
            ("2021-04-01T15:52:42", Some("2021-04-01T15:52:42Z")),
            ("Wed Aug 27 13:08:45 +0000 2008", Some("2008-08-27T13:08:45Z")),
            ("Wed Aug 27 13:08:45 +1030 2008", Some("2008-08-27T02:38:45Z")),
            ("Wed Aug 27 13:08:45 0000 2008", None),
            ("Wed Foo 27 13:08:45 +0000 2008", None),
            ("Wed Aug 32 13:08:45 +0000 2008", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(parse(text), expected.map(|time| time.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn a_snowflake_carries_its_time() {
        assert_eq!(of_snowflake(1_600_000_000_000_000_000).to_string(), "2022-12-06T05:31:41.219Z");
        assert_eq!(of_snowflake(20).as_millisecond(), SNOWFLAKE_EPOCH_MS);
        assert_eq!(parse_ms("1420070400123").unwrap().as_millisecond(), 1_420_070_400_123);
        assert_eq!(parse_ms("soon"), None);
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>(), id in any::<u64>()) {
            parse(&text);
            parse_v11(&text);
            parse_ms(&text);
            of_snowflake(id);
        }
    }
}
