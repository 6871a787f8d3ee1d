//! The real client of the stream, against the simulator over real HTTP.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use std::collections::BTreeSet;
use std::time::Duration;

use bowerbird_ingest::IngestError;
use bowerbird_ingest::x::{SOURCE, Waits, XConfig, XSummary, run};
use bowerbird_sim::Running;
use bowerbird_sim::x::{Config, Ending, LineFeed, Step, serve};
use bowerbird_stream::status::{State, Status, status};
use bowerbird_stream::topic;
use bowerbird_testbed::wire;
use harness::{TestLog, until};
use jiff::Timestamp;
use serde_json::json;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

fn config(sim: &Running) -> XConfig {
    let ms = Duration::from_millis;
    let waits = Waits {
        network_step: ms(5),
        network_max: ms(50),
        http_first: ms(10),
        http_max: ms(40),
        rate_first: ms(10),
        rate_max: ms(2_000),
        told_max: ms(2_000),
        no_rules: ms(20),
        good_after: ms(500),
    };
    let config = XConfig::new(sim.url().parse().unwrap(), "token".to_owned().into());
    XConfig { waits, idle_timeout: ms(400), ..config }
}

struct Client {
    cancel: CancellationToken,
    status: Status,
    task: JoinHandle<Result<XSummary, IngestError>>,
}

impl Client {
    fn start(test: &TestLog, config: XConfig) -> Self {
        let (reporter, status) = status("ingest-x");
        let cancel = CancellationToken::new();
        let task = tokio::spawn(run(test.log.clone(), config, reporter, cancel.clone()));
        Self { cancel, status, task }
    }

    async fn stop(self) -> XSummary {
        self.cancel.cancel();
        let summary = self.task.await.unwrap().unwrap();
        assert_eq!(self.status.get(), State::Stopped);
        assert!(summary.drained);
        summary
    }
}

async fn posts(test: &TestLog) -> usize {
    test.records(topic::POSTS).await.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_post_is_an_event_as_it_came() {
    for (line_feed, gzip) in [
        (LineFeed::CrLf, false),
        (LineFeed::Lf, false),
        (LineFeed::Mixed, false),
        (LineFeed::Lf, true),
    ] {
        let test = TestLog::new().await;
        let behaviour =
            Config { rate: 2_000.0, total: Some(500), line_feed, gzip, ..Config::default() };
        let sim = serve(behaviour);
        let sim = sim.await.unwrap();
        let client = Client::start(&test, config(&sim));
        until("500 posts", async || posts(&test).await == 500).await;
        assert_eq!(client.status.get(), State::Running);
        let summary = client.stop().await;
        assert_eq!((summary.posts, summary.connections), (500, 1));
        let events = test.events(topic::POSTS).await;
        let ids: BTreeSet<&str> = events.iter().map(|event| event.key.as_str()).collect();
        assert_eq!(ids.len(), 500);
        for event in &events {
            let value: serde_json::Value =
                serde_json::from_slice(event.value.as_ref().unwrap()).unwrap();
            assert_eq!(value["data"]["id"], event.key);
            assert!(value["includes"]["users"].is_array() && value["matching_rules"].is_array());
            assert_eq!(event.source, SOURCE);
        }
        let ends = test.journal("stream.disconnected").await;
        let connected = test.journal("stream.connected").await;
        assert_eq!(connected.len(), 1);
        assert!(connected[0]["headers"]["date"].is_string(), "{connected:?}");
        assert_eq!((&ends[0]["cause"], &ends[0]["posts"]), (&json!("shutdown"), &json!(500)));
        sim.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_said_is_why_it_ended_also_where_the_compression_has_no_end() {
    let test = TestLog::new().await;
    let script = vec![Step::Serve { posts: 20, ending: Ending::OperationalDisconnect }];
    let behaviour = Config { rate: 1_000.0, gzip: true, script, ..Config::default() };
    let sim = serve(behaviour).await.unwrap();
    let client = Client::start(&test, config(&sim));
    until("a second connection", async || test.journal("stream.gap").await.len() == 1).await;
    client.stop().await;
    let gap = test.journal("stream.gap").await.remove(0);
    let reason = gap["reason"].as_str().unwrap();
    assert!(gap["cause"] == "ended" && reason.contains("operational"), "{gap}");
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connects_again_after_every_kind_of_end() {
    let test = TestLog::new().await;
    let refuse = |status, headers: &[(&str, &str)], body: &str| Step::Refuse {
        status,
        headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        body: body.to_owned(),
    };
    let endings = [
        Ending::Close,
        Ending::CutItem,
        Ending::Reset,
        Ending::Stall,
        Ending::OperationalDisconnect,
    ];
    let mut script: Vec<Step> =
        endings.map(|ending| Step::Serve { posts: 20, ending }).into_iter().collect();
    script.insert(1, refuse(503, &[], "busy"));
    script.insert(
        3,
        refuse(429, &[("x-rate-limit-reset", "1")], "{\"title\":\"Too Many Requests\"}"),
    );
    let sim = serve(Config { rate: 1_000.0, total: Some(150), script, ..Config::default() });
    let sim = sim.await.unwrap();
    let client = Client::start(&test, config(&sim));
    until("the sixth connection has given its posts", async || {
        sim.served() == 150 && test.journal("stream.connected").await.len() == 6
    })
    .await;
    // What was on the wire when a connection broke is lost, and nothing else is.
    let ends = async || test.journal("stream.disconnected").await;
    let given = async || ends().await.iter().map(|end| end["posts"].as_u64().unwrap()).sum::<u64>();
    let expected = 50 + given().await;
    assert!((130..=150).contains(&expected), "{expected}");
    until("the last posts", async || posts(&test).await as u64 == expected).await;
    let summary = client.stop().await;
    assert_eq!((summary.connections, summary.posts), (6, expected));
    assert_eq!(summary.dead_letters, 0);
    let ends = ends().await;
    assert!(ends.iter().enumerate().all(|(n, end)| end["posts"] == 20 || n == 2 || n == 5));
    let causes: Vec<&str> = ends.iter().map(|end| end["cause"].as_str().unwrap()).collect();
    assert_eq!(causes, ["ended", "ended", "network", "idle", "ended", "shutdown"]);
    assert!(ends[1]["incomplete_bytes"].as_u64().unwrap() > 10);
    assert!(ends[4]["reason"].as_str().unwrap().contains("operational"), "{}", ends[4]);
    let problems = test.journal("stream.problem").await;
    assert_eq!(problems[0]["problems"][0]["issue"], "UpstreamOperationalDisconnect");
    // Between two connections nobody listened: from the last byte of one to the first of the next.
    let gaps = test.journal("stream.gap").await;
    assert_eq!(gaps.len(), 5);
    for (gap, end) in gaps.iter().zip(&ends) {
        assert_eq!((&gap["from"], &gap["cause"]), (&end["unheard_since"], &end["cause"]), "{gap}");
        // Of what was cut off nothing has been heard.
        let cut = end["incomplete_bytes"] != 0;
        assert_eq!(time(&end["last_byte"]) > time(&gap["from"]), cut, "{gap}");
    }
    let connected = test.journal("stream.connected").await;
    assert_eq!(connected[0]["unheard_since"], json!(null));
    for (gap, next) in gaps.iter().zip(&connected[1..]) {
        assert_eq!(gap["from"], next["unheard_since"]);
        assert!(time(&gap["from"]) <= time(&gap["to"]), "{gap}");
    }
    let failed: Vec<_> = gaps.iter().map(|gap| gap["failed"].as_u64().unwrap()).collect();
    assert_eq!(failed, [1, 1, 0, 0, 0]);
    assert!(gaps[0]["last_failure"].as_str().unwrap().contains("503"), "{}", gaps[0]);
    sim.shutdown().await;
}

fn time(value: &serde_json::Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

/// The times of a test's posts, in order.
async fn arrivals(test: &TestLog) -> Vec<Timestamp> {
    let mut times: Vec<_> =
        test.events(topic::POSTS).await.into_iter().map(|event| event.time).collect();
    times.sort_unstable();
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_spans_restarts_also_after_a_kill() {
    let test = TestLog::new().await;
    let sim = serve(Config { rate: 500.0, ..Config::default() }).await.unwrap();
    let config = XConfig { backfill_minutes: 5, ..config(&sim) };
    let client = Client::start(&test, config.clone());
    until("some posts", async || posts(&test).await > 50).await;
    client.stop().await;
    assert_eq!(test.journal("stream.gap").await.len(), 0, "nobody has listened before");
    let heard = test.journal("stream.disconnected").await[0]["unheard_since"].clone();

    let client = Client::start(&test, config.clone());
    until("a gap", async || test.journal("stream.gap").await.len() == 1).await;
    let gap = test.journal("stream.gap").await.remove(0);
    assert_eq!((&gap["from"], &gap["cause"]), (&heard, &json!("shutdown")));
    assert_eq!(gap["backfill_minutes"], 1);
    let query = test.journal("stream.connected").await[1]["query"].clone();
    assert!(query.as_str().unwrap().ends_with("&backfill_minutes=1"), "{query}");
    let before = posts(&test).await;
    until("more posts", async || posts(&test).await > before + 50).await;
    // As kill -9 would: nothing more is said.
    client.task.abort();
    let _ = client.task.await;
    assert_eq!(test.journal("stream.disconnected").await.len(), 1);

    let client = Client::start(&test, config);
    until("a second gap", async || test.journal("stream.gap").await.len() == 2).await;
    let gap = test.journal("stream.gap").await.remove(1);
    let before = arrivals(&test).await.into_iter().filter(|at| *at < time(&gap["to"]));
    let (newest, from) = (before.max().unwrap(), time(&gap["from"]));
    assert_eq!(gap["cause"], "killed");
    // Of what was on its way together, the log may have taken a part.
    assert!(from <= newest && newest.duration_since(from).as_secs() < 1, "{newest} {gap}");
    client.stop().await;
    // Nothing else has arrived within a gap.
    let gaps = test.journal("stream.gap").await;
    for at in arrivals(&test).await {
        for gap in &gaps {
            let known = at <= time(&gap["from"]) || (gap["cause"] == "killed" && at <= newest);
            assert!(known || at >= time(&gap["to"]), "{at} {gap}");
        }
    }
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_on_which_nothing_is_heard_ends_no_gap() {
    let test = TestLog::new().await;
    let silent = Step::Serve { posts: 0, ending: Ending::Stall };
    let first = Step::Serve { posts: 20, ending: Ending::Reset };
    let script = vec![first, silent.clone(), silent];
    let sim = serve(Config { rate: 1_000.0, script, ..Config::default() }).await.unwrap();
    let client = Client::start(&test, config(&sim));
    until("a gap", async || test.journal("stream.gap").await.len() == 1).await;
    client.stop().await;
    let ends = test.journal("stream.disconnected").await;
    let gaps = test.journal("stream.gap").await;
    let since: Vec<_> = ends.iter().map(|end| &end["unheard_since"]).collect();
    assert_eq!(since[..3], [&gaps[0]["from"]; 3], "{ends:?}");
    assert_eq!((&gaps[0]["cause"], gaps.len()), (&json!("network"), 1));
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outlives_a_restart_of_the_server() {
    let test = TestLog::new().await;
    let sim = serve(Config { rate: 500.0, ..Config::default() }).await.unwrap();
    let listen = sim.addr;
    let client = Client::start(&test, config(&sim));
    until("some posts", async || posts(&test).await > 50).await;
    sim.shutdown().await;
    let paused = |state| matches!(state, State::Paused { .. });
    until("it says so", async || paused(client.status.get())).await;
    let before = posts(&test).await;
    let sim = serve(Config { rate: 500.0, listen, ..Config::default() }).await.unwrap();
    until("more posts", async || posts(&test).await > before + 50).await;
    assert_eq!(client.status.get(), State::Running);
    let summary = client.stop().await;
    assert!(summary.connections >= 2);
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_pauses_and_says_what_to_do() {
    let test = TestLog::new().await;
    let bearer = Some("right".to_owned().into());
    let sim = serve(Config { bearer, rate: 100.0, ..Config::default() }).await.unwrap();
    let client = Client::start(&test, config(&sim));
    until("paused", async || matches!(client.status.get(), State::Paused { .. })).await;
    let State::Paused { reason } = client.status.get() else { panic!() };
    assert!(reason.contains("401") && reason.contains("x.bearer_token"), "{reason}");
    assert!(!reason.contains("token\"") && !reason.contains("right"));
    client.stop().await;

    // It goes on by itself when it is mended.
    let refusal = Step::Refuse { status: 403, headers: Vec::new(), body: "{}".to_owned() };
    let script = vec![refusal; 2];
    let mended = serve(Config { rate: 100.0, script, ..Config::default() }).await.unwrap();
    let client = Client::start(&test, config(&mended));
    until("posts", async || posts(&test).await > 5).await;
    assert_eq!(client.status.get(), State::Running);
    client.stop().await;
    let empty = serve(Config { rules: Vec::new(), ..Config::default() }).await.unwrap();
    let client = Client::start(&test, config(&empty));
    until("paused", async || matches!(client.status.get(), State::Paused { .. })).await;
    let State::Paused { reason } = client.status.get() else { panic!() };
    assert!(reason.contains("no rules"), "{reason}");
    client.stop().await;
    for sim in [sim, mended, empty] {
        sim.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn items_that_are_no_posts_are_accounted_for() {
    let test = TestLog::new().await;
    let large = format!("{{\"data\":{{\"id\":\"5\",\"text\":\"{}\"}}}}", "x".repeat(2_000));
    let body: Vec<&[u8]> = vec![
        b"{\"data\":{\"id\":\"1\",\"text\":\"fine\"}}",
        b"{\"data\":{\"id\":\"2\",\"text\":\"\xff\"}}",
        b"{\"surprise\":true}",
        large.as_bytes(),
        b"",
        b"{\"delete\":{\"status\":{\"id\":3}}}",
        b"{\"data\":{\"id\":\"4\",\"text\":\"fine\"}}",
        b"{\"data\":{\"id\":\"6\",",
    ];
    // The simulator sends text only: a server of one answer does.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let answer =
        [b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec(), body.join(&b'\n')].concat();
    let serving = async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            assert!(socket.read(&mut [0; 4096]).await.unwrap() > 0);
            socket.write_all(&answer).await.unwrap();
        }
    };
    let sim = serve(Config::default()).await.unwrap();
    let config = XConfig {
        base_url: base.parse().unwrap(),
        max_item_bytes: 1_000,
        waits: Waits { network_step: Duration::from_secs(60), ..Waits::default() },
        ..config(&sim)
    };
    let client = Client::start(&test, config);
    let waiting = until("two ends", async || test.journal("stream.disconnected").await.len() >= 2);
    tokio::select! { () = serving => {}, () = waiting => {} }
    let summary = client.stop().await;
    assert_eq!((summary.posts, summary.notices, summary.dead_letters), (4, 2, 6));
    let letters = test.records(topic::DEAD_LETTERS).await;
    let reasons: BTreeSet<&str> =
        letters.iter().map(|letter| letter.headers.text("dl_reason").unwrap()).collect();
    assert_eq!(reasons, ["item-too-long", "no-post", "not-utf8"].into());
    // The same observation has the same id, whenever it arrives.
    let ids: BTreeSet<String> =
        test.events(topic::POSTS).await.into_iter().map(|event| event.id).collect();
    assert_eq!(ids.len(), 2);
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_problem_before_the_last_post_is_not_why_it_ends() {
    let problem = r#"{"errors":[{"title":"operational-disconnect","detail":"upstream"}]}"#;
    let post = r#"{"data":{"id":"1","text":"fine"}}"#;
    for (body, reason) in [
        (format!("{problem}\n{post}\n"), "the server closed the stream"),
        (
            format!("{post}\n{problem}\n"),
            "the server ended the stream: operational-disconnect: upstream",
        ),
    ] {
        let (test, mut tasks) = (TestLog::new().await, JoinSet::new());
        let address = wire::serve(&mut tasks, move |_| wire::http("200 OK", "", &body)).await;
        let sim = serve(Config::default()).await.unwrap();
        let base_url = format!("http://{address}").parse().unwrap();
        let client = Client::start(&test, XConfig { base_url, ..config(&sim) });
        let ends = async || test.journal("stream.disconnected").await;
        until("an end", async || !ends().await.is_empty()).await;
        assert_eq!(ends().await[0]["reason"], reason);
        client.stop().await;
        sim.shutdown().await;
    }
}

#[tokio::test]
async fn a_base_url_with_a_password_is_refused() {
    let test = TestLog::new().await;
    let (reporter, _status) = status("ingest-x");
    let base = "http://user:secret@127.0.0.1:1".parse().unwrap();
    let config = XConfig::new(base, "token".to_owned().into());
    let error =
        run(test.log.clone(), config, reporter, CancellationToken::new()).await.unwrap_err();
    assert!(error.to_string().contains("x.base_url") && !error.to_string().contains("secret"));
}
