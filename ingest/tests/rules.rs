//! The rules of the stream, against the simulator over real HTTP.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::VecDeque;

use bowerbird_ingest::x::rules::{Api, Plan, Present, Rule, RulesError};
use bowerbird_sim::x::{Config, serve};
use bowerbird_testbed::wire;
use tokio::task::JoinSet;

fn rule(value: &str, tag: &str) -> Rule {
    Rule { value: value.to_owned(), tag: tag.to_owned() }
}

/// The rules' end of a server that gives these answers, one after the other.
async fn answering<const N: usize>(
    tasks: &mut JoinSet<()>,
    answers: [(&'static str, &'static str); N],
) -> Api {
    let mut answers = VecDeque::from(answers);
    let act = move |_: &str| {
        answers.pop_front().map_or(wire::Act::Close, |(status, body)| wire::http(status, "", body))
    };
    let url = format!("http://{}", wire::serve(tasks, act).await);
    Api::new(&url.parse().unwrap(), "token".to_owned().into()).unwrap()
}

#[tokio::test]
async fn x_gets_the_rules_that_are_declared_and_is_then_left_alone() {
    let before = vec![("cat".to_owned(), "cats".to_owned()), ("dog".to_owned(), "dogs".to_owned())];
    let sim = serve(Config { rules: before, ..Config::default() }).await.unwrap();
    let api = Api::new(&sim.url().parse().unwrap(), "token".to_owned().into()).unwrap();
    let declared = [rule("dog", "hounds"), rule("bird lang:en", ""), rule("fish", "fish")];

    let plan = Plan::of(&declared, api.list().await.unwrap());
    assert_eq!((plan.add.len(), plan.retag.len(), plan.delete.len()), (2, 1, 1));
    plan.validate(&api).await.unwrap();
    assert_eq!(Plan::of(&declared, api.list().await.unwrap()), plan, "only checked");
    let mut done = Plan::default();
    plan.carry_out(&api, &mut done).await.unwrap();
    assert_eq!(done, plan);
    let mut there: Vec<_> = api.list().await.unwrap().into_iter().map(|one| one.rule).collect();
    there.sort_by(|a, b| a.value.cmp(&b.value));
    assert_eq!(there, [rule("bird lang:en", ""), rule("dog", "hounds"), rule("fish", "fish")]);
    assert!(Plan::of(&declared, api.list().await.unwrap()).changes_nothing());
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
        let mut done = Plan::default();
        let error = match dry_run {
            true => plan.validate(&api).await.unwrap_err(),
            false => plan.carry_out(&api, &mut done).await.unwrap_err(),
        };
        assert!(matches!(&error, RulesError::Invalid(rules) if rules.len() == 1), "{error}");
        assert!(error.to_string().contains("xxx") && error.to_string().contains("x.rules"));
        let there = api.list().await.unwrap();
        assert!(there.iter().any(|one| one.rule.value == "cat"), "{there:?}");
        let added: &[Rule] = if dry_run { &[] } else { &declared[1..] };
        assert_eq!((&*done.add, done.delete.len()), (added, 0));
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

/// X's emulator says under 200 that it does not take something, and it knows no deletion.
const NOT_TAKEN: &str = r#"{"title":"Invalid Request","errors":[{"title":"Invalid Request",
    "detail":"The `add` field is required and cannot be empty","parameter":"add","value":""}]}"#;

#[tokio::test]
async fn what_x_says_it_has_not_done_is_no_success() {
    let mut tasks = JoinSet::new();
    let present = |id: &str| Present { id: id.to_owned(), rule: rule(id, "") };
    let plan = Plan { delete: vec![present("1"), present("2")], ..Plan::default() };
    let not_all = r#"{"meta":{"summary":{"deleted":1,"not_deleted":"1"}}}"#;
    for (status, answer, part) in [
        ("200 OK", NOT_TAKEN, "answered 200 to the end of rules: Invalid Request: The `add` field"),
        ("200 OK", not_all, "1 of 2 rules were not deleted"),
        ("500 Internal Server Error", "", "try again in a while"),
        ("404 Not Found", "", "check x.base_url"),
        ("200 OK", "", "can't be read"),
    ] {
        let api = answering(&mut tasks, [(status, answer)]).await;
        let mut done = Plan::default();
        let error = plan.carry_out(&api, &mut done).await.unwrap_err().to_string();
        assert!(error.contains(part) && done.changes_nothing(), "{error}: {done:?}");
    }
    let plan = Plan { add: vec![rule("a", "x"), rule("b", "")], ..Plan::default() };
    let one_was_there = r#"{"data":[{"id":7,"value":"a","tag":"x"}],
        "errors":[{"id":"1","value":"b","title":"DuplicateRule"}]}"#;
    for (answer, part) in [
        (one_was_there, "1 of 2 rules are there already"),
        (r#"{"data":[{"id":"7","value":"a","tag":"x"}]}"#, "1 of 2 rules were not added"),
    ] {
        let api = answering(&mut tasks, [("200 OK", answer)]).await;
        let mut done = Plan::default();
        let error = plan.carry_out(&api, &mut done).await.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
        assert_eq!(done.add, [rule("a", "x")]);
    }
    // It says how many, and not which.
    let plan = Plan { delete: vec![present("1"), present("2")], ..Plan::default() };
    let left = r#"{"data":[{"id":"2","value":"2"}]}"#;
    let api = answering(&mut tasks, [("200 OK", not_all), ("200 OK", left)]).await;
    let mut done = Plan::default();
    plan.carry_out(&api, &mut done).await.unwrap_err();
    assert_eq!(done.delete, [present("1")]);
    // Between the end of the old one and the beginning of the new one it ended.
    let plan = Plan { retag: vec![(present("1"), rule("1", "new"))], ..Plan::default() };
    let api = answering(&mut tasks, [("200 OK", "{}"), ("503 Service Unavailable", "")]).await;
    let mut done = Plan::default();
    plan.carry_out(&api, &mut done).await.unwrap_err();
    assert_eq!((&*done.delete, done.retag.len()), (&[present("1")][..], 0));
    // It is not left so where that passes.
    let added = r#"{"data":[{"id":"7","value":"1","tag":"new"}]}"#;
    let answers = [("200 OK", "{}"), ("503 Service Unavailable", ""), ("201 Created", added)];
    let api = answering(&mut tasks, answers).await;
    let mut done = Plan::default();
    plan.carry_out(&api, &mut done).await.unwrap();
    assert_eq!((done.delete.len(), &done.retag), (0, &plan.retag));
}

#[tokio::test]
async fn a_list_of_rules_is_whole_or_none() {
    let mut tasks = JoinSet::new();
    for (answer, part) in [
        (NOT_TAKEN, "answered 200 to a list of the rules"),
        (r#"{"data":[{"id":"","value":"a"}]}"#, "a rule has no id"),
        ("<html>", "can't be read"),
    ] {
        let error = answering(&mut tasks, [("200 OK", answer)]).await.list().await.unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
    // Numbers where strings belong, null for nothing, and pages.
    let first = r#"{"data":[{"id":17,"value":"b","tag":null}],"meta":{"next_token":"n"}}"#;
    let second = r#"{"data":[{"id":"7","value":"a"}],"meta":{"next_token":"m"}}"#;
    let third = r#"{"data":null,"meta":{"next_token":null}}"#;
    let pages = [("200 OK", first), ("200 OK", second), ("200 OK", third)];
    let there = answering(&mut tasks, pages).await.list().await.unwrap();
    let present = |id: &str, value| Present { id: id.to_owned(), rule: rule(value, "") };
    assert_eq!(there, [present("7", "a"), present("17", "b")]);
}
