//! The rules of the stream, against the simulator over real HTTP.

use bowerbird_ingest::x::rules::{Api, Plan, Rule, RulesError};
use bowerbird_sim::x::{Config, serve};

fn rule(value: &str, tag: &str) -> Rule {
    Rule { value: value.to_owned(), tag: tag.to_owned() }
}

#[tokio::test]
async fn x_gets_the_rules_that_are_declared_and_is_then_left_alone() {
    let before = vec![("cat".to_owned(), "cats".to_owned()), ("dog".to_owned(), "dogs".to_owned())];
    let sim = serve(Config { rules: before, ..Config::default() }).await.unwrap();
    let api = Api::new(&sim.url().parse().unwrap(), "token".to_owned().into()).unwrap();
    let declared = [rule("dog", "hounds"), rule("bird lang:en", ""), rule("fish", "fish")];

    let plan = Plan::of(&declared, api.list().await.unwrap());
    assert_eq!((plan.add.len(), plan.retag.len(), plan.delete.len()), (2, 1, 1));
    plan.carry_out(&api, true).await.unwrap();
    assert_eq!(Plan::of(&declared, api.list().await.unwrap()), plan, "only checked");
    plan.carry_out(&api, false).await.unwrap();
    let mut there: Vec<_> = api.list().await.unwrap().into_iter().map(|one| one.rule).collect();
    there.sort_by(|a, b| a.value.cmp(&b.value));
    assert_eq!(there, [rule("bird lang:en", ""), rule("dog", "hounds"), rule("fish", "fish")]);
    assert!(Plan::of(&declared, api.list().await.unwrap()).is_done());
    sim.shutdown().await;
}

#[tokio::test]
async fn a_rule_that_x_refuses_ends_it_before_anything_is_deleted() {
    let before = vec![("cat".to_owned(), "cats".to_owned())];
    let sim = serve(Config { rules: before, ..Config::default() }).await.unwrap();
    let api = Api::new(&sim.url().parse().unwrap(), "token".to_owned().into()).unwrap();
    let declared = [rule(&"x".repeat(2_000), "too long"), rule("bird", "birds")];
    for dry_run in [true, false] {
        let plan = Plan::of(&declared, api.list().await.unwrap());
        let error = plan.carry_out(&api, dry_run).await.unwrap_err();
        assert!(matches!(&error, RulesError::Invalid(rules) if rules.len() == 1), "{error}");
        assert!(error.to_string().contains("xxx") && error.to_string().contains("x.rules"));
        let there = api.list().await.unwrap();
        assert!(there.iter().any(|one| one.rule.value == "cat"), "{there:?}");
    }
    // The one that was fine is there now, and nothing is done twice.
    let plan = Plan::of(&declared[1..], api.list().await.unwrap());
    assert_eq!((plan.add.len(), plan.keep.len(), plan.delete.len()), (0, 1, 1));
    sim.shutdown().await;
}

#[tokio::test]
async fn a_refused_token_and_a_server_that_is_not_there_are_told() {
    let bearer = Some("right".to_owned().into());
    let sim = serve(Config { bearer, ..Config::default() }).await.unwrap();
    let url = sim.url().parse().unwrap();
    let api = Api::new(&url, "wrong".to_owned().into()).unwrap();
    let error = api.list().await.unwrap_err().to_string();
    assert!(error.contains("401") && error.contains("x.bearer_token"), "{error}");
    assert!(!error.contains("wrong"));
    sim.shutdown().await;
    let error = api.list().await.unwrap_err().to_string();
    assert!(error.contains("can't be asked") && error.contains("127.0.0.1"), "{error}");
}
