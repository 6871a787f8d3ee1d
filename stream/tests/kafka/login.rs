//! Brokers that ask who we are, by SASL/PLAIN; SCRAM is not in the default build.

use bowerbird_stream::kafka::{Login, Mechanism};

use super::*;

/// Where the same broker lets in only who logs in.
fn guarded() -> String {
    std::env::var("BOWERBIRD_TEST_KAFKA_SASL").expect(
        "BOWERBIRD_TEST_KAFKA_SASL names no broker that asks for a login: run the tests by \
         tests/run, or set it",
    )
}

/// A log there, for `alice` with this password, or for nobody.
fn log_of(brokers: &str, password: Option<&str>) -> KafkaLog {
    let login = password.map(|password| Login {
        user: "alice".to_owned(),
        password: password.to_owned().into(),
        mechanism: Mechanism::Plain,
    });
    let patience = Duration::from_secs(3);
    KafkaLog::new(KafkaConfig {
        login,
        request_timeout: patience,
        delivery_timeout: patience,
        ..KafkaConfig::new(brokers)
    })
    .unwrap()
}

/// What each kind of client says: one that asks, one that manages, one that publishes, one that
/// reads.
async fn complaints(log: &KafkaLog) -> [LogError; 4] {
    let (asked, applied, published, subscribed) = tokio::join!(
        log.topics(),
        async { log.apply_topics(&[spec("never-made", 1)], false).await },
        log.publish(records("never-made", 1)),
        log.subscribe(&["never-made"], config("never-joined")),
    );
    [
        asked.unwrap_err(),
        applied.unwrap_err(),
        published.into_iter().next().unwrap().unwrap_err(),
        subscribed.err().unwrap(),
    ]
}

#[tokio::test]
async fn the_right_password_lets_us_in() {
    let (log, topic) = (log_of(&guarded(), Some("alice-secret")), unique("login"));
    log.apply_topics(&[spec(&topic, 1)], false).await.unwrap();
    log.publish(records(&topic, 3)).await.remove(0).unwrap();
    let mut consumer = log.subscribe(&[&topic], config(&unique("group"))).await.unwrap();
    until(&mut consumer, "records", as_records).await;
    consumer.close().await.unwrap();
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", guarded())
        .set("security.protocol", "sasl_plaintext")
        .set("sasl.mechanism", "PLAIN")
        .set("sasl.username", "alice")
        .set("sasl.password", "alice-secret")
        .create()
        .unwrap();
    admin.delete_topics(&[&topic], &AdminOptions::new()).await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_pauses_and_says_what_to_check() {
    for error in complaints(&log_of(&guarded(), Some("hunter2"))).await {
        assert!(matches!(error, LogError::Unauthorised { .. }) && error.pauses(), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&guarded()) && text.contains("log.password"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn without_a_login_the_error_says_that_the_broker_may_want_one() {
    for error in complaints(&log_of(&guarded(), None)).await {
        assert!(matches!(error, LogError::Unreachable { .. }) && error.is_transient(), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("may want a login") && text.contains("log.user"), "{text}");
    }
}

#[tokio::test]
async fn a_login_at_a_broker_that_wants_none_is_refused() {
    for error in complaints(&log_of(&brokers(), Some("alice-secret"))).await {
        assert!(error.pauses() && error.to_string().contains("log.user"), "{error:?}");
    }
}
