//! `bowerbird rules`

use anyhow::Context as _;
use bowerbird_infra::config::Account;
use bowerbird_ingest::x::rules::{Api, Plan, Rule, check, doubts};
use bowerbird_stream::{EventLog as _, journal};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::json;

use crate::failure::{Outcome, WrongUse};
use crate::output;
use crate::parts;
use crate::question;
use crate::settings::Settings;

/// What `rules` takes.
#[derive(Debug, Subcommand)]
pub enum Arguments {
    /// List the rules that X has
    List,
    /// Bring X's rules in line with [[x.rules]] of the configuration
    Sync(Sync),
}

/// What `rules sync` takes.
#[derive(Debug, Args)]
pub struct Sync {
    /// Only have X check the new rules, by its own dry run, and say what would change
    #[arg(long)]
    dry_run: bool,
    /// Send nothing in a dry run: for a server that imitates X without knowing dry runs
    #[arg(long, requires = "dry_run")]
    no_check: bool,
    /// Delete rules that are not declared without asking
    #[arg(long)]
    yes: bool,
}

impl Arguments {
    /// The accounts whose secrets it needs.
    pub fn accounts(&self) -> &'static [Account] {
        match self {
            Self::Sync(Sync { dry_run: false, .. }) => &[Account::X, Account::Log],
            _ => &[Account::X],
        }
    }
}

/// Lists them, or brings them in line.
pub async fn run(arguments: Arguments, settings: &Settings) -> anyhow::Result<Outcome> {
    let section = &settings.config().x;
    let token = section.bearer_token.as_ref().context("there is no bearer token for X")?;
    let api = Api::new(&section.base_url.base.parse()?, token.get())?;
    match arguments {
        Arguments::List => {
            let rules = api.list().await?;
            output::rows(settings.output, &rules, &["id", "tag", "rule"], |one| {
                vec![one.id.clone(), one.rule.tag.clone(), one.rule.value.clone()]
            })?;
            Ok(Outcome::Done)
        }
        Arguments::Sync(arguments) => Box::pin(sync(arguments, &api, settings)).await,
    }
}

async fn sync(arguments: Sync, api: &Api, settings: &Settings) -> anyhow::Result<Outcome> {
    let declared: Vec<Rule> = parts::rules(settings);
    let wrong = check(&declared);
    if !wrong.is_empty() {
        let message = format!("x.rules is wrong, nothing was sent: {}", wrong.join("; "));
        return Err(WrongUse(message).into());
    }
    for doubt in doubts(&declared) {
        tracing::warn!(doubt, "x.rules");
    }
    let plan = Plan::of(&declared, api.list().await?);
    if !arguments.dry_run && !arguments.yes && !plan.delete.is_empty() {
        let values: Vec<&str> = plan.delete.iter().map(|one| one.rule.value.as_str()).collect();
        let what = format!("{} rules that are not declared: {}", values.len(), values.join(" | "));
        if !question::ask(&format!("Delete {what}?"))? {
            let left = format!("nothing was changed; --yes deletes {what}");
            return Err(WrongUse(left).into());
        }
    }
    if arguments.dry_run && !arguments.no_check {
        plan.validate(api).await?;
    }
    if !arguments.dry_run && !plan.changes_nothing() {
        carry_out(&plan, api, settings).await?;
    }
    output::one(settings.output, "rules sync", &plan, || told(&plan, arguments.dry_run))?;
    Ok(Outcome::Done)
}

/// Carries it out, and notes what was done, also where not all of it was.
async fn carry_out(plan: &Plan, api: &Api, settings: &Settings) -> anyhow::Result<()> {
    // What can't be noted is not begun.
    let log = parts::log(settings).await?;
    parts::apply_topics(&log, settings).await?;
    let mut done = Plan::default();
    let outcome = plan.carry_out(api, &mut done).await;
    if done.changes_nothing() {
        return Ok(outcome?);
    }
    let fact = journal::fact("rules.changed", "x:rules", Timestamp::now(), &json!(done));
    let answers: Result<Vec<_>, _> = log.publish(vec![fact]).await.into_iter().collect();
    if let Err(error) = outcome {
        if let Err(error) = answers {
            tracing::error!(%error, "the change of the rules could not be noted in the journal");
        }
        let part = format!("only a part is done:\n{}", told(&done, false).trim_end());
        return Err(anyhow::Error::from(error).context(part));
    }
    answers.context("the rules were changed, and that could not be noted in the journal")?;
    Ok(())
}

fn told(plan: &Plan, dry_run: bool) -> String {
    let would = if dry_run { "would be " } else { "" };
    let mut text = String::new();
    for rule in &plan.add {
        text.push_str(&format!("{would}added    {}  [{}]\n", rule.value, rule.tag));
    }
    for (old, new) in &plan.retag {
        let tags = format!("[{}] → [{}]", old.rule.tag, new.tag);
        text.push_str(&format!("{would}retagged {}  {tags}\n", new.value));
    }
    for there in &plan.delete {
        text.push_str(&format!("{would}deleted  {}  [{}]\n", there.rule.value, there.rule.tag));
    }
    text.push_str(&format!("{} rules are as declared\n", plan.keep.len()));
    text
}
