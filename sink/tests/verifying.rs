//! Verification finds every kind of difference, mends what can be mended, and is gone on with.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[expect(dead_code, reason = "other tests use the rest")]
mod harness;

use std::collections::BTreeMap;

use bowerbird_sink::verify::Kind;
use bowerbird_sink::{Projection, SinkConfig, VerifyConfig, VerifyReport, verify};
use bowerbird_store::{Body, Document, DocumentStore};
use bowerbird_stream::topic;
use harness::{Bed, deletion, post};
use tokio_util::sync::CancellationToken;

fn config() -> VerifyConfig {
    VerifyConfig { projections: vec![Projection::posts()], ..VerifyConfig::default() }
}

async fn run(bed: &Bed, config: &VerifyConfig) -> VerifyReport {
    verify(&bed.log, &bed.store, config, |_| {}).await.unwrap()
}

/// Puts another body in the place of a document, or takes it away.
async fn tamper(bed: &Bed, id: &str, body: impl FnOnce(String) -> String) {
    let found = bed.store.fetch("posts", &[id.to_owned()]).await.unwrap();
    let document = found.into_iter().next().unwrap().unwrap();
    let body = Body::read(body(document.body.get().to_owned())).unwrap();
    let rows = bed.store.write("posts", &[Document { body, ..document }]).await.unwrap();
    assert!(matches!(rows[..], [bowerbird_store::WriteOutcome::Written(_)]), "{rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_difference_is_found_and_mended_where_it_can_be() {
    let bed = Bed::new().await;
    bed.publish(topic::POSTS, (0..300).map(|id| post(id, 5))).await;
    bed.publish(topic::NOTICES, [deletion(299, 9)]).await;
    bed.once().await.unwrap();
    assert!(run(&bed, &config()).await.is_clean());

    tamper(&bed, "7", |body| body.replace("number 7 at 5", "tampered with")).await;
    tamper(&bed, "8", |_| r#"{"_deleted":true}"#.to_owned()).await;
    // As a store writes it that knows neither the order of members nor spaces: no difference.
    tamper(&bed, "9", |body| {
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        format!("{value:#}")
    })
    .await;
    let stranger = Document::new("stranger", &serde_json::json!({"a": 1})).unwrap();
    bed.store.write("posts", &[stranger]).await.unwrap();

    let found = run(&bed, &config()).await;
    let expected =
        BTreeMap::from([(Kind::Missing, 1), (Kind::Different, 1), (Kind::Unexpected, 1)]);
    assert_eq!(found.projections[0].differences, expected, "{found:?}");
    let repair = Some(SinkConfig { once: true, ..SinkConfig::default() });
    let mended = run(&bed, &VerifyConfig { repair, ..config() }).await;
    assert_eq!(
        (mended.projections[0].repaired, &mended.projections[0].differences),
        (2, &expected)
    );
    assert_eq!(bed.document("7").await.unwrap()["text"], "number 7 at 5");
    assert_eq!(bed.document("299").await.unwrap()["type"], "removed");
    let left = run(&bed, &config()).await;
    assert_eq!(left.projections[0].differences, BTreeMap::from([(Kind::Unexpected, 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_verification_is_gone_on_with() {
    let bed = Bed::new().await;
    bed.publish(topic::POSTS, (0..20_000).map(|id| post(id, 5))).await;
    bed.once().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = VerifyConfig {
        scratch: Some(folder.path().to_owned()),
        // A few pages, so that there are many runs.
        held: 1 << 18,
        ..config()
    };
    // While the log is read, and while documents are compared.
    for stopped_at in [12_000, 39_000] {
        let cancel = CancellationToken::new();
        let looked_at = |count| {
            if count >= stopped_at {
                cancel.cancel();
            }
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => {}
            report = verify(&bed.log, &bed.store, &config, looked_at) => {
                panic!("not interrupted: {report:?}")
            }
        }
        assert!(folder.path().join("posts/checkpoint.json").is_file());
    }
    let mut first = None;
    let report = verify(&bed.log, &bed.store, &config, |count| {
        first.get_or_insert(count);
    });
    let report = report.await.unwrap();
    assert!(first.unwrap() > 12_000, "it began anew at {first:?}");
    assert!(report.is_clean(), "{report:?}");
    let counts = &report.projections[0];
    assert_eq!((counts.events, counts.documents), (20_000, 20_000));
    assert!(!folder.path().join("posts/checkpoint.json").exists(), "done, and still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_compares_always_the_same_share() {
    let bed = Bed::new().await;
    bed.publish(topic::POSTS, (0..3_000).map(|id| post(id, 5))).await;
    bed.once().await.unwrap();
    let config = VerifyConfig { sample: 0.1, ..config() };
    let (one, two) = (run(&bed, &config).await, run(&bed, &config).await);
    assert!(one.is_clean());
    assert_eq!(one, two);
    assert!((200..400).contains(&one.projections[0].documents), "{one:?}");
}
