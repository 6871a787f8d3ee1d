//! What the CouchDB client makes of a server's answers, down to the bytes: a small server answers
//! each request with what the test says.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowerbird_store::couch::{CouchConfig, CouchStore, Renewal};
use bowerbird_store::{Document, DocumentStore, Revision, StoreError, WriteOutcome};
use bowerbird_testbed::wire::{self, Act, http};
use secrecy::SecretString;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// A server that always acts so, and hands out each request.
async fn serve(tasks: &mut JoinSet<()>, act: Act) -> (SocketAddr, mpsc::Receiver<String>) {
    let (requests, seen) = mpsc::channel(16);
    let answer = move |request: &str| {
        requests.try_send(request.to_owned()).unwrap();
        act.clone()
    };
    (wire::serve(tasks, answer).await, seen)
}

fn store(address: SocketAddr) -> CouchStore {
    let mut config = CouchConfig::new(&format!("http://me:hidden@{address}")).unwrap();
    config.request_timeout = Duration::from_millis(400);
    config.max_answer_bytes = 4096;
    config.max_list_bytes = 4096;
    CouchStore::new(config).unwrap()
}

fn batch() -> Vec<Document> {
    vec![Document::new("a", &json!({"n": 1})).unwrap()]
}

async fn write(act: Act) -> Result<Vec<WriteOutcome>, StoreError> {
    let mut tasks = JoinSet::new();
    let (address, _seen) = serve(&mut tasks, act).await;
    let answer = store(address).write("posts", &batch()).await;
    if let Err(error) = &answer {
        assert!(!error.to_string().contains("hidden"), "{error}");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
    answer
}

fn kind(error: &StoreError) -> &'static str {
    match error {
        StoreError::Unreachable { .. } => "unreachable",
        StoreError::TimedOut { .. } => "timed out",
        StoreError::Unauthorised { .. } => "unauthorised",
        StoreError::MissingDatabase { .. } => "missing database",
        StoreError::TooLarge { .. } => "too large",
        StoreError::Rejected { .. } => "rejected",
        StoreError::Busy { .. } => "busy",
        StoreError::Full { .. } => "full",
        StoreError::Fatal { .. } => "fatal",
        _ => "another",
    }
}

#[tokio::test]
async fn every_failure_has_its_kind() {
    let row = r#"[{"ok":true,"id":"a","rev":"1-x"}]"#;
    let page = "<html><h1>502 Bad Gateway</h1></html>";
    let cut = Act::Answer(format!("HTTP/1.1 201 Created\r\nContent-Length: 999\r\n\r\n{row}"));
    let chunk_cut =
        "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[{\"ok\r\n".to_owned();
    let unauthorised = r#"[{"id":"a","error":"unauthorized","reason":"log in"}]"#;
    let large = format!("[{}]", " ".repeat(9000));
    let cases = [
        ("closed", Act::Close, "unreachable"),
        ("silent", Act::Silence, "timed out"),
        ("not http", Act::Answer("SSH-2.0-OpenSSH\r\n".to_owned()), "unreachable"),
        ("cut", cut, "unreachable"),
        ("cut chunk", Act::Answer(chunk_cut), "unreachable"),
        ("cut json", http("201 Created", "", &row[..20]), "busy"),
        ("html 200", http("200 OK", "", page), "busy"),
        ("empty 201", http("201 Created", "", ""), "busy"),
        ("too few rows", http("201 Created", "", "[]"), "busy"),
        ("another's row", http("201 Created", "", r#"[{"ok":true,"id":"b","rev":"1-x"}]"#), "busy"),
        ("row without rights", http("201 Created", "", unauthorised), "unauthorised"),
        ("larger than allowed", http("201 Created", "", &large), "too large"),
        ("401", http("401 Unauthorized", "", r#"{"error":"unauthorized"}"#), "unauthorised"),
        ("403", http("403 Forbidden", "", r#"{"error":"forbidden"}"#), "unauthorised"),
        ("404", http("404 Not Found", "", r#"{"error":"not_found"}"#), "missing database"),
        ("404 html", http("404 Not Found", "", page), "busy"),
        ("413", http("413 Request Entity Too Large", "", page), "too large"),
        ("400", http("400 Bad Request", "", r#"{"error":"illegal_docid"}"#), "rejected"),
        ("400 html", http("400 Bad Request", "", page), "busy"),
        ("415", http("415 X", "", r#"{"error":"bad_content_type"}"#), "rejected"),
        ("429", http("429 Too Many Requests", "", ""), "busy"),
        ("500", http("500 X", "", r#"{"error":"unknown_error","reason":"badmatch"}"#), "busy"),
        ("502 html", http("502 Bad Gateway", "", page), "busy"),
        ("507", http("507 X", "", r#"{"error":"insufficient_storage"}"#), "full"),
        ("redirect", http("301 Moved", "Location: http://127.0.0.1:1/\r\n", ""), "fatal"),
    ];
    for (name, act, expected) in cases {
        let error = write(act).await.expect_err(name);
        assert_eq!(kind(&error), expected, "{name}: {error}");
    }
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let store = store(address);
    let ids = ["a".to_owned()];
    for error in [
        store.ping().await.unwrap_err(),
        store.create_database("posts").await.unwrap_err(),
        store.drop_database("posts").await.unwrap_err(),
        store.database("posts").await.unwrap_err(),
        store.databases().await.unwrap_err(),
        store.write("posts", &batch()).await.unwrap_err(),
        store.fetch("posts", &ids).await.unwrap_err(),
        store.scan("posts", None, 1).await.unwrap_err(),
        store.changes("posts", None, 1).await.unwrap_err(),
    ] {
        assert_eq!(kind(&error), "unreachable", "{error}");
        assert!(error.to_string().contains("refused") && error.is_transient(), "{error}");
    }
}

#[tokio::test]
async fn retry_after_is_honoured() {
    for (value, seconds) in
        [("2", Some(2)), ("Wed, 21 Oct 2015 07:28:00 GMT", Some(0)), ("x", None)]
    {
        let act = http("503 Service Unavailable", &format!("Retry-After: {value}\r\n"), "");
        let Err(StoreError::Busy { retry_after, .. }) = write(act).await else {
            panic!("another outcome");
        };
        assert_eq!(retry_after, seconds.map(Duration::from_secs), "{value}");
    }
}

#[tokio::test]
async fn a_bulk_write_is_sent_as_couchdb_wants_it() {
    let mut tasks = JoinSet::new();
    let rows = r#"[{"ok":true,"id":"a\"b","rev":"1-x"},{"id":"b","error":"conflict"}]"#;
    let (address, mut seen) = serve(&mut tasks, http("201 Created", "", rows)).await;
    let mut documents = vec![
        Document::new("a\"b", &json!({})).unwrap(),
        Document::new("_illegal", &json!({})).unwrap(),
        Document::new("b", &json!({"n": 1.0})).unwrap(),
    ];
    documents[2].revision = Some(Revision("1-y".to_owned()));
    let outcomes = store(address).write("posts-2", &documents).await.unwrap();
    assert_eq!(outcomes[0], WriteOutcome::Written(Revision("1-x".to_owned())));
    assert!(
        matches!(&outcomes[1], WriteOutcome::Refused { error, .. } if error == "illegal_docid")
    );
    assert_eq!(outcomes[2], WriteOutcome::Conflict);

    let request = seen.recv().await.unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let head = head.to_lowercase();
    assert!(head.starts_with("post /posts-2/_bulk_docs http/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/json"), "{head}");
    // me:hidden
    assert!(head.contains("authorization: basic bwu6aglkzgvu"), "{head}");
    assert_eq!(body, r#"{"docs":[{"_id":"a\"b"},{"_id":"b","_rev":"1-y","n":1.0}]}"#);
}

#[tokio::test]
async fn nothing_is_sent_when_nothing_can_be() {
    let mut tasks = JoinSet::new();
    let (address, mut seen) = serve(&mut tasks, http("201 Created", "", "[]")).await;
    let illegal = [Document::new("_x", &json!({})).unwrap()];
    let outcomes = store(address).write("posts", &illegal).await.unwrap();
    assert!(matches!(outcomes[0], WriteOutcome::Refused { .. }));
    assert!(seen.try_recv().is_err());
}

#[tokio::test]
async fn who_may_not_make_a_database_may_use_one_that_is_there() {
    let mut tasks = JoinSet::new();
    let unauthorised = r#"{"error":"unauthorized","reason":"You are not a server admin."}"#;
    let act = |request: &str| {
        if request.starts_with("GET /there ") {
            http("200 OK", "", r#"{"doc_count":3}"#)
        } else if request.starts_with("GET /absent ") {
            http("404 X", "", r#"{"error":"not_found","reason":"Database does not exist."}"#)
        } else {
            http("401 X", "", unauthorised)
        }
    };
    let address = wire::serve(&mut tasks, act).await;
    let store = store(address);
    assert!(!store.create_database("there").await.unwrap());
    let error = store.create_database("absent").await.unwrap_err();
    assert_eq!(kind(&error), "unauthorised", "{error}");
}

#[tokio::test]
async fn refused_credentials_are_not_tried_again_and_again() {
    let mut tasks = JoinSet::new();
    let failed = r#"{"error":"unauthorized","reason":"Name or password is incorrect."}"#;
    let (address, mut seen) = serve(&mut tasks, http("401 Unauthorized", "", failed)).await;
    let store = store(address);
    let ids = ["a".to_owned()];
    let (one, two, three) =
        tokio::join!(store.fetch("db", &ids), store.fetch("db", &ids), store.ping());
    for error in [one.unwrap_err(), two.unwrap_err(), three.unwrap_err()] {
        assert!(matches!(error, StoreError::Unauthorised { .. }), "{error}");
    }
    // CouchDB would lock the account at the fifth.
    assert!(seen.recv().await.is_some());
    assert!(seen.try_recv().is_err());
}

#[tokio::test]
async fn a_refusal_that_is_no_failed_login_is_asked_again() {
    let mut tasks = JoinSet::new();
    let (answers, refused) = (Arc::new(Mutex::new(0)), r#"{"error":"unauthorized","reason":"no"}"#);
    let act = move |_: &str| {
        let mut answers = answers.lock().unwrap();
        *answers += 1;
        if *answers > 1 { http("200 OK", "", r#"{"ok":true}"#) } else { http("401 X", "", refused) }
    };
    let store = store(wire::serve(&mut tasks, act).await);
    assert_eq!(kind(&store.ping().await.unwrap_err()), "unauthorised");
    store.ping().await.unwrap();
}

#[tokio::test]
async fn a_password_that_is_refused_is_exchanged_as_soon_as_there_is_another() {
    let mut tasks = JoinSet::new();
    // me:hidden and me:other
    let act = |request: &str| match request.contains("Basic bWU6b3RoZXI=") {
        true => http("200 OK", "", r#"{"ok":true}"#),
        false => http("401 X", "", r#"{"error":"unauthorized","reason":"wrong"}"#),
    };
    let address = wire::serve(&mut tasks, act).await;
    let mut config = CouchConfig::new(&format!("http://me:hidden@{address}")).unwrap();
    let by_now = Arc::new(Mutex::new(None));
    let told = Arc::clone(&by_now);
    config.renewal = Some(Renewal::new(move || told.lock().unwrap().map(SecretString::from)));
    let store = CouchStore::new(config).unwrap();
    for password in [None, Some("hidden"), Some("wrong")] {
        *by_now.lock().unwrap() = password;
        assert_eq!(kind(&store.ping().await.unwrap_err()), "unauthorised");
    }
    *by_now.lock().unwrap() = Some("other");
    store.ping().await.unwrap();
}

#[tokio::test]
async fn documents_too_large_to_be_read_at_once_are_read_in_parts() {
    let mut tasks = JoinSet::new();
    let all = ["a", "b", "c", "d", "e", "f", "g"];
    let act = move |request: &str| {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let ids: Vec<&str> = if head.starts_with("POST") {
            // A question may be too large as well as its answer.
            if body.len() > 20 {
                return http("413 X", "", r#"{"error":"too_large","reason":"the request"}"#);
            }
            let asked: serde_json::Value = serde_json::from_str(body).unwrap();
            let asked = asked["keys"].as_array().unwrap().clone();
            asked.iter().map(|id| all.into_iter().find(|known| id == known).unwrap()).collect()
        } else {
            let (_, query) = head.lines().next().unwrap().split_once('?').unwrap();
            let limit = query.split_once("limit=").unwrap().1;
            let limit = limit.split(['&', ' ']).next().unwrap().parse().unwrap();
            let start = query.split_once("startkey=%22").map_or("a", |(_, start)| &start[..1]);
            all.into_iter().filter(|id| *id >= start).take(limit).collect()
        };
        let row = |id| json!({"key": id, "doc": {"_id": id, "_rev": "1-x", "n": "x".repeat(1500)}});
        let rows: Vec<_> = ids.into_iter().map(row).collect();
        http("200 OK", "", &json!({ "rows": rows }).to_string())
    };
    let store = store(wire::serve(&mut tasks, act).await);
    let ids: Vec<String> = all.into_iter().rev().map(str::to_owned).collect();
    let found = store.fetch("posts", &ids).await.unwrap();
    let found: Vec<_> = found.into_iter().map(|document| document.unwrap().id).collect();
    assert_eq!(found, ids);
    let (mut scanned, mut after) = (Vec::new(), None);
    loop {
        let page = store.scan("posts", after.as_deref(), 100).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        scanned.extend(page.into_iter().map(|document| document.id));
    }
    assert_eq!(scanned, all);
}
