//! The dashboard over real HTTP.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::net::SocketAddr;
use std::time::Duration;

use bowerbird_infra::InfraError;
use bowerbird_infra::dashboard::Dashboard;
use bowerbird_stream::lag::LagReport;
use bowerbird_stream::status::{State, status};
use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(10);

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

#[tokio::test]
async fn it_listens_on_loopback_only() {
    for refused in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
        let error = Dashboard::bind(refused.parse().unwrap()).await.unwrap_err();
        assert!(matches!(error, InfraError::NotLoopback { .. }), "{error}");
        assert!(error.to_string().contains("SSH tunnel"), "{error}");
    }
    let first = Dashboard::bind(any_port()).await.unwrap();
    let address = first.url().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let error = Dashboard::bind(address.parse().unwrap()).await.unwrap_err().to_string();
    assert!(error.contains("in use") && error.contains("dashboard.listen"), "{error}");
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let dashboard = Dashboard::bind(any_port()).await.unwrap();
    let (url, cancel) = (dashboard.url(), CancellationToken::new());
    let (_send, reports) = watch::channel(LagReport::default());
    let served = tokio::spawn(dashboard.run("log".into(), reports, Vec::new(), cancel.clone()));
    for path in ["", "dashboard.css", "dashboard.js"] {
        let answer = reqwest::get(format!("{url}{path}")).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let policy = answer.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'self'"), "{policy}");
        let text = answer.text().await.unwrap();
        assert!(!text.contains("://"), "{path} names another place");
    }
    cancel.cancel();
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn reports_are_told_once_and_live() {
    let dashboard = Dashboard::bind(any_port()).await.unwrap();
    let (url, cancel) = (dashboard.url(), CancellationToken::new());
    let (send, reports) = watch::channel(LagReport::default());
    let (sink, sink_status) = status("sink");
    let log = "kafka://one:9092".to_owned();
    let served = tokio::spawn(dashboard.run(log, reports, vec![sink_status], cancel.clone()));

    // Before the first sample there is no report.
    let early = reqwest::get(format!("{url}api/v1/lag")).await.unwrap();
    assert_eq!(early.status(), 503);

    let stream = reqwest::get(format!("{url}api/v1/lag/stream")).await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let mut stream = stream.bytes_stream();
    let mut seen = String::new();
    sink.set(State::Paused { reason: "the store refuses the password".to_owned() });
    let report = LagReport {
        sampled_at: Some("2026-01-02T03:04:05Z".parse().unwrap()),
        errors: vec!["one group could not be asked".to_owned()],
        ..LagReport::default()
    };
    send.send_replace(report.clone());
    for words in ["event: scene", "kafka://one:9092", "refuses the password", "03:04:05Z"] {
        while !seen.contains(words) {
            let part = timeout(DEADLINE, stream.next()).await.expect(words).unwrap().unwrap();
            seen.push_str(std::str::from_utf8(&part).unwrap());
        }
    }
    let answer = reqwest::get(format!("{url}api/v1/lag")).await.unwrap();
    assert_eq!(answer.json::<LagReport>().await.unwrap(), report);

    // An open page does not hold up the shutdown.
    cancel.cancel();
    timeout(DEADLINE, served).await.expect("the server ends").unwrap().unwrap();
}
