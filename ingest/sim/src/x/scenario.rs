//! Scenarios: how the simulator behaves, as a file says it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde::de::Error as _;
use thiserror::Error;

use super::config::{Config, Ending, Faults, LineFeed, Step};

/// A scenario that can't be read.
#[derive(Debug, Error)]
#[error("the scenario can't be read: {0}")]
pub struct ScenarioError(#[from] toml::de::Error);

/// What a file may say; what it leaves out is as in [`Config`].
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    rate: Option<f64>,
    seed: Option<u64>,
    total: Option<u64>,
    live: Option<bool>,
    keep_alive_ms: Option<u64>,
    line_feed: Option<LineFeed>,
    connections: Option<usize>,
    attempts: Option<usize>,
    linger_ms: Option<u64>,
    slow_reader_ms: Option<u64>,
    backfill: Option<bool>,
    notices_percent: Option<u8>,
    gzip: Option<bool>,
    rules: Option<Vec<Rule>>,
    faults: Option<ByChance>,
    steps: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    value: String,
    #[serde(default)]
    tag: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ByChance {
    every_ms: u64,
    #[serde(default)]
    refusals_percent: u8,
}

/// A connection that is refused, or that gets posts or lasts a time.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "a step has a status (and headers and body, if wished), or an ending (close, cut-item, \
                 reset, stall, operational-disconnect, force-disconnect, slow-reader or trickle) with \
                 posts or lasts_ms"
)]
enum Entry {
    Refuse {
        status: u16,
        #[serde(default)]
        headers: BTreeMap<String, String>,
        #[serde(default)]
        body: String,
    },
    Serve {
        posts: u64,
        ending: Ending,
    },
    Last {
        lasts_ms: u64,
        ending: Ending,
    },
}

impl File {
    /// What its types let pass and no scenario means.
    fn check(&self) -> Result<(), ScenarioError> {
        let wrong = |what: String| Err(ScenarioError(toml::de::Error::custom(what)));
        if let Some(rate) = self.rate.filter(|rate| !rate.is_finite() || *rate < 0.0) {
            return wrong(format!("rate = {rate} is no number of posts a second"));
        }
        let percents = [self.notices_percent, self.faults.as_ref().map(|one| one.refusals_percent)];
        if let Some(percent) = percents.into_iter().flatten().find(|percent| *percent > 100) {
            return wrong(format!("{percent} of a hundred is more than all"));
        }
        for step in &self.steps {
            if let Entry::Refuse { status, .. } = step
                && !(200..600).contains(status)
            {
                return wrong(format!("status = {status} is no status of a final answer"));
            }
        }
        Ok(())
    }
}

/// Reads a scenario; what it does not say is as in `defaults`.
///
/// # Errors
/// When it is not TOML, or says what no scenario says.
pub fn scenario(text: &str, defaults: Config) -> Result<Config, ScenarioError> {
    let file: File = toml::from_str(text)?;
    file.check()?;
    let time = |given: Option<u64>, otherwise| given.map_or(otherwise, Duration::from_millis);
    let steps = file.steps.into_iter().map(|entry| match entry {
        Entry::Refuse { status, headers, body } => {
            Step::Refuse { status, headers: headers.into_iter().collect(), body }
        }
        Entry::Serve { posts, ending } => Step::Serve { posts, ending },
        Entry::Last { lasts_ms, ending } => {
            Step::Last { lasts: Duration::from_millis(lasts_ms), ending }
        }
    });
    let rules = |rules: Vec<Rule>| rules.into_iter().map(|rule| (rule.value, rule.tag)).collect();
    let faults = file.faults.map(|ByChance { every_ms, refusals_percent }| Faults {
        every: Duration::from_millis(every_ms),
        refusals_percent,
    });
    Ok(Config {
        rate: file.rate.unwrap_or(defaults.rate),
        seed: file.seed.unwrap_or(defaults.seed),
        total: file.total.or(defaults.total),
        live: file.live.unwrap_or(defaults.live),
        keep_alive: time(file.keep_alive_ms, defaults.keep_alive),
        line_feed: file.line_feed.unwrap_or(defaults.line_feed),
        connections: file.connections.or(defaults.connections),
        attempts: file.attempts.or(defaults.attempts),
        linger: time(file.linger_ms, defaults.linger),
        slow_reader: time(file.slow_reader_ms, defaults.slow_reader),
        backfill: file.backfill.unwrap_or(defaults.backfill),
        notices_percent: file.notices_percent.unwrap_or(defaults.notices_percent),
        gzip: file.gzip.unwrap_or(defaults.gzip),
        rules: file.rules.map_or(defaults.rules, rules),
        faults: faults.or(defaults.faults),
        script: steps.collect(),
        ..defaults
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_happens() {
        let text = r#"
            rate = 0.5
            live = true
            line_feed = "mixed"
            connections = 1
            linger_ms = 20000

            [faults]
            every_ms = 60000
            refusals_percent = 10

            [[rules]]
            value = "cat"

            [[steps]]
            status = 503

            [[steps]]
            status = 429
            headers = { x-rate-limit-reset = "1" }
            body = "{}"

            [[steps]]
            posts = 3
            ending = "operational-disconnect"

            [[steps]]
            lasts_ms = 500
            ending = "trickle"
        "#;
        let config = scenario(text, Config::default()).unwrap();
        assert_eq!((config.rate, config.seed, config.live), (0.5, Config::default().seed, true));
        assert_eq!((config.connections, config.linger), (Some(1), Duration::from_secs(20)));
        assert_eq!(config.rules, [("cat".to_owned(), String::new())]);
        let every = Duration::from_secs(60);
        assert_eq!(config.faults, Some(Faults { every, refusals_percent: 10 }));
        let headers = vec![("x-rate-limit-reset".to_owned(), "1".to_owned())];
        assert_eq!(
            config.script,
            [
                Step::Refuse { status: 503, headers: Vec::new(), body: String::new() },
                Step::Refuse { status: 429, headers, body: "{}".to_owned() },
                Step::Serve { posts: 3, ending: Ending::OperationalDisconnect },
                Step::Last { lasts: Duration::from_millis(500), ending: Ending::Trickle },
            ]
        );
    }

    #[test]
    fn the_example_is_one() {
        let rough = include_str!("../../scenarios/rough.toml");
        let config = scenario(rough, Config::default()).unwrap();
        assert_eq!((config.script.len(), config.faults.is_some()), (4, true));
    }

    #[test]
    fn what_no_scenario_says_is_refused() {
        for text in [
            "rat = 1",
            "rate = -1",
            "rate = nan",
            "notices_percent = 101",
            "[[steps]]\nstatus = 99",
            "[[steps]]\nposts = 3",
            "[[steps]]\nposts = 3\nending = \"bang\"",
        ] {
            let error = scenario(text, Config::default()).unwrap_err().to_string();
            assert!(error.contains("can't be read"), "{error}");
        }
        let mistyped = scenario("[[steps]]\nposts = 3\nending = \"bang\"", Config::default());
        assert!(mistyped.unwrap_err().to_string().contains("operational-disconnect"));
    }
}
