use std::time::Duration;

use super::*;

fn engine() -> Engine {
    Engine::start(Limits { memory: 32 << 20, time: Duration::from_millis(500) }).unwrap()
}

fn program(sources: &[&str]) -> Arc<Program> {
    let names = (0..sources.len()).map(|n| format!("map of view {n}")).collect();
    Arc::new(Program { names, sources: sources.iter().map(ToString::to_string).collect() })
}

fn input(json: &str) -> Vec<Input> {
    vec![Input { id: "x".to_owned(), json: json.to_owned() }]
}

async fn map(sources: &[&str], document: &str) -> Vec<Emitted> {
    let mut all = engine().map(program(sources), input(document)).await.unwrap();
    all.remove(0)
}

fn pairs(emitted: &Emitted) -> Vec<(&str, &str)> {
    emitted.as_ref().unwrap().iter().map(|(key, value)| (&**key, &**value)).collect()
}

#[tokio::test]
async fn what_is_emitted_comes_back_as_json() {
    let source = r#"function (doc) {
        emit(doc._id, doc.n);
        emit([1.0, "a\u2028", { b: 1, a: [] }]);
        emit(undefined, function () {});
        emit(NaN, new Date(0));
        emit("\ud83d", ["\\ud83d", "\\\ud83d!", "🐦"]);
        emit(isArray([]), sum([1, 2]));
        emit(toJSON({ a: 1 }), 0);
        log("seen");
    }"#;
    let found = map(&[source, "doc => {}"], r#"{"_id":"x","n":-0.5}"#).await;
    let expected = [
        ("\"x\"", "-0.5"),
        ("[1,\"a\u{2028}\",{\"b\":1,\"a\":[]}]", "null"),
        ("null", "null"),
        ("null", "\"1970-01-01T00:00:00.000Z\""),
        (r#""\ufffd""#, r#"["\\ud83d","\\\ufffd!","🐦"]"#),
        ("true", "3"),
        (r#""{\"a\":1}""#, "0"),
    ];
    assert_eq!(pairs(&found[0]), expected);
    assert!(pairs(&found[1]).is_empty());
}

#[tokio::test]
async fn a_failing_map_loses_its_own_rows_only() {
    let sources = [
        "function (doc) { emit(1, 1); emit(doc.none.x, 1); }",
        "function (doc) { emit(2, 2); }",
        "function (doc) { throw { odd: 1 }; }",
    ];
    let found = map(&sources, "{}").await;
    assert!(found[0].as_ref().unwrap_err().contains("TypeError"), "{:?}", found[0]);
    assert_eq!(pairs(&found[1]), [("2", "2")]);
    assert!(found[2].is_err());
}

#[tokio::test]
async fn functions_run_as_couchdb_runs_them() {
    // Sloppy code: `this` is the global object, and an undeclared name may be assigned to.
    let source =
        "function (doc) { count = (this.count || 0) + 1; doc.seen = true; emit(count, doc.seen); }";
    let found = map(&[source, "function (doc) { emit(doc.seen, null); }"], "{}").await;
    assert_eq!(pairs(&found[0]), [("1", "true")]);
    assert_eq!(pairs(&found[1]), [("true", "null")]);
}

#[tokio::test]
async fn broken_functions_are_named() {
    let engine = engine();
    for (source, said) in [
        ("function (doc) { emit(doc ", "SyntaxError"),
        ("42", "not a function"),
        ("null.x", "TypeError"),
        ("(function f() { return f(); })()", "stack"),
    ] {
        let failure = engine.check(program(&["doc => 1", source])).await.unwrap_err();
        assert_eq!(failure.function, "map of view 1");
        assert!(failure.reason.contains(said), "{source}: {}", failure.reason);
    }
    // The engine goes on.
    engine.check(program(&["doc => 1"])).await.unwrap();
}

#[tokio::test]
async fn an_endless_function_is_ended() {
    let engine = engine();
    let endless = program(&["function (doc) { try { for (;;) {} } catch (e) { emit(1); } }"]);
    let failure = engine.map(endless, input("{}")).await.unwrap_err();
    assert!(failure.reason.contains("0.5 s, on document x"), "{}", failure.reason);
    let found = engine.map(program(&["doc => emit(1, 2)"]), input("{}")).await.unwrap();
    assert_eq!(pairs(&found[0][0]), [("1", "2")]);
}

#[tokio::test]
async fn memory_is_bounded() {
    let engine = engine();
    let greedy = "function (doc) { var all = []; for (;;) all.push(new Array(10000).fill(doc)); }";
    let sources = [greedy, "function (doc) { emit(1, 2); }"];
    let found = engine.map(program(&sources), input("{}")).await.unwrap();
    assert!(found[0][0].as_ref().unwrap_err().contains("memory"), "{found:?}");
    assert_eq!(pairs(&found[0][1]), [("1", "2")]);
}

#[tokio::test]
async fn many_programs_are_kept_apart() {
    let engine = engine();
    for round in 0..2 {
        for n in 0..20 {
            let source =
                format!("function (doc) {{ seen = (this.seen || 0) + 1; emit({n}, seen); }}");
            let found = engine.map(program(&[&source]), input("{}")).await.unwrap();
            assert_eq!(found[0][0].as_ref().unwrap()[0].0, n.to_string(), "round {round}");
        }
    }
}

#[tokio::test]
async fn a_reduce_is_called_with_keys_and_values() {
    let engine = engine();
    let source = "function (keys, values, rereduce) { return { keys: keys, sum: sum(values), re: rereduce }; }";
    let reduced = tokio::task::spawn_blocking(move || {
        let program = program(&[source]);
        engine.reduce_blocking(program, "[[1,\"a\"]]".into(), "[1,2]".into(), false).unwrap()
    });
    assert_eq!(reduced.await.unwrap(), r#"{"keys":[[1,"a"]],"sum":3,"re":false}"#);
}
