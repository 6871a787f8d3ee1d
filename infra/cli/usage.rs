//! `bowerbird usage`

use bowerbird_ingest::x::{self, Limits, OfRule, Usage};
use clap::Args;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use crate::args::Format;
use crate::failure::Outcome;
use crate::output;
use crate::parts;
use crate::settings::Settings;

/// What `usage` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Which month of UTC, such as 2026-11 [default: this one]
    #[arg(long, value_name = "YYYY-MM", value_parser = month)]
    month: Option<Date>,
}

/// A month, as it is told.
#[derive(Debug, Serialize)]
struct Report {
    month: String,
    /// Posts, each once for each UTC day on which it came.
    posts: u64,
    /// Beside them, those that only came along because others refer to them, which X bills as well.
    included: u64,
    /// How often a post was delivered, also again.
    deliveries: u64,
    cost_usd: f64,
    cap_posts: Option<u64>,
    /// How much of the cap is used up.
    used_percent: Option<f64>,
    days: Vec<OfDay>,
}

#[derive(Debug, Serialize)]
struct OfDay {
    day: String,
    posts: u64,
    /// Beside them, those that only came along because others refer to them, which X bills as well.
    included: u64,
    deliveries: u64,
    cost_usd: f64,
    /// A post that matched several rules stands in each.
    rules: Vec<Matched>,
}

#[derive(Debug, Serialize)]
struct Matched {
    id: String,
    #[serde(flatten)]
    of_rule: OfRule,
}

/// One row: a day, one of its rules, or the month.
#[derive(Debug, Serialize)]
struct Row {
    day: String,
    rule: String,
    tag: String,
    posts: u64,
    deliveries: Option<u64>,
    cost_usd: Option<f64>,
}

/// Tells what a month has brought, as the log knows it.
pub async fn run(arguments: Arguments, settings: &Settings) -> anyhow::Result<Outcome> {
    let day = arguments.month.unwrap_or_else(|| Usage::of_month(Timestamp::now()).month);
    let log = parts::log(settings).await?;
    let report = Report::of(&x::usage(&log, day).await?, &parts::x_limits(settings));
    if settings.output == Format::Json {
        output::json(&report)?;
        return Ok(Outcome::Done);
    }
    let header = ["day", "rule", "tag", "posts", "deliveries", "cost US$"];
    output::rows(settings.output, &report.rows(), &header, Row::cells)?;
    if settings.output == Format::Text {
        output::text(&report.told())?;
    }
    Ok(Outcome::Done)
}

fn month(text: &str) -> Result<Date, String> {
    format!("{text}-01").parse().map_err(|_| "not a month; write it like 2026-11".to_owned())
}

impl Report {
    fn of(usage: &Usage, limits: &Limits) -> Self {
        let days: Vec<OfDay> = usage
            .days()
            .map(|(date, day)| OfDay {
                day: date.to_string(),
                posts: day.posts,
                included: day.included,
                deliveries: day.deliveries,
                cost_usd: limits.cost_usd(day.billed()),
                rules: day
                    .rules
                    .iter()
                    .map(|(id, of_rule)| Matched { id: id.clone(), of_rule: of_rule.clone() })
                    .collect(),
            })
            .collect();
        let (posts, cap) = (usage.posts(), limits.monthly_cap_posts);
        Self {
            month: x::month_name(usage.month),
            posts,
            included: usage.billed() - posts,
            deliveries: days.iter().map(|day| day.deliveries).sum(),
            cost_usd: limits.cost_usd(usage.billed()),
            cap_posts: cap,
            used_percent: cap.map(|cap| 100.0 * posts as f64 / cap.max(1) as f64),
            days,
        }
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for OfDay { day, posts, included, deliveries, cost_usd, rules } in &self.days {
            rows.extend(rules.iter().map(|Matched { id, of_rule }| Row {
                day: day.clone(),
                rule: id.clone(),
                tag: of_rule.tag.clone(),
                posts: of_rule.posts,
                deliveries: None,
                cost_usd: None,
            }));
            if *included > 0 {
                rows.push(Row {
                    day: day.clone(),
                    rule: "included".to_owned(),
                    tag: String::new(),
                    posts: *included,
                    deliveries: None,
                    cost_usd: None,
                });
            }
            rows.push(Row::total(day, *posts, *deliveries, *cost_usd));
        }
        rows.push(Row::total(&self.month, self.posts, self.deliveries, self.cost_usd));
        rows
    }

    fn told(&self) -> String {
        let used = self.cap_posts.zip(self.used_percent);
        let used = used.map(|(cap, percent)| format!(", {percent:.1} % of its {cap}"));
        let included = match self.included {
            0 => String::new(),
            some => format!(", and {some} that others refer to"),
        };
        format!(
            "{} posts in {}{}{included}, about {:.2} US$\n",
            self.posts,
            self.month,
            used.unwrap_or_default(),
            self.cost_usd
        )
    }
}

impl Row {
    fn total(of: &str, posts: u64, deliveries: u64, cost_usd: f64) -> Self {
        let (day, deliveries, cost_usd) = (of.to_owned(), Some(deliveries), Some(cost_usd));
        Self { day, rule: "all".to_owned(), tag: String::new(), posts, deliveries, cost_usd }
    }

    fn cells(&self) -> Vec<String> {
        let none = || "-".to_owned();
        vec![
            self.day.clone(),
            self.rule.clone(),
            self.tag.clone(),
            self.posts.to_string(),
            self.deliveries.map_or_else(none, |count| count.to_string()),
            self.cost_usd.map_or_else(none, |cost| format!("{cost:.2}")),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_as_people_write_it() {
        assert_eq!(month("2026-02").map(|day| day.to_string()), Ok("2026-02-01".to_owned()));
        for text in ["2026", "2026-13", "2026-02-03", "February", ""] {
            assert!(month(text).is_err(), "{text}");
        }
    }
}
