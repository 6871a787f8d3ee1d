//! What can be told of rules before X is asked: pure.
//!
//! Source: X developer documentation, "Build a rule": at most 1,024 characters; some operators need
//! another one beside them that can stand alone.

use super::Rule;

/// The most characters of a rule.
pub const MAX_CHARACTERS: usize = 1_024;
/// The most rules of a stream.
pub const MAX_RULES: usize = 1_000;
/// A bounding box must be narrower and lower than this, and a radius less, in miles.
///
/// Source: X developer documentation, "Build a rule", `bounding_box:` and `point_radius:`.
const MAX_MILES: f64 = 25.0;
const KM_A_MILE: f64 = 1.609_344;
/// A degree of latitude, and of longitude on the equator, on a sphere of the earth's mean radius.
const MILES_A_DEGREE: f64 = 69.093;
/// Operators that only narrow down what others match.
const NEED_ANOTHER: [&str; 8] = [
    "lang:",
    "has:",
    "is:",
    "sample:",
    "followers_count:",
    "tweets_count:",
    "following_count:",
    "listed_count:",
];

/// What is wrong with these rules, a line each; empty when nothing is.
pub fn check(rules: &[Rule]) -> Vec<String> {
    let mut wrong = Vec::new();
    if rules.len() > MAX_RULES {
        wrong.push(format!("{} rules are declared, X takes {MAX_RULES}", rules.len()));
    }
    for (at, Rule { value, .. }) in rules.iter().enumerate() {
        let shown: String = value.chars().take(60).collect();
        let mut say = |what: String| wrong.push(format!("rule {} ({shown}): {what}", at + 1));
        let characters = value.chars().count();
        if value.trim().is_empty() {
            say("it is empty".to_owned());
            continue;
        }
        if characters > MAX_CHARACTERS {
            say(format!("it has {characters} characters, X takes {MAX_CHARACTERS}"));
        }
        if rules[..at].iter().any(|other| other.value == *value) {
            say("it is declared twice".to_owned());
        }
        match words(value) {
            Err(unbalanced) => say(format!("its {unbalanced} are not balanced")),
            Ok(words) if !words.iter().any(|word| stands_alone(word)) => say(
                "nothing in it can stand alone: lang:, has:, is: and the like only narrow down \
                 keywords, place_country:, bounding_box: and others"
                    .to_owned(),
            ),
            Ok(_) => {}
        }
    }
    wrong
}

/// What X's documentation says that X does not take, though some plans may: worth a warning, and left
/// to X. A line each.
pub fn doubts(rules: &[Rule]) -> Vec<String> {
    let of = |(at, Rule { value, .. }): (usize, &Rule)| {
        let words = words(value).unwrap_or_default();
        let doubts = words.iter().filter_map(|word| area(word.trim_start_matches('-')).err());
        doubts.map(|why| format!("rule {}: {why}", at + 1)).collect::<Vec<_>>()
    };
    rules.iter().enumerate().flat_map(of).collect()
}

/// Whether a part of a rule, if it is an area, is one that X takes.
fn area(word: &str) -> Result<(), String> {
    let inside = |name: &str| word.strip_prefix(name)?.strip_prefix('[')?.strip_suffix(']');
    let numbers = |text: &str| -> Option<Vec<f64>> {
        text.split_whitespace().map(|number| number.parse().ok()).collect()
    };
    if let Some(corners) = inside("bounding_box:") {
        let corners: Option<[f64; 4]> = numbers(corners).and_then(|all| all.try_into().ok());
        let Some([west, south, east, north]) = corners else {
            return Err(format!("{word} is no box: write [west south east north] in degrees"));
        };
        let sound = (-180.0..=180.0).contains(&west)
            && (-180.0..=180.0).contains(&east)
            && (-90.0..=north).contains(&south)
            && north <= 90.0
            && west <= east;
        if !sound {
            return Err(format!("{word} is no box: write [west south east north] in degrees"));
        }
        // It is widest where it is nearest to the equator.
        let nearest = if south <= 0.0 && north >= 0.0 { 0.0 } else { south.abs().min(north.abs()) };
        let width = (east - west) * MILES_A_DEGREE * f64::to_radians(nearest).cos();
        let height = (north - south) * MILES_A_DEGREE;
        if width.max(height) >= MAX_MILES {
            return Err(format!(
                "{word} is {width:.0} by {height:.0} miles; X's documentation allows less than \
                 {MAX_MILES} each way, so X may refuse it: place_country:AU is the whole of a country"
            ));
        }
    }
    if let Some(circle) = inside("point_radius:") {
        let radius = circle.split_whitespace().nth(2).unwrap_or_default();
        let miles = match (radius.strip_suffix("km"), radius.strip_suffix("mi")) {
            (Some(km), _) => km.parse().map(|km: f64| km / KM_A_MILE).ok(),
            (_, Some(miles)) => miles.parse::<f64>().ok(),
            _ => None,
        };
        match miles {
            None => {
                return Err(format!("{word} is no circle: write [lon lat 10km] or [lon lat 5mi]"));
            }
            Some(miles) if miles >= MAX_MILES => {
                return Err(format!(
                    "{word}: X's documentation allows a radius below {MAX_MILES} mi"
                ));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Whether a part of a rule matches something by itself.
fn stands_alone(word: &str) -> bool {
    !word.starts_with('-')
        && !["OR", "AND"].contains(&word)
        && !NEED_ANOTHER.iter().any(|operator| word.starts_with(operator))
}

/// The parts of a rule: what stands in quotation marks or brackets is one with what is before it.
fn words(rule: &str) -> Result<Vec<String>, &'static str> {
    let (mut words, mut word) = (Vec::new(), String::new());
    let (mut quoted, mut bracketed, mut depth) = (false, false, 0_i32);
    for character in rule.chars() {
        match character {
            '"' => quoted = !quoted,
            '[' if !quoted => bracketed = true,
            ']' if !quoted => bracketed = false,
            '(' | ')' if !quoted && !bracketed => {
                depth += if character == '(' { 1 } else { -1 };
                if depth < 0 {
                    return Err("parentheses");
                }
                // Whether it is negated as a whole is left to X.
                words.push(std::mem::take(&mut word));
                continue;
            }
            character if character.is_whitespace() && !quoted && !bracketed => {
                words.push(std::mem::take(&mut word));
                continue;
            }
            _ => {}
        }
        word.push(character);
    }
    words.push(word);
    words.retain(|word| !word.is_empty() && word != "-");
    match (quoted, bracketed, depth) {
        (true, ..) => Err("quotation marks"),
        (_, true, _) => Err("brackets"),
        (.., 0) => Ok(words),
        _ => Err("parentheses"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_x_would_refuse_is_told_before_it_is_asked() {
        let long = "a".repeat(1_025);
        for (value, wrong) in [
            ("bounding_box:[113.6594 -43.00311 153.61194 -12.46113] lang:en -is:retweet", None),
            ("place_country:AU has:geo", None),
            ("(cat OR dog) -is:retweet", None),
            ("\"lang:en\"", None),
            ("#rain", None),
            ("lang:en has:geo", Some("stand alone")),
            ("-cat lang:en", Some("stand alone")),
            ("(lang:en OR lang:de)", Some("stand alone")),
            (" ", Some("empty")),
            (&long, Some("1025 characters")),
            ("(cat", Some("parentheses")),
            ("cat)", Some("parentheses")),
            ("\"cat", Some("quotation marks")),
            ("point_radius:[1 2 3km", Some("brackets")),
        ] {
            let told = check(&[Rule { value: value.to_owned(), tag: String::new() }]).join("\n");
            match wrong {
                None => assert_eq!(told, ""),
                Some(wrong) => assert!(told.contains(wrong), "{value}: {told}"),
            }
        }
        for (value, doubt) in [
            (
                "bounding_box:[113.6594 -43.00311 153.61194 -12.46113] lang:en",
                Some("place_country"),
            ),
            ("bounding_box:[144.9 -37.9 145.1 -37.7]", None),
            ("bounding_box:[144.9 -37.9 145.6 -37.7]", Some("by 14 miles")),
            ("bounding_box:[145 -37.7 144.9 -37.9]", Some("is no box")),
            ("bounding_box:[1 2 3]", Some("is no box")),
            ("(cat OR -point_radius:[144.9 -37.8 39km])", None),
            ("point_radius:[144.9 -37.8 41km]", Some("below 25 mi")),
            ("point_radius:[144.9 -37.8 25mi]", Some("below 25 mi")),
            ("point_radius:[144.9 -37.8]", Some("is no circle")),
            ("\"bounding_box:[1 2 3]\"", None),
        ] {
            let told = doubts(&[Rule { value: value.to_owned(), tag: String::new() }]).join("\n");
            match doubt {
                None => assert_eq!(told, ""),
                Some(doubt) => assert!(told.contains(doubt), "{value}: {told}"),
            }
        }
        let twice = vec![Rule { value: "a".to_owned(), tag: String::new() }; 2];
        assert!(check(&twice)[0].contains("twice"));
        let many: Vec<_> =
            (0..1_001).map(|n| Rule { value: format!("cat{n}"), tag: String::new() }).collect();
        assert!(check(&many)[0].contains("X takes 1000"));
    }
}
