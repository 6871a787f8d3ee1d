use std::sync::Arc;

use bowerbird_store::{DocumentStore, StoreError};
use serde_json::json;

use crate::bed::{Bed, document};

pub async fn come_and_go(bed: Arc<Bed>) {
    let (store, name) = (&bed.store, bed.databases.name(""));
    store.ping().await.unwrap();
    assert_eq!(store.database(&name).await.unwrap(), None);
    assert!(store.create_database(&name).await.unwrap());
    assert!(!store.create_database(&name).await.unwrap(), "it is there already");
    assert!(store.databases().await.unwrap().contains(&name));
    assert!(store.databases().await.unwrap().iter().all(|name| !name.starts_with('_')));
    let info = store.database(&name).await.unwrap().unwrap();
    assert_eq!((info.name.as_str(), info.documents), (name.as_str(), 0));

    bed.fill(&name, &["a", "b"]).await;
    assert_eq!(store.database(&name).await.unwrap().unwrap().documents, 2);

    assert!(store.drop_database(&name).await.unwrap());
    assert!(!store.drop_database(&name).await.unwrap(), "it is gone already");
    assert!(!store.databases().await.unwrap().contains(&name));
    assert!(store.create_database(&name).await.unwrap());
    assert_eq!(store.database(&name).await.unwrap().unwrap().documents, 0);
    assert!(bed.get(&name, "a").await.is_none());
}

pub async fn keep_to_the_rule_of_names(bed: Arc<Bed>) {
    for name in ["", "Posts", "posts@2", "1", "_users", "a b", "p/../q%"] {
        for error in [
            bed.store.create_database(name).await.unwrap_err(),
            bed.store.drop_database(name).await.unwrap_err(),
        ] {
            assert!(matches!(error, StoreError::Rejected { .. }), "{name}: {error}");
        }
    }
    // What the rule allows, an address must survive.
    let name = bed.databases.name("/a+b$(c)_d-1");
    assert!(bed.store.create_database(&name).await.unwrap());
    bed.fill(&name, &["x"]).await;
    assert_eq!(bed.store.scan(&name, None, 9).await.unwrap().len(), 1);
    assert!(bed.store.drop_database(&name).await.unwrap());
}

pub async fn that_are_missing_are_told(bed: Arc<Bed>) {
    let (store, name) = (&bed.store, bed.databases.name(""));
    let ids = ["a".to_owned()];
    let local = ["_local/a".to_owned()];
    let errors = [
        store.write(&name, &[document("a", &json!({}))]).await.unwrap_err(),
        store.fetch(&name, &ids).await.unwrap_err(),
        store.fetch(&name, &local).await.unwrap_err(),
        store.scan(&name, None, 10).await.unwrap_err(),
        store.changes(&name, None, 10).await.unwrap_err(),
    ];
    for error in errors {
        let StoreError::MissingDatabase { database, address } = &error else {
            panic!("another error: {error}");
        };
        assert_eq!((database, address), (&name, &store.address()));
        assert!(error.pauses() && !error.is_transient());
    }
}
