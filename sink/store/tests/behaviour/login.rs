//! A server that wants to know who we are.

use bowerbird_store::couch::{CouchConfig, CouchStore};
use bowerbird_store::{DocumentStore, StoreError};
use bowerbird_testbed::service;

const WRONG: &str = "not-the-password";

#[tokio::test]
async fn a_wrong_password_is_told_and_pauses() {
    let config = CouchConfig::new(&service("BOWERBIRD_TEST_COUCHDB_AUTH")).unwrap();
    // Not the real user's name: CouchDB locks that out after some failures.
    let config = config.with_credentials("nobody-here", WRONG.to_owned().into());
    let store = CouchStore::new(config).unwrap();
    let ids = ["a".to_owned()];
    for error in [
        store.ping().await.unwrap_err(),
        store.fetch("any", &ids).await.unwrap_err(),
        store.write("any", &[super::bed::document("a", &serde_json::json!({}))]).await.unwrap_err(),
        store.databases().await.unwrap_err(),
        store.database("any").await.unwrap_err(),
        store.create_database("any").await.unwrap_err(),
        store.drop_database("any").await.unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(matches!(error, StoreError::Unauthorised { .. }), "{text}");
        assert!(error.pauses() && !error.is_transient());
        assert!(!text.contains(WRONG) && text.contains("store.password"), "{text}");
    }
    assert!(!format!("{store:?}").contains(WRONG));
}
