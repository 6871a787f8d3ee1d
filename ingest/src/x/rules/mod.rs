//! The rules of the stream, as declared in the configuration: checked, compared with those that X
//! has, and brought in line.

mod api;
mod check;

use std::time::Duration;

use bowerbird_stream::retry::{RetryPolicy, Verdict, retry};
use serde::Serialize;

pub use api::{Api, RulesError};
pub use check::{check, doubts};

/// How often it is tried to add a rule again whose former tag is gone.
const RETAGGING: RetryPolicy = RetryPolicy {
    initial: Duration::from_millis(250),
    max: Duration::from_secs(5),
    multiplier: 2.0,
    jitter: 0.3,
    max_attempts: Some(4),
    max_elapsed: None,
};

/// A rule as it is declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// What it matches, in X's operators.
    pub value: String,
    /// What its matches are labelled with; empty for none.
    pub tag: String,
}

/// A rule that X has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Present {
    /// X's name for it.
    pub id: String,
    /// What it says.
    #[serde(flatten)]
    pub rule: Rule,
}

/// What must change so that X has what is declared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Rules to be added.
    pub add: Vec<Rule>,
    /// Rules that only get another tag: X has no rule twice, so the old one goes first.
    pub retag: Vec<(Present, Rule)>,
    /// Rules that nobody has declared.
    pub delete: Vec<Present>,
    /// Rules that stay as they are.
    pub keep: Vec<Present>,
}

impl Plan {
    /// Compares what is declared with what X has. Of a rule declared twice the first counts.
    pub fn of(declared: &[Rule], present: Vec<Present>) -> Self {
        let mut plan = Self::default();
        for (at, rule) in declared.iter().enumerate() {
            let twice = declared[..at].iter().any(|other| other.value == rule.value);
            match present.iter().find(|there| there.rule.value == rule.value) {
                _ if twice => {}
                None => plan.add.push(rule.clone()),
                Some(there) if there.rule.tag == rule.tag => plan.keep.push(there.clone()),
                Some(there) => plan.retag.push((there.clone(), rule.clone())),
            }
        }
        let declared = |there: &Present| declared.iter().any(|rule| rule.value == there.rule.value);
        plan.delete = present.into_iter().filter(|there| !declared(there)).collect();
        plan
    }

    /// Whether there is nothing to change.
    pub fn changes_nothing(&self) -> bool {
        self.add.is_empty() && self.retag.is_empty() && self.delete.is_empty()
    }

    /// Has X check the rules to be added, by its `dry_run`. A server that only imitates X may not know
    /// that and add them, as X's own emulator does: then they are deleted again.
    ///
    /// # Errors
    /// When X can't be asked or refuses; [`RulesError::Taken`] where they were added.
    pub async fn validate(&self, api: &Api) -> Result<(), RulesError> {
        // A rule that is only tagged anew X would call a duplicate.
        if self.add.is_empty() {
            return Ok(());
        }
        let checked = api.add(&self.add, true, &mut Vec::new()).await;
        let mut taken = api.list().await?;
        taken.retain(|there| self.add.iter().any(|rule| rule.value == there.rule.value));
        if taken.is_empty() {
            return checked;
        }
        let undone = api.delete(&taken, &mut Vec::new()).await;
        let left = undone.err().map(|error| error.to_string());
        Err(RulesError::Taken { rules: taken.len(), left })
    }

    /// Carries it out. Adds before it deletes, so that nothing that is wanted is missed meanwhile; a
    /// rule that X refuses ends it before anything is deleted. What was done is in `done`, whatever
    /// the outcome.
    ///
    /// # Errors
    /// When X can't be asked or refuses. The same plan made anew goes on.
    pub async fn carry_out(&self, api: &Api, done: &mut Self) -> Result<(), RulesError> {
        done.keep.clone_from(&self.keep);
        api.add(&self.add, false, &mut done.add).await?;
        for (old, new) in &self.retag {
            api.delete(std::slice::from_ref(old), &mut done.delete).await?;
            // X takes no second rule of the same value, so that it is away for a moment: not longer
            // than it must be.
            let add = async || api.add(std::slice::from_ref(new), false, &mut Vec::new()).await;
            let judge = |error: &RulesError| match error.is_transient() {
                true => Verdict::Again { after: None },
                false => Verdict::GiveUp,
            };
            retry(&RETAGGING, judge, |_, _| {}, add).await?;
            done.delete.pop();
            done.retag.push((old.clone(), new.clone()));
        }
        api.delete(&self.delete, &mut done.delete).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(value: &str, tag: &str) -> Rule {
        Rule { value: value.to_owned(), tag: tag.to_owned() }
    }

    fn present(id: &str, value: &str, tag: &str) -> Present {
        Present { id: id.to_owned(), rule: rule(value, tag) }
    }

    #[test]
    fn only_what_differs_changes() {
        let declared = [rule("a", "x"), rule("b", "y"), rule("c", ""), rule("b", "z")];
        let there =
            vec![present("1", "a", "x"), present("2", "b", "old"), present("3", "d", "other's")];
        let plan = Plan::of(&declared, there);
        assert_eq!(plan.keep, [present("1", "a", "x")]);
        assert_eq!(plan.retag, [(present("2", "b", "old"), rule("b", "y"))]);
        assert_eq!(
            (&plan.add, &plan.delete),
            (&vec![rule("c", "")], &vec![present("3", "d", "other's")])
        );
        assert!(!plan.changes_nothing());
        assert!(Plan::of(&declared[..1], vec![present("1", "a", "x")]).changes_nothing());
    }
}
