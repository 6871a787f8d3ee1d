//! What the views of CouchDB make of a server's answers: a small server plays each part.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bowerbird_mapreduce::couch::CouchViews;
use bowerbird_mapreduce::design::View;
use bowerbird_mapreduce::{DeployOptions, Deployment, Design, Progress, Query, ViewError, Views};
use bowerbird_store::StoreError;
use bowerbird_store::couch::CouchConfig;
use bowerbird_testbed::wire::{self, Act, http};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// What the server answers to the n-th request of a kind; nothing: silence.
type Answer = Option<(u16, &'static str)>;

const DESIGN: &str =
    r#"{"_id":"_design/d","_rev":"1-x","language":"javascript","views":{"v":{"map":"m"}}}"#;
const ROWS: &str = r#"{"total_rows":1,"offset":0,"rows":[{"id":"a","key":1,"value":null}]}"#;
const TASKS: &str = r#"[{"type":"indexer","database":"shards/0-f/posts.1",
    "design_document":"_design/d-staging","changes_done":7,"total_changes":9}]"#;

/// A server whose views answer so, one after another, and the last again and again.
async fn serve(tasks: &mut JoinSet<()>, views: &'static [Answer], design: Answer) -> CouchViews {
    let mut asked = 0;
    let act = move |request: &str| {
        let line = request.lines().next().unwrap_or_default();
        let answer = if line.contains("/_view/") {
            asked += 1;
            views[asked.min(views.len()) - 1]
        } else if line.contains("_active_tasks") {
            Some((200, TASKS))
        } else if line.starts_with("GET") {
            design
        } else {
            Some((201, r#"{"ok":true,"id":"_design/d","rev":"2-y"}"#))
        };
        match answer {
            None => Act::Silence,
            Some((status, body)) => http(&format!("{status} X"), "", body),
        }
    };
    let address = wire::serve(tasks, act).await;
    let mut config = CouchConfig::new(&format!("http://me:hidden@{address}")).unwrap();
    config.request_timeout = Duration::from_secs(1);
    CouchViews::new(&config).unwrap()
}

fn design() -> Design {
    let view = View { map: "function (doc) {}".to_owned(), reduce: None };
    Design {
        database: "posts".to_owned(),
        name: "d".to_owned(),
        views: [("v".to_owned(), view)].into(),
    }
}

#[tokio::test]
async fn a_build_that_outlives_the_time_out_is_waited_for() {
    const TIMEOUT: &str = r#"{"error":"timeout","reason":"The request could not be processed"}"#;
    let mut tasks = JoinSet::new();
    let views: &[Answer] = &[None, Some((500, TIMEOUT)), Some((500, TIMEOUT)), Some((200, ROWS))];
    let missing = Some((404, r#"{"error":"not_found","reason":"missing"}"#));
    let server = serve(&mut tasks, views, missing).await;
    let told = AtomicU64::new(0);
    let progress = |progress: Progress| {
        assert_eq!(progress.total, Some(9));
        told.store(progress.done, Ordering::Relaxed);
    };
    let options = DeployOptions { progress: &progress, ..DeployOptions::default() };
    let done = server.deploy("posts", &design(), options).await.unwrap();
    assert_eq!((done, told.load(Ordering::Relaxed)), (Deployment::Created, 7));
}

#[tokio::test]
async fn a_query_waits_for_its_index_within_its_bound() {
    let mut tasks = JoinSet::new();
    let found = Some((200, DESIGN));
    let server = serve(&mut tasks, &[None, Some((200, ROWS))], found).await;
    assert_eq!(server.query("posts", "d", "v", &Query::default()).await.unwrap().len(), 1);
    let server = serve(&mut tasks, &[None], found).await;
    let hurried = server.with_query_wait(Duration::from_millis(100));
    let error = hurried.query("posts", "d", "v", &Query::default()).await.unwrap_err();
    assert!(matches!(error, ViewError::NotBuilt { .. }) && error.is_transient(), "{error}");
}

#[tokio::test]
async fn every_failure_has_its_kind() {
    let found = Some((200, DESIGN));
    let kind = |error: &ViewError| match error {
        ViewError::Store(StoreError::Unauthorised { .. }) => "unauthorised",
        ViewError::Store(StoreError::Busy { .. }) => "busy",
        ViewError::Store(StoreError::Rejected { .. }) => "rejected",
        ViewError::Store(StoreError::MissingDatabase { .. }) => "missing database",
        ViewError::Script { .. } => "script",
        ViewError::Query(_) => "query",
        ViewError::MissingDesign { .. } => "missing design",
        _ => "another",
    };
    let no_database = r#"{"error":"not_found","reason":"Database does not exist."}"#;
    let cases: [(&'static [Answer], Answer, &str); 9] = [
        (&[Some((401, r#"{"error":"unauthorized"}"#))], found, "unauthorised"),
        (&[Some((400, r#"{"error":"query_parse_error","reason":"x"}"#))], found, "query"),
        (&[Some((500, r#"{"error":"invalid_value","reason":"x"}"#))], found, "script"),
        (&[Some((400, r#"{"error":"compilation_error","reason":"x"}"#))], found, "script"),
        (&[Some((502, "<html>"))], found, "busy"),
        (&[Some((200, "<html>"))], found, "busy"),
        (&[Some((404, r#"{"error":"not_found","reason":"deleted"}"#))], found, "missing design"),
        (&[Some((200, ROWS))], Some((404, no_database)), "missing database"),
        (&[Some((200, ROWS))], Some((200, "<html>")), "busy"),
    ];
    for (views, design, expected) in cases {
        let mut tasks = JoinSet::new();
        let server = serve(&mut tasks, views, design).await;
        let error = server.query("posts", "d", "v", &Query::default()).await.unwrap_err();
        assert_eq!(kind(&error), expected, "{views:?}: {error}");
        assert!(!error.to_string().contains("hidden"), "{error}");
    }
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let views = CouchViews::new(&CouchConfig::new(&url).unwrap()).unwrap();
    for error in [
        views.query("posts", "d", "v", &Query::default()).await.unwrap_err(),
        views.deploy("posts", &design(), DeployOptions::default()).await.unwrap_err(),
    ] {
        assert!(matches!(error, ViewError::Store(StoreError::Unreachable { .. })), "{error}");
        assert!(error.is_transient() && error.to_string().contains(&url), "{error}");
    }
}
