//! Health and metrics over real HTTP.

use std::net::SocketAddr;

use bowerbird_infra::InfraError;
use bowerbird_infra::admin::{Admin, Readiness};
use bowerbird_stream::status::{State, status};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio_util::sync::CancellationToken;

async fn get(address: SocketAddr, path: &str) -> Result<(u16, String), reqwest::Error> {
    let response = reqwest::get(format!("http://{address}{path}")).await?;
    Ok((response.status().as_u16(), response.text().await?))
}

#[tokio::test]
async fn health_follows_the_roles_and_metrics_are_rendered() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        metrics::counter!("bowerbird_test_total").increment(3)
    });
    let (sink, sink_status) = status("sink");
    let (ingest, ingest_status) = status("ingest-x");
    let admin = Admin::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = admin.address();
    let cancel = CancellationToken::new();
    let served = tokio::spawn(admin.run(vec![sink_status, ingest_status], handle, cancel.clone()));

    assert_eq!(get(address, "/livez").await.unwrap(), (200, "ok\n".to_owned()));
    assert_eq!(get(address, "/readyz").await.unwrap().0, 503);
    sink.set(State::Running);
    ingest.set(State::Paused { reason: "the token is refused".to_owned() });
    let (code, body) = get(address, "/readyz").await.unwrap();
    assert_eq!(code, 503);
    assert!(body.contains("the token is refused"), "{body}");
    ingest.set(State::Running);
    let (code, body) = get(address, "/readyz").await.unwrap();
    assert_eq!(code, 200);
    assert!(serde_json::from_str::<Readiness>(&body).unwrap().ready);
    assert!(get(address, "/metrics").await.unwrap().1.contains("bowerbird_test_total 3"));

    cancel.cancel();
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_address_in_use_is_said_with_the_key_to_change() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let error = Admin::bind(address).await.unwrap_err();
    assert!(matches!(error, InfraError::Listen { .. }));
    let said = error.to_string();
    assert!(said.contains(&address.to_string()) && said.contains("in use"), "{said}");
    assert!(said.contains("admin.listen"), "{said}");
}
