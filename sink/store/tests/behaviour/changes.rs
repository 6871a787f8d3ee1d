use std::collections::BTreeMap;
use std::sync::Arc;

use bowerbird_store::{Document, DocumentStore};
use serde_json::{Value, json};

use crate::bed::{Bed, body, document, revision, with};

/// Reads all changes in pages of `limit`: the state of each, and where it ended.
async fn read(
    bed: &Bed,
    db: &str,
    mut since: Option<String>,
    limit: usize,
) -> (BTreeMap<String, Option<Value>>, String) {
    let mut states = BTreeMap::new();
    loop {
        let page = bed.store.changes(db, since.as_deref(), limit).await.unwrap();
        assert!(page.rows.len() <= limit);
        for row in page.rows {
            let state = row.document.as_ref().map(body);
            assert_eq!(states.insert(row.id, state), None, "told twice");
        }
        since = Some(page.last.clone());
        if !page.more {
            return (states, page.last);
        }
    }
}

pub async fn tells_each_document_once(bed: Arc<Bed>) {
    let db = bed.databases.create().await;
    let first = revision(&bed.put(&db, document("a", &json!({"n": 1}))).await);
    revision(&bed.put(&db, document("b", &json!({"n": 1}))).await);
    revision(&bed.put(&db, with(document("a", &json!({"n": 2})), &first)).await);
    let gone = revision(&bed.put(&db, document("c", &json!({"n": 1}))).await);
    revision(&bed.put(&db, Document::tombstone("c", gone).unwrap()).await);
    bed.fill(&db, &["_design/views"]).await;
    let (states, _) = read(&bed, &db, None, 100).await;
    let expected = [("a", Some(json!({"n": 2}))), ("b", Some(json!({"n": 1}))), ("c", None)];
    assert_eq!(states, expected.map(|(id, state)| (id.to_owned(), state)).into());
}

pub async fn goes_on_where_it_stood(bed: Arc<Bed>) {
    let db = bed.databases.create().await;
    let (states, start) = read(&bed, &db, None, 10).await;
    assert!(states.is_empty());
    bed.fill(&db, &["a", "b"]).await;
    let (states, middle) = read(&bed, &db, Some(start), 10).await;
    assert_eq!(states.len(), 2);
    let (states, middle) = read(&bed, &db, Some(middle), 10).await;
    assert!(states.is_empty());
    bed.fill(&db, &["c"]).await;
    let found = bed.get(&db, "a").await.unwrap();
    let update = with(document("a", &json!({"n": 2})), &found.revision.unwrap());
    revision(&bed.put(&db, update).await);
    let (states, _) = read(&bed, &db, Some(middle), 10).await;
    assert_eq!(states.keys().collect::<Vec<_>>(), ["a", "c"]);
}

pub async fn pages_to_the_end(bed: Arc<Bed>) {
    let db = bed.databases.create().await;
    let ids: Vec<String> = (0..40).map(|n| format!("{n:02}")).collect();
    bed.fill(&db, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    bed.fill(&db, &["_design/one", "_design/two"]).await;
    for limit in [1, 7, 40, 41, 100] {
        let (states, _) = read(&bed, &db, None, limit).await;
        assert_eq!(states.into_keys().collect::<Vec<_>>(), ids, "in pages of {limit}");
    }
}
